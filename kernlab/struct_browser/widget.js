// The struct browser's view. Everything that a dump holds arrives as text and is set as text: no markup is ever made
// of it. Addresses stay strings, because a JavaScript number is a double. parts.js and
// rows.js go before it.

const MOST_SAVED_ROWS = 5000;

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
    this.back = button("back", "", "Back (Alt+Left)", () => this.step(-1));
    this.forward = button("forward", "", "Forward (Alt+Right)", () => this.step(1));
    this.search = make("input", { type: "search", class: "klb-search", placeholder: "search in members", "aria-label": "Search in members", spellcheck: "false" });
    const find = later(200, () => this.find());
    this.search.addEventListener("input", find);
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { this.search.value = ""; this.find(); this.tree.focus(); }
      else if (event.key === "ArrowDown" || event.key === "Enter") { event.preventDefault(); this.focusRow(this.flat[0]); }
    });
    this.tools = make("div", { class: "klb-tools", role: "toolbar", "aria-label": "What to do with the selected row" },
      button("go", "Go", "Go to the selected row, or to what it points to (Enter)", () => this.enter(this.selected)),
      button("up", "Container", "What the selected row lies in: container_of (Alt+Up)", () => this.up()),
      button("01", "Bytes", "The bytes of the selected row", () => this.pane("bytes")),
      button("layout", "Layout", "The layout of its type, with holes and cache lines", () => this.pane("layout")),
      button("table", "DataFrame", "Its entries as a DataFrame", () => this.pane("frame")),
      button("{}", "Raw", "Show a list's head as the struct that it is, or as what it holds", () => this.raw()),
      button("pin", "Pin", "Keep this place at hand", () => this.pin()),
      button("copy", "Copy Python", "Copy the Python expression of the selected row (Ctrl+C)", () => this.copy(this.selected?.row?.code)),
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
        const state = [i, node.page.total, child.expanded, child.busy].join();
        if (child.element.drawn !== state) {
          child.element.drawn = state;
          child.element.setAttribute("aria-posinset", i + 1);
          child.element.setAttribute("aria-setsize", node.page.total ?? -1);
          if (child.row.opens) {
            child.element.setAttribute("aria-expanded", String(child.expanded));
            child.element.querySelector(".klb-twisty").textContent = child.busy ? "◌" : child.expanded ? "▾" : "▸";
          }
          child.element.setAttribute("aria-busy", String(child.busy));
        }
        flat.push(child);
        if (child.expanded && child.children) add(child);
      });
      flat.push(...level.after);
    };
    add(found ?? root);
    this.flat = flat;
    const top = this.tree.scrollTop;
    arrange(this.tree, flat.map((node) => node.element));
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
      button("earlier", "", "The bytes before these", () => this.pane("bytes", offset - answer.size)),
      button("later", "", "The bytes after these", () => this.pane("bytes", offset + answer.size))]);
    else if (kind === "layout") this.openPane(`${answer.name}: ${answer.summary}`, layoutTable(answer), [button("copy", "", "Copy as text", () => this.copy(answer.code))]);
    else this.openPane(`DataFrame of ${row.name}: ${answer.shape}`, frameTable(answer), [button("copy", "Copy Python", "Copy the Python expression of this DataFrame", () => this.copy(answer.code))]);
  }

  openPane(title, content, tools = []) {
    const close = button("close", "", "Close", () => { this.lower.hidden = true; this.tree.focus({ preventScroll: true }); });
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

export default {
  render({ model, el }) {
    const browser = new Browser(model, el);
    return () => browser.stop();
  },
};
