"""Threads that wait for processes; when one fails, or the user interrupts, all of them end."""

__all__ = ["Halt", "in_threads"]

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Halt:
    """Ends what other threads wait for: a thread has no other way out of its wait.

    Attributes:
        over: Whether the halt was called.
    """

    def __init__(self) -> None:
        self.over = False
        self._lock = threading.Lock()
        self._kills: list[Callable[[], None]] = []

    @contextmanager
    def covers(self, kill: Callable[[], None]) -> Iterator[None]:
        """Within it the halt calls `kill`; at once if it was called before.

        Args:
            kill: Ends a process; safe in any thread.
        """
        with self._lock:
            self._kills.append(kill)
            if self.over:
                kill()
        try:
            yield
        finally:
            with self._lock:
                self._kills.remove(kill)

    def __call__(self) -> None:
        """End what is covered now or later."""
        with self._lock:
            self.over = True
            for kill in self._kills:
                kill()


def in_threads(
    run: Callable[[ItemT, Halt], ResultT], items: Sequence[ItemT], n_threads: int
) -> list[ResultT]:
    """Results of all items, in order; with one thread in the present one.

    The first error, or an interrupt of the user, is raised: then no item begins any more, and those
    that run are halted.

    Args:
        run: Gives the result of an item, whose processes the halt covers.
        items: At least one.
        n_threads: Items that run at the same time, >= 1.
    """
    halt = Halt()
    if n_threads == 1:
        return [run(item, halt) for item in items]
    with ThreadPoolExecutor(n_threads) as threads:
        try:
            futures = [threads.submit(run, item, halt) for item in items]
            for future in as_completed(futures):
                future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            halt()
            raise
        return [future.result() for future in futures]
