"""What the recorder changed on this machine, kept in /run for whoever has to undo it."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

from .files import read_bytes, write_json
from .machine import Machine
from .telling import say


@dataclass
class State:
    """What the recorder changed, so that whoever comes next can undo it. Kept in a file before it is done."""

    machine: Machine
    known: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, machine: Machine) -> State:
        """What the last recorder of this boot left, or nothing."""
        try:
            known = json.loads(read_bytes(f"{machine.run}/state.json") or b"{}")
        except ValueError:
            known = {}
        current = isinstance(known, dict) and known.get("boot") == machine.boot
        return cls(machine, known if current else {})

    def save(self, **changes: Any) -> None:
        """Add to what is known, and write it in one step."""
        self.known.update(changes, boot=self.machine.boot)
        write_json(f"{self.machine.run}/state.json", self.known)

    def forget(self) -> None:
        """Everything is as it was."""
        for name in ("state.json", "figures.json"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self.machine.run}/{name}")


def note(state: State, problem: str) -> None:
    """Tell of what goes on without: in the status, and at once."""
    state.save(problems=[*state.known.get("problems", []), problem])
    say(problem)
