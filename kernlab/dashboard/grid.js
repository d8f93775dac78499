// The explorer's parts: questions to the kernel, and a table of any length. Follows elements.js in one module.

// Tables whose rows have a cell that shows them, and what such a row is called.
const CELLS = { suspects: "lead", verdict: "finding" };

const count = (number) => Number(number).toLocaleString("en-US");

// One Tab stop for what belongs together; arrows move within. What is given back is to be called when the items change.
function rove(container, selector) {
  const items = () => [...container.querySelectorAll(selector)];
  const settle = (wanted) => {
    const all = items();
    const one = all.includes(wanted) ? wanted : all.find((item) => item.hasAttribute("aria-current")) ?? all[0];
    for (const item of all) item.tabIndex = item === one ? 0 : -1;
  };
  container.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) settle(item);
  });
  container.addEventListener("keydown", (event) => {
    const all = items();
    const at = all.indexOf(event.target.closest(selector));
    const next = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || next === undefined) return;
    all[Math.max(0, Math.min(next, all.length - 1))].focus();
    event.preventDefault();
    event.stopPropagation();
  });
  settle();
  return settle;
}

// Questions and answers. What was answered once is true for as long as the dump is, so it is kept: in the model,
// which a saved notebook holds, for a time without a kernel.
const MOST_KEPT = 80;
const MOST_KEPT_BYTES = 600000;

function client(model, tell) {
  const kept = model.get("captured");
  const waiting = new Map();
  const mark = Math.random().toString(36).slice(2);
  let last = 0;
  const receive = (message, buffers) => {
    const asked = message && waiting.get(message.id);
    if (!asked) return;
    waiting.delete(message.id);
    if (![...waiting.values()].some((each) => !each.quiet)) tell("");
    if (message.error) asked.fail(new Error(message.error));
    else {
      if (asked.key) keep(asked.key, message.answer);
      asked.done(buffers?.length ? buffers[0] : message.answer);
    }
  };
  model.on("msg:custom", receive);
  const keep = (key, answer) => {
    // Changed in place: it is saved with the notebook, and not sent to the kernel, which knows it.
    const size = JSON.stringify(answer).length;
    if (size > MOST_KEPT_BYTES / 4) return;
    delete kept[key];
    kept[key] = answer;
    const keys = Object.keys(kept);
    let total = 0;
    for (let i = keys.length - 1; i >= 0; i--) {
      total += JSON.stringify(kept[keys[i]]).length;
      if (total > MOST_KEPT_BYTES || keys.length - i > MOST_KEPT) delete kept[keys[i]];
    }
  };
  return {
    // `again`: what was answered before does not count; `quiet`: who asks says itself that it takes long.
    ask(op, args = {}, { again = false, quiet = false } = {}) {
      const key = again ? "" : `${op} ${JSON.stringify(args)}`;
      if (kept[key]) {
        // The kernel should still know what is shown and what is chosen.
        if (op === "chosen" || args.main) model.send({ id: `${mark}-0`, op, args });
        return Promise.resolve(kept[key]);
      }
      const id = `${mark}-${++last}`;
      return new Promise((done, fail) => {
        waiting.set(id, { key, done, fail, quiet });
        model.send({ id, op, args });
        if (quiet) return;
        setTimeout(() => waiting.has(id) && tell("Waiting for the kernel …"), 1500);
        setTimeout(() => waiting.has(id) && tell("The kernel is still busy with this, or there is none. What was looked at before can still be seen."), 12000);
      });
    },
    end: () => model.off("msg:custom", receive),
  };
}

const ROW = 24;
const PAGE = 100;
const MOST_PAGES = 40;
const MOST_ROWS = 1000000;
const LEVELS = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
const HIDDEN = { log: ["facility", "seq"] };

// A table that asks for the pages it shows. `say` is told what is shown, `choose` which row was chosen.
function grid({ ask, table, where = {}, main = false, search = "", sort = "", choose, run, say, empty = "No row fits." }) {
  const state = { search, sort, descending: false, matched: 0, total: 0, columns: null, pages: new Map(), drawn: new Map(), active: -1, chosen: -1, turn: 0, wants: [] };
  const colgroup = make("colgroup");
  const head = make("tr", { role: "row" });
  const settle = rove(head, "button");
  const body = make("tbody");
  const [above, below] = [1, 2].map(() => make("tr", { class: "kl-space", "aria-hidden": "true" }, make("td")));
  const sheet = make("table", { role: "grid", "aria-label": table }, colgroup, make("thead", {}, head), body);
  const scroller = make("div", { class: "kl-scroll", tabindex: "0" }, sheet);
  const note = make("div", { class: "kl-note", role: "status" });
  const problems = make("details", { class: "kl-problems", hidden: true });
  const el = make("div", { class: "kl-grid" }, problems, scroller, note);

  // What all rows have in common needs no column.
  const like = () => state.like || table;
  const hidden = () => [...(HIDDEN[like()] || []), ...Object.keys(where)];
  // Where a row lies matters less to its reader than what it is.
  const seen = () => {
    const columns = state.columns.map((column, i) => [column, i]).filter(([column]) => !hidden().includes(column.name));
    const last = ([column]) => column.name === "address";
    return [...columns.filter((each) => !last(each)), ...columns.filter(last)];
  };

  const question = (offset) => {
    const args = { name: table, search: state.search, sort: state.sort, descending: state.descending, where, offset, count: PAGE };
    if (main) args.main = true;
    return args;
  };

  async function load(number) {
    if (state.pages.has(number)) return;
    state.pages.set(number, null);
    const turn = state.turn;
    try {
      const page = await ask("page", question(number * PAGE));
      if (turn !== state.turn) return;
      state.pages.set(number, page.rows);
      for (const old of state.pages.keys()) {
        if (state.pages.size <= MOST_PAGES) break;
        if (Math.abs(old - number) > 4) state.pages.delete(old);
      }
      accept(page);
    } catch (error) {
      if (turn !== state.turn) return;
      state.pages.delete(number);
      if (number === 0) fail(error);
    }
  }

  function fail(error) {
    body.replaceChildren();
    state.drawn = new Map();
    note.className = "kl-note kl-bad";
    note.textContent = error.message;
    say?.("");
  }

  function accept(page) {
    const first = !state.columns;
    Object.assign(state, { matched: Math.min(page.matched, MOST_ROWS), total: page.total, columns: page.columns, like: page.like });
    if (first || !head.childElementCount) headings(page);
    measure(page);
    const cut = page.matched > MOST_ROWS ? `, the first ${count(MOST_ROWS)} of them shown` : "";
    say?.(page.matched === page.total ? `${count(page.total)} rows${cut}` : `${count(page.matched)} of ${count(page.total)} rows${cut}`, page);
    note.className = "kl-note";
    note.textContent = page.matched ? "" : empty;
    problems.hidden = !page.problems.length;
    problems.replaceChildren(
      make("summary", {}, page.problems.length === 1 ? "1 problem: something was lost here" : `${page.problems.length} problems: something was lost here`),
      make("ul", {}, ...page.problems.map((problem) => make("li", {}, problem))),
    );
    sheet.setAttribute("aria-rowcount", state.matched + 1);
    draw();
  }

  function headings(page) {
    const columns = seen();
    state.wants = columns.map(([column]) => [["name", "path", "text"].includes(column.name) ? 26 : column.name.length + 2, column]);
    head.replaceChildren(
      ...columns.map(([column]) => {
        const sorted = state.sort === column.name;
        return make(
          "th",
          { scope: "col", class: `kl-k-${column.kind}`, "aria-sort": sorted ? (state.descending ? "descending" : "ascending") : "none" },
          make("button", { type: "button", title: `Sort by ${column.name}`, onclick: () => order(column.name) },
            column.name, make("span", { "aria-hidden": "true" }, sorted ? (state.descending ? " ▾" : " ▴") : "")),
        );
      }),
      make("th", { "aria-hidden": "true" }),
    );
    const held = [...head.querySelectorAll("button")].find((button) => button.title === state.held);
    state.held = null;
    settle(held);
    held?.focus();
  }

  // Columns as wide as what they hold, within bounds; what room is left goes to those that the bounds cut.
  function measure(page) {
    seen().forEach(([column, i], k) => {
      if (like() === "log" && column.name === "level") return;
      const longest = Math.max(0, ...page.rows.map((row) => row[1][i]).map((cell) => (Array.isArray(cell) ? cell[0] : cell ?? "–").length));
      state.wants[k][0] = Math.min(Math.max(state.wants[k][0], longest), 240);
    });
  }

  function fit() {
    const pixels = (count, column) => Math.round(count * (column.kind === "address" || column.kind === "flags" ? 7.4 : 7) + 20);
    const wanted = state.wants.map(([count, column]) => pixels(count, column));
    const widths = state.wants.map(([count, column]) => pixels(Math.min(count, like() === "log" && column.name === "text" ? 120 : 46), column));
    let left = scroller.clientWidth - widths.reduce((sum, width) => sum + width, 0) - 1;
    const lacking = wanted.map((width, k) => width - widths[k]);
    const all = lacking.reduce((sum, lack) => sum + lack, 0);
    if (left > 0 && all > 0) lacking.forEach((lack, k) => (widths[k] += Math.floor(Math.min(lack, (left * lack) / all))));
    const said = widths.join();
    if (said === state.fitted) return;
    state.fitted = said;
    colgroup.replaceChildren(...widths.map((width) => make("col", { style: `width:${width}px` })), make("col"));
    sheet.style.minWidth = `${widths.reduce((sum, width) => sum + width, 0)}px`;
  }

  function order(name) {
    // A third click gives the table's own order back.
    if (state.sort !== name) Object.assign(state, { sort: name, descending: false });
    else if (!state.descending) state.descending = true;
    else Object.assign(state, { sort: "", descending: false });
    reload();
  }

  function reload() {
    state.turn++;
    state.pages.clear();
    state.active = -1;
    // The heading that was pressed is made anew, and keeps the focus.
    state.held = head.contains(document.activeElement) ? document.activeElement.title : null;
    head.replaceChildren();
    scroller.scrollTop = 0;
    return load(0);
  }

  const marks = () => (state.search.match(/(?<![\w:=<>!"])[^\s"\-:=<>!]{2,}(?![\w:=<>!]*[:=<>])/g) || []).map((word) => word.toLowerCase());

  function marked(text, words) {
    const low = text.toLowerCase();
    const word = words.find((each) => low.includes(each));
    if (!word) return [text];
    const at = low.indexOf(word);
    return [text.slice(0, at), make("mark", {}, text.slice(at, at + word.length)), ...marked(text.slice(at + word.length), words)];
  }

  function cell(column, value, words, place) {
    if (value === null) return make("td", { class: `kl-na kl-k-${column.kind}`, title: "missing: it could not be read, or does not apply" }, "–");
    const [text, title] = Array.isArray(value) ? value : [value, null];
    if (like() === "log" && column.name === "level") return make("td", {}, LEVELS[text] ?? text);
    if (run && CELLS[table] && column.name === "cell")
      return make("td", {}, make("button", { type: "button", class: "kl-run", tabindex: "-1", title: `Run it: ${text}`, onclick: (event) => (event.stopPropagation(), run(place, CELLS[table])) }, text));
    return make("td", { class: `kl-k-${column.kind}`, title: title ?? (text.length > 30 ? text : null) }, ...(column.kind === "text" ? marked(text, words) : [text]));
  }

  function fresh(i, row, words, columns) {
    if (!row) return make("tr", { class: "kl-row", "aria-rowindex": i + 2 }, make("td", { class: "kl-na", colspan: columns.length }, "…"));
    return make("tr", { role: "row", "aria-rowindex": i + 2, "data-place": row[0], onclick: () => pick(i) },
      ...columns.map(([column, k]) => cell(column, row[1][k], words, row[0])), make("td", { "aria-hidden": "true" }));
  }

  function draw() {
    fit();
    const height = scroller.clientHeight || 400;
    const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - 10);
    const end = Math.min(state.matched, first + Math.ceil(height / ROW) + 20);
    const words = marks();
    const columns = seen();
    const level = like() === "log" ? state.columns.findIndex((column) => column.name === "level") : -1;
    const drawn = new Map();
    for (let i = first; i < end; i++) {
      const row = state.pages.get(Math.floor(i / PAGE))?.[i % PAGE];
      const before = state.drawn.get(i);
      // A row that is drawn anew under the pointer loses the click on it.
      const element = before && before.row === row && before.search === state.search ? before.element : fresh(i, row, words, columns);
      drawn.set(i, { row, search: state.search, element });
      if (!row) continue;
      const worst = level >= 0 ? Number(row[1][level]) : 9;
      const classes = ["kl-row", i === state.active && "kl-active", row[0] === state.chosen && "kl-chosen", worst <= 3 && "kl-err", worst === 4 && "kl-warn"];
      element.className = classes.filter(Boolean).join(" ");
      element.setAttribute("aria-selected", row[0] === state.chosen);
    }
    state.drawn = drawn;
    above.firstChild.style.height = `${first * ROW}px`;
    below.firstChild.style.height = `${(state.matched - end) * ROW}px`;
    arrange(body, [above, ...[...drawn.values()].map((each) => each.element), below]);
    for (let number = Math.floor(first / PAGE); number <= Math.floor(Math.max(end - 1, 0) / PAGE); number++) load(number);
  }

  function pick(i) {
    const row = state.pages.get(Math.floor(i / PAGE))?.[i % PAGE];
    if (!row) return;
    state.active = i;
    state.chosen = row[0];
    draw();
    choose?.(row[0]);
  }

  function move(to) {
    if (!state.matched) return;
    state.active = Math.max(0, Math.min(to, state.matched - 1));
    const top = state.active * ROW;
    const room = scroller.clientHeight - ROW - head.offsetHeight;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top > scroller.scrollTop + room) scroller.scrollTop = top - room;
    draw();
  }

  scroller.addEventListener("keydown", (event) => {
    const leap = Math.max(1, Math.floor(scroller.clientHeight / ROW) - 2);
    const steps = { ArrowDown: state.active + 1, ArrowUp: state.active - 1, PageDown: state.active + leap, PageUp: state.active - leap, Home: 0, End: state.matched - 1 };
    if (event.target !== scroller) return;
    if (event.key in steps) move(steps[event.key]);
    else if (event.key === "Enter" && state.active >= 0) pick(state.active);
    else return;
    event.preventDefault();
    // Keys that the notebook around it would take for its own.
    event.stopPropagation();
  });
  let drawn = 0;
  scroller.addEventListener("scroll", () => {
    cancelAnimationFrame(drawn);
    drawn = requestAnimationFrame(() => state.columns && draw());
  });

  return {
    el,
    start: () => load(0),
    focus: () => scroller.focus(),
    asked: () => ({ name: table, search: state.search, sort: state.sort, descending: state.descending, where }),
    search(words) {
      if (words === state.search) return;
      state.search = words;
      reload();
    },
    // Bring a row into view by its position in the table, which shows all its rows in their own order.
    async reveal(place) {
      if (!state.columns) await load(0);
      state.active = place;
      state.chosen = place;
      scroller.scrollTop = Math.max(0, place * ROW - scroller.clientHeight / 2);
      draw();
    },
    resize: () => state.columns && draw(),
  };
}
