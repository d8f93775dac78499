// The widget: where the recording comes from, and what is shown while there is none.

const PATIENCE_MS = 1500;

/** Questions to the kernel: `ask({op, …}, slow)` resolves to [answer, buffers], or fails with what the kernel said; `slow`
 * is called where that takes its time. */
function kernel(model) {
  const waiting = new Map();
  const mine = Math.random().toString(36).slice(2);
  let count = 0;
  const heard = (message, buffers) => {
    const asked = waiting.get(message?.id);
    if (!asked) return;
    waiting.delete(message.id);
    if (message.error) asked.fail(new Error(message.error));
    else asked.done([message.answer, buffers ?? []]);
  };
  model.on("msg:custom", heard);
  const ask = (question, slow = () => {}) => new Promise((done, fail) => {
    const id = `${mine}-${++count}`;
    waiting.set(id, { done, fail });
    setTimeout(() => waiting.has(id) && slow(), PATIENCE_MS);
    try {
      model.send({ id, ...question });
    } catch (error) {
      waiting.delete(id);
      fail(new Error(`There is no kernel here: ${error.message}`));
    }
  });
  return { ask, end: () => model.off("msg:custom", heard) };
}

/** Without a kernel and without data of its own a saved notebook shows the figure that was drawn of it. */
function stillOf(model) {
  const still = model.get("still");
  const rows = still.marks ?? [];
  return make("div", { class: "klp-still" },
    still.png ? make("img", { src: `data:image/png;base64,${still.png}`, alt: still.alt ?? "" }) : null,
    rows.length ? make("table", {}, make("thead", {}, make("tr", {}, ...["before the crash", "what", ""].map((title) => make("th", { scope: "col" }, title)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))))) : null,
    make("p", {}, "This is the replay as a figure: run the cell again with a kernel to play it."));
}

let loaded = null;

export default {
  render({ model, el }) {
    const { ask, end } = kernel(model);
    const notice = make("div", { class: "klp-loading", role: "status" }, "Loading the recording …");
    const host = make("div", { class: "klp-host" }, notice);
    el.classList.add("klp-outer");
    el.append(host);
    let player = null;
    let gone = false;
    let saving = 0;

    const own = () => {
      const meta = model.get("meta");
      const data = model.get("data");
      return meta.columns && data?.byteLength !== undefined ? [meta, data] : null;
    };
    const asked = async () => {
      const [meta, [data]] = await ask({ op: "data" }, () => {
        if (!gone && !player) host.replaceChildren(make("div", { class: "klp-loading", role: "status" }, "Waiting for the kernel: it is busy, or gone."), stillOf(model));
      });
      return [meta, data];
    };
    const keep = (lanes) => {
      if (JSON.stringify(lanes) === JSON.stringify(model.get("lanes"))) return;
      model.set("lanes", lanes);
      model.save_changes();
    };
    const notify = (t, range) => {
      clearTimeout(saving);
      saving = setTimeout(() => {
        model.set("cursor", { ticks: t, range });
        model.save_changes();
      }, 150);
    };
    const seen = () => {
      const { ticks } = model.get("wanted");
      if (player && ticks !== undefined) player.seek(ticks);
    };
    const lanes = () => {
      const wanted = model.get("lanes");
      if (player && wanted.length && JSON.stringify([...player.timeline.shown]) !== JSON.stringify(wanted)) player.setLanes(wanted);
    };
    loaded ??= own() ? Promise.resolve(own()) : asked();
    loaded.then(([meta, data]) => {
      if (gone) return;
      const recording = new Recording(meta, data);
      player = new Player({ recording, palettes: model.get("palettes"), ask: async (question, slow) => (await ask(question, slow))[0], shown: model.get("lanes"), keep, notify });
      host.replaceChildren(player.root);
      player.turned();
      player.timeline.redraw();
      seen();
    }).catch((error) => {
      loaded = null;
      if (!gone) host.replaceChildren(make("div", { class: "klp-loading klp-problem", role: "alert" }, error.message), stillOf(model));
    });
    model.on("change:wanted", seen);
    model.on("change:lanes", lanes);
    return () => {
      gone = true;
      clearTimeout(saving);
      player?.stop();
      end();
      model.off("change:wanted", seen);
      model.off("change:lanes", lanes);
    };
  },
};
