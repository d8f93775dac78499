// What each lane is: its title, how high it is, how it is painted, what its key says at the cursor, what lies at a point.

const KIND_NAMES = { free: "free", anon: "processes", file: "page cache", shmem: "shared", slab: "slab", other: "other kernel", page_tables: "page tables", kernel_stacks: "kernel stacks" };
const SHORT_NAMES = { ...KIND_NAMES, anon: "anon", file: "cache", other: "other", page_tables: "tables", kernel_stacks: "stacks" };
const OPS = ["read", "write", "other"];

function lanesOf(recording, colours) {
  const { meta, columns } = recording;
  const lanes = [];
  // Readings of a single instant are no line: the panel has them.
  const goesOn = (lines, time) => lines.some((line) => line.to > line.from && time[line.to - 1] > time[line.from]);
  const readings = columns["memory.break"]?.reduce((sum, isBreak) => sum + 1 - isBreak, 0) ?? 0;
  if (readings > 1) lanes.push(memoryLane(recording, colours));
  if (goesOn(meta.processes, columns["processes.time"])) lanes.push(processLane(recording, colours));
  if (meta.cpus.length) lanes.push(cpuLane(recording, colours));
  if (goesOn(meta.runnable, columns["runnable.time"])) lanes.push(queueLane(recording, colours));
  for (const disk of recording.disks) lanes.push(diskLane(recording, disk, colours));
  if (goesOn(meta.pressure, columns["pressure.time"])) lanes.push(pressureLane(recording, colours));
  if (columns["log.time"]) lanes.push(logLane(recording, colours));
  return lanes;
}

function label(context, view, text, y, colours, align = "right") {
  context.font = `${10 * view.ratio}px ${colours.font}`;
  context.fillStyle = colours.soft;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.fillText(text, align === "right" ? view.left - 5 * view.ratio : view.left + 3 * view.ratio, y);
  context.textAlign = "left";
}

/** A scale at the left: its ends, and lines that carry the eye. */
function scale(context, view, box, top, colours, parts = 2) {
  context.fillStyle = colours.line;
  for (let part = 0; part <= parts; part++) context.fillRect(view.left, Math.round(box.top + (box.height * part) / parts), view.columns, Math.max(1, Math.round(view.ratio / 2)));
  label(context, view, top, box.top + 5 * view.ratio, colours);
}

function memoryLane(recording, colours) {
  const { meta, columns } = recording;
  // What tells most comes first: where there is no room the others have no key.
  const kinds = ["anon", "file", "free", "shmem", "slab", "other", "page_tables", "kernel_stacks"].filter((kind) => meta.memory.kinds.includes(kind));
  return {
    id: "memory", title: "Memory by kind", height: 94, pads: 2, doubted: true,
    paint(context, view, box) {
      scale(context, view, box, bytesText(meta.memory.total), colours());
      paintMemory(context, view, box, recording, colours());
    },
    keys: () => kinds.map((kind) => ({ colour: colours().kinds[kind], name: KIND_NAMES[kind] })),
    values(t) {
      const row = recording.memoryRow(t);
      return kinds.map((kind) => (row < 0 ? "?" : told(columns[`memory.${kind}`][row])));
    },
    at: () => null,
  };
}

function told(bytes) {
  return Number.isNaN(bytes) ? "?" : bytesText(bytes);
}

function processLane(recording, colours) {
  const { meta, columns } = recording;
  const most = [...meta.processes].sort((one, other) => other.peak - one.peak).slice(0, 6);
  // The highest that they are together, of what is seen now and then: what is stacked must not leave its lane.
  let height = 1;
  for (let step = 0; step <= 400; step++) {
    let sum = 0;
    for (const process of meta.processes) {
      const i = firstAfter(columns["processes.time"], process.from, process.to, (meta.end * step) / 400) - 1;
      if (i >= process.from && columns["processes.rss"][i] > 0) sum += columns["processes.rss"][i];
    }
    height = Math.max(height, sum);
  }
  height *= 1.06;
  return {
    id: "processes", title: "Memory by process", height: 70, pads: 2, doubted: true,
    paint(context, view, box) {
      scale(context, view, box, bytesText(height), colours());
      context.save();
      context.beginPath();
      context.rect(view.left, box.top, view.columns, box.height);
      context.clip();
      paintProcesses(context, view, { ...box, most: height }, recording, colours());
      context.restore();
    },
    keys: () => most.map((process) => ({ colour: colours().tasks[meta.tasks[process.who].colour], name: meta.tasks[process.who].name })),
    values: (t) => most.map((process) => {
      const i = firstAfter(columns["processes.time"], process.from, process.to, t) - 1;
      if (i < process.from) return "–";
      return columns["processes.rss"][i] > 0 ? bytesText(columns["processes.rss"][i]) : Number.isNaN(columns["processes.rss"][i]) ? "?" : "–";
    }),
    at(t, share) {
      const { largest } = recording.processes(t, 1000);
      const order = new Map(meta.processes.map((process) => [process, process.peak]));
      let sum = 0;
      for (const each of largest.sort((one, other) => order.get(other.process) - order.get(one.process))) {
        sum += each.bytes / height;
        if (1 - share <= sum) return { task: each.process.who, text: `${who(meta, each.process.who)}: ${bytesText(each.bytes)}` };
      }
      return null;
    },
  };
}

function who(meta, number) {
  const { name, pid, idle } = meta.tasks[number];
  return idle ? "idle" : `${name} (${pid ?? "?"})`;
}

function cpuLane(recording, colours) {
  const { meta } = recording;
  const count = meta.cpus.length;
  const row = Math.max(2, Math.min(18, Math.floor(260 / count)));
  const names = new Map();
  for (const task of meta.tasks) if (!task.idle && task.colour < 8 && !names.has(task.colour)) names.set(task.colour, task.name);
  const shared = meta.tasks.some((task) => !task.idle && task.colour === 8);
  const keyed = [...names].sort(([one], [other]) => one - other).slice(0, 8);
  const place = (box, number) => {
    const step = box.height / count;
    const gap = step > 6 * (box.ratio ?? 1) ? Math.round(2 * (box.ratio ?? 1)) : 0;
    const top = Math.round(box.top + number * step);
    return { top, height: Math.max(1, Math.round(box.top + (number + 1) * step) - top - gap) };
  };
  return {
    id: "cpus", title: count === 1 ? "CPU" : `${count} CPUs`, height: row * count, pads: 1,
    paint(context, view, box) {
      for (const [number, cpu] of meta.cpus.entries()) {
        const inner = place({ ...box, ratio: view.ratio }, number);
        context.fillStyle = colours().track;
        context.fillRect(view.left, inner.top, view.columns, inner.height);
        paintCpu(context, view, inner, recording, cpu, colours());
        nameIntervals(context, view, inner, recording, cpu, colours());
        if (row >= 10 || number % Math.ceil(12 / row) === 0) label(context, view, `CPU ${cpu.cpu}`, inner.top + inner.height / 2, colours());
      }
    },
    keys: () => [...keyed.map(([colour, name]) => ({ colour: colours().tasks[colour], name: name.replace(/[/:].*$|[-_]?\d+$/, "") || name })), ...(shared ? [{ colour: colours().tasks[8], name: "others" }] : [])],
    values: () => null,
    at(t, share) {
      const cpu = meta.cpus[Math.max(0, Math.min(count - 1, Math.floor(share * count)))];
      const { task, since, until } = recording.running(cpu, t);
      if (task === UNKNOWN) return { text: `CPU ${cpu.cpu}: not known, events are missing here` };
      if (task === IDLE) return { text: `CPU ${cpu.cpu}: idle` };
      return { task, text: `CPU ${cpu.cpu}: ${who(meta, task)} for ${spanText(recording.ns(until - since))}` };
    },
  };
}

function queueLane(recording, colours) {
  const { meta, columns } = recording;
  const whole = meta.runnable.filter((line) => line.cpu === null);
  let most = 1;
  if (whole.length) for (const line of whole) for (let i = line.from; i < line.to; i++) most = Math.max(most, columns["runnable.count"][i] || 0);
  else for (let step = 0; step <= 800; step++) most = Math.max(most, recording.allRunnable((meta.end * step) / 800) || 0);
  return {
    id: "runnable", title: "Run queue", height: 28, pads: 2,
    paint(context, view, box) {
      scale(context, view, box, grouped(most), colours(), 1);
      context.save();
      context.beginPath();
      context.rect(view.left, box.top, view.columns, box.height);
      context.clip();
      paintRunnable(context, view, { ...box, most: most * 1.1 }, recording, colours());
      context.restore();
    },
    keys: () => [{ colour: colours().runnable, name: "ready to run, or running" }],
    values(t) {
      const count = recording.allRunnable(t);
      return [Number.isNaN(count) ? "?" : grouped(Math.round(count))];
    },
    at: () => null,
  };
}

function diskLane(recording, disk, colours) {
  const { columns, meta } = recording;
  const deep = 22;
  const parts = (box, ratio) => {
    const low = Math.round(deep * ratio);
    return [{ top: box.top, height: box.height - low - Math.round(4 * ratio) }, { top: box.top + box.height - low, height: low }];
  };
  const describe = (i) => {
    const kind = columns["requests.kind"][i];
    const [start, end] = [columns["requests.start"][i], columns["requests.end"][i]];
    const size = columns["requests.bytes"][i];
    const offset = columns["requests.offset"][i];
    const what = [kind & FLUSH ? "flush" : OPS[kind & 3], size > 0 ? bytesText(size) : "", offset > 0 ? `at ${bytesText(offset)}` : ""].filter(Boolean).join(" ");
    const took = end === NEVER ? `not answered in ${spanText(recording.before(start))}` : `answered after ${spanText(recording.ns(end - start))}`;
    return `${disk.name}: ${what}, ${who(meta, columns["requests.who"][i])}, ${took}`;
  };
  return {
    id: `disk:${disk.name}`, title: `Disk ${disk.name}`, height: 78, pads: 2, describe,
    paint(context, view, box) {
      const [above, below] = parts(box, view.ratio);
      const pen = colours();
      context.fillStyle = pen.track;
      for (const part of [above, below]) context.fillRect(view.left, part.top, view.columns, part.height);
      label(context, view, "offset", above.top + above.height / 2, pen);
      label(context, view, grouped(disk.most), below.top + 5 * view.ratio, pen);
      label(context, view, "out", below.top + below.height - 6 * view.ratio, pen);
      paintOffsets(context, view, above, recording, disk, pen);
      paintDepth(context, view, below, recording, disk, pen);
    },
    keys: () => [...["reads", "writes"].map((name, i) => ({ colour: colours().requests[i], name })), { colour: colours().requests[3], name: "flushes" }, { colour: colours().depth, name: "out" },
      ...(disk.unanswered.length ? [{ colour: colours().lost, name: "never answered", ring: true }] : [])],
    values(t) {
      const lost = disk.unanswered.reduce((sum, i) => sum + (columns["requests.start"][i] <= t), 0);
      return ["", "", "", grouped(recording.depth(disk, t)), grouped(lost)];
    },
    at(t, share, reach) {
      if (share > 0.68) return { text: `${disk.name}: ${grouped(recording.depth(disk, t))} requests out` };
      const { "requests.start": start, "requests.end": end, "requests.offset": offset } = columns;
      const level = (i) => (Number.isNaN(offset[i]) || columns["requests.kind"][i] & FLUSH ? 1 : 1 - (offset[i] - disk.low) / Math.max(disk.high - disk.low, 1)) * 0.65;
      let best = null;
      const look = (i) => {
        const apart = Math.abs(level(i) - share);
        if (apart < 0.09 && (best === null || apart < best.apart)) best = { apart, i };
      };
      for (const i of disk.unanswered) if (start[i] <= t + reach) look(i);
      const first = disk.from + firstAfter(disk.until, 0, disk.to - disk.from, Math.max(0, t - reach));
      for (let i = first; i < disk.to && start[i] <= t + reach && i < first + 20000; i++) if (end[i] !== NEVER && end[i] >= t - reach) look(i);
      return best && { task: columns["requests.who"][best.i], text: describe(best.i) };
    },
  };
}

function pressureLane(recording, colours) {
  const { meta } = recording;
  const resources = [...new Set(meta.pressure.map((line) => line.resource))];
  return {
    id: "pressure", title: "Pressure", height: 19 * resources.length, pads: 2,
    paint(context, view, box) {
      for (const [number, resource] of resources.entries()) {
        const step = box.height / resources.length;
        const inner = { top: Math.round(box.top + number * step), height: Math.round(step - 3 * view.ratio) };
        context.fillStyle = colours().track;
        context.fillRect(view.left, inner.top, view.columns, inner.height);
        label(context, view, resource, inner.top + inner.height / 2, colours());
        const lines = meta.pressure.filter((line) => line.resource === resource);
        paintPressure(context, view, inner, recording, lines.sort((one) => (one.kind === "some" ? -1 : 1)), colours());
      }
    },
    keys: () => ["some", "full"].map((kind) => ({ colour: colours().pressure[kind], name: kind === "some" ? "some waited" : "all waited" })),
    values(t) {
      const most = (kind) => Math.max(...meta.pressure.filter((line) => line.kind === kind).map((line) => recording.pressure(line, t)).filter((share) => !Number.isNaN(share)), -1);
      return ["some", "full"].map(most).map((share) => (share < 0 ? "?" : `${Math.round(share * 100)} %`));
    },
    at(t, share) {
      const resource = resources[Math.min(resources.length - 1, Math.floor(share * resources.length))];
      const said = meta.pressure.filter((line) => line.resource === resource).map((line) => [line.kind, recording.pressure(line, t)]).filter(([, value]) => !Number.isNaN(value));
      return said.length ? { text: `${resource}: ${said.map(([kind, value]) => `${kind} ${Math.round(value * 100)} %`).join(", ")}` } : null;
    },
  };
}

function logLane(recording, colours) {
  const { columns, meta } = recording;
  return {
    id: "log", title: "Log", height: 20, pads: 2,
    paint: (context, view, box) => paintLog(context, view, box, recording, colours()),
    keys: () => [{ colour: colours().lost, name: "errors" }, { colour: colours().warned, name: "warnings" }, { colour: colours().said, name: "the rest" }],
    values: () => null,
    at(t, share, reach) {
      const time = columns["log.time"];
      const i = firstAfter(time, 0, time.length, t + reach) - 1;
      return i >= 0 && time[i] >= t - reach ? { text: meta.log[i], time: time[i] } : null;
    },
  };
}
