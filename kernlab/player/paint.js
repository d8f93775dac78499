// Lanes onto canvases. Each pixel column is one answer: found by bisection where the view begins, and from there on by
// one pass over what is in view, so that a million intervals cost as much as they take to look at once.

/** What is in view: ticks [from, to) over device pixels [left, right). */
class View {
  constructor(from, to, left, right, ratio) {
    Object.assign(this, { from, to, left, right, ratio });
    this.columns = Math.max(1, Math.round(right - left));
    this.perColumn = (to - from) / this.columns;
  }
  x(t) { return this.left + (t - this.from) / this.perColumn; }
  /** The tick at which a column begins. */
  edge(column) { return this.from + column * this.perColumn; }
  column(t) { return Math.min(this.columns - 1, Math.max(0, Math.floor((t - this.from) / this.perColumn))); }
}

/** The row in force in each column: of several the `better` one, BREAK where one is a break, NONE before the first. */
const NONE = -1;
const BREAK = -2;
function rowsByColumn(view, time, from, to, better, isBreak = () => false) {
  const rows = new Int32Array(view.columns).fill(NONE);
  let i = firstAfter(time, from, to, view.from) - 1;
  for (let column = 0; column < view.columns; column++) {
    const edge = view.edge(column + 1);
    let best = i >= from ? (isBreak(i) ? BREAK : i) : NONE;
    while (i + 1 < to && time[i + 1] < edge) {
      i++;
      if (isBreak(i)) best = BREAK;
      else if (best === NONE || (best !== BREAK && better(i, best))) best = i;
    }
    rows[column] = best;
  }
  // Nothing is known of what comes after the crash, and nothing was lost before the first reading.
  return rows;
}

/** Calls `draw(value, x, width)` for each run of equal values of columns. */
function runs(view, values, draw) {
  for (let column = 0; column < view.columns; ) {
    const value = values[column];
    let next = column + 1;
    while (next < view.columns && values[next] === value) next++;
    draw(value, view.left + column, next - column);
    column = next;
  }
}

function hatch(context, colours, x, y, width, height, ratio) {
  const least = 3 * ratio;
  const [at, wide] = width < least ? [x - (least - width) / 2, least] : [x, width];
  context.fillStyle = colours.ground;
  context.fillRect(at, y, wide, height);
  context.fillStyle = pattern(context, colours, ratio);
  context.fillRect(at, y, wide, height);
}

const patterns = new Map();
function pattern(context, colours, ratio) {
  const key = `${colours.hatch} ${ratio}`;
  if (!patterns.has(key)) {
    const size = Math.round(6 * ratio);
    const tile = new OffscreenCanvas(size, size);
    const pen = tile.getContext("2d");
    pen.strokeStyle = colours.hatch;
    pen.lineWidth = ratio;
    pen.beginPath();
    for (const shift of [-size, 0, size]) {
      pen.moveTo(shift, size);
      pen.lineTo(shift + size, 0);
    }
    pen.stroke();
    patterns.set(key, context.createPattern(tile, "repeat"));
  }
  return patterns.get(key);
}

// ---- memory ------------------------------------------------------------------------------------------------------------

function paintMemory(context, view, box, recording, colours) {
  const { columns, meta } = recording;
  const time = columns["memory.time"];
  const free = columns["memory.free"];
  const broken = columns["memory.break"];
  // Of several readings in a column the one with the least free memory.
  const rows = rowsByColumn(view, time, 0, time.length, (i, best) => free[i] < free[best] || Number.isNaN(free[best]), (i) => broken[i] === 1);
  const scale = box.height / (meta.memory.total || 1);
  runs(view, rows, (row, x, width) => {
    if (row === BREAK) return hatch(context, colours, x, box.top, width, box.height, view.ratio);
    if (row === NONE) return undefined;
    let bottom = box.top + box.height;
    for (const kind of meta.memory.kinds) {
      const height = columns[`memory.${kind}`][row] * scale;
      // Missing is not zero: a kind that nobody tells leaves the ground.
      if (!(height > 0)) continue;
      const top = Math.max(box.top, bottom - height);
      context.fillStyle = colours.kinds[kind];
      context.fillRect(x, top, width, bottom - top);
      bottom = top;
    }
    return undefined;
  });
}

/** The processes that a lane shows apart: the largest in what is in view, and one number for the others. */
function paintProcesses(context, view, box, recording, colours) {
  const { columns, meta } = recording;
  const { "processes.time": time, "processes.rss": rss } = columns;
  const order = [...meta.processes].sort((one, other) => other.peak - one.peak);
  const bottoms = new Float32Array(view.columns);
  const broken = new Uint8Array(view.columns);
  const scale = box.height / box.most;
  const isBreak = (i) => Number.isNaN(rss[i]);
  for (const process of order) {
    const colour = meta.tasks[process.who].colour;
    context.fillStyle = colours.tasks[colour];
    const rows = rowsByColumn(view, time, process.from, process.to, (i, best) => rss[i] > rss[best], isBreak);
    let start = -1;
    let height = 0;
    let bottom = 0;
    const flush = (column) => {
      if (start >= 0 && height > 0.05) context.fillRect(view.left + start, box.top + box.height - bottom - height, column - start, height);
      start = -1;
    };
    for (let column = 0; column < view.columns; column++) {
      const row = rows[column];
      if (row === BREAK) broken[column] = 1;
      const now = row >= 0 ? rss[row] * scale : 0;
      if (start < 0 || now !== height || bottoms[column] !== bottom) {
        flush(column);
        start = column;
        height = now;
        bottom = bottoms[column];
      }
      bottoms[column] += now;
    }
    flush(view.columns);
  }
  runs(view, broken, (is, x, width) => is && hatch(context, colours, x, box.top, width, box.height, view.ratio));
}

// ---- CPUs --------------------------------------------------------------------------------------------------------------

/** One CPU: in each column the colour that ran longest there, as high as the CPU was busy; hatched where nothing is known. */
function paintCpu(context, view, box, recording, cpu, colours) {
  const { "running.start": start, "running.end": end, "running.task": task } = recording.columns;
  const { idle_told: idleTold } = recording.meta;
  const { colourOf } = recording;
  const { from: begin, to: finish, perColumn } = view;
  const last = view.columns - 1;
  const spent = new Float64Array(IDLE_COLOUR + 1);
  const winner = new Int8Array(view.columns).fill(-1);
  const busy = new Float32Array(view.columns);
  const known = new Float32Array(view.columns);
  let column = 0;
  const settle = () => {
    let best = -1;
    let sum = 0;
    for (let colour = 0; colour < IDLE_COLOUR; colour++) {
      sum += spent[colour];
      if (spent[colour] > 0 && (best < 0 || spent[colour] > spent[best])) best = colour;
    }
    winner[column] = best;
    busy[column] = sum;
    known[column] = sum + spent[IDLE_COLOUR];
    spent.fill(0);
  };
  const first = firstAfter(end, cpu.from, cpu.to, view.from);
  for (let i = first; i < cpu.to && start[i] < view.to; i++) {
    const kind = colourOf[task[i]];
    let from = start[i] > begin ? start[i] : begin;
    const to = end[i] < finish ? end[i] : finish;
    while (from < to) {
      let at = Math.min(last, Math.floor((from - begin) / perColumn));
      // Rounding may put an edge before what begins there.
      if (at < last && begin + (at + 1) * perColumn <= from) at++;
      if (at > column) {
        settle();
        column = at;
      }
      const edge = at < last ? begin + (at + 1) * perColumn : to;
      const until = edge < to ? edge : to;
      spent[kind] += until - from;
      from = until;
    }
  }
  settle();
  let run = null;
  const flush = (at) => {
    if (!run) return;
    const width = at - run.column;
    const x = view.left + run.column;
    if (run.unknown) hatch(context, colours, x, box.top, width, box.height, view.ratio);
    else {
      context.fillStyle = colours.tasks[run.colour];
      context.fillRect(x, box.top + box.height - run.height, width, run.height);
    }
  };
  const size = view.perColumn;
  for (let at = 0; at < view.columns; at++) {
    const unknown = known[at] < size * 0.02 && (idleTold ? true : recording.isHole(cpu, firstAfter(start, cpu.from, cpu.to, view.edge(at)) - 1));
    const share = busy[at] / Math.max(known[at], idleTold ? 1e-9 : size);
    const height = winner[at] < 0 ? 0 : Math.max(view.ratio, Math.round(box.height * Math.min(1, share)));
    if (run && run.unknown === unknown && run.colour === winner[at] && run.height === height) continue;
    flush(at);
    run = unknown || height ? { column: at, unknown, colour: winner[at], height } : null;
  }
  flush(view.columns);
}

/** The names of what ran for long enough to be read, in as many as are few. */
function nameIntervals(context, view, box, recording, cpu, colours) {
  const { "running.start": start, "running.end": end, "running.task": task } = recording.columns;
  const first = firstAfter(end, cpu.from, cpu.to, view.from);
  const last = firstNotBefore(start, first, cpu.to, view.to);
  if (last - first > 300 || box.height < 11 * view.ratio) return;
  context.font = `${10 * view.ratio}px ${colours.font}`;
  context.textBaseline = "middle";
  for (let i = first; i < last; i++) {
    const { idle, name, colour } = recording.meta.tasks[task[i]];
    const from = Math.max(view.left, view.x(start[i]));
    const room = Math.min(view.right, view.x(end[i])) - from - 8 * view.ratio;
    if (idle || room < 18 * view.ratio) continue;
    context.save();
    context.beginPath();
    context.rect(from, box.top, room + 6 * view.ratio, box.height);
    context.clip();
    context.fillStyle = colours.onTask[colour];
    context.fillText(name, from + 4 * view.ratio, box.top + box.height / 2 + view.ratio * 0.5);
    context.restore();
  }
}

// ---- disks -------------------------------------------------------------------------------------------------------------

const FLUSH = 4;

/** Requests as bars where on the disk they were, from issue to answer: painted pixel by pixel, as there may be a million. */
function paintOffsets(context, view, box, recording, disk, colours) {
  const { "requests.start": start, "requests.end": end, "requests.offset": offset, "requests.kind": kind } = recording.columns;
  const [width, height] = [view.columns, Math.floor(box.height)];
  const image = context.getImageData(view.left, box.top, width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const fills = colours.requests.map(packed);
  const thick = Math.max(1, Math.round(2 * view.ratio));
  const scale = (height - thick - 1) / Math.max(disk.high - disk.low, 1);
  const { from: begin, perColumn } = view;
  const first = disk.from + firstAfter(disk.until, 0, disk.to - disk.from, view.from);
  for (let i = first; i < disk.to && start[i] < view.to; i++) {
    if (end[i] === NEVER || end[i] <= view.from) continue;
    const isFlush = kind[i] & FLUSH;
    const from = start[i] <= begin ? 0 : Math.floor((start[i] - begin) / perColumn);
    const to = Math.max(from + 1, Math.min(width, Math.floor((end[i] - begin) / perColumn) + 1));
    const top = isFlush || Number.isNaN(offset[i]) ? height - thick : height - thick - 1 - Math.round((offset[i] - disk.low) * scale);
    const fill = fills[isFlush ? 3 : kind[i] & 3];
    // Most are a pixel or two wide, for which calling fill takes longer than filling.
    for (let y = Math.max(0, top), low = Math.min(height, top + thick); y < low; y++) for (let x = y * width + from, right = y * width + to; x < right; x++) pixels[x] = fill;
  }
  context.putImageData(image, view.left, box.top);
  // What never came back lies above all, to the crash.
  for (const i of disk.unanswered) {
    if (start[i] >= view.to) continue;
    const y = box.top + (Number.isNaN(offset[i]) || kind[i] & FLUSH ? height - thick : height - thick - 1 - (offset[i] - disk.low) * scale) + thick / 2;
    const x = Math.max(view.left, view.x(start[i]));
    context.strokeStyle = context.fillStyle = colours.lost;
    context.lineWidth = 2 * view.ratio;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(view.right, y);
    context.stroke();
    if (start[i] < view.from) continue;
    context.beginPath();
    context.arc(x, y, 3.5 * view.ratio, 0, 7);
    context.fillStyle = colours.ground;
    context.fill();
    context.stroke();
  }
}

function packed(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/** How many were out: the most of each column. */
function paintDepth(context, view, box, recording, disk, colours) {
  const start = recording.columns["requests.start"];
  let begun = firstAfter(start, disk.from, disk.to, view.from) - disk.from;
  let gone = firstAfter(disk.ends, 0, disk.ends.length, view.from);
  const most = new Int32Array(view.columns);
  for (let column = 0; column < view.columns; column++) {
    const edge = view.edge(column + 1);
    let highest = begun - gone;
    while (disk.from + begun < disk.to && start[disk.from + begun] < edge) {
      const at = start[disk.from + begun];
      while (gone < disk.ends.length && disk.ends[gone] <= at) gone++;
      begun++;
      highest = Math.max(highest, begun - gone);
    }
    while (gone < disk.ends.length && disk.ends[gone] < edge) gone++;
    most[column] = highest;
  }
  context.fillStyle = colours.depth;
  const scale = box.height / Math.max(disk.most, 1);
  runs(view, most, (count, x, width) => count > 0 && context.fillRect(x, box.top + box.height - count * scale, width, count * scale));
}

// ---- lines and the log -------------------------------------------------------------------------------------------------

/** A line of shares: `some` as an area, `full` darker on it. */
function paintPressure(context, view, box, recording, lines, colours) {
  const { "pressure.time": time, "pressure.share": share } = recording.columns;
  for (const line of lines) {
    const rows = new Int32Array(view.columns);
    for (let column = 0, i = firstNotBefore(time, line.from, line.to, view.from); column < view.columns; column++) {
      while (i < line.to && time[i] < view.edge(column + 0.5)) i++;
      // A row tells of the time since the one before; the first, of no time that is known.
      rows[column] = i < line.to && i > line.from ? i : NONE;
    }
    context.fillStyle = colours.pressure[line.kind];
    runs(view, rows, (row, x, width) => {
      if (row === NONE || !(share[row] > 0)) return;
      const height = Math.max(view.ratio, share[row] * box.height);
      context.fillRect(x, box.top + box.height - height, width, height);
    });
  }
}

function paintRunnable(context, view, box, recording, colours) {
  const { "runnable.time": time, "runnable.count": count } = recording.columns;
  const whole = recording.meta.runnable.filter((line) => line.cpu === null);
  const sums = new Float32Array(view.columns);
  for (const line of whole.length ? whole : recording.meta.runnable) {
    const rows = rowsByColumn(view, time, line.from, line.to, (i, best) => count[i] > count[best]);
    for (let column = 0; column < view.columns; column++) if (rows[column] >= 0 && count[rows[column]] > 0) sums[column] += count[rows[column]];
  }
  context.fillStyle = colours.runnable;
  runs(view, sums, (value, x, width) => value > 0 && context.fillRect(x, box.top + box.height - (value / box.most) * box.height, width, (value / box.most) * box.height));
}

/** A tick for each column in which something was said: the worst of it. */
function paintLog(context, view, box, recording, colours) {
  const { "log.time": time, "log.level": level } = recording.columns;
  const worst = new Int8Array(view.columns).fill(9);
  for (let i = firstNotBefore(time, 0, time.length, view.from); i < time.length && time[i] <= view.to; i++) {
    const column = view.column(time[i]);
    worst[column] = Math.min(worst[column], level[i]);
  }
  for (const [least, most, colour, share] of [[5, 8, colours.said, 0.4], [4, 4, colours.warned, 0.7], [0, 3, colours.lost, 1]]) {
    context.fillStyle = colour;
    for (let column = 0; column < view.columns; column++)
      if (worst[column] >= least && worst[column] <= most) context.fillRect(Math.round(view.left + column - view.ratio), box.top + box.height * (1 - share), Math.round(2 * view.ratio), box.height * share);
  }
}
