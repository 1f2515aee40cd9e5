"""Several processes on this machine."""

__all__ = ["ProcessExecutor"]

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import torch

from detopt.errors import DetoptError
from detopt.pipeline.outcome import Summary
from detopt.pipeline.problem import Problem
from detopt.runtime.executors.base import Capabilities, Pending, ProblemRecipe
from detopt.runtime.executors.pooled import PooledExecutor
from detopt.runtime.executors.work import (
    Answer,
    Work,
    answer,
    decode_work,
    encode_work,
    make_summary,
)
from detopt.runtime.storage.encoding import decode, encode

WORKER_DIED = (
    "A worker process died: perhaps for lack of memory, or because a script starts the study "
    "outside of `if __name__ == '__main__':`. Resume with fewer workers, or with one."
)
_worker_problem: Problem | None = None


def _start_worker(recipe: ProblemRecipe) -> None:
    global _worker_problem
    torch.set_num_threads(1)
    _worker_problem = recipe.make()


def worker_problem() -> Problem:
    """The problem of this worker process."""
    assert _worker_problem is not None
    return _worker_problem


def _answer(work: bytes) -> "tuple[type[Summary], bytes] | Answer":
    """An answer, without tensors where it can: handing those over costs as much as light work."""
    found = answer(worker_problem(), decode_work(work))
    summary = found.summary
    if summary is None or type(summary).tensors is not Summary.tensors:
        return found
    return type(summary), encode([summary.tensors(), found.gradient, found.cpu_s])


def _read(found: "tuple[type[Summary], bytes] | Answer") -> Answer:
    if isinstance(found, Answer):
        return found
    kind, data = found
    tensors, gradient, cpu_s = decode(data)
    return Answer(make_summary(kind, tensors), gradient, cpu_s)


class ProcessExecutor(PooledExecutor):
    """Chunks spread over several processes.

    Args:
        problem: The problem, for the parts that stay in this process.
        recipe: How workers get theirs.
        workers: Number of processes.
    """

    capabilities = Capabilities(parallel=True)

    def __init__(self, problem: Problem, recipe: ProblemRecipe, workers: int) -> None:
        super().__init__(problem)
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(recipe,),
        )

    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Give pieces of work to any workers."""
        return [_Waiting(self.call(_answer, encode_work(piece))) for piece in work]

    def call(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Let any worker call a function."""
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool as error:
            raise DetoptError(WORKER_DIED) from error

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Waiting(Pending):
    """An answer of a process."""

    def __init__(self, future: "Future[Any]") -> None:
        self._future = future
        self._found: Answer | None = None

    def result(self) -> Answer:
        """Wait for it."""
        if self._found is None:
            self._found = _read(result_of(self._future))
        return self._found

    def done(self) -> bool:
        """Whether it is there."""
        return self._future.done()

    def cancel(self) -> None:
        """Drop it, unless a process is at it already."""
        self._future.cancel()


def result_of(future: "Future[Any]") -> Any:
    """What a worker answers, or an error that says that it died."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise DetoptError(WORKER_DIED) from error
