// Elements of a page: what the struct browser and the explorer make them with. Everything that comes from a dump goes
// into the page as text, never as markup.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Makes `elements` the children of `parent`. What stays is not touched: thousands of rows need no new layout, and the
// one that has the focus keeps it.
function arrange(parent, elements) {
  const wanted = new Set(elements);
  let at = parent.firstChild;
  const pass = () => {
    while (at && !wanted.has(at)) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };
  for (const element of elements) {
    pass();
    if (at === element) at = at.nextSibling;
    else parent.insertBefore(element, at);
  }
  pass();
}
