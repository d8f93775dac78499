"""Markdown of a cell or an output in, HTML out, not yet cleaned; formulas stay as they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

_ATTACHMENT = re.compile(r"\(attachment:([^)\s]+)")


@cache
def _renderer() -> Any:
    import mistune

    return mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "footnotes", "def_list"])


def to_html(source: str, attachments: Mapping[str, Any] | None = None) -> str:
    """The HTML of a Markdown text, not yet cleaned; `attachments` are those of its cell."""

    def attached(match: re.Match[str]) -> str:
        found = (attachments or {}).get(match[1])
        if isinstance(found, Mapping):
            for kind, data in found.items():
                return f"(data:{kind};base64,{''.join(str(data).split())}"
        return match[0]

    return str(_renderer()(_ATTACHMENT.sub(attached, source)))
