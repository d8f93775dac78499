"""The struct browser: a Session in, an anywidget out. Its view is widget.js, its colours widget.css."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from kernlab.display import ELEMENTS
from kernlab.struct_browser import snapshot
from kernlab.struct_browser.session import Session

_HERE = Path(__file__).parent
#: One ES module in three parts: there is no build that would put them together.
_SCRIPTS = (ELEMENTS, *(_HERE / name for name in ("parts.js", "rows.js", "widget.js")))


class StructBrowser(anywidget.AnyWidget):
    """A struct and what can be reached from it, opened a page at a time.

    `shown` is what a saved notebook keeps: the first view, the pages that were opened, pins. `frame` is the DataFrame
    that "DataFrame" made last. Messages are handled in whatever thread they come in, one at a time; none of them
    touches the shell.
    """

    _esm = "".join(script.read_text("utf-8") for script in _SCRIPTS)
    _css = _HERE / "widget.css"
    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, session: Session, view: dict[str, Any], captured: dict[str, Any]):
        self._session = session
        expanded = [int(number) for number in captured]
        super().__init__(shown={"view": view, "captured": captured, "expanded": expanded, "pins": []})
        self.on_msg(self._handle)

    def _handle(self, _: Any, content: Any, buffers: Any) -> None:
        if isinstance(content, dict) and "id" in content:
            answer = self._session.answer(content.get("request"))
            self.send({"answer_to": content["id"], "answer": answer})

    @property
    def frame(self) -> Any:
        """The DataFrame that was made last in this browser, None before."""
        return self._session.frame

    def to_html(self) -> str:
        """What was opened from Python, as a tree that needs neither a kernel nor JavaScript."""
        return snapshot.as_html(self.shown["view"], self.shown["captured"])

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        # Where no widget can be shown (no kernel and no saved state, not trusted, exported) the tree is.
        tree = snapshot.as_data(self.shown["view"], self.shown["captured"])
        return {**data, snapshot.MIME: tree, "text/html": self.to_html(), "text/plain": repr(self)}, metadata

    def __repr__(self) -> str:
        view = self.shown["view"]
        place = f" @ {view['address']}" if view["address"] else ""
        return f"<struct browser: {view['title']}{place}>"
