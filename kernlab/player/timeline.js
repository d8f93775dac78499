// Lanes one below the other on one axis. They are painted when the view changes; the cursor lies over them.

const GUTTER = 52;
const MARGIN = 14;
const MAP_HEIGHT = 34;
const RULER_HEIGHT = 34;

class Timeline {
  constructor(recording, colours) {
    this.recording = recording;
    this.colours = colours;
    this.from = 0;
    this.to = recording.end;
    this.t = recording.end;
    this.lanes = lanesOf(recording, colours);
    this.shown = new Set(this.lanes.map((lane) => lane.id));
    this.selection = null;
    this.waiting = 0;
    this.build();
  }

  build() {
    this.map = make("canvas", { class: "klp-map-canvas" });
    this.window = make("div", { class: "klp-window" });
    this.mapCursor = make("div", { class: "klp-cursor" });
    this.slider = make("div", { class: "klp-map", role: "slider", tabindex: "0", "aria-label": "Time", "aria-orientation": "horizontal", title: "The whole recording: click to go there, drag the frame to move the view" }, this.map, this.window, this.mapCursor);
    this.ruler = make("canvas", { class: "klp-ruler" });
    this.cursor = make("div", { class: "klp-cursor" });
    this.brush = make("div", { class: "klp-brush", hidden: true });
    this.over = make("div", { class: "klp-over", "aria-hidden": "true" }, this.brush, this.cursor);
    for (const lane of this.lanes) {
      lane.canvas = make("canvas", { "data-lane": lane.id });
      lane.cover = make("div", { class: "klp-untrusted", hidden: true, "aria-hidden": "true" });
      lane.keyed = make("span", { class: "klp-keys" });
      lane.element = make("div", { class: "klp-lane", "data-lane": lane.id },
        make("div", { class: "klp-lane-head" }, make("span", { class: "klp-lane-name" }, lane.title), lane.keyed), make("div", { class: "klp-canvas" }, lane.canvas, lane.cover));
    }
    this.stack = make("div", { class: "klp-stack", tabindex: "0", role: "group", "aria-label": "Lanes: arrow keys move the cursor, plus and minus zoom" }, this.ruler, ...this.lanes.map((lane) => lane.element), this.over);
    this.element = make("div", { class: "klp-timeline" }, this.slider, this.stack);
    this.key();
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(this.element);
  }

  stop() {
    this.resized.disconnect();
    cancelAnimationFrame(this.waiting);
  }

  /** The swatches of each lane; what they stand for at the cursor is told by `tell`. */
  key() {
    for (const lane of this.lanes) {
      lane.told = [];
      lane.keyed.replaceChildren(...lane.keys().map(({ colour, name, ring }) => {
        const value = make("span", { class: "klp-value" });
        lane.told.push(value);
        const swatch = make("i", { class: ring ? "klp-ring" : "" });
        swatch.style.setProperty("--swatch", colour);
        return make("span", { class: "klp-key" }, swatch, name, value);
      }));
    }
    this.tell();
  }

  tell() {
    for (const lane of this.lanes) {
      if (!this.shown.has(lane.id)) continue;
      const values = lane.values(this.t);
      values?.forEach((value, i) => {
        if (lane.told[i] && lane.told[i].textContent !== value) lane.told[i].textContent = value;
      });
    }
  }

  show(ids) {
    this.shown = new Set(ids);
    for (const lane of this.lanes) lane.element.hidden = !this.shown.has(lane.id);
    this.tell();
    this.redraw();
  }

  // ---- geometry

  get width() { return this.element.clientWidth; }
  get room() { return Math.max(20, this.width - GUTTER - MARGIN); }
  /** Pixels of the page from the left edge of the lanes. */
  x(t, from = this.from, to = this.to) { return GUTTER + ((t - from) / (to - from)) * this.room; }
  time(x, from = this.from, to = this.to) { return from + ((x - GUTTER) / this.room) * (to - from); }
  get perPixel() { return (this.to - this.from) / this.room; }

  setView(from, to) {
    const end = this.recording.end;
    const least = Math.min(end, Math.max(this.recording.ticks(2000), 2));
    const span = Math.max(least, Math.min(end, to - from));
    const start = Math.max(0, Math.min(end - span, from + (to - from - span) / 2));
    this.from = start;
    this.to = start + span;
    this.redraw();
  }

  zoom(factor, around = this.t) {
    const inside = around >= this.from && around <= this.to ? around : (this.from + this.to) / 2;
    this.setView(inside - (inside - this.from) * factor, inside + (this.to - inside) * factor);
  }

  pan(ticks) {
    const span = this.to - this.from;
    const from = Math.max(0, Math.min(this.recording.end - span, this.from + ticks));
    this.setView(from, from + span);
  }

  // ---- drawing

  resize() {
    if (this.width === this.drawnWidth || !this.width) return;
    this.redraw();
  }

  redraw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.waiting = 0;
    if (!this.width) return;
    const began = performance.now();
    this.drawnWidth = this.width;
    for (const lane of this.lanes) {
      if (!this.shown.has(lane.id)) continue;
      const { context, view } = this.canvas(lane.canvas, lane.height + 2 * lane.pads, this.from, this.to);
      const top = Math.round(lane.pads * view.ratio);
      lane.paint(context, view, { top, height: Math.round(lane.height * view.ratio) });
    }
    const { trusted } = this.recording.meta;
    for (const lane of this.lanes) {
      if (!lane.doubted) continue;
      this.spread(lane.cover, trusted > 0 ? [0, trusted] : null);
      put(lane.cover, (trusted - this.from) / this.perPixel > 70 ? "not trusted" : "");
    }
    this.drawRuler();
    this.drawMap();
    this.place();
    this.element.dataset.drawn = (performance.now() - began).toFixed(1);
  }

  /** A canvas of the page's width, cleared, and the view on it. */
  canvas(canvas, height, from, to) {
    const ratio = Math.min(devicePixelRatio || 1, 3);
    const [wide, high] = [Math.round(this.width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d", { willReadFrequently: canvas.dataset.lane?.startsWith("disk:") });
    context.clearRect(0, 0, wide, high);
    return { context, view: new View(from, to, Math.round(GUTTER * ratio), Math.round((GUTTER + this.room) * ratio), ratio) };
  }

  drawRuler() {
    const { recording } = this;
    const pen = this.colours();
    const { context, view } = this.canvas(this.ruler, RULER_HEIGHT, this.from, this.to);
    const span = recording.ns(this.to - this.from);
    const step = niceStep(span / 1e9, this.room / 96) * 1e9;
    context.font = `${11 * view.ratio}px ${pen.font}`;
    context.textBaseline = "middle";
    const [nearest, farthest] = [recording.before(this.to), recording.before(this.from)];
    for (let before = Math.ceil(nearest / step) * step; before <= farthest + step * 1e-6; before += step) {
      const x = Math.round(view.x(recording.ticks(recording.meta.crash_ns - recording.meta.origin_ns - before)));
      const text = before <= 0 ? "crash" : step >= 60e9 ? `−${spanText(before)}` : `−${(before / 1e9).toFixed(Math.max(0, Math.min(9, Math.ceil(-Math.log10(step / 1e9) - 1e-9))))} s`;
      const wide = context.measureText(text).width;
      context.fillStyle = pen.line;
      context.fillRect(x, 24 * view.ratio, Math.max(1, view.ratio / 2), 10 * view.ratio);
      context.fillStyle = before <= 0 ? pen.lost : pen.soft;
      context.fillText(text, Math.max(2, Math.min(this.ruler.width - wide - 2, x - wide / 2)), 16 * view.ratio);
    }
    for (const mark of recording.meta.marks) if (mark.time >= this.from && mark.time <= this.to) drawMark(context, view.x(mark.time), 28 * view.ratio, mark.kind, pen, view.ratio);
  }

  drawMap() {
    const { recording } = this;
    const pen = this.colours();
    const { context, view } = this.canvas(this.map, MAP_HEIGHT, 0, recording.end);
    const box = { top: Math.round(3 * view.ratio), height: Math.round((MAP_HEIGHT - 6) * view.ratio) };
    context.fillStyle = pen.track;
    context.fillRect(view.left, box.top, view.columns, box.height);
    const free = recording.columns["memory.free"];
    if (free) {
      const { "memory.time": time, "memory.break": broken } = recording.columns;
      const total = recording.meta.memory.total || 1;
      context.fillStyle = pen.overview;
      runs(view, rowsByColumn(view, time, 0, time.length, (i, best) => free[i] < free[best], (i) => broken[i] === 1), (row, x, width) => {
        if (row === BREAK) return hatch(context, pen, x, box.top, width, box.height, view.ratio);
        const height = row < 0 || Number.isNaN(free[row]) ? 0 : (1 - free[row] / total) * box.height;
        context.fillStyle = pen.overview;
        return context.fillRect(x, box.top + box.height - height, width, height);
      });
    }
    for (const mark of recording.meta.marks) {
      context.fillStyle = markColour(mark.kind, pen);
      context.fillRect(Math.round(view.x(mark.time)), box.top, Math.max(1, Math.round(view.ratio)), box.height);
    }
  }

  // ---- what lies over the lanes: moved at each frame, and nothing else is

  place() {
    const { end } = this.recording;
    const over = (element, x) => { element.style.transform = `translateX(${x}px)`; };
    over(this.cursor, this.x(this.t));
    this.cursor.hidden = this.t < this.from || this.t > this.to;
    over(this.mapCursor, this.x(this.t, 0, end));
    const [left, right] = [this.x(this.from, 0, end), this.x(this.to, 0, end)];
    over(this.window, left);
    this.window.style.width = `${Math.max(6, right - left)}px`;
    this.window.classList.toggle("klp-whole", this.to - this.from > end * 0.999);
    this.spread(this.brush, this.selection);
  }

  spread(element, range) {
    const [from, to] = range ? [Math.max(range[0], this.from), Math.min(range[1], this.to)] : [0, 0];
    element.hidden = !range || to <= from;
    if (element.hidden) return;
    element.style.transform = `translateX(${this.x(from)}px)`;
    element.style.width = `${Math.max(1, this.x(to) - this.x(from))}px`;
  }

  /** What lies at a point of the lanes: {lane, text, task, time}, or null. */
  at(x, y) {
    const t = this.time(x);
    if (y < RULER_HEIGHT) {
      const near = this.recording.meta.marks.filter((mark) => Math.abs(this.x(mark.time) - x) < 7);
      near.sort((one, other) => Math.abs(one.time - t) - Math.abs(other.time - t));
      return near.length ? { text: `${near[0].kind}: ${near[0].text}`, time: near[0].time } : null;
    }
    for (const lane of this.lanes) {
      const top = lane.element.offsetTop + lane.canvas.parentElement.offsetTop + lane.pads;
      if (lane.element.hidden || y < top || y > top + lane.height || x < GUTTER) continue;
      return lane.at(t, (y - top) / lane.height, 3 * this.perPixel);
    }
    return null;
  }
}

function markColour(kind, pen) {
  if (kind.startsWith("peak")) return pen.peak;
  return kind === "break" ? pen.soft : pen.lost;
}

/** A mark on the ruler: a shape for each kind, so that none is told by its colour alone. */
function drawMark(context, x, y, kind, pen, ratio) {
  const size = 4 * ratio;
  context.fillStyle = context.strokeStyle = markColour(kind, pen);
  context.lineWidth = 1.5 * ratio;
  context.beginPath();
  if (kind.startsWith("peak")) {
    context.moveTo(x - size, y + size);
    context.lineTo(x, y - size);
    context.lineTo(x + size, y + size);
    context.fill();
  } else if (kind.startsWith("unanswered")) {
    context.arc(x, y, size * 0.85, 0, 7);
    context.stroke();
  } else if (kind.startsWith("log")) {
    context.fillRect(x - ratio, y - size, 2 * ratio, 1.25 * size);
    context.fillRect(x - ratio, y + size * 0.6, 2 * ratio, 2 * ratio);
  } else if (kind === "break") {
    context.moveTo(x - size, y + size);
    context.lineTo(x, y - size);
    context.moveTo(x, y + size);
    context.lineTo(x + size, y - size);
    context.stroke();
  } else {
    context.moveTo(x - size, y - size);
    context.lineTo(x + size, y - size);
    context.lineTo(x, y + size);
    context.fill();
  }
}
