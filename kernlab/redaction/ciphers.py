"""Ciphers in use: every object that begins as one, whoever made it, loses its key schedule; and IPsec's keys."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernlab.debuginfo.member_path import resolve
from kernlab.linux.slab_pages import ALLOCATED
from kernlab.redaction.found import Found
from kernlab.redaction.keys import payloads
from kernlab.walk.lists import list_entries

U64 = npt.NDArray[np.uint64]

CIPHER = "cipher"
#: What users of the crypto API hold, with the struct crypto_tfm in it.
_HANDLES = (
    "skcipher",
    "aead",
    "shash",
    "ahash",
    "cipher",
    "akcipher",
    "comp",
    "acomp",
    "kpp",
    "rng",
    "lskcipher",
)
_POINTER = 8
#: struct xfrm_algo and its kin: a name of 64 bytes, then lengths, then the key.
_KEY_OF_ALGORITHM = 72


def cipher_contexts(found: Found) -> None:
    """Whatever lies behind the name of its algorithm in every cipher, hash and random generator of the crypto API.

    They are found by that name: a word of an object in use, at the place that the API has it, which points to an
    algorithm of the kernel's list.
    """
    kernel = found.kernel
    head = kernel.symbols.get("crypto_alg_list")
    if head is None or kernel.types.get("struct crypto_tfm") is None:
        return
    _, algorithm = list_entries(kernel, [head], "struct crypto_alg", "cra_list", what="the list of ciphers")
    known = np.unique(algorithm.addresses)
    inner = resolve(kernel.find_type("struct crypto_tfm"), "__crt_alg").hops[0]
    places = {inner}
    for name in _HANDLES:
        kind = kernel.types.get(f"struct crypto_{name}")
        if kind is not None and kernel.types.has_member(f"struct crypto_{name}", "base"):
            places.add(resolve(kind, "base").hops[0] + inner)
    slabs = found.slabs
    stride = np.repeat(slabs.stride, slabs.objects)
    start = slabs.addresses()
    used = (found.states == ALLOCATED) & (stride > min(places) + _POINTER)
    start, stride = start[used], stride[used]
    for place in sorted(places):
        fits = stride > place + _POINTER
        named, read = kernel.words(start[fits] + np.uint64(place), what="")
        mine = read & np.isin(named, known)
        first = start[fits][mine] + np.uint64(place + _POINTER)
        found.edits.zero(first, stride[fits][mine] - place - _POINTER, CIPHER)


def ipsec(found: Found) -> None:
    """The keys of IPsec's states."""
    kernel = found.kernel
    state = kernel.types.get("struct xfrm_state")
    if state is None:
        return
    if not found.nets.has("xfrm.state_all"):
        return
    heads = found.nets.follow("xfrm.state_all").addresses
    _, states = list_entries(kernel, heads, "struct xfrm_state", "km.all", what="the states of IPsec")
    for name in ("aalg", "ealg", "aead"):
        if states.has(name):
            pointer = states[name]
            payloads(found, pointer.values[pointer.true].astype(np.uint64), _KEY_OF_ALGORITHM)
