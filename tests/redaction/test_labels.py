"""Names of security profiles, which often are paths or bear containers' names, are others in a redacted dump."""

from __future__ import annotations

from support.overlay import Overlay

from kernlab.core.kernel import Kernel
from kernlab.redaction import redacted


def test_profiles_have_other_names(opened):
    below = opened("debian-6.1")
    blob = int(below.structs("cred", below.credentials["cred"].head(1))["security"].values[0])
    offset = int(below.structs("lsm_blob_sizes", [below.symbol("apparmor_blob_sizes")])["lbs_cred"].values[0])
    label = int.from_bytes(below.read(blob + offset, 8), "little")
    text = int(below.structs("aa_label", [label])["hname"].values[0])
    with Overlay(below).write(text, b"lxc-carla\0").dump() as dump:
        assert set(dump.credentials["label"]) == {"lxc-carla (unconfined)"}
        file, redaction = redacted(dump.kernel, dump.kernel.file, "share")
        assert redaction.counts["name of a profile"] == 1
        kernel = Kernel.open(file, vmcoreinfo=dump.kernel.file.vmcoreinfo)
        shown = kernel.read(text, 10)
        assert b"carla" not in shown
        assert shown[-1:] == b"\0"
        kernel.close()
