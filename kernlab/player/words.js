// Times, sizes and colours in words. Follows elements.js; what a recording holds is in ticks, see recording.js.

const KIBI = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function bytesText(bytes) {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1023.95 && unit < KIBI.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(value)} B` : `${value.toFixed(value < 99.95 ? 1 : 0)} ${KIBI[unit]}`;
}

const grouped = (number) => Number(number).toLocaleString("en-US");

/** A span of time with three significant digits: `1.23 s`, `45.6 ms`, `7 min 3 s`. */
function spanText(ns) {
  const size = Math.abs(ns);
  if (size === 0) return "0 s";
  if (size < 1e3) return `${Math.round(ns)} ns`;
  if (size < 1e6) return `${(ns / 1e3).toPrecision(3)} µs`;
  if (size < 1e9) return `${(ns / 1e6).toPrecision(3)} ms`;
  if (size < 60e9) return `${(ns / 1e9).toFixed(size < 10e9 ? 2 : 1)} s`;
  const seconds = Math.round(ns / 1e9);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${seconds % 60} s`;
}

/** An instant as so much before the crash, with the digits that a view of `span` ns can tell apart. */
function beforeText(ns, span = 1e9) {
  if (ns <= 0) return "0";
  const digits = Math.max(0, Math.min(9, Math.ceil(-Math.log10(Math.max(span, 1) / 1e9 / 400))));
  return `−${(ns / 1e9).toFixed(digits)} s`;
}

/** An instant before the crash in few letters. */
function agoText(ns) {
  return ns <= 0 ? "0" : ns < 1e9 ? `−${spanText(ns)}` : beforeText(ns, 1e9);
}

/** Round steps for an axis of `span` seconds that has room for `most` of them. */
function niceStep(span, most) {
  const rough = span / Math.max(most, 1);
  for (const step of [60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400]) if (rough > 30 && rough <= step) return step;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((each) => each * power >= rough * 0.999) * power;
}

// 14 × 14, filled.
const ICONS = { play: "M3 1.5v11l9-5.5z", pause: "M2.5 1.5h3v11h-3zM8.5 1.5h3v11h-3z", start: "M1.5 2h2v10h-2zM12.5 2v10L4.5 7z", end: "M10.5 2h2v10h-2zM1.5 2v10l8-5z" };

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true", class: "klp-icon" })) svg.setAttribute(key, value);
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Is the page around an element dark? By the ink that its text has there. */
function isDark(element) {
  const [red, green, blue] = (getComputedStyle(element).color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  return red + green + blue > 384;
}

/** Calls `turned` when the page becomes light or dark; what is given back ends that. */
function watchTheme(turned) {
  const later = () => requestAnimationFrame(turned);
  const watch = new MutationObserver(later);
  const attributeFilter = ["class", "style", "data-jp-theme-light", "data-jp-theme-name"];
  for (const element of [document.documentElement, document.body]) watch.observe(element, { attributes: true, attributeFilter });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", later);
  return () => {
    watch.disconnect();
    scheme.removeEventListener("change", later);
  };
}
