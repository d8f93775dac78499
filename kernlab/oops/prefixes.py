"""A raw line of a log in, what the kernel said in it out: without what printk, a console, syslog or a tool put before
it."""

from __future__ import annotations

import re

#: No line of the kernel is longer (kernel/printk: PRINTKRB_RECORD_MAX, 2048 with its prefix); the rest is not read.
MOST_CHARACTERS = 4096

#: printk's stamp: "[   12.345678]" (kernel/printk/printk.c, print_time); `dmesg -d` adds the time since the line above.
STAMP = re.compile(r"\[ *+(?P<seconds>\d{1,10})\.(?P<part>\d{1,9})(?: *+< *+\d{1,10}\.\d{1,9} *+>)?+\]")
#: The caller's id behind it: "[  T123]", "[    C0]" (print_caller).
_CALLER = re.compile(r" ?\[ *+(?P<caller>[TC]\d{1,10})\]")
#: What else stands behind it: CPU, thread and pid in the ways of several vendors, and journalctl's host where the stamp
#: is its own (-o short-monotonic).
_BEHIND = re.compile(
    r" *+(?:[A-Z]?\[\d{1,4}: *+[^\]\n]{1,24}: *+\d{1,10}\]|\.?\(\d{1,4}\)\[\d{1,10}:[^\]\n]{1,24}\]|"
    r"c\d{1,3} {1,8}\d{1,8}(?= )|[\w.-]{1,64} kernel:(?= ))"
)
_MONTH, _CLOCK = "[A-Z][a-z]{2}", r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?+"
_DAY = r"\d{4}[-/]\d\d[-/]\d\d"
#: What stands before a line that has no stamp, from left to right: how mail quotes, facility and level (dmesg -x),
#: level (dmesg -r, RFC 5424), a time (syslog; journalctl; dmesg -T, -H, --time-format; logread; logcat -b kernel), and
#: the host and the program that wrote.
_OTHER = re.compile(
    r"(?:> )*+"
    r"(?:[a-z]{3,8}\d? *+:(?:emerg|alert|crit|err|warn|notice|info|debug) *+: )?+"
    r"(?:<\d{1,3}>(?:1 (?=\d{4}-))?+)?+"
    r"(?:\(d\d{1,5}\) )?+"
    r"(?:"
    rf"{_MONTH} [ \d]\d {_CLOCK} |"
    rf"\[?{_MONTH} {_MONTH} [ \d]\d {_CLOCK} \d{{4}}\]? |"
    rf"\[?{_DAY}[T ]{_CLOCK}(?:Z|[+-]\d\d:?\d\d)?+\]? |{_MONTH} {_DAY} {_CLOCK} [A-Z]{{2,5}} |"
    rf"\[{_MONTH}[ \d]\d \d\d:\d\d\] |\[ *+\+\d{{1,10}}\.\d{{6}}\] |\[< *+\d{{1,10}}\.\d{{6}} *+>\] |"
    r"\d{9,10}\.\d{3,6} |"
    rf"\d\d-\d\d {_CLOCK} {{1,8}}\d{{1,8}} {{1,8}}\d{{1,8}} [VDIWEF] (?:kernel)? *+: "
    r")?+"
    r"(?:[^\s\[]{1,64} (?:[a-z]{3,8}\d?\.[a-z]{3,7} )?+kernel(?:\[\d{1,10}\])?+: |[^\s\[]{1,64} kernel - - - |"
    r"[a-z]{3,8}\d?\.[a-z]{3,7} kernel: )?+"
)
#: A record of /dev/kmsg, and of netconsole's extended form (kernel/printk/printk.c, info_print_ext_header).
_RECORD = re.compile(
    r"(?:\d[\w.+~-]{1,99},)?+\d{1,4},\d{1,20},(?P<microseconds>\d{1,16}),[-c+](?P<more>,[^;\n]{0,200})?+;"
)
_RECORD_CALLER = re.compile(r",caller=(?P<caller>[TC]\d{1,10})")
#: Colours, as dmesg and systemd write them.
_COLOUR = re.compile(r"\x1b\[[\d;]{0,16}[mK]")
#: A stamp stands so early in a line, behind what a syslog or a prompt of the console wrote.
PROMPT = 160


def split(raw: str, anywhere: bool = True) -> tuple[str, int | None, str]:
    """What a line says, its time in ns since boot, and its caller; the stamp may stand behind a prompt (`anywhere`).

    >>> from kernlab.oops.prefixes import split
    >>> split("<4>[   12.000005][  T123]  ? foo+0x1/0x2")
    (' ? foo+0x1/0x2', 12000005000, 'T123')
    """
    raw = raw[:MOST_CHARACTERS].rstrip("\r")
    if "\x1b" in raw:
        raw = _COLOUR.sub("", raw)
    if "#011" in raw:
        raw = raw.replace("#011", "\t")  # rsyslog writes controls so
    time, caller = None, ""
    stamp = STAMP.search(raw, 0, PROMPT) if anywhere else STAMP.match(raw)
    if stamp:
        time = int(stamp["seconds"]) * 10**9 + int(stamp["part"].ljust(9, "0"))
        end = stamp.end()
    elif record := _RECORD.match(raw):
        by = _RECORD_CALLER.search(record["more"] or "")
        return raw[record.end() :], int(record["microseconds"]) * 1000, by["caller"] if by else ""
    else:
        end = _OTHER.match(raw).end()  # type: ignore[union-attr]  # nothing matches, too
    if by := _CALLER.match(raw, end):
        caller, end = by["caller"], by.end()
    elif stamp and (behind := _BEHIND.match(raw, end)):
        end = behind.end()
    if end and raw[end : end + 1] == " ":
        end += 1
    return raw[end:], time, caller
