"""Every name that a table asks for is known to be in each kernel, or goes with an option that is tested.

Who asks for a new global variable, type, member or enumerator looks up what makes it (Kconfig, #ifdef) and adds it to
the option's absence in options.py, or to always.txt: what every x86-64 kernel of some release has, whatever its
configuration.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from configurations.asked import hidden, noted, of_absence
from configurations.options import LAYOUTS, OPTIONS
from configurations.test_options import TABLES, build
from support.absent import Absence

ALWAYS = {
    tuple(line.split(" ", 1))
    for line in (Path(__file__).parent / "always.txt").read_text().splitlines()
    if line and not line.startswith("#")
}
OPTIONAL = set().union(
    *(of_absence(option.absence) for option in OPTIONS.values()), *map(of_absence, LAYOUTS.values())
)


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12", "debian-7.2"])
def test_what_makes_each_name_is_known(opened, name):
    below = opened(name)
    dump = Absence().of(below)
    with noted() as names:
        for table in TABLES:
            build(dump, table)
        dump.owner([below.symbol("init_task"), int(below.tasks["address"].iloc[5])])
    # Of types also those of the names that caches and variables of this dump have.
    named = {f"struct {name}" for name in (*below.slabs["name"], *below.kernel.symbols.names())}
    found = {name for name in names if "{…}" not in name[1] and not (name[0] == "type" and name[1] in named)}
    new = sorted(f"{kind} {what}" for kind, what in found - ALWAYS if not hidden((kind, what), OPTIONAL))
    assert new == [], "what configuration makes these? See this file's first lines"


def test_no_name_is_both():
    assert sorted(name for name in ALWAYS if hidden(name, OPTIONAL)) == []
