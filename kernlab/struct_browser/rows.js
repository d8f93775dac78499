// Rows of the struct browser's tree: what a page of the kernel's answer looks like. parts.js goes before it.

let nextNode = 0;

function nodeOf(row, parent, level) {
  return { key: ++nextNode, row, parent, level, children: null, page: null, expanded: false, busy: false, element: null };
}

function fill(node, page) {
  node.page = page;
  node.children = page.rows.map((row) => nodeOf(row, node, node.level + 1));
}

function spoken(row) {
  const parts = [row.name, row.value || row.summary ? "is" : "", row.value, row.summary, row.why ? `cannot be read: ${row.why}` : "",
    row.note, `type ${row.type}`, row.offset ? `offset ${row.offset}` : ""];
  return parts.filter(Boolean).join(" ");
}

function extras(node, app) {
  // What follows the rows of an opened node: more of them, what went wrong, what is asked.
  const { page } = node;
  const rows = [];
  const line = (kind, ...content) => {
    const own = { key: ++nextNode, parent: node, level: node.level + 1, extra: kind };
    own.element = make("div", { role: "treeitem", tabindex: "-1", class: `klb-row klb-extra klb-${kind}`, "aria-level": own.level + 1 },
      make("span", { class: "klb-name", style: `--level:${own.level}` }, make("span", { class: "klb-twisty" }), ...content));
    own.element.klbNode = own;
    rows.push(own);
    return own;
  };
  if (page.question) line("question").element.querySelector(".klb-name").append(app.questionForm(node));
  else if (page.note) line("note", make("span", {}, page.note));
  if (page.problem) line("problem", make("span", {}, `⚠ ${page.problem}`));
  if (page.next !== null && page.next !== undefined) {
    const of = page.total ? ` of ${page.total.toLocaleString("en")}` : "";
    const more = line("more", make("button", { type: "button", tabindex: "-1", class: "klb-link" }, `${node.children.length.toLocaleString("en")}${of} shown: show more`));
    more.act = () => app.more(node);
    more.element.querySelector("button").addEventListener("click", more.act);
  }
  if (!page.rows.length && !page.question && !page.problem && !page.note) line("note", make("span", {}, "nothing here"));
  const notes = rows.filter((row) => row.extra === "note" || row.extra === "question");
  return { before: notes, after: rows.filter((row) => !notes.includes(row)) };
}

function drawRow(node, app) {
  const { row } = node;
  const twisty = make("span", { class: "klb-twisty", "aria-hidden": "true" }, row.opens ? "▸" : "");
  const value = make("span", { class: `klb-value klb-kind-${row.kind}` });
  if (row.why) value.append(make("span", { class: "klb-why" }, `⚠ ${row.why}`));
  if (row.value) {
    const follows = row.target && row.opens;
    value.append(follows
      ? make("a", { role: "presentation", class: "klb-target", title: "go there", onclick: (event) => { event.stopPropagation(); app.enter(node); } }, row.value)
      : make("span", { class: row.value === "NULL" || row.value === "empty" ? "klb-dim" : "" }, row.value));
  }
  if (row.summary) value.append(make("span", { class: "klb-summary" }, row.summary));
  if (row.note) value.append(make("span", { class: "klb-why" }, row.note));
  const element = make(
    "div",
    {
      role: "treeitem", tabindex: "-1", class: `klb-row${row.why ? " klb-bad" : ""}`, "aria-level": node.level + 1,
      "aria-expanded": row.opens ? "false" : undefined, "aria-label": spoken(row), "aria-selected": "false",
    },
    make("span", { class: "klb-name", style: `--level:${node.level}`, title: row.name }, twisty, make("span", {}, row.name)),
    value,
    make("span", { class: "klb-type", title: row.type }, row.type),
    make("span", { class: "klb-offset" }, row.offset),
    make("span", { class: "klb-size" }, row.size),
  );
  element.klbNode = node;
  return element;
}
