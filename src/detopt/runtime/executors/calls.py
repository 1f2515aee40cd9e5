"""Several processes that call a program and know nothing else: no torch, no problem."""

__all__ = ["CallExecutor", "can_call"]

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeGuard

import torch

from detopt.errors import MethodError, SimulationError
from detopt.pipeline.problem import Problem
from detopt.runtime.executors.base import Capabilities, Pending
from detopt.runtime.executors.pooled import PooledExecutor
from detopt.runtime.executors.process_pool import ProcessPool, result_of
from detopt.runtime.executors.work import Answer, DesignChunk, Work
from detopt.simulators import Command, Container, FileFunction
from detopt.simulators.caller import Said, do_all, prepare
from detopt.simulators.calls import Call
from detopt.simulators.function import BlackBox, failed
from detopt.threads import one_thread

TOGETHER = 0.1  # s of calls that travel to a process together
SHARES = 4  # at least, of a process in what is asked for at once
LIGHT = (Command, Container, FileFunction)


def can_call(problem: Problem) -> TypeGuard[BlackBox]:
    """Whether all that a worker needs is the program of a black box."""
    return type(problem) is BlackBox and isinstance(problem.simulator, LIGHT)


class CallExecutor(PooledExecutor):
    """The calls of a black box, spread over processes that import nothing for them.

    What a program is asked, and what its answer means, is computed in this process. Calls that
    were seen to take little time travel together.

    Args:
        problem: The black box; its simulator is a program or a function of a file.
        workers: Number of processes.
    """

    capabilities = Capabilities(parallel=True)

    def __init__(self, problem: BlackBox, workers: int) -> None:
        super().__init__(problem)
        self._box, self._workers = problem, workers
        self._call_s: float | None = None  # of the calls that were answered last
        self._pool = ProcessPool(workers, prepare, problem.simulator)

    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Give calls to any processes.

        Raises:
            MethodError: Somebody wants a derivative.
        """
        size = self._together(len(work))
        pending: list[Pending] = []
        for start in range(0, len(work), size):
            calls = [self._call(piece) for piece in work[start : start + size]]
            journey = self._submit(calls)
            pending += [_Waiting(self._box, call, journey, i) for i, call in enumerate(calls)]
        return pending

    def _together(self, n: int) -> int:
        """How many of `n` calls travel together."""
        if self._call_s is None:
            return 1
        light = int(TOGETHER / max(self._call_s, 1e-6))
        return max(1, min(light, n // (SHARES * self._workers)))

    def _note(self, said: Sequence[Said]) -> None:
        self._call_s = sum(one.wall_s for one in said) / len(said)

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

    def _submit(self, calls: list[Call]) -> "_Journey":
        return _Journey(self._pool.call(do_all, calls), len(calls), self._note)

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()


class _Journey:
    """Calls that are with a process together."""

    def __init__(
        self, future: "Future[list[Said]]", n_calls: int, note: Callable[[Sequence[Said]], None]
    ) -> None:
        self.future = future
        self._n_wanted, self._note = n_calls, note
        self._said: Sequence[Said] | None = None

    def said(self, i: int) -> Said:
        """Wait for the answer to one of them."""
        if self._said is None:
            self._said = result_of(self.future)
            self._note(self._said)
        return self._said[i]

    def drop(self) -> None:
        """One of them is not wanted any more."""
        self._n_wanted -= 1
        if self._n_wanted == 0:
            self.future.cancel()


class _Waiting(Pending):
    """What a program is going to say."""

    def __init__(self, box: BlackBox, call: Call, journey: _Journey, i: int) -> None:
        self._box, self._call, self._journey, self._i = box, call, journey, i
        self._found: Answer | None = None
        self._is_dropped = False

    def result(self) -> Answer:
        """Wait for it."""
        if self._found is None:
            said = self._journey.said(self._i)
            try:
                if isinstance(said.answer, SimulationError):
                    raise said.answer
                self._found = Answer(self._box.read(said.answer, self._call), None, said.cpu_s)
            except SimulationError as error:
                raise failed(error, self._call) from error
        return self._found

    def done(self) -> bool:
        """Whether it is there."""
        return self._journey.future.done()

    def cancel(self) -> None:
        """Drop it, unless a process is at it already."""
        if not self._is_dropped:
            self._is_dropped = True
            self._journey.drop()
