"""A pool of processes that leaves none behind, and says what happened when one dies."""

__all__ = ["ProcessPool", "result_of"]

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from detopt import offspring
from detopt.errors import DetoptError

WORKER_DIED = (
    "A worker process died: perhaps for lack of memory, or because a script starts the study "
    "outside of `if __name__ == '__main__':`. Resume with fewer workers, or with one."
)


class ProcessPool(ProcessPoolExecutor):
    """Processes of this machine.

    Args:
        workers: Their number.
        prepare: What each of them calls first.
        arguments: Of `prepare`.
    """

    def __init__(self, workers: int, prepare: Callable[..., object], *arguments: Any) -> None:
        super().__init__(
            workers,
            mp_context=get_context("spawn"),
            initializer=offspring.begin,
            initargs=(prepare, *arguments),
        )
        self._under_way: set[Future[Any]] = set()

    def call(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Let any process call a function.

        Raises:
            DetoptError: A process died before.
        """
        try:
            with offspring.deaf():
                future = self.submit(offspring.do, function, *arguments)
        except BrokenProcessPool as error:
            raise DetoptError(WORKER_DIED) from error
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def close(self) -> None:
        """End the processes; what they still do is stopped, since nobody reads it."""
        under_way = [future for future in list(self._under_way) if not future.cancel()]
        if any(not future.done() for future in under_way):
            for process in list((self._processes or {}).values()):
                process.terminate()
        self.shutdown(wait=True, cancel_futures=True)


def result_of(future: "Future[Any]") -> Any:
    """What a worker answers.

    Raises:
        DetoptError: It died, or was asked to end.
    """
    try:
        return future.result()
    except (BrokenProcessPool, SystemExit) as error:
        raise DetoptError(WORKER_DIED) from error
