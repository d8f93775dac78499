"""Work on arrays in pieces, on the processors that there are: NumPy releases the interpreter's lock."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import copy_context
from typing import Any, Generic, TypeVar

__all__ = ["Spare", "ahead", "beside", "in_threads", "processors"]

_MOST_THREADS = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


class Spare(Generic[Item]):
    """Things that threads use in turn, memory mostly: as many are made as are in use at a time."""

    def __init__(self, make: Callable[[], Item]):
        self._make = make
        self._free: deque[Item] = deque()

    def take(self) -> Item:
        """One that nobody uses."""
        try:
            # Asking first whether there is one would be two steps, between which another thread may take it.
            return self._free.pop()
        except IndexError:
            return self._make()

    def give(self, item: Item) -> None:
        """Give one back."""
        self._free.append(item)


def processors() -> int:
    """How many threads are worth having."""
    return min(len(os.sched_getaffinity(0)), _MOST_THREADS)


def beside(work: Callable[..., object], *args: Any) -> threading.Thread:
    """Do `work(*args)` in a thread of its own, in the context of the caller; the thread, which ends with the program.

    The context says to ipykernel which question an answer belongs to. Without it an answer counts as one to whatever
    message came last, and ipykernel 7.4 takes the widget's next question to the subshell of that one, gone or not.
    """
    thread = threading.Thread(target=copy_context().run, args=(work, *args), daemon=True)
    thread.start()
    return thread


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], *, small: bool = False) -> list[Result]:
    """`work` of each item, in their order; one after the other where there is one item or the work is `small`.

    An exception of any is raised once those under way have ended; the rest is not begun.
    """
    threads = min(processors(), len(items))
    if small or threads < 2:
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads, thread_name_prefix="kernlab") as pool:
        # In the caller's context each: what is lost there is lost in the caller's scope.
        waiting = [pool.submit(copy_context().run, work, item) for item in items]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            for future in waiting:
                future.cancel()
            raise


def ahead(work: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[Result]:
    """`work` of each item, in their order, begun in threads before it is asked for: of at most `most` items.

    With one processor, or `most` 0, each is made when it is asked for. What was begun is waited for when the caller
    stops early.
    """
    threads = min(processors(), most)
    if threads < 1 or processors() < 2:
        yield from map(work, items)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="kernlab") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(copy_context().run, work, item))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
