// A flame graph that is in the page already, brought to life: zoom, search, keys, names cut to the room they have.
// Names are taken from the page and put back as text, never as markup.
(id) => {
  const root = document.getElementById(id);
  if (!root) return;
  const graph = root.querySelector(".flames");
  const said = root.querySelector(".said");
  const before =
    "Point at a function for its threads; click it to see what stands on it, and the bottom row to see all again. " +
    "Arrow keys go from function to function.";
  // In the order of the page: what stands on a box comes after it, from left to right.
  const boxes = [...graph.querySelectorAll(".b")].map((element) => ({
    element,
    text: element.querySelector("text"),
    name: element.dataset.name ?? element.querySelector("text").textContent,
    told: element.querySelector("title").textContent,
    x: Number(element.dataset.x),
    w: Number(element.dataset.w),
    d: Number(element.dataset.d),
  }));
  const all = boxes[0];
  const of = new Map(boxes.map((box) => [box.element, box]));
  const under = (event) => of.get(event.target.closest(".b"));
  const letter = all.text.getComputedTextLength() / all.name.length || 6.7;
  let zoomed = all;
  let found = "";

  const make = (tag, attributes, text = "") => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.textContent = text;
    return element;
  };
  const search = make("input", { type: "search", placeholder: "Find a function", ariaLabel: "Find a function" });
  const back = make("button", { type: "button", hidden: true }, "Show all");
  root.querySelector(".tools").append(back, search);

  const draw = () => {
    const width = graph.clientWidth;
    for (const box of boxes) {
      const below = box.x <= zoomed.x && box.x + box.w >= zoomed.x + zoomed.w && box.d < zoomed.d;
      const inside = box.x >= zoomed.x && box.x + box.w <= zoomed.x + zoomed.w && box.d >= zoomed.d;
      const share = below ? 1 : box.w / zoomed.w;
      box.shown = below || inside;
      box.element.style.display = box.shown ? "" : "none";
      if (!box.shown) continue;
      box.element.setAttribute("x", below ? "0%" : `${(100 * (box.x - zoomed.x)) / zoomed.w}%`);
      box.element.setAttribute("width", `${100 * share}%`);
      box.element.classList.toggle("below", below);
      box.element.classList.toggle("hair", share * width < 4);
      const room = Math.floor((share * width - 7) / letter);
      box.text.textContent = room < 3 ? "" : box.name.length > room ? `${box.name.slice(0, room - 1)}…` : box.name;
    }
    back.hidden = zoomed === all;
  };
  const focus = (box) => {
    for (const each of boxes) if (each.element.tabIndex === 0) each.element.tabIndex = -1;
    box.element.tabIndex = 0;
    box.element.focus({ preventScroll: true });
  };
  const zoom = (box) => {
    zoomed = box;
    draw();
  };
  const find = () => {
    const wanted = search.value.trim().toLowerCase();
    let threads = 0;
    let end = 0;
    for (const box of boxes) {
      const hit = wanted !== "" && box !== all && box.name.toLowerCase().includes(wanted);
      box.element.classList.toggle("hit", hit);
      // What stands on a hit is counted with it.
      if (hit && box.x >= end) {
        threads += box.w;
        end = box.x + box.w;
      }
    }
    root.classList.toggle("finding", wanted !== "");
    const share = ((100 * threads) / all.w).toFixed(1);
    found = `${threads.toLocaleString("en")} of ${all.w.toLocaleString("en")} threads (${share}%) are in functions with “${search.value.trim()}” in their names.`;
    if (wanted === "") found = "";
    said.textContent = found || before;
  };
  const next = (box, key) => {
    const at = boxes.indexOf(box);
    if (key === "Home") return zoomed;
    if (key === "ArrowUp") return boxes.slice(at + 1).find((each) => each.shown && each.d === box.d + 1 && each.x < box.x + box.w);
    if (key === "ArrowDown") return boxes.slice(0, at).findLast((each) => each.d === box.d - 1);
    const level = boxes.filter((each) => each.shown && each.d === box.d);
    return level[level.indexOf(box) + (key === "ArrowLeft" ? -1 : 1)];
  };

  said.textContent = before;
  graph.setAttribute("role", "group");
  // Chromium stops at an SVG by itself.
  graph.tabIndex = -1;
  for (const box of boxes) {
    box.element.setAttribute("role", "button");
    box.element.tabIndex = box === all ? 0 : -1;
  }
  graph.addEventListener("click", (event) => {
    const box = under(event);
    if (box) {
      zoom(box);
      focus(box);
    }
  });
  graph.addEventListener("keydown", (event) => {
    const box = under(event);
    if (!box) return;
    if (event.key === "Enter" || event.key === " ") zoom(box);
    else if (event.key === "Escape") zoom(all);
    else if (["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home"].includes(event.key)) {
      const to = next(box, event.key);
      if (to) focus(to);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  for (const kind of ["mouseover", "focusin"])
    graph.addEventListener(kind, (event) => {
      const box = under(event);
      said.textContent = box ? box.told : found || before;
    });
  graph.addEventListener("mouseleave", () => (said.textContent = found || before));
  back.addEventListener("click", () => {
    zoom(all);
    focus(all);
  });
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      search.value = "";
      find();
    }
  });
  new ResizeObserver(draw).observe(graph);
  draw();
}
