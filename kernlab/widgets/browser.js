// The struct browser's view. Everything that a dump holds arrives as text and is set as text: no markup is ever made
// of it. Addresses stay strings, because a JavaScript number is a double.

const SLOW_MS = 900;
const MOST_SAVED_ROWS = 5000;

// ---- small helpers -------------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function later(milliseconds, work) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

/** Requests to the kernel: `ask({op, …})` resolves to the answer, and says when it has to wait. */
function connect(model, tell) {
  const waiting = new Map();
  const mine = Math.random().toString(36).slice(2);
  let count = 0;
  const heard = (message) => {
    const resolve = waiting.get(message?.answer_to);
    if (!resolve) return;
    waiting.delete(message.answer_to);
    resolve(message.answer);
  };
  model.on("msg:custom", heard);
  const ask = (request) =>
    new Promise((resolve) => {
      const id = `${mine}-${++count}`;
      const slow = setTimeout(
        () => tell("Waiting for the kernel: it is busy, or gone. What was opened before can still be read.", true),
        SLOW_MS,
      );
      waiting.set(id, (answer) => {
        clearTimeout(slow);
        tell("");
        resolve(answer);
      });
      try {
        model.send({ id, request });
      } catch {
        clearTimeout(slow);
        waiting.delete(id);
        resolve({ error: "There is no kernel here: only what was opened before can be read.", gone: true });
      }
    });
  return { ask, stop: () => model.off("msg:custom", heard) };
}

/** A text field with suggestions: `offer(text)` gives [[text, what it is], …], `done(text)` is called on Enter. */
function suggesting(attributes, offer, done) {
  const listId = `klb-${Math.random().toString(36).slice(2)}`;
  const input = make("input", {
    type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", autocapitalize: "off",
    "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": listId, ...attributes,
  });
  const list = make("ul", { role: "listbox", id: listId, class: "klb-suggestions", hidden: true });
  let chosen = -1;
  let asked = 0;
  const close = () => {
    list.hidden = true;
    chosen = -1;
    asked += 1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (index) => {
    const items = [...list.children];
    items.forEach((item, i) => item.setAttribute("aria-selected", String(i === index)));
    chosen = index;
    if (index >= 0) {
      items[index].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", items[index].id);
    } else input.removeAttribute("aria-activedescendant");
  };
  const accept = (text) => {
    input.value = text;
    input.setSelectionRange(text.length, text.length);
    close();
  };
  const refresh = later(120, async () => {
    const turn = ++asked;
    const items = await offer(input.value);
    if (turn !== asked || document.activeElement !== input) return;
    list.replaceChildren(
      ...items.map(([text, what], i) =>
        make(
          "li",
          {
            role: "option", id: `${listId}-${i}`, "aria-selected": "false",
            onmousedown: (event) => {
              event.preventDefault();
              accept(text);
              input.focus();
            },
          },
          make("span", {}, text), make("small", {}, what),
        ),
      ),
    );
    list.hidden = !items.length;
    input.setAttribute("aria-expanded", String(items.length > 0));
    choose(-1);
  });
  input.addEventListener("input", refresh);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const count = list.hidden ? 0 : list.children.length;
    if (event.key === "ArrowDown" && count) choose((chosen + 1) % count);
    else if (event.key === "ArrowUp" && count) choose((chosen + count - 1) % count);
    else if (event.key === "Escape" && count) close();
    else if ((event.key === "Tab" || event.key === "Enter") && count && chosen >= 0) {
      accept(list.children[chosen].firstChild.textContent);
      refresh();
    } else if (event.key === "Enter") {
      close();
      done(input.value);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return { input, box: make("div", { class: "klb-suggesting" }, input, list) };
}

const ICONS = { back: "←", forward: "→", up: "↥", copy: "⧉", pin: "⚲", bytes: "01", layout: "▤", table: "▦", go: "↵", raw: "⌗" };

function button(icon, label, title, onclick) {
  return make(
    "button",
    { type: "button", title, "aria-label": title, class: "klb-button", onclick },
    make("span", { "aria-hidden": "true", class: "klb-icon" }, icon),
    label ? make("span", { class: "klb-label" }, label) : null,
  );
}

// ---- the tree's rows -----------------------------------------------------------------------------------------------

let nextNode = 0;

function nodeOf(row, parent, level) {
  return { key: ++nextNode, row, parent, level, children: null, page: null, expanded: false, busy: false, element: null };
}

function fill(node, page) {
  node.page = page;
  node.children = page.rows.map((row) => nodeOf(row, node, node.level + 1));
}

function spoken(row) {
  const parts = [row.name, row.value || row.summary ? "is" : "", row.value, row.summary, row.why ? `cannot be read: ${row.why}` : "",
    row.note, `type ${row.type}`, row.offset ? `offset ${row.offset}` : ""];
  return parts.filter(Boolean).join(" ");
}

function extras(node, app) {
  // What follows the rows of an opened node: more of them, what went wrong, what is asked.
  const { page } = node;
  const rows = [];
  const line = (kind, ...content) => {
    const own = { key: ++nextNode, parent: node, level: node.level + 1, extra: kind };
    own.element = make("div", { role: "treeitem", tabindex: "-1", class: `klb-row klb-extra klb-${kind}`, "aria-level": own.level + 1 },
      make("span", { class: "klb-name", style: `--level:${own.level}` }, make("span", { class: "klb-twisty" }), ...content));
    own.element.klbNode = own;
    rows.push(own);
    return own;
  };
  if (page.question) line("question").element.querySelector(".klb-name").append(app.questionForm(node));
  else if (page.note) line("note", make("span", {}, page.note));
  if (page.problem) line("problem", make("span", {}, `⚠ ${page.problem}`));
  if (page.next !== null && page.next !== undefined) {
    const of = page.total ? ` of ${page.total.toLocaleString("en")}` : "";
    const more = line("more", make("button", { type: "button", tabindex: "-1", class: "klb-link" }, `${node.children.length.toLocaleString("en")}${of} shown: show more`));
    more.act = () => app.more(node);
    more.element.querySelector("button").addEventListener("click", more.act);
  }
  if (!page.rows.length && !page.question && !page.problem && !page.note) line("note", make("span", {}, "nothing here"));
  const notes = rows.filter((row) => row.extra === "note" || row.extra === "question");
  return { before: notes, after: rows.filter((row) => !notes.includes(row)) };
}

function drawRow(node, app) {
  const { row } = node;
  const twisty = make("span", { class: "klb-twisty", "aria-hidden": "true" }, row.opens ? "▸" : "");
  const value = make("span", { class: `klb-value klb-kind-${row.kind}` });
  if (row.why) value.append(make("span", { class: "klb-why" }, `⚠ ${row.why}`));
  if (row.value) {
    const follows = row.target && row.opens;
    value.append(follows
      ? make("a", { role: "presentation", class: "klb-target", title: "go there", onclick: (event) => { event.stopPropagation(); app.enter(node); } }, row.value)
      : make("span", { class: row.value === "NULL" || row.value === "empty" ? "klb-dim" : "" }, row.value));
  }
  if (row.summary) value.append(make("span", { class: "klb-summary" }, row.summary));
  if (row.note) value.append(make("span", { class: "klb-why" }, row.note));
  const element = make(
    "div",
    {
      role: "treeitem", tabindex: "-1", class: `klb-row${row.why ? " klb-bad" : ""}`, "aria-level": node.level + 1,
      "aria-expanded": row.opens ? "false" : undefined, "aria-label": spoken(row), "aria-selected": "false",
    },
    make("span", { class: "klb-name", style: `--level:${node.level}`, title: row.name }, twisty, make("span", {}, row.name)),
    value,
    make("span", { class: "klb-type", title: row.type }, row.type),
    make("span", { class: "klb-offset" }, row.offset),
    make("span", { class: "klb-size" }, row.size),
  );
  element.klbNode = node;
  return element;
}

// ---- the application -----------------------------------------------------------------------------------------------

class Browser {
  constructor(model, host) {
    this.model = model;
    this.host = host;
    this.history = [];
    this.at = -1;
    this.typed = "";
    const { ask, stop } = connect(model, (text, quiet) => this.tell(text, quiet));
    this.ask = ask;
    this.stop = stop;
    this.forgetTyped = later(700, () => { this.typed = ""; });
    this.save = later(400, () => this.keep());
    this.build();
    const shown = model.get("shown");
    this.pins = shown.pins ?? [];
    this.push(this.viewOf(shown.view, shown));
    this.drawPins();
  }

  build() {
    const bar = suggesting(
      { class: "klb-address", "aria-label": "Address, symbol or expression", placeholder: "init_task, 0xffff…, struct task_struct @ 0x…, pid(1).mm" },
      async (text) => (await this.ask({ op: "complete", text })).items ?? [],
      (text) => this.go(text),
    );
    this.address = bar.input;
    this.back = button(ICONS.back, "", "Back (Alt+Left)", () => this.step(-1));
    this.forward = button(ICONS.forward, "", "Forward (Alt+Right)", () => this.step(1));
    this.search = make("input", { type: "search", class: "klb-search", placeholder: "search in members", "aria-label": "Search in members", spellcheck: "false" });
    const find = later(200, () => this.find());
    this.search.addEventListener("input", find);
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { this.search.value = ""; this.find(); this.tree.focus(); }
      else if (event.key === "ArrowDown" || event.key === "Enter") { event.preventDefault(); this.focusRow(this.flat[0]); }
    });
    this.tools = make("div", { class: "klb-tools", role: "toolbar", "aria-label": "What to do with the selected row" },
      button(ICONS.go, "Go", "Go to the selected row, or to what it points to (Enter)", () => this.enter(this.selected)),
      button(ICONS.up, "Container", "What the selected row lies in: container_of (Alt+Up)", () => this.up()),
      button(ICONS.bytes, "Bytes", "The bytes of the selected row", () => this.pane("bytes")),
      button(ICONS.layout, "Layout", "The layout of its type, with holes and cache lines", () => this.pane("layout")),
      button(ICONS.table, "DataFrame", "Its entries as a DataFrame", () => this.pane("frame")),
      button(ICONS.raw, "Raw", "Show a list's head as the struct that it is, or as what it holds", () => this.raw()),
      button(ICONS.pin, "Pin", "Keep this place at hand", () => this.pin()),
      button(ICONS.copy, "Copy Python", "Copy the Python expression of the selected row (Ctrl+C)", () => this.copy(this.selected?.row?.code)),
    );
    this.pinned = make("div", { class: "klb-pins", role: "list", "aria-label": "Pinned places" });
    this.headline = make("div", { class: "klb-headline" });
    this.tree = make("div", { role: "tree", class: "klb-tree", tabindex: "0", "aria-label": "Members" });
    this.tree.addEventListener("keydown", (event) => this.key(event));
    this.tree.addEventListener("click", (event) => this.click(event));
    this.tree.addEventListener("dblclick", (event) => this.double(event));
    this.tree.addEventListener("focus", (event) => { if (event.target === this.tree) this.focusRow(this.selected?.element?.isConnected ? this.selected : this.flat[0]); });
    this.detail = make("div", { class: "klb-detail" });
    this.lower = make("section", { class: "klb-pane", hidden: true, tabindex: "-1" });
    this.status = make("div", { class: "klb-status", role: "status", "aria-live": "polite" });
    this.alert = make("div", { class: "klb-alert", role: "alert" });
    const columns = make("div", { class: "klb-row klb-columns", "aria-hidden": "true" },
      ...["member", "value", "type", "offset", "size"].map((name) => make("span", {}, name)));
    // Lumino: JupyterLab's one-letter shortcuts stay out of here.
    this.root = make("div", { class: "klb tex2jax_ignore mathjax_ignore", "data-lm-suppress-shortcuts": "true", role: "group", "aria-label": "Struct browser" },
      make("div", { class: "klb-bar" }, this.back, this.forward, bar.box, this.search),
      this.alert, this.pinned, this.headline, this.tools,
      make("div", { class: "klb-table" }, columns, this.tree), this.detail, this.lower, this.status);
    this.root.addEventListener("keydown", (event) => {
      if (event.altKey && event.key === "ArrowLeft") this.step(-1);
      else if (event.altKey && event.key === "ArrowRight") this.step(1);
      else if (event.altKey && event.key === "ArrowUp") this.up();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.host.append(this.root);
  }

  tell(text, quiet = false) {
    this.status.textContent = text;
    this.status.classList.toggle("klb-quiet", quiet);
  }

  complain(answer) {
    this.alert.textContent = answer?.error ?? "";
    return Boolean(answer?.error);
  }

  // -- views and history

  viewOf(view, shown = {}) {
    const root = nodeOf(view.root, null, -1);
    fill(root, view.page);
    const open = (node) => {
      for (const child of node.children ?? []) {
        const page = shown.captured?.[child.row.id];
        if (!page) continue;
        fill(child, page);
        child.expanded = (shown.expanded ?? []).includes(child.row.id);
        open(child);
      }
    };
    open(root);
    return { view, root, selected: null, scroll: 0, found: null, search: "" };
  }

  push(state) {
    if (this.current) this.current.scroll = this.tree.scrollTop;
    this.history = [...this.history.slice(0, this.at + 1), state];
    this.at = this.history.length - 1;
    this.show();
  }

  step(by) {
    if (!this.history[this.at + by]) return;
    this.current.scroll = this.tree.scrollTop;
    this.at += by;
    this.show();
    this.tree.focus({ preventScroll: true });
  }

  get current() { return this.history[this.at]; }
  get selected() { return this.current?.selected ?? null; }

  show() {
    const { view, search } = this.current;
    this.address.value = view.expression;
    this.search.value = search;
    this.back.disabled = this.at <= 0;
    this.forward.disabled = this.at >= this.history.length - 1;
    this.headline.replaceChildren(
      make("b", {}, view.title), make("code", {}, view.address), make("span", { class: "klb-summary" }, view.root.summary || view.root.value),
      view.note ? make("span", { class: "klb-dim" }, view.note) : "", view.root.why ? make("span", { class: "klb-why" }, `⚠ ${view.root.why}`) : "",
    );
    this.tree.setAttribute("aria-label", `${view.title} at ${view.address} ${view.root.summary}`);
    this.lower.hidden = true;
    this.complain(null);
    this.draw();
    this.select(this.current.selected);
    this.tree.scrollTop = this.current.scroll;
    this.save();
  }

  async go(text) {
    const answer = await this.ask({ op: "go", text });
    if (this.complain(answer)) return;
    this.push(this.viewOf(answer));
    this.tree.focus({ preventScroll: true });
  }

  async enter(node) {
    if (!node?.row) return;
    const answer = await this.ask({ op: "enter", id: node.row.id });
    if (this.complain(answer)) return;
    this.push(this.viewOf(answer));
    this.tree.focus({ preventScroll: true });
  }

  // -- drawing

  draw() {
    const { root, found } = this.current;
    const flat = [];
    const add = (node) => {
      const level = extras(node, this);
      flat.push(...level.before);
      node.children.forEach((child, i) => {
        child.element ??= drawRow(child, this);
        child.element.setAttribute("aria-posinset", i + 1);
        child.element.setAttribute("aria-setsize", node.page.total ?? -1);
        if (child.row.opens) {
          child.element.setAttribute("aria-expanded", String(child.expanded));
          child.element.querySelector(".klb-twisty").textContent = child.busy ? "◌" : child.expanded ? "▾" : "▸";
        }
        child.element.setAttribute("aria-busy", String(child.busy));
        flat.push(child);
        if (child.expanded && child.children) add(child);
      });
      flat.push(...level.after);
    };
    add(found ?? root);
    this.flat = flat;
    const top = this.tree.scrollTop;
    this.tree.replaceChildren(...flat.map((node) => node.element));
    this.tree.scrollTop = top;
    if (!flat.some((node) => node.element.tabIndex === 0) && flat.length) flat[0].element.tabIndex = 0;
  }

  select(node) {
    for (const old of this.tree.querySelectorAll("[aria-selected=true]")) old.setAttribute("aria-selected", "false");
    if (this.current) this.current.selected = node ?? null;
    node?.element?.setAttribute("aria-selected", "true");
    const row = node?.row;
    this.detail.replaceChildren(...(row
      ? [make("code", { title: "address" }, row.address), make("span", { class: "klb-dim" }, row.type), make("code", { class: "klb-code", title: "Python" }, row.code)]
      : [make("span", { class: "klb-dim" }, "Arrow keys move and open, Enter goes to a row, Alt+Left goes back, letters jump to a name, / searches.")]));
  }

  focusRow(node) {
    if (!node?.element) return;
    for (const row of this.tree.querySelectorAll("[tabindex='0']")) row.tabIndex = -1;
    node.element.tabIndex = 0;
    node.element.focus({ preventScroll: true });
    node.element.scrollIntoView({ block: "nearest" });
    this.select(node);
  }

  // -- opening rows

  async toggle(node, wanted = !node.expanded) {
    if (!node.row?.opens || node.busy || node.expanded === wanted) return;
    if (wanted && !node.children) {
      node.busy = true;
      this.draw();
      this.refocus(node);
      const answer = await this.ask({ op: "children", id: node.row.id });
      node.busy = false;
      if (answer.error) fill(node, { rows: [], next: null, problem: answer.error });
      else fill(node, answer);
      if (answer.gone) node.children = null;
    }
    node.expanded = wanted && Boolean(node.children);
    if (wanted && !node.children) this.tell("This row was not opened before, and there is no kernel to ask.", true);
    this.draw();
    this.refocus(node);
    this.save();
  }

  refocus(node) {
    if (this.selected === node && this.tree.contains(document.activeElement) === false && this.hadFocus) this.focusRow(node);
  }

  async more(node) {
    const answer = await this.ask({ op: "children", id: node.row.id, offset: node.page.next });
    if (this.complain(answer)) return;
    const first = node.children.length;
    node.children.push(...answer.rows.map((row) => nodeOf(row, node, node.level + 1)));
    node.page = { ...answer, rows: [...node.page.rows, ...answer.rows] };
    this.draw();
    this.focusRow(node.children[first]);
    this.save();
  }

  questionForm(node) {
    const { question } = node.page;
    const send = async (text) => {
      const [type, ...link] = text.trim().split(".");
      const answer = await this.ask({ op: "hold", id: node.row.id, type, link: link.join(".") });
      if (this.complain(answer)) return;
      fill(node, answer);
      this.draw();
      this.focusRow(node.children[0]);
    };
    const field = suggesting(
      { class: "klb-asked", placeholder: "struct task_struct.sibling", "aria-label": "What this list holds: type and member" },
      async (text) => ((await this.ask({ op: "candidates", id: node.row.id, text: text.split(".")[0] })).items ?? []).slice(0, 50).map(([type, link]) => [`${type}.${link}`, question.link]),
      send,
    );
    return make("span", { class: "klb-question-form" },
      `What does ${question.owner || "this"} hold? Nothing in the dump says so. `, field.box,
      make("button", { type: "button", class: "klb-button", onclick: () => send(field.input.value) }, "Open"));
  }

  async find() {
    const text = this.search.value.trim();
    this.current.search = text;
    if (!text) {
      this.current.found = null;
      this.tell("");
      this.draw();
      return;
    }
    const state = this.current;
    const answer = await this.ask({ op: "search", id: state.view.root.id, text });
    if (state !== this.current || state.search !== text || this.complain(answer)) return;
    const found = nodeOf(state.view.root, null, -1);
    fill(found, { rows: answer.rows, next: null, total: answer.rows.length, note: answer.rows.length ? "" : `no member, type or value has “${text}”` });
    state.found = found;
    this.tell(`${answer.rows.length}${answer.more ? " or more" : ""} found`);
    this.draw();
  }

  // -- what can be done with a row

  target() { return this.selected?.row ?? this.current.view.root; }

  async up() {
    const row = this.target();
    const answer = await this.ask({ op: "up", id: row.id });
    if (this.complain(answer)) return;
    if (!answer.rows.length) {
      this.address.value = answer.typed;
      this.address.focus();
      this.address.setSelectionRange(answer.typed.length - 3, answer.typed.length - 3);
      this.tell("Nothing says what this address lies in: name the struct and its member.");
      return;
    }
    this.openPane(`What ${row.name} lies in`, make("ul", { class: "klb-list" }, ...answer.rows.map((found) =>
      make("li", {}, make("button", { type: "button", class: "klb-link", onclick: () => this.enter({ row: found }) }, `${found.type} @ ${found.address}`),
        found.path ? make("code", {}, ` .${found.path}`) : "", " ", make("span", { class: "klb-summary" }, found.summary), " ", make("span", { class: "klb-dim" }, found.label)))));
  }

  async pane(kind, offset = 0) {
    const row = this.target();
    const answer = await this.ask({ op: kind, id: row.id, offset });
    if (this.complain(answer)) return;
    if (kind === "bytes") this.openPane(`Bytes of ${row.name}: ${answer.title}`, hexdump(answer), [
      button("↑", "", "The bytes before these", () => this.pane("bytes", offset - answer.size)),
      button("↓", "", "The bytes after these", () => this.pane("bytes", offset + answer.size))]);
    else if (kind === "layout") this.openPane(`${answer.name}: ${answer.summary}`, layoutTable(answer), [button(ICONS.copy, "", "Copy as text", () => this.copy(answer.code))]);
    else this.openPane(`DataFrame of ${row.name}: ${answer.shape}`, frameTable(answer), [button(ICONS.copy, "Copy Python", "Copy the Python expression of this DataFrame", () => this.copy(answer.code))]);
  }

  openPane(title, content, tools = []) {
    const close = button("×", "", "Close", () => { this.lower.hidden = true; this.tree.focus({ preventScroll: true }); });
    this.lower.replaceChildren(make("header", {}, make("b", {}, title), make("span", { class: "klb-gap" }), ...tools, close), make("div", { class: "klb-scroll", tabindex: "0" }, content));
    this.lower.setAttribute("aria-label", title);
    this.lower.hidden = false;
    this.lower.onkeydown = (event) => { if (event.key === "Escape") close.click(); };
    this.lower.focus({ preventScroll: true });
    this.lower.scrollIntoView({ block: "nearest" });
  }

  async raw() {
    const node = this.selected;
    if (!node?.row || node.row.kind !== "head") { this.tell("Only the head of a list or tree can be shown raw."); return; }
    const answer = await this.ask({ op: "members", id: node.row.id });
    if (this.complain(answer)) return;
    fill(node, answer);
    node.expanded = true;
    this.draw();
  }

  pin() {
    const row = this.target();
    const expression = row.expression || row.address;
    if (!this.pins.some((pin) => pin.expression === expression)) this.pins = [...this.pins, { expression, name: row.name }];
    this.drawPins();
    this.save();
  }

  drawPins() {
    this.pinned.hidden = !this.pins.length;
    this.pinned.replaceChildren(...this.pins.map((pin) => make("span", { role: "listitem", class: "klb-pin" },
      make("button", { type: "button", class: "klb-link", title: pin.expression, onclick: () => this.go(pin.expression) }, pin.name),
      make("button", { type: "button", class: "klb-link", "aria-label": `Unpin ${pin.name}`, onclick: () => { this.pins = this.pins.filter((other) => other !== pin); this.drawPins(); this.save(); } }, "×"))));
  }

  async copy(text) {
    if (!text) { this.tell("There is no expression for this row."); return; }
    try {
      await navigator.clipboard.writeText(text);
      this.tell("Copied.");
    } catch {
      // No clipboard without https: the text is shown, selected, to be copied by hand.
      const box = make("input", { type: "text", class: "klb-address", readonly: true, "aria-label": "Copy this" });
      box.value = text;
      this.openPane("Copy this", box);
      box.select();
    }
  }

  // -- mouse and keys

  click(event) {
    const node = event.target.closest(".klb-row")?.klbNode;
    if (!node || event.target.closest("input, .klb-suggestions")) return;
    this.focusRow(node);
    if (event.target.closest(".klb-twisty")) this.toggle(node);
  }

  double(event) {
    const node = event.target.closest(".klb-row")?.klbNode;
    if (node?.row && !event.target.closest(".klb-twisty, a, button")) this.toggle(node);
  }

  key(event) {
    if (event.target.closest("input") || event.altKey || event.metaKey) return;
    const node = event.target.closest(".klb-row")?.klbNode ?? this.flat[0];
    const at = this.flat.indexOf(node);
    const page = Math.max(Math.floor(this.tree.clientHeight / 24) - 1, 1);
    const to = (index) => this.focusRow(this.flat[Math.min(Math.max(index, 0), this.flat.length - 1)]);
    this.hadFocus = true;
    if (event.ctrlKey) {
      if (event.key !== "c" || String(getSelection())) return;
      this.copy(node?.row?.code);
    } else if (event.key === "ArrowDown") to(at + 1);
    else if (event.key === "ArrowUp") to(at - 1);
    else if (event.key === "PageDown") to(at + page);
    else if (event.key === "PageUp") to(at - page);
    else if (event.key === "Home") to(0);
    else if (event.key === "End") to(this.flat.length - 1);
    else if (event.key === "ArrowRight") { if (node?.expanded) to(at + 1); else if (node?.row) this.toggle(node, true); }
    else if (event.key === "ArrowLeft") { if (node?.expanded) this.toggle(node, false); else if (node?.parent?.element) this.focusRow(node.parent); }
    else if (event.key === "Enter") { if (node?.act) node.act(); else this.enter(node); }
    else if (event.key === " ") { if (node?.act) node.act(); else if (node?.row) this.toggle(node); }
    else if (event.key === "/") this.search.focus();
    else if (event.key.length === 1) this.jump(event.key, at);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  jump(letter, at) {
    this.typed += letter.toLowerCase();
    this.forgetTyped();
    const order = [...this.flat.slice(at + (this.typed.length === 1 ? 1 : 0)), ...this.flat.slice(0, at)];
    const found = order.find((node) => node.row?.name.toLowerCase().startsWith(this.typed));
    if (found) this.focusRow(found);
  }

  // -- what a saved notebook keeps

  keep() {
    const captured = {};
    const expanded = [];
    let rows = 0;
    const walk = (node) => {
      for (const child of node.children ?? []) {
        if (!child.children || rows + child.children.length > MOST_SAVED_ROWS) continue;
        rows += child.children.length;
        captured[child.row.id] = { ...child.page, rows: child.children.map((inner) => inner.row) };
        if (child.expanded) expanded.push(child.row.id);
        walk(child);
      }
    };
    const { root, view } = this.current;
    walk(root);
    // Not sent to the kernel: the front end saves it with the notebook.
    this.model.set("shown", { view: { ...view, page: { ...root.page, rows: root.children.map((child) => child.row) } }, captured, expanded, pins: this.pins });
  }
}

// ---- what the lower pane shows -------------------------------------------------------------------------------------

function hexdump(answer) {
  const nameAt = (position) => answer.spans.findIndex(([from, to]) => position >= from && position < to);
  const name = make("output", { class: "klb-dim", "aria-live": "off" }, answer.spans.length ? "point at a byte to see its member" : "");
  const lines = answer.lines.map((line, i) => {
    const bytes = line.hex ? line.hex.split(" ") : Array(16).fill("··");
    return make("div", { class: "klb-hexline" },
      make("span", { class: "klb-dim" }, line.address),
      make("span", {}, ...bytes.flatMap((byte, k) => {
        const span = nameAt(16 * i + k);
        return [make("span", { class: `klb-byte${span < 0 ? "" : span % 2 ? " klb-odd" : " klb-even"}${byte === "00" ? " klb-zero" : ""}`, title: span < 0 ? "" : answer.spans[span][2] }, byte), k === 7 ? "  " : " "];
      })),
      make("span", { class: "klb-ascii" }, line.hex ? line.text : "not in the dump"));
  });
  const box = make("div", { class: "klb-hex" }, ...lines, name, ...answer.problems.map((problem) => make("div", { class: "klb-why" }, `⚠ ${problem}`)));
  box.addEventListener("mouseover", (event) => { if (event.target.classList.contains("klb-byte")) name.textContent = event.target.title || " "; });
  return box;
}

function layoutTable(answer) {
  return make("table", { class: "klb-layout" },
    make("thead", {}, make("tr", {}, ...["offset", "size", "member"].map((title) => make("th", { scope: "col" }, title)))),
    make("tbody", {}, ...answer.lines.map((line) => make("tr", { class: `klb-line-${line.kind}` },
      make("td", {}, line.kind === "open" ? "" : line.offset), make("td", {}, ["open", "cacheline"].includes(line.kind) ? "" : line.size),
      make("td", { style: `--level:${line.depth}` }, line.text)))));
}

function frameTable(answer) {
  return make("div", {},
    answer.code ? make("p", {}, make("code", {}, answer.code)) : "",
    make("table", { class: "klb-frame" },
      make("thead", {}, make("tr", {}, ...answer.columns.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...answer.rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell || "–")))))),
    ...answer.problems.map((problem) => make("div", { class: "klb-why" }, `⚠ ${problem}`)));
}

export default {
  render({ model, el }) {
    const browser = new Browser(model, el);
    return () => browser.stop();
  },
};
