// The explorer: what there is on the left, what was asked for in the middle, what belongs to the chosen row on the
// right. Follows grid.js in one module.

const HELP = "word · \"two words\" · column:text · rss_bytes>10M · state=D · -not";

function render({ model, el, host }) {
  const tell = (text) => {
    said.textContent = text;
    notice.hidden = !text;
  };
  const { ask, end } = client(model, tell);
  const state = { view: "", search: "", find: "", grid: null, drawer: null, turn: 0 };

  // It lies over the page: what is shown must not move under a pointer that is about to click.
  const said = make("span", { role: "status" });
  const notice = make("div", { class: "kl-notice", hidden: true }, said,
    make("button", { type: "button", class: "kl-dismiss", title: "Close", "aria-label": "Close this message", onclick: () => tell("") }, "×"));
  const nav = make("nav", { class: "kl-nav", "aria-label": "Parts of the dump" });
  const main = make("section", { class: "kl-main" });
  const drawer = make("aside", { class: "kl-drawer", "aria-label": "The chosen row", hidden: true });
  const find = make("input", { type: "search", class: "kl-find", placeholder: "Find a table", title: "Words of a table's name or description; Enter opens the first", "aria-label": "Find a table", spellcheck: "false", autocomplete: "off" });
  find.addEventListener("input", () => {
    state.find = find.value;
    list();
  });
  find.addEventListener("keydown", (event) => {
    const first = nav.querySelector(".kl-entry");
    if (event.key === "Escape" && find.value) {
      find.value = state.find = "";
      list();
      event.stopPropagation();
    } else if (first && event.key === "ArrowDown") {
      first.focus();
      event.preventDefault();
    } else if (first && event.key === "Enter") {
      go(first.dataset.view);
    }
  });
  const settleNav = rove(nav, ".kl-entry");
  // Lumino: JupyterLab's one-letter shortcuts stay out of here.
  const root = make("div", { class: "kl-explorer tex2jax_ignore mathjax_ignore", "data-lm-suppress-shortcuts": "true" }, head(), make("div", { class: "kl-body" }, nav, main, drawer), notice);
  root.style.height = model.get("height");
  el.classList.add("kl-explorer-host");
  el.append(root);

  function head() {
    const summary = model.get("summary");
    const facts = Object.fromEntries(summary.rows ?? []);
    return make("header", { class: "kl-head" },
      make("div", { class: summary.told?.length ? "kl-why kl-verdict" : "kl-why" }, summary.why ?? ""),
      make("div", { class: "kl-title" }, make("h2", {}, summary.title ?? ""), make("span", {}, [facts.died, facts.running].filter(Boolean).join(" · "))),
    );
  }

  // Left: everything that can be shown, each name once, in groups. An entry stays while its number of rows changes: one
  // that is made anew under the pointer loses the click on it, and the focus.
  function list() {
    const tables = model.get("tables");
    const plots = model.get("plots");
    const groups = [...new Set([...tables, ...plots].map((each) => each.group))];
    // What only traces have comes last, whatever a plot of it says.
    groups.sort((one, other) => (one === "traces") - (other === "traces"));
    const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
    const found = (one) => words.every((word) => `${one.dataset.view} ${one.title}`.toLowerCase().includes(word));
    // The replay comes late, when it is known that there is one: above it nothing moves.
    const of = (group) => [
      ...(group === "traces" && state.replayable ? [entry("replay", "Replay", "The last seconds of the machine, to play", "")] : []),
      ...tables.filter((table) => table.group === group).map((table) => entry(table.name, table.name, table.description, table.rows === null ? "" : count(table.rows))),
      ...(group ? plots.filter((plot) => plot.group === group).map((plot) => entry(`plot:${plot.name}`, plot.name, plot.description, "plot")) : []),
    ];
    const shown = (group) => {
      const some = of(group).filter(found);
      return some.length && group ? [heading(group), ...some] : some;
    };
    arrange(nav, [
      find,
      ...[entry("overview", "Overview", "What died, when and why", "")].filter(found),
      ...groups.flatMap(shown),
    ]);
    settleNav(nav.contains(document.activeElement) ? document.activeElement : nav.querySelector("[aria-current]"));
  }

  const entries = new Map();
  function entry(view, label, title, said) {
    const one = entries.get(view) ?? make("button", { type: "button", class: "kl-entry", "data-view": view, onclick: () => go(view) },
      make("span", { class: "kl-name" }, label), make("span", { class: "kl-rows" }));
    entries.set(view, one);
    one.title = title;
    one.lastChild.textContent = said;
    if (state.view === view) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
    return one;
  }

  const headings = new Map();
  function heading(group) {
    if (!headings.has(group)) headings.set(group, make("h3", {}, group));
    return headings.get(group);
  }

  function go(view, { search = "", reveal = null, said = null } = {}) {
    state.view = view;
    state.said = said;
    state.turn++;
    state.grid = null;
    list();
    if (view === "overview") overview();
    else if (view === "replay") replay();
    else if (view.startsWith("plot:")) plot(view.slice(5));
    else table(view, search, reveal);
  }

  // The cell of a lead or a finding. Its row is what is sent: the kernel knows the code.
  async function run(place, of = "lead") {
    tell("Running its cell …");
    try {
      const { kind, code, view } = await ask("lead", { place, of }, { again: true });
      tell("");
      go(kind === "plot" ? `plot:${view}` : view, { said: code });
    } catch (error) {
      tell(error.message);
    }
  }

  // Tables that have a plot of their own name.
  const hasPlot = (name) => model.get("plots").some((plot) => plot.name === name);

  // The line above a table or a plot: its name, what it is, and what can be done with it.
  function bar(name, count, said, ...tools) {
    const both = !name.includes(":") && hasPlot(name) && model.get("tables").some((table) => table.name === name);
    const isPlot = state.view.startsWith("plot:");
    const choice = (label, view) => make("button", { type: "button", class: "kl-tool", "aria-pressed": String(state.view === view), onclick: () => again(view) }, label);
    const again = (view) => {
      go(view);
      main.querySelector(".kl-tools [aria-pressed=true]")?.focus();
    };
    const tool = make("div", { class: "kl-tools", role: "toolbar", "aria-label": `What to do with ${name}` },
      ...(both ? [choice("Table", name), choice("Plot", `plot:${name}`)] : []), ...tools);
    rove(tool, "button");
    const title = state.said ? make("h3", { class: "kl-code", title: state.said }, state.said) : make("h3", {}, isPlot || !name.includes(":") ? name : name.slice(name.indexOf(":") + 1));
    return make("div", { class: "kl-bar" }, title, count, make("span", { class: "kl-said", title: said }, said), tool.childElementCount ? tool : null);
  }

  // A file of the table as it is shown, in pieces, for the browser to keep.
  async function save(kind, wanted) {
    tell(`Making a ${kind.toUpperCase()} file …`);
    try {
      const { file, name, type, pieces } = await ask("export", { kind, ...wanted }, { again: true });
      const content = [];
      for (let piece = 0; piece < pieces; piece++) content.push(await ask("piece", { file, piece }, { again: true }));
      const link = make("a", { href: URL.createObjectURL(new Blob(content, { type })), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      tell("");
    } catch (error) {
      tell(error.message);
    }
  }

  // Middle: a table with its filter.
  function table(name, search, reveal) {
    const known = model.get("tables").find((each) => each.name === name);
    const rows = make("span", { class: "kl-count", role: "status" });
    const input = make("input", { type: "search", class: "kl-filter", placeholder: `Filter: ${HELP}`, title: HELP, "aria-label": `Filter ${name}`, spellcheck: "false", autocomplete: "off" });
    input.value = search;
    let level = "";
    const words = () => [input.value.trim(), level].filter(Boolean).join(" ");
    const shown = grid({
      ask, table: name, main: true, search,
      choose: (place) => choose(name, place),
      run,
      say: (text, page) => {
        rows.textContent = text;
        if (page?.tables) counted(page.tables);
      },
    });
    state.grid = shown;
    let timer = 0;
    const later = () => {
      clearTimeout(timer);
      timer = setTimeout(() => shown.search(words()), 200);
    };
    input.addEventListener("input", later);
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" || event.key === "ArrowDown") shown.focus();
    });
    const levels = name !== "log" ? null : make("select", { class: "kl-level", "aria-label": "Least severe level shown", onchange: (event) => { level = event.target.value; later(); } },
      ...[["", "all levels"], ["level<=5", "notice and worse"], ["level<=4", "warnings and worse"], ["level<=3", "errors and worse"]].map(([value, label]) => make("option", { value }, label)));
    main.replaceChildren(
      bar(name, rows, known?.description ?? "",
        ...[["csv", "CSV"], ["parquet", "Parquet"]].map(([kind, label]) =>
          make("button", { type: "button", class: "kl-tool", title: `Save these rows as ${label}`, onclick: () => save(kind, shown.asked()) }, label))),
      make("div", { class: "kl-filters" }, input, levels),
      shown.el,
    );
    if (reveal === null) shown.start();
    else shown.reveal(reveal);
  }

  function counted(rows) {
    const tables = model.get("tables").map((table) => ({ ...table, rows: rows[table.name] ?? table.rows }));
    if (JSON.stringify(tables) !== JSON.stringify(model.get("tables"))) {
      model.set("tables", tables);
      list();
    }
  }

  // Middle: the overview.
  function overview() {
    const summary = model.get("summary");
    const panel = (title, ...children) => make("section", { class: "kl-panel" }, make("h3", {}, title), ...children);
    const facts = make("dl", { class: "kl-facts" }, ...(summary.rows ?? []).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
    const died = panel("Why it died", make("div", { class: "kl-soft" }, "Weighing the evidence …"));
    const wrong = panel("What looks wrong", make("div", { class: "kl-soft" }, "Looking …"));
    const happened = panel("What is known", facts);
    const ran = panel("On the CPUs", make("div", { class: "kl-soft" }, "…"));
    const stacks = panel("Stacks", make("div", { class: "kl-soft" }, "Unwinding …"));
    const words = panel("Last words", make("div", { class: "kl-soft" }, "…"));
    const traced = panel("Traces", make("div", { class: "kl-soft" }, "Looking …"));
    const most = make("div", { class: "kl-pair" });
    const parts = [died, wrong, happened, ran, words, stacks, traced, most];
    if (summary.problems?.length)
      parts.splice(3, 0, make("section", { class: "kl-panel kl-lost" }, make("h3", {}, "Missing from this dump"), make("ul", {}, ...summary.problems.map((problem) => make("li", {}, problem)))));
    main.replaceChildren(make("div", { class: "kl-overview", tabindex: "-1" }, ...parts));

    fill(ran, "running", (answer) => [
      make("div", { class: "kl-chips" }, ...answer.tasks.map((task) =>
        make("button", { type: "button", class: "kl-chip", title: "Show what belongs to this task", onclick: () => choose("tasks", task.place) },
          make("b", {}, `CPU ${task.cpu ?? "?"}`), ` ${task.comm} `, make("span", { class: "kl-soft" }, task.pid === 0 ? "idle" : `pid ${task.pid ?? "?"}`)))),
      make("p", { class: "kl-soft" }, `${count(answer.count)} threads in all, `,
        answer.blocked
          ? make("button", { type: "button", class: "kl-link", title: "Show them", onclick: () => go("tasks", { search: "state=D" }) }, `${count(answer.blocked)} in state D`)
          : "none in state D",
        " (uninterruptible: waiting for a device or a lock)"),
    ]);
    fill(words, "words", (answer) => [
      make("div", { class: "kl-words" }, ...answer.records.flatMap((record) => [
        record.skipped ? make("div", { class: "kl-soft" }, make("span", { class: "kl-time" }, "⋮"), `${count(record.skipped)} more`) : "",
        make("button", { type: "button", class: record.level !== null && record.level <= 3 ? "kl-err" : record.level === 4 ? "kl-warn" : "", title: "Show it among its neighbours", onclick: () => go("log", { reveal: record.place }) },
          make("span", { class: "kl-time" }, record.time), record.text)])),
    ], ".kl-words button");
    fill(most, "largest", (answer) => answer.parts.map((part) =>
      panel(part.title, part.why ? make("p", { class: "kl-bad" }, part.why) : bars(part.bars, (bar) => choose(part.table, bar.place)))));
    fill(died, "verdict", story, ".kl-run, .kl-link");
    fill(wrong, "suspects", (answer) => [
      answer.count ? make("ul", { class: "kl-leads" }, ...answer.leads.map(lead)) : make("p", { class: "kl-soft" }, "Nothing: no rule of the suspects found anything odd about this machine."),
      answer.count > answer.leads.length ? make("button", { type: "button", class: "kl-link kl-all", onclick: () => go("suspects") }, `All ${count(answer.count)} leads`) : null,
      ...answer.problems.map((problem) => make("p", { class: "kl-soft" }, problem)),
    ], ".kl-run");
    fill(stacks, "stacks", (answer) => [
      make("div", { class: "kl-trace" }, make("b", {}, "Who panicked"), make("span", { class: "kl-soft" }, answer.panic.head)),
      trace(answer.panic),
      ...answer.groups.flatMap((group) => [
        make("div", { class: "kl-trace" }, make("b", {}, `${group.title} in state D`),
          make("button", { type: "button", class: "kl-link", title: "Show their frames", onclick: () => go("stacks", { search: group.pids.length === 1 ? `pid=${group.pids[0]}` : "state=D" }) }, group.names)),
        trace(group)]),
      answer.more ? make("p", { class: "kl-soft" }, `and ${count(answer.more)} more kinds of stacks in state D`) : null,
      answer.failed ? make("p", { class: "kl-bad" }, answer.failed) : null,
    ]);
    fill(traced, "traces", (answer) => [
      ...answer.traces.map((trace) =>
        make("div", { class: "kl-trace" }, make("button", { type: "button", class: "kl-chip", onclick: () => go(trace.view) }, make("b", {}, trace.name), ` ${trace.kind}`), make("span", { class: "kl-soft" }, trace.said))),
      answer.traces.length || answer.failed.length ? null : make("p", { class: "kl-soft" }, "None: no relay channel was open, and ftrace's buffers are empty."),
      ...answer.failed.map((why) => make("p", { class: "kl-bad" }, why)),
    ], ".kl-chip");
  }

  // A call trace, as the kernel prints it.
  function trace(stack) {
    if (stack.failed) return make("p", { class: "kl-bad" }, stack.failed);
    return make("pre", { class: "kl-stack", tabindex: "-1" }, stack.lines.join("\n"));
  }

  // The verdict in plain words: why, what shows it, how sure, what speaks against it, and what else is wrong.
  function story(answer) {
    const list = (title, items) => (items.length ? [make("h4", {}, title), make("ul", {}, ...items.map((item) => make("li", {}, item)))] : []);
    const shows = (each) => [each.says, ...(each.table ? [" ", make("button", { type: "button", class: "kl-link", title: `Show it in dump.${each.table}`, onclick: () => go(each.table, { reveal: each.place }) }, each.table)] : [])];
    return [
      make("div", { class: "kl-story" },
        make("p", {}, answer.died.join(" ")),
        ...(answer.evidence.length ? [make("h4", {}, "What shows it"), make("ul", {}, ...answer.evidence.map((each) => make("li", {}, ...shows(each))))] : []),
        make("p", {}, make("b", {}, "How sure: "), answer.sure),
        ...list("What is in doubt", answer.doubts),
        ...list("What else was found", answer.besides),
        ...list("What to do next", answer.next),
        answer.cell ? make("button", { type: "button", class: "kl-run", title: "Run this cell, and show what it gives", onclick: () => run(0, "finding") }, answer.cell) : ""),
      answer.count > 1 ? make("button", { type: "button", class: "kl-link kl-all", onclick: () => go("verdict") }, `All ${count(answer.count)} findings`) : null,
    ];
  }

  function lead(each) {
    return make("li", {},
      make("div", { class: "kl-lead" }, make("b", {}, each.lead), ` ${each.subject}`, make("span", { class: "kl-soft kl-size" }, [each.size, each.share].filter(Boolean).join(" · "))),
      make("p", {}, each.evidence),
      make("button", { type: "button", class: "kl-run", title: "Run this cell, and show what it gives", onclick: () => run(each.place) }, each.cell));
  }

  function fill(into, op, draw, items = ".kl-chip, .kl-link, .kl-bars button") {
    const turn = state.turn;
    const title = into.querySelector("h3");
    const shown = (answer) => {
      if (turn !== state.turn) return;
      into.replaceChildren(...[title, ...draw(answer)].filter(Boolean));
      rove(into, items);
    };
    ask(op, {}, { quiet: ["verdict", "suspects", "traces", "stacks"].includes(op) }).then(
      shown,
      (error) => turn === state.turn && into.replaceChildren(...[title, make("p", { class: "kl-bad" }, error.message)].filter(Boolean)),
    );
  }

  function bars(all, choose) {
    const row = (bar) => [
      make("span", { class: "kl-bar-name" }, bar.name),
      make("span", { class: "kl-bar-track" }, make("span", { style: `width:${(100 * bar.share).toFixed(1)}%` })),
      make("span", { class: "kl-bar-size" }, bar.size),
    ];
    return make("div", { class: "kl-bars" }, ...all.map((bar) =>
      choose ? make("button", { type: "button", onclick: () => choose(bar) }, ...row(bar)) : make("div", {}, ...row(bar))));
  }

  // Middle: the player, a widget of its own. It is made when it is first asked for, and then stays as it was left.
  async function replay() {
    if (!state.stage) {
      const wait = make("p", { class: "kl-soft", role: "status" }, "Reading the traces, and walking memory back from the crash …");
      const place = (state.stage = make("div", { class: "kl-replay" }, wait));
      main.replaceChildren(place);
      try {
        const { widget } = await ask("replay", {}, { again: true, quiet: true });
        const player = await host.getWidget(widget);
        place.replaceChildren();
        await player.render({ el: place });
      } catch (error) {
        state.stage = null;
        place.replaceChildren(make("p", { class: "kl-bad" }, error.message));
      }
    } else main.replaceChildren(state.stage);
  }

  // Middle: a plot.
  function plot(name) {
    const known = model.get("plots").find((each) => each.name === name);
    const place = make("div", { class: "kl-plot" }, make("p", { class: "kl-soft" }, "Drawing …"));
    main.replaceChildren(bar(name, null, known?.description ?? ""), place);
    const turn = state.turn;
    const draw = () => {
      const dark = isDark();
      state.drawn = dark;
      ask("plot", { name, dark }).then(
        (answer) => turn === state.turn && dark === state.drawn && place.replaceChildren(make("img", { src: `data:image/png;base64,${answer.png}`, alt: answer.alt })),
        (error) => turn === state.turn && place.replaceChildren(make("p", { class: "kl-bad" }, error.message)),
      );
    };
    state.redraw = () => state.turn === turn && isDark() !== state.drawn && draw();
    draw();
  }

  function isDark() {
    const [red, green, blue] = (getComputedStyle(root).color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
    return red + green + blue > 384;
  }

  // Right: the chosen row, and what belongs to it.
  async function choose(name, place) {
    const turn = (state.drawer = {});
    const width = drawer.hidden;
    drawer.hidden = false;
    if (width) state.grid?.resize();
    drawer.replaceChildren(make("p", { class: "kl-soft" }, "…"));
    try {
      const answer = await ask("chosen", { name, place });
      if (turn === state.drawer) opened(name, place, answer);
    } catch (error) {
      if (turn === state.drawer) drawer.replaceChildren(top("", name), make("p", { class: "kl-bad" }, error.message));
    }
  }

  function top(title) {
    return make("div", { class: "kl-bar" }, make("h3", {}, title),
      make("button", { type: "button", class: "kl-close", title: "Close", "aria-label": "Close", onclick: close }, "×"));
  }

  function close() {
    drawer.hidden = true;
    state.drawer = null;
    state.grid?.resize();
  }

  function opened(name, place, answer) {
    const body = make("div", { class: "kl-drawer-body", role: "tabpanel" });
    const tabs = [{ title: "Row", show: () => facts(name, place, answer) }];
    if (answer.memory?.length) tabs.push({ title: "Memory", show: () => [make("p", { class: "kl-soft" }, "Mapped address space by kind"), bars(answer.memory)] });
    if (answer.task !== undefined) {
      tabs.push({
        title: "Stack",
        show: () => {
          const into = make("div", {}, make("p", { class: "kl-soft" }, "Unwinding …"));
          ask("stack", { place: answer.task }, { quiet: true }).then(
            (stack) => into.replaceChildren(make("p", { class: "kl-soft" }, stack.head), trace(stack)),
            (error) => into.replaceChildren(make("p", { class: "kl-bad" }, error.message)),
          );
          return [into];
        },
      });
    }
    for (const related of answer.related) {
      tabs.push({
        title: related.title,
        show: () => {
          const rows = make("span", { class: "kl-count", role: "status" });
          const inner = grid({ ask, table: related.table, where: related.where, say: (text) => (rows.textContent = text), empty: "None.", choose: (row) => choose(related.table, row) });
          const all = make("button", { type: "button", class: "kl-link", onclick: () => go(related.table, { search: Object.entries(related.where).map(([key, value]) => `${key}=${/\s/.test(value) ? `"${value}"` : value}`).join(" ") }) }, `Show in ${related.table}`);
          queueMicrotask(inner.start);
          return [make("div", { class: "kl-drawer-line" }, rows, all), inner.el];
        },
      });
    }
    const strip = make("div", { class: "kl-tabs", role: "tablist" });
    const show = (tab) => {
      for (const button of strip.children) {
        const on = button.textContent === tab.title;
        button.setAttribute("aria-selected", on);
        button.tabIndex = on ? 0 : -1;
      }
      body.replaceChildren(...tab.show());
    };
    strip.append(...tabs.map((tab) => make("button", { type: "button", role: "tab", onclick: () => show(tab) }, tab.title)));
    strip.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const at = [...strip.children].indexOf(document.activeElement);
      const next = strip.children[(at + step + tabs.length) % tabs.length];
      next.focus();
      next.click();
      event.stopPropagation();
    });
    drawer.replaceChildren(top(answer.title), strip, body);
    const before = state.tab && tabs.find((tab) => tab.title === state.tab);
    strip.addEventListener("click", (event) => (state.tab = event.target.textContent));
    show(before ?? tabs[0]);
  }

  function facts(name, place, answer) {
    const value = (fact) => {
      if (fact.cell === null) return [make("span", { class: "kl-na", title: "missing: it could not be read, or does not apply" }, "–")];
      const [text, title] = Array.isArray(fact.cell) ? fact.cell : [fact.cell, null];
      const shown = make("span", { class: `kl-k-${fact.kind}`, title }, text);
      if (CELLS[name] && fact.name === "cell") return [make("button", { type: "button", class: "kl-run", title: "Run this cell, and show what it gives", onclick: () => run(place, CELLS[name]) }, text)];
      if (!fact.struct || !model.get("structs")) return [shown];
      return [shown, make("button", { type: "button", class: "kl-link", title: `Open this ${fact.struct} in the struct browser`, onclick: () => browse(fact.struct, text) }, "browse")];
    };
    return [
      answer.owner ? make("button", { type: "button", class: "kl-chip", onclick: () => choose("tasks", answer.owner.place) }, "of ", make("b", {}, answer.owner.title)) : null,
      make("dl", { class: "kl-facts" }, ...answer.facts.flatMap((fact) => [make("dt", {}, fact.name), make("dd", {}, ...value(fact))])),
      name === "log" ? make("button", { type: "button", class: "kl-link", onclick: () => go("log", { reveal: place }) }, "Show it among its neighbours") : null,
    ].filter(Boolean);
  }

  async function browse(type, address) {
    try {
      await ask("struct", { type, address }, { again: true });
      tell("");
    } catch (error) {
      tell(error.message);
    }
  }

  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !drawer.hidden) {
      close();
      event.stopPropagation();
    } else if (event.key === "/" && event.target.tagName !== "INPUT") {
      const filter = main.querySelector(".kl-filter");
      if (!filter) return;
      filter.focus();
      event.preventDefault();
    }
    // Keys that the notebook around it would take for its own: two d cut a cell.
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });

  const wanted = () => {
    const { view, search } = model.get("wanted");
    if (view) go(view, { search: search ?? "" });
  };
  const resized = new ResizeObserver(() => state.grid?.resize());
  resized.observe(root);
  // A plot is a picture: when the page turns dark or light, another one takes its place.
  const turned = () => requestAnimationFrame(() => state.redraw?.());
  const theme = new MutationObserver(turned);
  for (const element of [document.documentElement, document.body]) theme.observe(element, { attributes: true, attributeFilter: ["class", "style", "data-jp-theme-light", "data-jp-theme-name"] });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", turned);
  ask("replayable", {}, { quiet: true }).then((answer) => {
    state.replayable = answer.there;
    list();
  }, () => {});
  model.on("change:wanted", wanted);
  model.on("change:tables", list);
  if (model.get("wanted").view) wanted();
  else go("overview");
  return () => {
    end();
    resized.disconnect();
    theme.disconnect();
    scheme.removeEventListener("change", turned);
    model.off("change:wanted", wanted);
    model.off("change:tables", list);
  };
}

export default { render };
