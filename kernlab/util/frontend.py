"""Who is at the other end of this process: a Jupyter kernel's front end, whether somebody looks at it, and its cell.

Nothing is imported for it: where nobody imported IPython there is no kernel.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any


def kernel_shell() -> Any:
    """The IPython shell of the Jupyter kernel that this process is; None where it is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell if shell is not None and hasattr(shell, "kernel") else None


def is_watched() -> bool:
    """Is this a kernel whose front end has a person before it, who can use a widget and sees a bar move?

    nbconvert, nbclient and nbval execute notebooks without: they say that nobody can answer a question (`allow_stdin`
    of the messaging protocol). What they keep is what a page shows later, without a kernel. Voila executes like them,
    and then shows the page to people.
    """
    return kernel_shell() is not None and not is_executed_alone()


def is_executed_alone() -> bool:
    """Is this a kernel that runs a notebook unattended?"""
    shell = kernel_shell()
    if shell is None or "VOILA_BASE_URL" in os.environ:
        return False
    return _part(_request(shell), "content").get("allow_stdin") is False


def cell_name() -> str:
    """A name for the notebook's cell that is being executed, the same when it is executed again; '' outside of one.

    Where the front end does not say which cell it is, a cell is told by its code; who executes a notebook for no
    reader executes each cell once.
    """
    shell = kernel_shell()
    if shell is None:
        return ""
    request = _request(shell)
    named = _part(request, "metadata").get("cellId")
    if named:
        return str(named)
    if not is_watched():
        return str(_part(request, "header").get("msg_id", ""))
    code = _part(request, "content").get("code")
    return hashlib.sha256(code.encode()).hexdigest() if isinstance(code, str) else ""


def _request(shell: Any) -> dict[str, Any]:
    """The message that is being answered."""
    try:
        request = shell.parent_header
    except (AttributeError, LookupError):
        return {}
    return request if isinstance(request, dict) else {}


def _part(message: dict[str, Any], name: str) -> dict[str, Any]:
    part = message.get(name)
    return part if isinstance(part, dict) else {}
