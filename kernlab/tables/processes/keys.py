"""The kernel's keys: who has them and what they are for. What they hold is not read."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kernlab.core.column import Column
from kernlab.core.kernel import Kernel
from kernlab.core.struct_array import StructArray
from kernlab.dataframes import empty, frame, nullable, table
from kernlab.walk.rbtree import rbtree_entries
from kernlab.walk.strings import c_strings

#: include/linux/key.h: bits of struct key.flags, as /proc/keys shows them.
_FLAGS = {"R": 1 << 1, "D": 1 << 0, "Q": 1 << 2, "U": 1 << 3}
_INVALIDATED = 1 << 5
#: KEY_IS_UNINSTANTIATED, KEY_IS_POSITIVE; what could not be made has the error, below zero.
_UNMADE = 0
#: A key that never expires has 0, or since Linux 6.7 the end of time (TIME64_MAX).
_NEVER = (1 << 63) - 1


@table(rows="struct key")
def keys(kernel: Kernel) -> pd.DataFrame:
    """One row per key, by its serial number: those of all users, of keyrings and the kernel's own.

    Columns: serial, type ("keyring", "user", "asymmetric", "logon" …), description, flags (as /proc/keys shows them:
    I made, R revoked, D dead, Q in a quota, U being made in user space, N could not be made, i invalidated), uid, gid
    (of the owner, in the initial user namespace), permissions (hexadecimal: of possessor, user, group, others),
    usage (references), keys (in a keyring), expires (missing for never), last_used (missing for never), quota_bytes
    (what it counts towards its owner's), address (struct key). Payloads are not read. Mirrors security/keys/proc.c.

    >>> dump.keys[["serial", "type", "description", "flags", "uid", "permissions"]].head(2)
          serial     type              description    flags  uid permissions
    0  333869966  keyring  .secondary_trusted_keys  I------    0    1f0f0000
    1  365699957  keyring                   _uid.0  I--Q---    0    1f3f0000
    """
    root = kernel.find_symbol("key_serial_tree")
    if root is None or kernel.types.get("struct key") is None:
        kernel.lost("keys are off in this kernel (CONFIG_KEYS)")
        texts = dict.fromkeys(("type", "description", "flags"), "str")
        return empty(
            kernel,
            "keys",
            serial="Int64",
            **texts,
            uid="Int64",
            gid="Int64",
            permissions="str",
            usage="Int64",
            keys="Int64",
            expires="datetime64[ns, UTC]",
            last_used="datetime64[ns, UTC]",
            quota_bytes="Int64",
            address="struct key",
        )
    _, key = rbtree_entries(kernel, [root], "struct key", "serial_node", what="the tree of keys")
    kind = c_strings(kernel, key["type->name"], 64)
    # What other keys hold lies at the same place.
    ring = StructArray(kernel, key.type, key.addresses, (kind == "keyring").true)
    expires = key["expiry"].int64
    # Not a date of a key that was revoked or collected: the same place says when.
    dated = expires.where(expires.true & (expires < _NEVER).true & ~key["flags"].has(0x23).true)
    used = key["last_used_at"].int64
    permissions = key["perm"]
    return frame(
        kernel,
        "keys",
        serial=nullable(key["serial"]),
        type=kind,
        description=c_strings(kernel, key["description"], 4096),
        flags=_flags(key),
        uid=nullable(key["uid.val"]),
        gid=nullable(key["gid.val"]),
        permissions=Column.texts([None if bits is None else f"{bits:08x}" for bits in permissions]),
        usage=nullable(key.first("usage.refs.counter", "usage.counter").int64),
        keys=nullable(ring["keys.nr_leaves_on_tree"].int64),
        expires=pd.Series(dated.datetime).dt.tz_localize("UTC"),
        last_used=pd.Series(used.where(used.true).datetime).dt.tz_localize("UTC"),
        quota_bytes=nullable(key["quotalen"].int64),
        address=key,
    )


def _flags(key: StructArray) -> Column:
    """The seven letters of /proc/keys, "-" for what a key is not."""
    flags, state = key["flags"], key["state"].int64
    letters = [np.where((state != _UNMADE).true, "I", "-")]
    letters += [np.where(flags.has(bit).true, letter, "-") for letter, bit in _FLAGS.items()]
    letters += [np.where((state < 0).true, "N", "-"), np.where(flags.has(_INVALIDATED).true, "i", "-")]
    texts = ["".join(row) for row in zip(*letters, strict=True)]
    return Column.of(np.array(texts, dtype=object), flags.valid & state.valid, "text")
