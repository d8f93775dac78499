// What was recorded, as columns, and what was true at an instant. Times are ticks since the recording's first instant:
// `meta.tick_ns` nanoseconds each, small enough for 32 bits. Everything is found by bisection: no instant is far.

/** The first place in [from, to) whose value is not less than `value`. */
function firstNotBefore(column, from, to, value) {
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (column[middle] < value) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** The first place in [from, to) whose value is greater than `value`. */
function firstAfter(column, from, to, value) {
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (column[middle] <= value) from = middle + 1;
    else to = middle;
  }
  return from;
}

const NEVER = 0xffffffff;
const IDLE = -1;
const UNKNOWN = -2;
/** After the colours of tasks. */
const IDLE_COLOUR = 9;
const KINDS_OF_ARRAY = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array, float64: Float64Array };

class Recording {
  constructor(meta, bytes) {
    this.meta = meta;
    this.end = meta.end;
    // A DataView's bytes need not begin where an array of larger numbers may.
    const buffer = bytes.byteOffset % 8 ? bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) : bytes.buffer;
    const base = bytes.byteOffset % 8 ? 0 : bytes.byteOffset;
    this.columns = Object.fromEntries(Object.entries(meta.columns).map(([name, [type, offset, length]]) => [name, new KINDS_OF_ARRAY[type](buffer, base + offset, length)]));
    // By task, IDLE_COLOUR of idle ones: a million look-ups of an object's members take their time.
    this.colourOf = Uint8Array.from(meta.tasks, (task) => (task.idle ? IDLE_COLOUR : task.colour));
    this.disks = meta.disks.map((disk) => this.disk(disk));
    this.mostDepth = Math.max(1, ...this.disks.map((disk) => disk.most));
  }

  ns(ticks) { return ticks * this.meta.tick_ns; }
  ticks(ns) { return ns / this.meta.tick_ns; }
  /** Nanoseconds before the crash. */
  before(ticks) { return this.meta.crash_ns - this.meta.origin_ns - this.ns(ticks); }
  /** Seconds since boot. */
  since(ticks) { return (this.meta.origin_ns + this.ns(ticks)) / 1e9; }

  // Requests lie in the order of their beginning. What was out at an instant began before and ended after: `until` has
  // for each the latest end of all up to it, so that bisection finds the first that can be out.
  disk({ from, to, ...disk }) {
    const { "requests.start": start, "requests.end": end } = this.columns;
    const until = new Uint32Array(to - from);
    const ends = new Uint32Array(to - from);
    const unanswered = [];
    let latest = 0;
    let answered = 0;
    for (let i = from; i < to; i++) {
      if (end[i] === NEVER) unanswered.push(i);
      else {
        ends[answered++] = end[i];
        if (end[i] > latest) latest = end[i];
      }
      until[i - from] = latest;
    }
    const sorted = ends.subarray(0, answered).sort();
    let most = 0;
    for (let i = from, gone = 0; i < to; i++) {
      while (gone < answered && sorted[gone] <= start[i]) gone++;
      most = Math.max(most, i - from + 1 - gone);
    }
    return { ...disk, from, to, until, ends: sorted, unanswered, most };
  }

  /** Which task a CPU ran: its place in `meta.tasks`, IDLE or UNKNOWN; and since when. */
  running(cpu, t) {
    const { "running.start": start, "running.end": end, "running.task": task } = this.columns;
    const i = firstAfter(start, cpu.from, cpu.to, t) - 1;
    const isLast = i === cpu.to - 1 && end[i] >= this.end && t >= this.end;
    if (i >= cpu.from && (t < end[i] || isLast)) return { task: this.meta.tasks[task[i]].idle ? IDLE : task[i], since: start[i], until: end[i] };
    return { task: this.isHole(cpu, i) ? UNKNOWN : IDLE, since: null, until: null };
  }

  /** Between two intervals: a hole, or idle where idle threads are not told apart and nothing was lost. */
  isHole(cpu, i) {
    if (this.meta.idle_told) return true;
    const { "running.start": start, "running.end": end } = this.columns;
    if (i < cpu.from) return true;
    const next = i + 1 < cpu.to ? start[i + 1] : this.end;
    return this.meta.breaks.some((each) => (each.cpu === null || each.cpu === cpu.cpu) && each.until >= end[i] && each.time <= next);
  }

  /** The row of `memory` in force; -1 where there is none or a break. */
  memoryRow(t) {
    const time = this.columns["memory.time"];
    if (!time) return -1;
    const i = firstAfter(time, 0, time.length, t) - 1;
    return i >= 0 && !this.columns["memory.break"][i] ? i : -1;
  }

  /** The largest processes: [{process, bytes, row}], largest first. */
  processes(t, most) {
    const { "processes.time": time, "processes.rss": rss } = this.columns;
    const found = [];
    for (const process of this.meta.processes) {
      const i = firstAfter(time, process.from, process.to, t) - 1;
      if (i >= process.from && rss[i] > 0) found.push({ process, bytes: rss[i], row: i });
    }
    found.sort((one, other) => other.bytes - one.bytes);
    return { count: found.length, largest: found.slice(0, most) };
  }

  /** How many requests of a disk were out. */
  depth(disk, t) {
    const begun = firstAfter(this.columns["requests.start"], disk.from, disk.to, t) - disk.from;
    return begun - firstAfter(disk.ends, 0, disk.ends.length, t);
  }

  /** The requests that were out, the oldest first: places in the columns. */
  requests(disk, t, most = Infinity) {
    const { "requests.start": start, "requests.end": end } = this.columns;
    const last = firstAfter(start, disk.from, disk.to, t);
    const first = disk.from + firstAfter(disk.until, 0, last - disk.from, t);
    const found = [];
    for (const i of disk.unanswered) if (i < first) found.push(i);
    for (let i = first; i < last && found.length < most; i++) if (end[i] > t) found.push(i);
    return found.filter((i) => start[i] <= t).slice(0, most);
  }

  /** The place in the log after what had been said by then. */
  said(t) {
    const time = this.columns["log.time"];
    return time ? firstAfter(time, 0, time.length, t) : 0;
  }

  /** The share of a line of pressure: each of its rows is about the time since the row before. */
  pressure(line, t) {
    const { "pressure.time": time, "pressure.share": share } = this.columns;
    const i = firstNotBefore(time, line.from, line.to, t);
    return i < line.to && (i > line.from || time[i] <= t) ? share[i] : NaN;
  }

  /** The value of a line of runnable tasks. */
  runnable(line, t) {
    const { "runnable.time": time, "runnable.count": count } = this.columns;
    const i = firstAfter(time, line.from, line.to, t) - 1;
    return i < line.from ? NaN : count[i];
  }

  allRunnable(t) {
    const whole = this.meta.runnable.filter((line) => line.cpu === null);
    return (whole.length ? whole : this.meta.runnable).reduce((sum, line) => sum + this.runnable(line, t), 0);
  }
}
