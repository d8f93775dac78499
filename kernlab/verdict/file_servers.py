"""File servers of which a log says that they do not respond, and the threads that wait for one."""

from __future__ import annotations

import re
from typing import NamedTuple

from kernlab.verdict.case import Case
from kernlab.verdict.chains import functions, reported_hung
from kernlab.verdict.reported import kernel_text

# fs/nfs and net/sunrpc/clnt.c (rpc_check_timeout, call_decode); fs/smb/client/connect.c (server_unresponsive).
_SILENT = re.compile(
    r"(?:nfs|lockd): server (?P<server>\S{1,255}) not responding, (?P<then>still trying|timed out)"
)
_BACK = re.compile(r"(?:nfs|lockd): server (?P<server>\S{1,255}) OK")
_SMB = re.compile(r"CIFS:(?: VFS:)? \\\\(?P<server>\S{1,255}) has not responded in \d{1,6} seconds")
#: Functions on the stacks of those who wait for a file server.
_REMOTE = ("rpc_wait_bit", "nfs_", "nfs4_", "nfs3_", "cifs_", "smb2_", "wait_for_response")


class Silent(NamedTuple):
    """A server, the label and the text of the line with which its silence began, and whether the log would also say
    that it is back: of a mount that gives up ("timed out"), and of SMB, it never does."""

    server: str
    label: int
    line: str
    would_tell: bool


def silent_by_log(case: Case) -> list[Silent]:
    """The servers that were silent when the log last spoke of them."""
    last: dict[str, Silent | None] = {}
    text = kernel_text(case)
    told = text.str.contains(r"server \S+ (?:not responding|OK)|has not responded in", regex=True)
    for label in text.index[told].tolist():
        for line in str(text[label]).splitlines():
            if back := _BACK.match(line):
                last[back["server"]] = None
            elif found := _SILENT.match(line) or _SMB.match(line):
                would_tell = found.groupdict().get("then") == "still trying"
                first = last.get(found["server"])
                if first is None or (would_tell and not first.would_tell):
                    last[found["server"]] = Silent(found["server"], int(label), line, would_tell)
    return [each for each in last.values() if each is not None]


def hung_by_server(case: Case) -> list[int]:
    """Threads that have long slept for a remote call (net/sunrpc, rpc_wait_bit_killable; fs/smb, wait_for_response),
    those that the kernel itself called hung first."""
    if not case.has_dump:
        return []
    asleep = case.waits[case.waits["state"] == "D"]
    long = asleep[asleep["since"].dt.total_seconds() >= case.hung_after]
    remote = case.stacks["symbol"].fillna("").str.startswith(_REMOTE)
    pids = long.loc[long["pid"].isin(case.stacks.loc[remote, "pid"]), "pid"].dropna().astype(int).tolist()
    named = reported_hung(case)
    return sorted(pids, key=lambda pid: pid not in named)


def waits_for_server(case: Case, pid: int) -> bool:
    """Does a thread sleep for a remote call, where the log says that a server is silent?"""
    stack = functions(case.stack_of(pid))
    return any(name.startswith(_REMOTE) for name in stack) and bool(silent_by_log(case))
