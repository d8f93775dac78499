"""A struct's type in, its layout out as pahole(1) shows it: members, holes, padding and cache lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from kernlab.debuginfo.types import DEEPEST, Member, StructType, Type, declare
from kernlab.errors import KernlabError
from kernlab.escape import NO_MATH, escape_html

#: Lines of one layout; longer ones are cut, and say so.
_MOST_LINES = 5000


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `kind` is "member", "open" and "close" (of a nameless struct), "hole", "padding" or "cacheline".

    `offset` and `size` are in bytes, `bit` and `bits` those of a bitfield (`bits` 0: none); `path` is the member's.
    """

    kind: str
    depth: int
    text: str
    offset: int
    size: int
    bit: int = 0
    bits: int = 0
    path: str = ""


@dataclass
class StructLayout:
    """A struct's or union's layout; `str()` is C with comments, in HTML a table."""

    name: str
    size: int
    cache_line: int
    lines: list[Line] = field(default_factory=list)
    members: int = 0
    #: Holes between members, as (offset, size in bytes); and how many bits lie unused beside bitfields.
    holes: list[tuple[int, int]] = field(default_factory=list)
    bit_holes: int = 0
    padding: int = 0

    @property
    def cachelines(self) -> int:
        """How many cache lines it touches where it begins with one."""
        return -(-self.size // self.cache_line)

    def summary(self) -> str:
        """Sizes and what is lost to holes, in one line."""
        parts = [
            f"{self.size:,} bytes",
            f"{self.cachelines:,} cache line{'' if self.cachelines == 1 else 's'}",
        ]
        parts.append(f"{self.members:,} member{'' if self.members == 1 else 's'}")
        if self.holes:
            lost = sum(size for _, size in self.holes)
            parts.append(f"{len(self.holes):,} hole{'' if len(self.holes) == 1 else 's'} ({lost:,} bytes)")
        if self.bit_holes:
            parts.append(f"{self.bit_holes:,} unused bits beside bitfields")
        if self.padding:
            parts.append(f"{self.padding:,} bytes of padding at the end")
        return " · ".join(parts)

    def __str__(self) -> str:
        rows = [f"{self.name} {{"]
        for line in self.lines:
            indent = "    " * (line.depth + 1)
            if line.kind in ("member", "close"):
                where = f"{line.offset:>6}:{line.bit:<2}" if line.bits else f"{line.offset:>6}   "
                rows.append(f"{indent + line.text:<64} /* {where} {line.size:>5} */")
            elif line.kind == "open":
                rows.append(indent + line.text)
            else:
                rows.append(f"{indent}/* {line.text} */")
        return "\n".join([*rows, f"}}; /* {self.summary()} */"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        left = 'style="text-align:left;font-weight:normal"'
        rows = "".join(
            f'<tr style="{_ROW_STYLE.get(line.kind, "")}"><td>{_where(line)}</td>'
            f"<td>{'' if line.kind in ('open', 'cacheline') else f'{line.size:,}'}</td>"
            f'<td style="text-align:left;white-space:pre">{"    " * line.depth}{escape_html(line.text)}</td></tr>'
            for line in self.lines
        )
        return (
            f'<div class="kernlab-layout {NO_MATH}" style="max-height:45em;overflow:auto"><table>'
            f"<caption {left}><code>{escape_html(self.name)}</code> · {self.summary()}</caption>"
            f"<thead><tr><th>offset</th><th>size</th><th {left}>member</th></tr></thead>"
            f'<tbody style="font-family:var(--jp-code-font-family,monospace)">{rows}</tbody></table></div>'
        )


_ROW_STYLE = {
    # Translucent: it colours a dark page as it does a light one.
    "hole": "background:rgba(255,167,38,.22)",
    "padding": "background:rgba(255,167,38,.22)",
    "cacheline": "opacity:.75;border-top:1px dashed currentColor",
}


def _where(line: Line) -> str:
    if line.kind == "open":
        return ""
    return f"{line.offset:#x}:{line.bit}-{line.bit + line.bits - 1}" if line.bits else f"{line.offset:#x}"


def layout(kind: Type, cache_line: int) -> StructLayout:
    """The layout of a struct or union; `cache_line` in bytes. Raises KernlabError for other types."""
    struct = kind.strip()
    if not isinstance(struct, StructType):
        raise KernlabError(f"{kind.c_name} is not a struct or union, so it has no layout")
    made = StructLayout(struct.c_name, struct.size, cache_line)
    _struct(made, struct, 0, 0, "")
    return made


def _struct(made: StructLayout, struct: StructType, base: int, depth: int, path: str) -> None:
    """Add a struct's members; `base` is where it begins, in bits."""
    end = unit_end = 0
    for member in struct.members:
        if len(made.lines) >= _MOST_LINES:
            made.lines.append(Line("hole", depth, f"more than {_MOST_LINES:,} lines: cut here", base // 8, 0))
            return
        bits = member.bit_size or 8 * member.type.size
        if not struct.is_union:
            _gap(made, base, end, member.bit_offset, depth, unit_end)
            if depth == 0:
                _cacheline(made, base + end, base + member.bit_offset)
        _member(made, member, base, depth, path)
        end = max(end, member.bit_offset + bits)
        # What a bitfield leaves of the unit that it is declared with is not a hole: pahole counts it in bits.
        unit = 8 * max(member.type.size, 1)
        unit_end = (member.bit_offset // unit + 1) * unit if member.bit_size else 0
    rest = 8 * struct.size - end
    if rest >= 8 and not struct.is_union and struct.members:
        if depth == 0:
            made.padding = rest // 8
        made.lines.append(
            Line("padding", depth, f"{rest // 8:,} bytes of padding", (base + end + 7) // 8, rest // 8)
        )


def _gap(made: StructLayout, base: int, end: int, start: int, depth: int, unit_end: int) -> None:
    gap = start - end
    if gap <= 0:
        return
    bits = min(max(unit_end - end, -end % 8), gap)
    whole = (gap - bits) // 8
    made.bit_holes += gap - 8 * whole
    if not whole:
        made.lines.append(Line("hole", depth, f"{gap:,} unused bits", (base + end) // 8, 0))
        return
    offset = (base + end + bits) // 8
    if depth == 0:
        made.holes.append((offset, whole))
    made.lines.append(
        Line("hole", depth, f"hole of {whole:,} byte{'' if whole == 1 else 's'}", offset, whole)
    )


def _cacheline(made: StructLayout, end: int, start: int) -> None:
    """A boundary of cache lines that lies between the end of one member and the start of the next, or inside one."""
    before = (made.lines and _last_line(made)) or 0
    now = start // 8 // made.cache_line
    if now > before:
        ago = start // 8 - now * made.cache_line
        text_ = f"cache line {now} begins" if not ago else f"cache line {now} began {ago} bytes ago"
        made.lines.append(Line("cacheline", 0, f"--- {text_} ---", now * made.cache_line, 0))


def _last_line(made: StructLayout) -> int:
    for line in reversed(made.lines):
        if line.kind == "cacheline":
            return line.offset // made.cache_line
    return 0


def _member(made: StructLayout, member: Member, base: int, depth: int, path: str) -> None:
    inner = member.type
    start = base + member.bit_offset
    if isinstance(inner, StructType) and not inner.name and depth < DEEPEST:
        made.lines.append(Line("open", depth, f"{inner.c_name.removesuffix(' {…}')} {{", start // 8, 0))
        _struct(made, inner, start, depth + 1, f"{path}{member.name}." if member.name else path)
        made.lines.append(
            Line(
                "close",
                depth,
                f"}} {member.name}".rstrip() + ";",
                start // 8,
                inner.size,
                path=path + member.name,
            )
        )
        if depth == 0:
            made.members += 1
        return
    if depth == 0:
        made.members += 1
    if member.bit_size:
        # pahole counts a bitfield's bits from the start of the unit that it is declared with.
        unit = max(inner.size, 1)
        place, bit = divmod(start, 8 * unit)
        said = f"{declare(inner, member.name)} : {member.bit_size};"
        made.lines.append(
            Line("member", depth, said, place * unit, unit, bit, member.bit_size, path + member.name)
        )
        return
    said = f"{declare(inner, member.name)};"
    made.lines.append(Line("member", depth, said, start // 8, inner.size, path=path + member.name))
