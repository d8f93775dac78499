"""A name of a dump in, the same without what is chance in it out: numbers of threads and disks, ids of containers."""

from __future__ import annotations

import re

from kernlab.linux.whatis.threads import say_thread
from kernlab.verdict.finding import Finding

#: Characters of a name.
_LONGEST = 80
_HEX = "[0-9a-f]"
#: jbd2/sda1-8, md127_raid1 (Documentation/admin-guide/devices.txt): which of its kind a thread's disk is.
_DISKS = re.compile(
    r"(?:(?<=[/-])(?P<letters>sd|xvd|vd|hd)[a-z]{1,3}\d{0,3}|"
    r"(?<![A-Za-z\d])(?P<numbered>nvme|mmcblk|nbd|rbd|loop|zram|nullb|md|dm-|drbd)\d[\dpnc]{0,9})(?![a-z\d])"
)
_DISK = re.compile(r"(?P<kind>sd|vd|xvd|hd)[a-z]{1,3}\d{0,3}$|(?P<family>[a-z][a-z_]*?)[-_]?\d.*$")
#: An interface that a container or a guest was given has a hash for a name.
_INTERFACE = re.compile(rf"(?P<family>veth|cali|tap|vnet|lxc|qvb|qvo|qbr|br-){_HEX}[\d_a-f-]{{5,20}}$")
#: kworker/3:1, kworker/u8:2, sender-17, worker3: which of its kind a thread is.
_NUMBERED = re.compile(r"(?:[-_/:#.]u?\d.*|\d+)$")
#: What tools make up when they start something: ids of containers and pods, addresses, the names of a pod's replicas
#: (Kubernetes takes the letters of its SafeEncodeString).
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
_IDS = re.compile(
    rf"{_HEX}{{8}}[-_]{_HEX}{{4}}[-_]{_HEX}{{4}}[-_]{_HEX}{{4}}[-_]{_HEX}{{12}}|0x{_HEX}{{1,16}}|"
    rf"(?={_HEX}{{0,63}}\d){_HEX}{{12,64}}|(?<![A-Za-z\d])(?={_HEX}{{0,63}}\d){_HEX}{{8,11}}(?![A-Za-z\d])|"
    rf"(?<=-)(?={_SAFE}{{0,9}}\d){_SAFE}{{8,10}}-{_SAFE}{{5}}(?![A-Za-z\d])|"
    rf"(?<![\w.])(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?![\w.])|(?<![\w:])(?:{_HEX}{{0,4}}:){{2,7}}{_HEX}{{0,4}}(?![\w:])"
)
#: A scope is made when something starts, and numbered then (systemd.scope(5)).
_SCOPE = re.compile(r"[^/]{0,255}\.scope(?=$|/)")
_NUMBER = re.compile(r"(?<![A-Za-z\d])\d+")
#: systemd writes "-" so within a part of a unit's name.
_ESCAPED = "\\x2d"
#: How many there are.
_COUNT = re.compile(r"^\d[\d,]* (?=\D)")
_WHERE = re.compile(r"\b(?P<what>CPU|node) \d+")
#: mm/slab_common.c: one of sixteen, by chance (CONFIG_RANDOM_KMALLOC_CACHES); of a cgroup, before 5.9.
_CACHE = re.compile(r"(?<=kmalloc)-rnd-\d\d|\(\d+:[^)]{0,200}\)$")
#: What separates the parts of a signature.
_SEPARATORS = re.compile(r"[\s:<>]+")


def alike(finding: Finding) -> str:
    """What a finding is about, as its siblings call it, too."""
    if finding.device is not None:
        name = device(finding.device)
    else:
        suffix = say_thread("", "?" if finding.pid is None else finding.pid)
        thread = finding.subject.removesuffix(suffix)
        name = words(thread) if thread == finding.subject else comm(thread)
    return _SEPARATORS.sub("-", name)[:_LONGEST]


def comm(name: str) -> str:
    """A thread's name: `kworker` of kworker/3:1, `jbd2/sd` of jbd2/sda1-8.

    >>> from kernlab.verdict.alike import comm
    >>> [comm(name) for name in ("kworker/u8:2+flush", "jbd2/sda1-8", "kswapd1", "pool-1-thread-3")]
    ['kworker', 'jbd2/sd', 'kswapd', 'pool']
    """
    kind = _DISKS.sub(lambda disk: (disk["letters"] or disk["numbered"]).rstrip("-"), name)
    return _NUMBERED.sub("", _IDS.sub("*", kind)) or "*"


def device(name: str) -> str:
    """The kind of a disk or an interface: `sd` of sdb3, `nvme` of nvme0n1p2, `veth` of veth1a2b3c4."""
    if interface := _INTERFACE.match(name):
        return interface["family"].rstrip("-")
    disk = _DISK.match(name)
    if disk:
        return str(disk["kind"] or disk["family"])
    return _NUMBER.sub("*", _IDS.sub("*", name))


def words(name: str) -> str:
    """Any other name: a path of a cgroup or a file, a slab cache, a lock.

    >>> from kernlab.verdict.alike import words
    >>> words("/user.slice/user-1000.slice/session-3.scope"), words("kmalloc-rnd-07-64")
    ('/user.slice/user-*.slice/session-*.scope', 'kmalloc-64')
    """
    name = _COUNT.sub("", name.replace(_ESCAPED, "-"))
    if "/" in name:
        # The end of what was cut is a part of an id, or of nothing.
        name = f"{name.rpartition('/')[0]}/…" if name.endswith("…") else name
        name = _SCOPE.sub(lambda scope: re.sub(r"\d+", "*", _IDS.sub("*", scope[0])), name)
        return _NUMBER.sub("*", _IDS.sub("*", name))
    return _WHERE.sub(r"\g<what> *", _IDS.sub("*", _CACHE.sub("", name)))
