"""Words that are too common to be hidden wherever they stand: those of the kernel itself, and what many are called."""

from __future__ import annotations

import re

from kernlab.core.kernel import Kernel
from kernlab.errors import KernlabError

#: What people, machines and folders are called that are nobody's in particular.
_COMMON = frozenset(
    b"""admin administrator backup build builder cloud core daemon data database debian default demo desktop develop
    developer docker fedora git guest home host http https kali kernel laptop linux local localdomain localhost
    lost mail main master network nobody node none oracle ubuntu centos rocky alma redhat suse opensuse arch gentoo
    postgres mysql www-data nginx apache pi public qemu redis root router server service shared source storage student
    system systemd team temp test tester testing user users vagrant virtual work worker workstation jenkins runner
    gitlab-runner ansible ec2-user azureuser ftp null true false prod production staging primary secondary""".split()
)
_WORDS = re.compile(rb"[A-Za-z0-9-]+")


class Vocabulary:
    """`has(word)`: is it a word that the kernel uses, in names of its symbols and modules or in its banner?"""

    def __init__(self, kernel: Kernel):
        symbols = kernel.symbols
        self._words = set(_COMMON)
        # Names are joined of words by underscores: each of them counts.
        self._words.update(
            re.findall(rb"[a-z0-9]{3,}", "\n".join(symbols.names()).encode().lower().replace(b"_", b" "))
        )
        try:
            banner = kernel.read(kernel.symbol("linux_banner"), 512).split(b"\0")[0]
        except KernlabError:
            banner = b""
        self._words.update(word.lower() for word in _WORDS.findall(banner))

    def has(self, word: bytes) -> bool:
        """Is it, in any case, or no more than a number?"""
        return word.lower() in self._words or word.isdigit()
