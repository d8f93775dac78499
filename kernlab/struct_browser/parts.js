// Parts of the struct browser's view: requests, and what its lower pane shows. Follows elements.js, goes before widget.js.

const SLOW_MS = 900;

// ---- small helpers -------------------------------------------------------------------------------------------------

function later(milliseconds, work) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

/** Requests to the kernel: `ask({op, …})` resolves to the answer, and says when it has to wait. */
function connect(model, tell) {
  const waiting = new Map();
  const mine = Math.random().toString(36).slice(2);
  let count = 0;
  const heard = (message) => {
    const resolve = waiting.get(message?.answer_to);
    if (!resolve) return;
    waiting.delete(message.answer_to);
    resolve(message.answer);
  };
  model.on("msg:custom", heard);
  const ask = (request) =>
    new Promise((resolve) => {
      const id = `${mine}-${++count}`;
      const slow = setTimeout(
        () => tell("Waiting for the kernel: it is busy, or gone. What was opened before can still be read.", true),
        SLOW_MS,
      );
      waiting.set(id, (answer) => {
        clearTimeout(slow);
        tell("");
        resolve(answer);
      });
      try {
        model.send({ id, request });
      } catch {
        clearTimeout(slow);
        waiting.delete(id);
        resolve({ error: "There is no kernel here: only what was opened before can be read.", gone: true });
      }
    });
  return { ask, stop: () => model.off("msg:custom", heard) };
}

/** A text field with suggestions: `offer(text)` gives [[text, what it is], …], `done(text)` is called on Enter. */
function suggesting(attributes, offer, done) {
  const listId = `klb-${Math.random().toString(36).slice(2)}`;
  const input = make("input", {
    type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", autocapitalize: "off",
    "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": listId, ...attributes,
  });
  const list = make("ul", { role: "listbox", id: listId, class: "klb-suggestions", hidden: true });
  let chosen = -1;
  let asked = 0;
  const close = () => {
    list.hidden = true;
    chosen = -1;
    asked += 1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (index) => {
    const items = [...list.children];
    items.forEach((item, i) => item.setAttribute("aria-selected", String(i === index)));
    chosen = index;
    if (index >= 0) {
      items[index].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", items[index].id);
    } else input.removeAttribute("aria-activedescendant");
  };
  const accept = (text) => {
    input.value = text;
    input.setSelectionRange(text.length, text.length);
    close();
  };
  const refresh = later(120, async () => {
    const turn = ++asked;
    const items = await offer(input.value);
    if (turn !== asked || document.activeElement !== input) return;
    list.replaceChildren(
      ...items.map(([text, what], i) =>
        make(
          "li",
          {
            role: "option", id: `${listId}-${i}`, "aria-selected": "false",
            onmousedown: (event) => {
              event.preventDefault();
              accept(text);
              input.focus();
            },
          },
          make("span", {}, text), make("small", {}, what),
        ),
      ),
    );
    list.hidden = !items.length;
    input.setAttribute("aria-expanded", String(items.length > 0));
    choose(-1);
  });
  input.addEventListener("input", refresh);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const count = list.hidden ? 0 : list.children.length;
    if (event.key === "ArrowDown" && count) choose((chosen + 1) % count);
    else if (event.key === "ArrowUp" && count) choose((chosen + count - 1) % count);
    else if (event.key === "Escape" && count) close();
    else if ((event.key === "Tab" || event.key === "Enter") && count && chosen >= 0) {
      accept(list.children[chosen].firstChild.textContent);
      refresh();
    } else if (event.key === "Enter") {
      close();
      done(input.value);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return { input, box: make("div", { class: "klb-suggesting" }, input, list) };
}

// 16 × 16, drawn with one line; letters where letters say more.
const ICONS = {
  back: "M10 3 5 8l5 5", forward: "M6 3l5 5-5 5", up: "M8 11V3M4.5 6.5 8 3l3.5 3.5M3 13.5h10", go: "M13 3v5.5H3.5M7 5 3.5 8.5 7 12",
  layout: "M2.5 3h11M2.5 6.3h7M2.5 9.6h11M2.5 13h5", table: "M2.5 3h11v10h-11zM2.5 6.3h11M2.5 9.6h11M6.5 3v10",
  pin: "M6 2h4l-.5 4.5L12 9H4l2-2.5zM8 9v5", copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3", close: "M4 4l8 8M12 4l-8 8",
  earlier: "M8 13V3M4 7l4-4 4 4", later: "M8 3v10M4 9l4 4 4-4",
};

function icon(name) {
  if (!ICONS[name]) return make("span", { "aria-hidden": "true", class: "klb-icon" }, name);
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true", class: "klb-icon" })) svg.setAttribute(key, value);
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function button(picture, label, title, onclick) {
  return make(
    "button",
    { type: "button", title, "aria-label": label ? `${label}: ${title}` : title, class: "klb-button", onclick },
    icon(picture),
    label ? make("span", { class: "klb-label" }, label) : null,
  );
}

// ---- what the lower pane shows -------------------------------------------------------------------------------------

function hexdump(answer) {
  const nameAt = (position) => answer.spans.findIndex(([from, to]) => position >= from && position < to);
  const name = make("output", { class: "klb-dim", "aria-live": "off" }, answer.spans.length ? "point at a byte to see its member" : "");
  const lines = answer.lines.map((line, i) => {
    const bytes = line.hex ? line.hex.split(" ") : Array(16).fill("··");
    return make("div", { class: "klb-hexline" },
      make("span", { class: "klb-dim" }, line.address),
      make("span", {}, ...bytes.flatMap((byte, k) => {
        const span = nameAt(16 * i + k);
        return [make("span", { class: `klb-byte${span < 0 ? "" : span % 2 ? " klb-odd" : " klb-even"}${byte === "00" ? " klb-zero" : ""}`, title: span < 0 ? "" : answer.spans[span][2] }, byte), k === 7 ? "  " : " "];
      })),
      make("span", { class: "klb-ascii" }, line.hex ? line.text : "not in the dump"));
  });
  const box = make("div", { class: "klb-hex" }, ...lines, name, ...answer.problems.map((problem) => make("div", { class: "klb-why" }, `⚠ ${problem}`)));
  box.addEventListener("mouseover", (event) => { if (event.target.classList.contains("klb-byte")) name.textContent = event.target.title || " "; });
  return box;
}

function layoutTable(answer) {
  return make("table", { class: "klb-layout" },
    make("thead", {}, make("tr", {}, ...["offset", "size", "member"].map((title) => make("th", { scope: "col" }, title)))),
    make("tbody", {}, ...answer.lines.map((line) => make("tr", { class: `klb-line-${line.kind}` },
      make("td", {}, line.kind === "open" ? "" : line.offset), make("td", {}, ["open", "cacheline"].includes(line.kind) ? "" : line.size),
      make("td", { style: `--level:${line.depth}` }, line.text)))));
}

function frameTable(answer) {
  return make("div", {},
    answer.code ? make("p", {}, make("code", {}, answer.code)) : "",
    make("table", { class: "klb-frame" },
      make("thead", {}, make("tr", {}, ...answer.columns.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...answer.rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell || "–")))))),
    ...answer.problems.map((problem) => make("div", { class: "klb-why" }, `⚠ ${problem}`)));
}
