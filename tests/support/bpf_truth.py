"""BPF objects as a guest told them: p/PID/fdinfo, and the lab's own list ("bpf"). Shares no code with kernlab."""

from __future__ import annotations

from support.truth import Truth


def held(truth: Truth, key: str) -> dict[int, list[tuple[int, dict[str, str]]]]:
    """Descriptors of programs ("prog_id"; links name theirs, too) or maps ("map_id"): number → [(pid, its fdinfo)]."""
    found: dict[int, list[tuple[int, dict[str, str]]]] = {}
    for name in truth.files:
        part = name.split("/")
        if part[0] != "p" or part[-1] != "fdinfo":
            continue
        for one in ("\n" + truth.text(name)).split("\n== ")[1:]:
            words = dict(line.split(":\t", 1) for line in one.split("\n")[1:] if ":\t" in line)
            if key in words:
                found.setdefault(int(words[key]), []).append((int(part[1]), words))
    return found


def listed(truth: Truth, kind: str) -> dict[int, dict[str, str]]:
    """The "prog" or "map" lines of the lab's list, by number."""
    found = {}
    for line in truth.lines("bpf"):
        first, number, *words = line.split(" ")
        if first == kind:
            found[int(number)] = dict(word.split("=", 1) for word in words)
    return found
