"""What the recorder says: sentences for the journal, and why it cannot run."""

from __future__ import annotations

import sys


class RefusedError(Exception):
    """The recorder cannot run here: a sentence that says why, and what to do."""


def say(sentence: str) -> None:
    """Tell the journal, or whoever started it."""
    print(f"kernlab recorder: {sentence}", file=sys.stderr, flush=True)
