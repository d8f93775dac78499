"""The words that findings are made of: a finding in, what it is in plain words out."""

from __future__ import annotations

from kernlab.escape import show_controls
from kernlab.verdict.words import code, devices, memory, notes, waiting
from kernlab.verdict.words.word import Word

#: All findings that a rule may yield, and what each is in plain words. tests/verdict/test_story.py holds the rules to
#: it: a rule with a new finding adds its word in `kernlab.verdict.words`.
VOCABULARY: dict[str, Word] = {**code.WORDS, **waiting.WORDS, **memory.WORDS, **devices.WORDS, **notes.WORDS}


def word(finding: str) -> Word:
    """The word of a finding. One that no module has, as of a rule of somebody else's, is told as it is."""
    known = VOCABULARY.get(finding)
    if known is not None:
        return known
    # What begins a pattern's choice or field would be taken for one.
    plain = "".join(c for c in show_controls(finding) if c not in "[]{}|")
    return Word(
        f"{plain[:1].upper()}{plain[1:]}[: {{subject}}]", f"of this: {plain}[ ({{subject}})][, in {{where}}]"
    )
