"""drgn's side of the sockets benchmark: one row per socket that a process has open, with its holder and both ends.

python benchmarks/drgn_sockets.py DUMP VMLINUX [--figures]

kernlab's table has, beside these, the sockets that nobody has open, and what tcp thinks of them.
"""

from __future__ import annotations

import drgn
import pandas as pd
from drgn import cast, container_of
from drgn.helpers.linux import for_each_task
from drgn.helpers.linux.fs import for_each_file
from drgn_program import main
from figures import socket_figures

COLUMNS = ["address", "family", "state", "inode", "pid", "fd", "rmem_bytes", "wmem_bytes", "local", "peer"]
UNIX, INET, INET6 = 1, 2, 10


def sockets(prog: drgn.Program) -> pd.DataFrame:
    operations = prog["socket_file_ops"].address_of_()
    found: dict[int, tuple[object, ...]] = {}
    for task in for_each_task(prog):
        pid = task.tgid.value_()
        if task.pid.value_() != pid or not task.files:
            continue
        for fd, file in for_each_file(task):
            if not file or file.f_op != operations:
                continue
            socket = cast("struct socket *", file.private_data)
            sk = socket.sk
            address = sk.value_()
            if not address or (address in found and (found[address][4], found[address][5]) <= (pid, fd)):
                continue
            fields = sk[0].read_()
            common = fields.__sk_common
            family = common.skc_family.value_()
            local, peer = "", 0
            if family in (INET, INET6):
                local = f"{common.skc_rcv_saddr.value_():08x}:{common.skc_num.value_()}"
            elif family == UNIX:
                unix = cast("struct unix_sock *", sk)
                peer = unix.peer.value_()
                if unix.addr:
                    length = unix.addr.len.value_() - 2
                    raw = prog.read(unix.addr.name.address_of_().value_() + 2, length) if length > 0 else b""
                    local = raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
            inode = container_of(socket, "struct socket_alloc", "socket").vfs_inode.i_ino.value_()
            found[address] = (
                address,
                family,
                common.skc_state.value_(),
                inode,
                pid,
                fd,
                fields.sk_backlog.rmem_alloc.counter.value_(),
                fields.sk_wmem_alloc.refs.counter.value_() - 1,
                local,
                peer,
            )
    return pd.DataFrame(list(found.values()), columns=COLUMNS).astype({"address": "uint64", "peer": "uint64"})


if __name__ == "__main__":
    main(sockets, socket_figures)
