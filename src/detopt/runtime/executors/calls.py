"""Several processes that call a program and know nothing else: no torch, no problem."""

__all__ = ["CallExecutor", "can_call"]

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeGuard

import torch

from detopt.errors import DetoptError, MethodError, SimulationError
from detopt.pipeline.evaluation import one_thread
from detopt.pipeline.problem import Problem
from detopt.runtime.executors.base import Capabilities, Pending
from detopt.runtime.executors.pooled import PooledExecutor
from detopt.runtime.executors.processes import WORKER_DIED, result_of
from detopt.runtime.executors.work import Answer, DesignChunk, Work
from detopt.simulators import Command, Container, FileFunction
from detopt.simulators.caller import do, prepare
from detopt.simulators.calls import Call
from detopt.simulators.function import BlackBox, failed

LIGHT = (Command, Container, FileFunction)


def can_call(problem: Problem) -> TypeGuard[BlackBox]:
    """Whether all that a worker needs is the program of a black box."""
    return type(problem) is BlackBox and isinstance(problem.simulator, LIGHT)


class CallExecutor(PooledExecutor):
    """The calls of a black box, spread over processes that import nothing for them.

    What a program is asked, and what its answer means, is computed in this process.

    Args:
        problem: The black box; its simulator is a program or a function of a file.
        workers: Number of processes.
    """

    capabilities = Capabilities(parallel=True)

    def __init__(self, problem: BlackBox, workers: int) -> None:
        super().__init__(problem)
        self._box = problem
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=prepare,
            initargs=(problem.simulator,),
        )

    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Give calls to any processes.

        Raises:
            MethodError: Somebody wants a derivative.
        """
        return [self._submit(self._call(piece)) for piece in work]

    def _call(self, work: Work) -> Call:
        chunk, box = work.chunk, self._box
        with one_thread(), torch.no_grad():
            if isinstance(chunk, DesignChunk):
                design = chunk.design.to(box.dtype)
            elif chunk.gradient:
                raise MethodError("A black box has no pathwise gradient: take another method.")
            else:
                design = box.space.design(chunk.theta).to(box.dtype)
            return box.call(design, chunk.n_events, chunk.seed.generator())

    def _submit(self, call: Call) -> "_Waiting":
        try:
            return _Waiting(self._box, call, self._pool.submit(do, call))
        except BrokenProcessPool as error:
            raise DetoptError(WORKER_DIED) from error

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Waiting(Pending):
    """What a program is going to say."""

    def __init__(self, box: BlackBox, call: Call, future: "Future[Any]") -> None:
        self._box, self._call, self._future = box, call, future
        self._found: Answer | None = None

    def result(self) -> Answer:
        """Wait for it."""
        if self._found is None:
            try:
                raw, cpu_s = result_of(self._future)
                self._found = Answer(self._box.read(raw, self._call), None, cpu_s)
            except SimulationError as error:
                raise failed(error, self._call) from error
        return self._found

    def done(self) -> bool:
        """Whether it is there."""
        return self._future.done()

    def cancel(self) -> None:
        """Drop it, unless a process is at it already."""
        self._future.cancel()
