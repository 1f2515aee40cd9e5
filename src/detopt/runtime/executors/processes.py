"""Several processes on this machine."""

__all__ = ["ProcessExecutor", "result_of", "worker_problem"]

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import torch

from detopt.pipeline.outcome import Summary
from detopt.pipeline.problem import Problem
from detopt.runtime.executors.base import Capabilities, Pending, ProblemRecipe
from detopt.runtime.executors.pooled import PooledExecutor
from detopt.runtime.executors.process_pool import ProcessPool, result_of
from detopt.runtime.executors.work import (
    Answer,
    Work,
    answer,
    decode_work,
    encode_work,
    make_summary,
)
from detopt.runtime.storage.encoding import decode, encode

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
        self._pool = ProcessPool(workers, _start_worker, recipe)

    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Give pieces of work to any workers."""
        return [_Waiting(self.call(_answer, encode_work(piece))) for piece in work]

    def call(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Let any worker call a function."""
        return self._pool.call(function, *arguments)

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()


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
