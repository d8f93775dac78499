"""Abbreviations: what an entry of .debug_info has, and how it is passed over fastest."""

from __future__ import annotations

from dataclasses import dataclass

from elftools.dwarf.enums import ENUM_DW_AT, ENUM_DW_TAG

from kernlab.debuginfo.dwarf.reading import (
    BLOCKS,
    LEB128,
    Bytes,
    fixed_size,
    form_names,
    sleb,
    uleb,
    unsigned,
)

#: No compiler needs more kinds of entries in a unit, or more attributes in one.
_MOST_KINDS, _MOST_ATTRIBUTES = 1 << 16, 1 << 10

# How to pass over an attribute whose size is not fixed; so many bytes are passed where a step is not negative.
STEP_LEB128, STEP_STRING, STEP_BLOCK, STEP_INDIRECT = -1, -2, -16, -3
_AT = {
    name: ENUM_DW_AT[f"DW_AT_{name}"]
    for name in (
        "sibling",
        "name",
        "low_pc",
        "high_pc",
        "ranges",
        "stmt_list",
        "comp_dir",
        "abstract_origin",
        "specification",
        "call_file",
        "call_line",
        "str_offsets_base",
        "addr_base",
        "rnglists_base",
        "dwo_name",
        "GNU_dwo_name",
    )
}
#: The attributes that are asked for, by number.
NAMES = {number: name for name, number in _AT.items()}
SUBPROGRAM, INLINED, NAMESPACE, BLOCK = (
    ENUM_DW_TAG[f"DW_TAG_{name}"]
    for name in ("subprogram", "inlined_subroutine", "namespace", "lexical_block")
)


@dataclass(frozen=True, slots=True)
class Abbreviation:
    """One kind of entry.

    attributes: (name or "", form, implicit value) each; `steps` pass over them all (numbers of bytes, or STEP_*);
    `sibling` is where, behind its code, an entry says where the next one beside it begins, -1 where it does not.
    """

    tag: int
    has_children: bool
    attributes: tuple[tuple[str, str, int], ...]
    steps: tuple[int, ...]
    sibling: int
    sibling_bytes: int
    has_code: bool


def abbreviations(data: Bytes, at: int, address_size: int, offset_size: int) -> dict[int, Abbreviation]:
    """The table at `at` of .debug_abbrev, by code."""
    table: dict[int, Abbreviation] = {}
    while True:
        code, at = uleb(data, at)
        if not code:
            return table
        if len(table) == _MOST_KINDS:
            raise ValueError(f"it has more than {_MOST_KINDS:,} kinds of entries")
        tag, at = uleb(data, at)
        has_children = unsigned(data, at, 1) != 0
        at += 1
        attributes: list[tuple[str, str, int]] = []
        while True:
            number, at = uleb(data, at)
            form, at = uleb(data, at)
            value = 0
            if not number and not form:
                break
            if len(attributes) == _MOST_ATTRIBUTES:
                raise ValueError(f"an entry has more than {_MOST_ATTRIBUTES:,} attributes")
            name = form_names()[form]
            if name == "DW_FORM_implicit_const":
                value, at = sleb(data, at)
            attributes.append((NAMES.get(number, ""), name, value))
        table.setdefault(code, _abbreviation(tag, has_children, tuple(attributes), address_size, offset_size))


def _abbreviation(
    tag: int,
    has_children: bool,
    attributes: tuple[tuple[str, str, int], ...],
    address_size: int,
    offset_size: int,
) -> Abbreviation:
    steps: list[int] = []
    sibling, sibling_bytes, before = -1, 0, 0
    for name, form, _ in attributes:
        size = fixed_size(form, address_size, offset_size)
        if name == "sibling" and before >= 0 and form in ("DW_FORM_ref1", "DW_FORM_ref2", "DW_FORM_ref4"):
            assert size is not None
            sibling, sibling_bytes = before, size
        if size is None:
            before = -1
            steps.append(
                STEP_LEB128
                if form in LEB128
                else STEP_STRING
                if form == "DW_FORM_string"
                else STEP_INDIRECT
                if form == "DW_FORM_indirect"
                else STEP_BLOCK - BLOCKS[form]
            )
            continue
        if before >= 0:
            before += size
        if steps and steps[-1] >= 0:
            steps[-1] += size
        else:
            steps.append(size)
    names = {name for name, _, _ in attributes}
    return Abbreviation(
        tag,
        has_children,
        attributes,
        tuple(steps),
        sibling,
        sibling_bytes,
        bool(names & {"low_pc", "ranges"}),
    )
