"""Text of pages: what is hidden, what is left alone, what goes on from one page to the next."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from kernlab.redaction.literals import Literals
from kernlab.redaction.map_file import RedactionMap
from kernlab.redaction.patterns import Patterns
from kernlab.redaction.sweep import STRIP, Sweeper

HOMES = tuple(b"/%s/" % name for name in (b"home", b"root"))


def sweeper() -> Sweeper:
    known = RedactionMap(bytes(32))
    literals = Literals()
    assert literals.add(b"web01", known.names.of(b"web01"), "host name")
    wide = "web01".encode("utf-16-le")
    assert literals.add(wide, known.names.of(b"web01").decode().encode("utf-16-le"), "host name", word=False)
    literals.prepare()
    return Sweeper(literals, Patterns(known, HOMES, frozenset({b"author@kernel.org"})))


def swept(text: bytes) -> tuple[bytes, Counter[str]]:
    page = np.zeros((3, 4096), dtype=np.uint8)
    page[1, 100 : 100 + len(text)] = np.frombuffer(text, dtype=np.uint8)
    counts = sweeper().sweep(page)
    assert counts[0] == counts[2] == Counter()
    assert not page[1, :100].any()
    assert not page[1, 100 + len(text) :].any()
    return page[1, 100 : 100 + len(text)].tobytes(), counts[1]


@pytest.mark.parametrize(
    ("text", "secret", "kind"),
    [
        (b"from 203.0.113.77 port 22", b"203.0.113.77", "IPv4 address"),
        (b"tcp://10.1.2.3:80/", b"10.1.2.3", "IPv4 address"),
        (b"link 52:54:00:12:34:5f up", b"52:54:00:12:34:5f", "MAC address"),
        (b"IN=eth0 MAC=52:54:00:12:34:5f:52:55:0a:00:02:02:08:00 SRC", b"52:54:00:12:34:5f", "MAC address"),
        (b"at 52-54-00-12-34-5F.", b"52-54-00-12-34-5F", "MAC address"),
        (b"route 2001:db8:12::77/64", b"2001:db8:12::77", "IPv6 address"),
        (b"[fe80::5054:ff:fe12:345f]:22", b"5054:ff:fe12:345f", "IPv6 address"),
        (b"mail to <carol.jones@example.org>", b"carol.jones", "e-mail address"),
        (b"ssh carol@bastion", b"carol@bastion", "e-mail address"),
        (b"open %s/carol/My.Thesis.pdf: no" % b"/home", b"My.Thesis", "path below home"),
        (b"exec %s/plans/x.sh" % b"/root", b"plans", "path below home"),
        (b"mount -o password=hunter2,ro", b"hunter2", "password or token"),
        (b"curl --token abcdef123 x", b"abcdef123", "password or token"),
        (b"AWS_SECRET_ACCESS_KEY=wJalrXUt/nFEMI", b"wJalrXUt/nFEMI", "password or token"),
        (b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n", b"MIIEvQIBADANBg", "key"),
        (b"systemd[1]: Hostname set to <web01.example>.", b"web01.example", "host name"),
        (b"on web01 died", b"web01", "host name"),
        (b"on \0" + "web01".encode("utf-16-le"), "web01".encode("utf-16-le"), "host name"),
    ],
)
def test_secrets_go(text: bytes, secret: bytes, kind: str) -> None:
    new, counts = swept(text)
    assert len(new) == len(text)
    assert secret not in new
    assert counts[kind] >= 1


@pytest.mark.parametrize(
    "text",
    [
        b"Linux version 6.1.0-13-amd64 (author@kernel.org)",
        b"driver version 1.2.3.4 loaded",
        b"e1000e 1.0.5.0-k",
        b"127.0.0.1 255.255.255.0 0.0.0.0 224.0.0.251",
        b"1.2.3.4.5 and 300.1.2.3 and 1.2.3",
        b"pci 0000:00:1f.2 at 12:34:56, 2026-11-30",
        b"getty@tty1.service user@1000.service cpu@0",
        b"virtio_mmio@a000800 uart@fe201000 timer@0",
        b"password=%s",
        b"core::fmt and :: and ::1",
        b"/homes/x /home /usr/home",
        b"web012 myweb01 web01_x",
    ],
)
def test_what_only_looks_like_it_stays(text: bytes) -> None:
    new, counts = swept(text)
    assert new == text
    assert not counts


def test_nothing_crosses_rows_that_do_not_go_on() -> None:
    pages = np.zeros((2, 4096), dtype=np.uint8)
    pages[0, -5:] = np.frombuffer(b" 10.1", dtype=np.uint8)
    pages[1, :5] = np.frombuffer(b".2.3 ", dtype=np.uint8)
    before = pages.copy()
    sweeper().sweep(pages)
    assert (pages == before).all()


def test_what_crosses_the_ends_of_pages_is_found() -> None:
    strip = np.zeros((1, 2 * STRIP), dtype=np.uint8)
    text = b"host 10.1.2.3 "
    strip[0, STRIP - 8 : STRIP - 8 + len(text)] = np.frombuffer(text, dtype=np.uint8)
    ((row, hit),) = sweeper().across(strip)
    assert (row, hit.start, hit.end) == (0, STRIP - 3, STRIP + 5)


def test_numbers_between_words_are_the_same_as_text() -> None:
    one = sweeper()
    text, counts = one.text("ping 10.1.2.3 and 10.1.2.3")
    first, second = text.split()[1], text.split()[3]
    assert first == second != "10.1.2.3"
    assert counts["IPv4 address"] == 2
