"""Python's operators: for what computes column by column, and for what nothing is computed with."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, NoReturn, TypeVar

from kernlab.errors import KernlabError

Result = TypeVar("Result")


class Operators(Generic[Result]):
    """`+ - * // % & | ^ << >>` from either side, `-` and `~` before one, and comparisons."""

    __slots__ = ()
    # NumPy's arrays leave it to this class to compute `array + column`; its functions take a column as its values.
    __array_priority__ = 1000

    @abstractmethod
    def _compute(self, sign: str, other: Any, *, swapped: bool = False) -> Result:
        """`self sign other`, or `other sign self`; NotImplemented for a side that is not a number."""

    @abstractmethod
    def _compare(self, sign: str, other: Any) -> Result:
        """`self sign other` for one of == != < <= > >=."""

    @abstractmethod
    def __invert__(self) -> Result: ...

    def __add__(self, other: Any) -> Result:
        return self._compute("+", other)

    def __radd__(self, other: Any) -> Result:
        return self._compute("+", other, swapped=True)

    def __sub__(self, other: Any) -> Result:
        return self._compute("-", other)

    def __rsub__(self, other: Any) -> Result:
        return self._compute("-", other, swapped=True)

    def __mul__(self, other: Any) -> Result:
        return self._compute("*", other)

    def __rmul__(self, other: Any) -> Result:
        return self._compute("*", other, swapped=True)

    def __floordiv__(self, other: Any) -> Result:
        return self._compute("//", other)

    def __rfloordiv__(self, other: Any) -> Result:
        return self._compute("//", other, swapped=True)

    def __mod__(self, other: Any) -> Result:
        return self._compute("%", other)

    def __rmod__(self, other: Any) -> Result:
        return self._compute("%", other, swapped=True)

    def __and__(self, other: Any) -> Result:
        return self._compute("&", other)

    def __rand__(self, other: Any) -> Result:
        return self._compute("&", other, swapped=True)

    def __or__(self, other: Any) -> Result:
        return self._compute("|", other)

    def __ror__(self, other: Any) -> Result:
        return self._compute("|", other, swapped=True)

    def __xor__(self, other: Any) -> Result:
        return self._compute("^", other)

    def __rxor__(self, other: Any) -> Result:
        return self._compute("^", other, swapped=True)

    def __lshift__(self, other: Any) -> Result:
        return self._compute("<<", other)

    def __rlshift__(self, other: Any) -> Result:
        return self._compute("<<", other, swapped=True)

    def __rshift__(self, other: Any) -> Result:
        return self._compute(">>", other)

    def __rrshift__(self, other: Any) -> Result:
        return self._compute(">>", other, swapped=True)

    def __neg__(self) -> Result:
        return self._compute("-", 0, swapped=True)

    def __eq__(self, other: Any) -> Result:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: Any) -> Result:  # type: ignore[override]
        return self._compare("!=", other)

    def __lt__(self, other: Any) -> Result:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Result:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Result:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Result:
        return self._compare(">=", other)

    __hash__ = None  # type: ignore[assignment]


class NotANumber:
    """What nothing is computed with: types that are damaged, or a kernel's to come, may have a struct for a number."""

    __slots__ = ()

    def _refuse(self, *_: Any) -> NoReturn:
        raise KernlabError(f"{self._called()} is a struct here: nothing can be computed with it")

    @abstractmethod
    def _called(self) -> str:
        """What it is, in C."""

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _refuse
    __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = __mod__ = __rmod__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = _refuse
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse
