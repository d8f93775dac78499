"""The player on a page of its own: its scripts and a recording, with a model that answers as a kernel would.

`page_of(packed)` is the HTML; there `window.asked` has what was sent, and `window.state` what the model holds.
"""

from __future__ import annotations

import base64
import json
from typing import Any

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>player</title><style>
body { margin: 12px; font-family: sans-serif; background: #fff; }
@media (prefers-color-scheme: dark) { body { background: #111; } }
%(css)s</style></head><body><main id="app"></main>
<script type="application/json" id="state">%(state)s</script>
<script type="module">
const source = %(source)s;
const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
const raw = Uint8Array.from(atob("%(data)s"), (letter) => letter.charCodeAt(0));
const state = JSON.parse(document.getElementById("state").textContent);
state.data = new DataView(raw.buffer);
const handlers = {};
const answers = {
  stack: { head: "PID: 812 Comm: leak", lines: [" <TASK>", " schedule+0x5a/0xd0"], failed: "" },
  struct: { opened: true },
};
Object.assign(window, { state, asked: [], handlers });
const model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; },
  save_changes() {},
  on: (name, handler) => (handlers[name] ??= []).push(handler),
  off() {},
  send(message) {
    window.asked.push(message);
    const answer = { id: message.id, answer: answers[message.op] };
    setTimeout(() => handlers["msg:custom"].forEach((handler) => handler(answer)), window.delay ?? 10);
  },
};
module.default.render({ model, el: document.getElementById("app") });
</script></body></html>"""


def page_of(packed: Any) -> str:
    """The page, self-contained."""
    from kernlab.player.palette import palettes
    from kernlab.player.widget import SCRIPT, STYLE

    state = {
        "meta": packed.meta,
        "palettes": palettes(),
        "lanes": [],
        "cursor": {},
        "wanted": {},
        "still": {},
    }
    return _PAGE % {
        "css": STYLE.read_text("utf-8"),
        "state": _inert(state),
        "source": _inert(SCRIPT),
        "data": base64.b64encode(packed.data).decode("ascii"),
    }


def _inert(value: Any) -> str:
    """JSON that ends no script element."""
    return json.dumps(value).replace("<", "\\u003c")
