// Everything of one instant, in words: who ran on each CPU, requests out, memory, the largest processes, what the log
// had said. Rows are made once and filled anew: while it plays this happens many times a second.

const MOST_ROWS = { cpus: 64, requests: 5, processes: 8, log: 7 };

class Panel {
  constructor(recording, colours, open) {
    this.recording = recording;
    this.colours = colours;
    this.open = open;
    const section = (title, ...content) => {
      const said = make("span", { class: "klp-said" });
      const element = make("section", {}, make("h4", {}, title, said), ...content);
      return { element, said };
    };
    const { meta } = recording;
    const list = (name) => make("ul", { class: `klp-rows klp-rows-${name}` });
    this.cpus = list("cpus");
    this.requests = list("requests");
    this.processes = list("processes");
    this.kinds = list("kinds");
    this.log = list("log");
    this.bar = make("div", { class: "klp-stackbar", "aria-hidden": "true" });
    this.sections = {
      cpus: meta.cpus.length ? section("On the CPUs", this.cpus) : null,
      requests: recording.disks.length ? section("Requests out", this.requests) : null,
      memory: meta.memory.kinds.length ? section("Memory", this.bar, this.kinds) : null,
      processes: meta.processes.length ? section("Largest processes", this.processes) : null,
      log: meta.log.length ? section("Log", this.log) : null,
    };
    this.element = make("aside", { class: "klp-panel", "aria-label": "At the cursor", tabindex: "0" }, ...Object.values(this.sections).filter(Boolean).map((each) => each.element));
  }

  /** Fill a list: `fill(row, value)` gets an element with the cells that `cells` made. */
  rows(list, values, cells, fill) {
    while (list.children.length < values.length) {
      const row = make("li", {}, ...cells());
      list.append(row);
    }
    for (const [i, row] of [...list.children].entries()) {
      row.hidden = i >= values.length;
      if (i < values.length) fill(row, values[i]);
    }
  }

  tell(t) {
    const { sections } = this;
    if (sections.cpus) this.tellCpus(t);
    if (sections.requests) this.tellRequests(t);
    if (sections.memory) this.tellMemory(t);
    if (sections.processes) this.tellProcesses(t);
    if (sections.log) this.tellLog(t);
  }

  /** A task as something to click on where the dump still has it. */
  task() {
    const made = make("button", { type: "button", class: "klp-task", onclick: (event) => this.open(Number(event.currentTarget.dataset.task)) });
    return made;
  }

  setTask(element, number, words = null) {
    const { meta } = this.recording;
    const task = number >= 0 ? meta.tasks[number] : null;
    const said = words ?? who(meta, number);
    put(element, said);
    element.dataset.task = number;
    element.disabled = !task?.opens;
    const title = task?.opens ? "Show its stack and its struct" : "";
    if (element.title !== title) element.title = title;
  }

  tellCpus(t) {
    const { recording } = this;
    const pen = this.colours();
    const shown = recording.meta.cpus.slice(0, MOST_ROWS.cpus);
    let busy = 0;
    for (const cpu of recording.meta.cpus) if (recording.running(cpu, t).task >= 0) busy++;
    put(this.sections.cpus.said, `${grouped(busy)} of ${grouped(recording.meta.cpus.length)} busy`);
    this.rows(this.cpus, shown, () => [make("i"), make("span", { class: "klp-label" }), this.task(), make("span", { class: "klp-number" })], (row, cpu) => {
      const now = recording.running(cpu, t);
      const [swatch, name, task, since] = row.children;
      put(name, String(cpu.cpu));
      if (now.task >= 0) this.setTask(task, now.task);
      else this.setTask(task, -1, now.task === IDLE ? "idle" : "not known");
      swatch.style.setProperty("--swatch", now.task >= 0 ? pen.tasks[recording.meta.tasks[now.task].colour] : "transparent");
      put(since, now.since === null ? "" : spanText(recording.ns(Math.max(0, t - now.since))));
    });
  }

  tellRequests(t) {
    const { recording } = this;
    const { "requests.start": start, "requests.end": end, "requests.kind": kind, "requests.bytes": bytes, "requests.who": asker } = recording.columns;
    const found = [];
    let count = 0;
    for (const disk of recording.disks) {
      count += recording.depth(disk, t);
      for (const i of recording.requests(disk, t, MOST_ROWS.requests)) found.push({ disk, i });
    }
    found.sort((one, other) => start[one.i] - start[other.i]);
    put(this.sections.requests.said, count ? grouped(count) : "none");
    this.rows(this.requests, found.slice(0, MOST_ROWS.requests), () => [make("span", { class: "klp-label" }), this.task(), make("span", { class: "klp-number" })], (row, { disk, i }) => {
      const [name, task, age] = row.children;
      const lost = end[i] === NEVER;
      put(name, `${disk.name} ${kind[i] & FLUSH ? "flush" : OPS[kind[i] & 3]}${bytes[i] > 0 ? ` ${bytesText(bytes[i])}` : ""}`);
      const asked = recording.meta.tasks[asker[i]];
      this.setTask(task, asker[i], asked.idle ? "idle" : asked.name);
      put(age, spanText(recording.ns(Math.max(0, t - start[i]))));
      row.classList.toggle("klp-lost", lost);
      const title = lost ? "never answered" : "";
      if (row.title !== title) row.title = title;
    });
  }

  tellMemory(t) {
    const { recording } = this;
    const { meta, columns } = recording;
    const pen = this.colours();
    const row = recording.memoryRow(t);
    const swap = row < 0 ? NaN : columns["memory.swap"][row];
    put(this.sections.memory.said, row < 0 ? "not known" : `${bytesText(meta.memory.total)}${swap > 0 ? `, ${bytesText(swap)} swapped out` : ""}`);
    const { kinds } = meta.memory;
    while (this.bar.children.length < kinds.length) this.bar.append(make("i"));
    const value = (kind) => (row < 0 ? NaN : columns[`memory.${kind}`][row]);
    for (const [i, part] of [...this.bar.children].entries()) {
      part.style.setProperty("--swatch", pen.kinds[kinds[i]]);
      part.style.flexGrow = value(kinds[i]) > 0 ? value(kinds[i]) / meta.memory.total : 0;
    }
    this.rows(this.kinds, kinds, () => [make("i"), make("span", { class: "klp-name" }), make("span", { class: "klp-number" })], (element, kind) => {
      const [swatch, name, number] = element.children;
      swatch.style.setProperty("--swatch", pen.kinds[kind]);
      put(name, SHORT_NAMES[kind]);
      put(number, told(value(kind)));
    });
  }

  tellProcesses(t) {
    const { recording } = this;
    const pen = this.colours();
    const { count, largest } = recording.processes(t, MOST_ROWS.processes);
    put(this.sections.processes.said, count > largest.length ? `${grouped(largest.length)} of ${grouped(count)}` : "");
    const most = largest[0]?.bytes || 1;
    this.rows(this.processes, largest, () => [make("i"), this.task(), make("span", { class: "klp-number" }), make("span", { class: "klp-meter", "aria-hidden": "true" }, make("b"))], (row, { process, bytes }) => {
      const [swatch, task, number, meter] = row.children;
      const colour = pen.tasks[recording.meta.tasks[process.who].colour];
      swatch.style.setProperty("--swatch", colour);
      meter.firstChild.style.setProperty("--swatch", colour);
      meter.firstChild.style.width = `${((100 * bytes) / most).toFixed(1)}%`;
      this.setTask(task, process.who);
      put(number, bytesText(bytes));
    });
  }

  tellLog(t) {
    const { recording } = this;
    const end = recording.said(t);
    const { "log.time": time, "log.level": level } = recording.columns;
    const lines = [];
    for (let i = Math.max(0, end - MOST_ROWS.log); i < end; i++) lines.push(i);
    this.rows(this.log, lines.reverse(), () => [make("span", { class: "klp-when" }), make("span", { class: "klp-line" })], (row, i) => {
      put(row.children[0], agoText(recording.before(time[i])));
      put(row.children[1], recording.meta.log[i]);
      row.className = level[i] <= 3 ? "klp-error" : level[i] === 4 ? "klp-warn" : "";
    });
  }
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
