"""Columns compute as Python's integers do, of which some are None; what 64 bits cannot hold is missing."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.core.column import Column
from kernlab.errors import KernlabError
from kernlab.util import integers
from kernlab.util.losses import scope

SETTINGS = settings(max_examples=150, deadline=None)
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
EXACT: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip
BITS = {"&": operator.and_, "|": operator.or_, "^": operator.xor}
COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
I64, U64 = (-(1 << 63), (1 << 63) - 1), (0, (1 << 64) - 1)

Numbers = list[int | None]


def fits(value: int, limits: tuple[int, int]) -> bool:
    return limits[0] <= value <= limits[1]


def column(dtype: str, numbers: Numbers, kind: str = "") -> Column:
    values = np.array([number or 0 for number in numbers], dtype=dtype)
    return Column.of(values, np.array([number is not None for number in numbers], dtype=bool), kind)


@st.composite
def sides(draw: st.DrawFn) -> tuple[str, Numbers, str, Numbers]:
    """Two columns of one length: their dtypes, and numbers that like to lie at the ends of what these hold."""
    count = draw(st.integers(0, 6))
    found: list[Any] = []
    for _ in range(2):
        dtype = draw(st.sampled_from(DTYPES))
        limits = np.iinfo(dtype)
        near = [limits.min, limits.min + 1, 0, 1, 2, 63, 64, limits.max // 2, limits.max - 1, limits.max]
        number = st.none() | st.sampled_from(near) | st.integers(int(limits.min), int(limits.max))
        found += [dtype, draw(st.lists(number, min_size=count, max_size=count))]
    return tuple(found)


def expected(
    compute: Callable[[Any, Any], Any], left: Numbers, right: Numbers, limits: tuple[int, int]
) -> list[Any]:
    found: list[Any] = []
    for a, b in zip(left, right, strict=True):
        try:
            value = None if a is None or b is None else compute(a, b)
        except (ZeroDivisionError, ValueError):
            value = None
        found.append(value if value is None or fits(value, limits) else None)
    return found


@SETTINGS
@given(sides(), st.sampled_from(sorted(EXACT)))
def test_arithmetic_is_exact_or_missing(given_sides, sign):
    one, left, other, right = given_sides
    result = EXACT[sign](column(one, left), column(other, right))
    assert result.tolist() == expected(EXACT[sign], left, right, I64)
    assert result.values.dtype == np.int64
    assert result.kind == "int"


@SETTINGS
@given(sides(), st.sampled_from(sorted(EXACT)), st.integers(I64[0], U64[1]))
def test_arrays_and_integers_on_either_side(given_sides, sign, number):
    one, left, other, right = given_sides
    compute = EXACT[sign]
    mine = column(one, left)
    plain = np.array([value or 0 for value in right], dtype=other)
    assert compute(mine, plain).tolist() == expected(compute, left, plain.tolist(), I64)
    assert compute(plain, mine).tolist() == expected(compute, plain.tolist(), left, I64)
    same: Numbers = [number] * len(left)
    assert compute(mine, number).tolist() == expected(compute, left, same, I64)
    assert compute(number, mine).tolist() == expected(compute, same, left, I64)
    assert (-mine).tolist() == expected(operator.sub, [0] * len(left), left, I64)


@SETTINGS
@given(sides(), st.sampled_from(sorted(BITS)))
def test_all_64_bits_take_part_as_in_c(given_sides, sign):
    one, left, other, right = given_sides
    result = BITS[sign](column(one, left), column(other, right))
    unsigned = "u8" in (one, other)
    assert result.kind == ("uint" if unsigned else "int")

    def in_c(a: int, b: int) -> int:
        value = BITS[sign](a, b) % (1 << 64)
        return value if unsigned or value < 1 << 63 else value - (1 << 64)

    assert result.tolist() == expected(in_c, left, right, U64 if unsigned else I64)
    inverted = ~column(one, left)
    assert inverted.tolist() == [
        None if a is None else ((1 << 64) - 1 - a if one == "u8" else -1 - a) for a in left
    ]


@SETTINGS
@given(sides())
def test_shifts_lose_nothing_unseen(given_sides):
    one, left, other, right = given_sides

    def shift(compute: Callable[[int, int], int]) -> Callable[[int, int], int | None]:
        return lambda a, b: compute(a, b) if 0 <= b < 64 else None

    limits = U64 if one == "u8" else I64
    shifted = column(one, left) << column(other, right)
    assert shifted.tolist() == expected(shift(operator.lshift), left, right, limits)
    assert (column(one, left) >> column(other, right)).tolist() == expected(
        shift(operator.rshift), left, right, limits
    )


@SETTINGS
@given(sides(), st.sampled_from(sorted(COMPARE)), st.integers(I64[0], U64[1]))
def test_comparisons_go_by_worth(given_sides, sign, number):
    one, left, other, right = given_sides
    compare = COMPARE[sign]
    result = compare(column(one, left), column(other, right))
    assert result.kind == "bool"
    assert result.tolist() == expected(compare, left, right, (0, 1))
    assert compare(column(one, left), number).tolist() == [
        None if a is None else compare(a, number) for a in left
    ]
    assert result.true.tolist() == [value is True for value in result.tolist()]


@SETTINGS
@given(st.lists(st.none() | st.integers(*U64), max_size=6), st.integers(-(1 << 40), 1 << 40))
def test_addresses_stay_addresses_until_they_are_subtracted(where, step):
    base = column("u8", where, "address")
    steps: Numbers = [step] * len(where)
    for moved in (base + step, step + base):
        assert moved.kind == "address"
        assert moved.values.dtype == np.uint64
        assert moved.tolist() == expected(operator.add, where, steps, U64)
    assert (base - step).kind == "address"
    assert (base - step).tolist() == expected(operator.sub, where, steps, U64)
    apart = base - column("u8", where[::-1], "address")
    assert apart.kind == "int"
    assert apart.tolist() == expected(operator.sub, where, where[::-1], I64)
    assert (base & 7).kind == "uint"
    with pytest.raises(KernlabError, match="two addresses"):
        base + base


def test_masks_bits_and_what_is_filled_in():
    flags = column("u4", [0, 5, None, 2])
    assert flags.has(4).tolist() == [False, True, None, False]
    assert flags.has(6).true.tolist() == [False, True, False, True]
    assert flags.true.tolist() == [False, True, False, True]
    assert column("u8", [1 << 63, 1, 0]).has(1 << 63).tolist() == [True, False, False]
    assert flags.where(np.array([True, False, True, True])).filled(9).tolist() == [0, 9, 9, 2]
    assert flags.filled(9).dtype == np.uint32
    known, large = flags != 0, flags > 2
    assert (known & large).kind == "bool"
    assert (known & ~large).tolist() == [False, False, None, True]
    assert (known & np.array([True, True, True, False])).tolist() == [False, True, None, False]
    assert (np.array([True, True, True, False]) & known).tolist() == [False, True, None, False]


def test_numpy_leaves_operators_to_the_column_and_takes_its_values_elsewhere():
    numbers = column("u2", [1, None, 100])
    for one in (np.array([2, 2, 2]) > numbers, np.int64(2) > numbers, numbers < 2):
        assert isinstance(one, Column)
        assert one.tolist() == [True, None, False]
    assert (np.uint64(2) * numbers).tolist() == [2, None, 200]
    assert np.sqrt(numbers).tolist() == [1, 0, 10]
    assert np.maximum(numbers, 50).tolist() == [50, 50, 100]
    assert np.asarray(numbers).dtype == np.uint16


def test_nothing_is_copied_where_nothing_is_missing():
    values = np.arange(5, dtype=np.int64)
    whole = Column.of(values)
    assert np.shares_memory(whole.filled(0), values)
    assert np.shares_memory(whole.int64.values, values)


def test_rows_are_picked_by_index_mask_and_slice():
    one = column("u2", [7, None, 9])
    assert one[0] == 7
    assert isinstance(one[0], int)
    assert one[np.int64(1)] is None
    assert one[1:].tolist() == [None, 9]
    assert one[np.array([2, 0])].tolist() == [9, 7]
    assert one[one.true].tolist() == [7, 9]
    assert one[1:].kind == "uint"
    assert list(one) == [7, None, 9]


def test_numbers_that_no_int64_holds_do_not_turn_negative():
    large = column("u8", [1 << 63, (1 << 63) - 1, None])
    assert large.int64.tolist() == [None, (1 << 63) - 1, None]
    assert (large * 1).tolist() == [None, (1 << 63) - 1, None]
    assert (large - (1 << 63)).tolist() == [0, -1, None]
    assert column("i1", [-1]).int64.tolist() == [-1]


def test_times():
    times = column("u8", [1_500_000_000, None, 1 << 63]).timedelta
    assert times.dtype == np.dtype("timedelta64[ns]")
    assert times[0] == np.timedelta64(1500, "ms")
    assert np.isnat(times[1:]).all()


def test_texts_are_compared_only():
    text = Column.of(["a", "b", ""], np.array([True, True, False]))
    assert (text == "a").tolist() == [True, False, None]
    assert (text != Column.of(["b", "b", "b"])).tolist() == [True, False, None]
    assert text.true.tolist() == [True, True, False]
    assert Column.missing(2).tolist() == [None, None]
    assert Column.texts(["a", None, ""]).tolist() == ["a", None, ""]
    assert Column.texts([]).kind == "text"
    for wrong in (lambda: text + 1, lambda: text < "b", lambda: text == 3, lambda: Column.of([1]) == "a"):
        with pytest.raises(KernlabError):
            wrong()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Column.of([1, 2]) + np.array([1, 2, 3]),
        lambda: Column.of([1, 2]) * 0.5,
        lambda: Column.of([1.5]) * 2,
        lambda: Column.of([1]) + (1 << 64),
        lambda: Column.of(np.zeros((2, 3), dtype=np.int64)) + 1,
        lambda: bool(Column.of([1])),
        lambda: Column.of([1]) == None,  # noqa: E711
    ],
)
def test_what_is_no_sum_of_integers_is_refused(wrong):
    with pytest.raises(KernlabError):
        wrong()


ANY = st.integers(*I64) | st.sampled_from([0, -1, 1 << 52, I64[0], I64[1], I64[1] - 1])


@SETTINGS
@given(st.lists(st.none() | ANY, max_size=12), st.data())
def test_sums_are_exact_or_missing(numbers, data):
    values = column("i8", numbers)
    assert values.sum() == (None if None in numbers else sum(n for n in numbers if n is not None))
    owner = np.array([data.draw(st.integers(0, 3)) for _ in numbers], dtype=np.int64)
    with scope("test") as here:
        found = values.added_by(owner, 4).tolist()
    large = 0
    for whose in range(4):
        mine = [number for number, of in zip(numbers, owner.tolist(), strict=True) if of == whose]
        exact = None if None in mine else sum(n for n in mine if n is not None)
        fits = exact is not None and I64[0] <= exact <= I64[1]
        assert found[whose] == (exact if fits else None)
        large += exact is not None and not fits
    assert any("do not fit" in said for said in here.losses) == (large > 0)


@SETTINGS
@given(st.lists(st.integers(*U64) | st.sampled_from([U64[1], 1 << 63]), max_size=12))
def test_sums_of_unsigned_numbers(numbers):
    assert column("u8", numbers).sum() == sum(numbers)
    values, fits = integers.added(np.array([numbers, numbers], dtype=np.uint64), 0)
    exact = [2 * number <= I64[1] for number in numbers]
    assert (fits is None and all(exact)) or (fits is not None and fits.tolist() == exact)
    assert values.tolist() == [2 * n if good else 0 for n, good in zip(numbers, exact, strict=True)]


@SETTINGS
@given(st.lists(st.none() | ANY | st.integers(-(1 << 70), 1 << 70)), st.lists(st.none() | ANY))
def test_pythons_integers_and_others_in_place_of_what_is_missing(numbers, others):
    numbers, others = (side[: min(len(numbers), len(others))] for side in (numbers, others))
    fits = [number is not None and I64[0] <= number <= I64[1] for number in numbers]
    with scope("test") as here:
        found = Column.ints(numbers, "things")
    assert found.tolist() == [number if good else None for number, good in zip(numbers, fits, strict=True)]
    large = sum(number is not None and not good for number, good in zip(numbers, fits, strict=True))
    assert here.losses == (
        [f"{large:,} of {len(numbers):,} values of things do not fit into 64 bits, and are missing"]
        if large
        else []
    )
    assert found.otherwise(column("i8", others)).tolist() == [
        number if good else other for number, good, other in zip(numbers, fits, others, strict=True)
    ]


def test_what_does_not_fit_is_told_by_name():
    pages = Column.of(np.array([1, 1 << 52], dtype=np.uint64)).called("struct mm_struct: total_vm")
    with scope("test") as here:
        (pages * 4096).tolist()
        (pages // 0).tolist()
        pages.int64.tolist()
    assert here.losses == [
        "1 of 2 values of struct mm_struct: total_vm * 4096 do not fit into 64 bits, and are missing"
    ]


def test_seconds_beyond_what_a_time_holds():
    """The year 300,000, and the number that NumPy takes for no time at all."""
    seconds = Column.of(np.array([0, 1_700_000_000, 300_000 * 31_556_952, -(1 << 63)], dtype=np.int64))
    with scope("test") as here:
        found = seconds.datetime
        spans = Column.of(np.array([-(1 << 63), 5], dtype=np.int64)).timedelta
    assert np.isnat(found).tolist() == [False, False, True, True]
    assert found[1] == np.datetime64("2023-11-14T22:13:20")
    assert np.isnat(spans).tolist() == [True, False]
    assert len(here.losses) == 2


@SETTINGS
@given(st.lists(st.tuples(ANY, ANY)))
def test_how_far_two_moments_lie_apart(pairs):
    begin, end = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    assert integers.apart(begin, end).tolist() == [min(max(b - a, I64[0]), I64[1]) for a, b in pairs]


def test_what_is_not_what_a_table_expects_is_refused(opened):
    """Types that are damaged may have an array, a struct or a number where something else was."""
    tasks = opened("debian-6.1").structs("task_struct", ["init_task"])
    assert tasks["comm"].text.tolist() == ["swapper/0"]
    with pytest.raises(KernlabError, match=r"struct task_struct: pid should be text, and is int by"):
        tasks["pid"].text  # noqa: B018
    with pytest.raises(KernlabError, match="only numbers and texts are true or not"):
        tasks["cpus_mask.bits"].true  # noqa: B018
    with pytest.raises(KernlabError, match="struct list_head is a struct here"):
        tasks["tasks"].values  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tasks["tasks"].nothing  # noqa: B018
