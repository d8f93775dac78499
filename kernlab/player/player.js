// The player: a recording, its timeline and its panel, and what a reader does with them. Follows words.js, recording.js,
// paint.js, lanes.js, timeline.js, panel.js and gestures.js in one module, and goes before widget.js.

const SPEEDS = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300];
const KEYS = [
  ["Space", "play or pause"], ["← →", "a hundredth of the view; with Shift a tenth"], ["Page ↑ ↓", "the view before or after"], ["Home End", "the beginning, the end"],
  ["+ −", "zoom in, out"], ["0", "the whole range"], ["[ ]", "slower, faster"], ["j k", "next, previous mark"], ["m", "the peak of memory"],
  ["e", "next error in the log"], ["u", "next request that was never answered"], ["i o", "begin, end a range at the cursor"], ["Enter", "zoom to the range"], ["Esc", "close, or forget the range"], ["?", "this list"],
];
const POINTER = [["drag", "scrub"], ["Shift and drag, or drag on the ruler", "choose a range"], ["Alt and drag", "move the view"], ["wheel", "zoom, once you are in the lanes; anywhere with Ctrl"], ["pinch", "zoom"], ["click on a task", "its stack, its struct"]];
const TELL_MS = 70;

class Player {
  constructor({ recording, palettes, ask, shown, keep, notify }) {
    Object.assign(this, { recording, palettes, ask, keep, notify });
    this.root = make("div", { class: "klp tex2jax_ignore mathjax_ignore", "data-lm-suppress-shortcuts": "true" });
    this.dark = false;
    const colours = () => this.palette;
    this.setPalette();
    this.timeline = new Timeline(recording, colours);
    this.panel = new Panel(recording, colours, (task) => this.choose({ task }));
    this.playing = false;
    this.told = 0;
    this.build();
    const known = new Set(this.timeline.lanes.map((lane) => lane.id));
    const wanted = shown?.length ? shown.filter((id) => known.has(id)) : [...known];
    this.setLanes(wanted.length ? wanted : [...known]);
    this.setSpeed(SPEEDS.reduce((best, each) => (Math.abs(Math.log((recording.ns(recording.end) / 1e9 / 20) / each)) < Math.abs(Math.log((recording.ns(recording.end) / 1e9 / 20) / best)) ? each : best)));
    gestures(this.timeline, { seek: (t, moving) => this.seek(t, moving), choose: (found) => this.choose(found), brushed: (range, moving) => this.setSelection(range, moving), tip: (found, event) => this.tip(found, event) });
    this.root.addEventListener("keydown", (event) => this.keyed(event));
    this.unwatch = watchTheme(() => this.turned());
    this.seek(recording.end, false);
  }

  stop() {
    this.pause();
    this.unwatch();
    this.timeline.stop();
  }

  setPalette() {
    const style = this.root.isConnected ? getComputedStyle(this.root) : { backgroundColor: "#ffffff", fontFamily: "sans-serif" };
    this.palette = { ...this.palettes[this.dark ? "dark" : "light"], ground: style.backgroundColor, font: style.fontFamily };
    this.root.classList.toggle("klp-dark", this.dark);
  }

  /** Once it is on the page, and whenever the page turns dark or light. */
  turned() {
    this.dark = isDark(this.root);
    this.setPalette();
    this.timeline.key();
    this.timeline.redraw();
    this.panel.tell(this.t);
  }

  get t() { return this.timeline.t; }

  // ---- parts

  build() {
    const tool = (content, label, key, onclick, more = {}) => make("button", { type: "button", class: "klp-tool", "aria-label": label, title: key ? `${label} (${key})` : label, "aria-keyshortcuts": key || null, onclick, ...more }, content);
    this.playButton = tool(icon("play"), "Play", "Space", () => this.toggle(), { class: "klp-tool klp-play" });
    this.speed = make("select", { class: "klp-speed", "aria-label": "Speed", title: "Speed ([ and ])", onchange: (event) => this.setSpeed(Number(event.target.value)) }, ...SPEEDS.map((each) => make("option", { value: each }, `${each}×`)));
    this.clock = make("output", { class: "klp-clock", "aria-live": "off" }, make("b", {}), make("span", {}));
    this.status = make("span", { class: "klp-status", role: "status" });
    const { meta } = this.recording;
    const has = (kind) => meta.marks.some((mark) => mark.kind.startsWith(kind));
    const jumps = [
      has("peak memory") && tool("▲ peak", "Jump to the peak of memory", "m", () => this.jump("peak memory", 1)),
      has("log error") && tool("! error", "Jump to the next error in the log", "e", () => this.jump("log error", 1)),
      has("unanswered") && tool("○ unanswered", "Jump to the next request that was never answered", "u", () => this.jump("unanswered", 1)),
    ];
    this.ranged = make("span", { class: "klp-group klp-ranged", hidden: true }, make("span", {}), tool("zoom to it", "Zoom to the range", "Enter", () => this.zoomToSelection()), tool("×", "Forget the range", "Escape", () => this.setSelection(null)));
    this.toolbar = make("div", { class: "klp-bar", role: "group", "aria-label": "Replay" },
      make("span", { class: "klp-group" }, tool(icon("start"), "Go to the beginning", "Home", () => this.seek(0)), this.playButton, tool(icon("end"), "Go to the end", "End", () => this.seek(this.recording.end)), this.speed),
      this.clock,
      make("span", { class: "klp-group" }, ...(meta.marks.length ? [tool("‹", "Previous mark", "k", () => this.jump("", -1)), tool("›", "Next mark", "j", () => this.jump("", 1))] : []), ...jumps),
      this.ranged,
      make("span", { class: "klp-group klp-end" }, tool("−", "Zoom out", "-", () => this.timeline.zoom(2)), tool("+", "Zoom in", "+", () => this.timeline.zoom(0.5)), tool("all", "The whole range", "0", () => this.whole()), this.chooser(), tool("?", "Keys", "?", () => this.help(), { "aria-expanded": "false" })));
    this.helpButton = this.toolbar.querySelector("[aria-label=Keys]");
    this.helpBox = make("div", { class: "klp-help", hidden: true, role: "region", "aria-label": "Keys and pointer" }, ...[KEYS.slice(0, 8), KEYS.slice(8), POINTER].map((list) => make("dl", {}, ...list.flatMap(([keys, what]) => [make("dt", {}, keys), make("dd", {}, what)]))));
    this.detail = make("section", { class: "klp-detail", "aria-label": "The chosen task", hidden: true });
    this.tipBox = make("div", { class: "klp-tip", hidden: true, "aria-hidden": "true" });
    this.markList = this.marks();
    const parts = [this.toolbar, this.helpBox,
      make("div", { class: "klp-body" }, this.timeline.element, make("div", { class: "klp-side" }, this.detail, this.panel.element)), this.trust(), this.notes(), this.markList, this.status, this.tipBox];
    this.root.append(...parts.filter(Boolean));
  }

  chooser() {
    const boxes = this.timeline.lanes.map((lane) => make("label", {}, make("input", { type: "checkbox", value: lane.id, checked: true, onchange: () => this.setLanes([...this.boxes.querySelectorAll("input:checked")].map((box) => box.value)) }), lane.title));
    this.boxes = make("div", { class: "klp-menu" }, ...boxes);
    return make("details", { class: "klp-lanes" }, make("summary", { class: "klp-tool" }, "lanes"), this.boxes);
  }

  trust() {
    const { meta, end } = this.recording;
    if (meta.trusted >= end) return make("p", { class: "klp-trust" }, `Of memory only the end is known: ${meta.trusted_reason}`);
    return meta.trusted > 0 ? make("p", { class: "klp-trust" }, `Memory is greyed before ${beforeText(this.recording.before(meta.trusted))}, and not to be trusted there: ${meta.trusted_reason}`) : null;
  }

  /** What is not whole, in words. */
  notes() {
    const { meta } = this.recording;
    const said = [];
    for (const each of meta.breaks.slice(0, 50)) said.push(`${beforeText(this.recording.before(each.time))} ${each.source}${each.cpu === null ? "" : ` CPU ${each.cpu}`}: ${each.reason}`);
    for (const [name, [kept, of]] of Object.entries(meta.thinned)) said.push(`${name}: ${grouped(kept)} of ${grouped(of)} readings are here, the extremes among them`);
    said.push(...meta.problems);
    if (!said.length) return null;
    return make("details", { class: "klp-notes" }, make("summary", {}, `${said.length === 1 ? "One thing" : `${said.length} things`} to know about this recording`), make("ul", {}, ...said.map((line) => make("li", {}, line))));
  }

  marks() {
    const { meta } = this.recording;
    if (!meta.marks.length) return null;
    const list = make("ul", {});
    const fill = () => {
      if (list.childElementCount) return;
      list.append(...meta.marks.slice(-300).map((mark) => make("li", {}, make("button", { type: "button", class: "klp-mark", onclick: () => this.seek(mark.time) },
        make("span", { class: "klp-when" }, beforeText(this.recording.before(mark.time))), make("b", {}, mark.kind), make("span", {}, mark.text)))));
    };
    return make("details", { class: "klp-notes klp-marks", ontoggle: fill }, make("summary", {}, `${grouped(meta.marks.length)} mark${meta.marks.length === 1 ? "" : "s"} to jump to`), list);
  }

  // ---- time

  seek(t, moving = false, quiet = false) {
    const { timeline, recording } = this;
    timeline.t = Math.max(0, Math.min(recording.end, t));
    if (!moving && (timeline.t < timeline.from || timeline.t > timeline.to)) {
      const span = timeline.to - timeline.from;
      timeline.setView(timeline.t - span / 2, timeline.t + span / 2);
    }
    timeline.place();
    if (moving) this.later();
    else this.tell();
    if (!moving && !quiet) this.notify(this.t, this.timeline.selection);
  }

  /** While something moves, words follow as fast as they can be read. */
  later() {
    const now = performance.now();
    if (now - this.told >= TELL_MS) this.tell();
    else if (!this.waiting) this.waiting = setTimeout(() => { this.waiting = 0; this.tell(); }, TELL_MS);
  }

  tell() {
    const { recording, timeline } = this;
    this.told = performance.now();
    const before = recording.before(this.t);
    const span = recording.ns(timeline.to - timeline.from);
    const digits = Math.max(3, Math.min(9, Math.ceil(-Math.log10(span / 1e9 / 2000))));
    put(this.clock.firstChild, before <= 0 ? "the crash" : `−${(before / 1e9).toFixed(digits)} s`);
    put(this.clock.lastChild, `${recording.since(this.t).toFixed(digits)} s since boot`);
    const { slider } = timeline;
    slider.setAttribute("aria-valuemin", "0");
    slider.setAttribute("aria-valuemax", (recording.ns(recording.end) / 1e9).toFixed(6));
    slider.setAttribute("aria-valuenow", (recording.ns(this.t) / 1e9).toFixed(6));
    slider.setAttribute("aria-valuetext", before <= 0 ? "the crash" : `${(before / 1e9).toFixed(3)} seconds before the crash`);
    this.root.dataset.time = recording.since(this.t).toFixed(9);
    timeline.tell();
    this.panel.tell(this.t);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    const { timeline, recording } = this;
    const [from, to] = this.span();
    if (this.t >= to || this.t < from) this.seek(from);
    if (this.t >= recording.end) this.seek(0);
    this.playing = true;
    this.showPlaying();
    let last = performance.now();
    const step = (now) => {
      if (!this.playing) return;
      const ticks = recording.ticks((now - last) * 1e6 * this.rate);
      last = now;
      const [begin, end] = this.span();
      let next = this.t + Math.max(0, ticks);
      if (next >= end) {
        if (timeline.selection) next = begin;
        else return this.ended(end);
      }
      timeline.t = next;
      // The page turns when the cursor comes to its end.
      if (next > timeline.to && timeline.to < recording.end) timeline.setView(next - 0.02 * (timeline.to - timeline.from), next + 0.98 * (timeline.to - timeline.from));
      timeline.place();
      this.later();
      return requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  ended(t) {
    this.pause();
    this.seek(t);
  }

  /** What is played: the chosen range, or to the crash. */
  span() { return this.timeline.selection ?? [0, this.recording.end]; }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.showPlaying();
    this.seek(this.t);
  }

  showPlaying() {
    this.playButton.replaceChildren(icon(this.playing ? "pause" : "play"));
    this.playButton.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.root.classList.toggle("klp-playing", this.playing);
  }

  setSpeed(rate) {
    this.rate = rate;
    this.speed.value = String(rate);
  }

  faster(steps) {
    this.setSpeed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(this.rate) + steps))]);
    put(this.status, `Speed ${this.rate}×`);
  }

  whole() {
    this.timeline.setView(0, this.recording.end);
  }

  /** To the next (or previous) mark of a kind; after the last comes the first. */
  jump(kind, way) {
    const marks = this.recording.meta.marks.filter((mark) => mark.kind.startsWith(kind));
    if (!marks.length) return put(this.status, `There is no ${kind || "mark"} here`);
    const near = this.recording.ticks(1);
    const found = way > 0 ? marks.find((mark) => mark.time > this.t + near) ?? marks[0] : marks.findLast((mark) => mark.time < this.t - near) ?? marks[marks.length - 1];
    this.pause();
    this.seek(found.time);
    return put(this.status, `${found.kind}, ${beforeText(this.recording.before(found.time))}: ${found.text}`);
  }

  // ---- ranges, lanes

  setSelection(range, moving = false) {
    const { timeline, recording } = this;
    timeline.selection = range && range[1] > range[0] ? range : null;
    this.ranged.hidden = !timeline.selection;
    if (timeline.selection) put(this.ranged.firstChild, `range of ${spanText(recording.ns(range[1] - range[0]))}`);
    timeline.place();
    if (!moving) this.notify(this.t, timeline.selection);
  }

  zoomToSelection() {
    const range = this.timeline.selection;
    if (range) this.timeline.setView(...range);
  }

  setLanes(ids) {
    for (const box of this.boxes.querySelectorAll("input")) box.checked = ids.includes(box.value);
    this.timeline.show(ids);
    this.keep(ids);
  }

  // ---- what was clicked on

  tip(found, event) {
    this.tipBox.hidden = !found;
    this.timeline.stack.style.cursor = found && (found.task >= 0 || found.time !== undefined) ? "pointer" : "";
    if (!found) return;
    put(this.tipBox, found.text);
    const box = this.root.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    this.tipBox.style.left = `${Math.max(4, Math.min(x + 14, box.width - this.tipBox.offsetWidth - 6))}px`;
    this.tipBox.style.top = `${y + 18}px`;
  }

  async choose(found) {
    if (!found || found.task === undefined || found.task < 0) return;
    const task = this.recording.meta.tasks[found.task];
    const close = make("button", { type: "button", class: "klp-tool", title: "Close (Escape)", "aria-label": "Close", onclick: () => this.unchoose() }, "×");
    const said = make("div", { class: "klp-opened" });
    const tools = task.opens ? make("div", { class: "klp-group" },
      make("button", { type: "button", class: "klp-tool", onclick: () => this.stack(found.task, said) }, "stack"),
      make("button", { type: "button", class: "klp-tool", onclick: () => this.struct(found.task, said) }, "open in the struct browser")) : make("p", { class: "klp-said" }, "Its task_struct is not in the dump: it had ended.");
    this.chosen = found.task;
    this.detail.hidden = false;
    this.detail.replaceChildren(make("header", {}, make("b", {}, task.idle ? "idle" : task.name), make("span", { class: "klp-said" }, task.pid === null ? "" : `pid ${task.pid}`), close), found.text ? make("p", {}, found.text) : "", tools, said);
  }

  unchoose() {
    this.detail.hidden = true;
    this.chosen = null;
  }

  async stack(task, into) {
    into.replaceChildren(make("p", { class: "klp-said" }, "Unwinding …"));
    try {
      const answer = await this.ask({ op: "stack", task }, () => this.wait(into));
      into.replaceChildren(make("p", { class: "klp-said" }, "at the crash: ", answer.head), make("pre", { tabindex: "0" }, answer.lines.join("\n")));
    } catch (error) {
      into.replaceChildren(make("p", { class: "klp-problem" }, error.message));
    }
  }

  wait(into) {
    into.replaceChildren(make("p", { class: "klp-said" }, "Waiting for the kernel: it is busy, or gone."));
  }

  async struct(task, into) {
    try {
      await this.ask({ op: "struct", task }, () => this.wait(into));
      into.replaceChildren(make("p", { class: "klp-said" }, "It is open below."));
    } catch (error) {
      into.replaceChildren(make("p", { class: "klp-problem" }, error.message));
    }
  }

  // ---- keys

  help() {
    this.helpBox.hidden = !this.helpBox.hidden;
    this.helpButton.setAttribute("aria-expanded", String(!this.helpBox.hidden));
  }

  keyed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // Keys that the notebook around it would take for its own.
    event.stopPropagation();
    const inside = event.target.closest("button, select, input, summary");
    if (inside && [" ", "Enter"].includes(event.key)) return;
    if (event.target.closest("select") || (event.target === this.panel.element && ["ArrowUp", "ArrowDown", "PageUp", "PageDown"].includes(event.key))) return;
    const { timeline, recording } = this;
    const span = timeline.to - timeline.from;
    const step = (event.shiftKey ? 0.1 : 0.01) * span;
    const act = {
      " ": () => this.toggle(), ArrowLeft: () => this.seek(this.t - step), ArrowRight: () => this.seek(this.t + step), Home: () => this.seek(0), End: () => this.seek(recording.end),
      ArrowUp: event.target === timeline.slider ? () => this.seek(this.t + step) : null, ArrowDown: event.target === timeline.slider ? () => this.seek(this.t - step) : null,
      PageUp: () => timeline.pan(-span), PageDown: () => timeline.pan(span), "[": () => this.faster(-1), "]": () => this.faster(1),
      j: () => this.jump("", 1), k: () => this.jump("", -1), m: () => this.jump("peak memory", 1), e: () => this.jump("log error", 1), u: () => this.jump("unanswered", 1),
      0: () => this.whole(), "+": () => timeline.zoom(0.5), "=": () => timeline.zoom(0.5), "-": () => timeline.zoom(2), "?": () => this.help(),
      i: () => this.setSelection([this.t, Math.max(timeline.selection?.[1] ?? recording.end, this.t)]), o: () => this.setSelection([Math.min(timeline.selection?.[0] ?? 0, this.t), this.t]),
      Enter: timeline.selection ? () => this.zoomToSelection() : null, Escape: () => this.escape(event),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  escape() {
    const menu = this.root.querySelector(".klp-lanes[open]");
    if (menu) menu.open = false;
    else if (!this.helpBox.hidden) this.help();
    else if (!this.detail.hidden) this.unchoose();
    else if (this.timeline.selection) this.setSelection(null);
  }
}
