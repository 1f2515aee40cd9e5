"""What an executor is, and what it can do.

An executor only decides where chunks are computed. Chunks have their own random streams and are
combined in order, so that every executor gives the same bits.
"""

__all__ = ["Capabilities", "Executor", "Pending", "ProblemRecipe", "SerialExecutor"]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from detopt import usecases
from detopt.design import Design
from detopt.pipeline.evaluation import Evaluation, Request, evaluate
from detopt.pipeline.outcome import Summary
from detopt.pipeline.problem import Problem
from detopt.random import Seed
from detopt.runtime.executors.work import Answer, DesignChunk, Work, answer


@dataclass(frozen=True)
class ProblemRecipe:
    """How a worker gets its own problem: built from a use case, or pickled.

    Args:
        use_case: Name of a use case, or path of its file.
        options: Of the use case.
        freeze: Parameters to freeze.
        problem: The problem itself, where it is not built.
        free: Parameters that alone are free; none for those of the use case.
        start: Where the search starts, and where frozen parameters stay; None for the start of
            the use case.
    """

    use_case: str | None
    options: dict[str, Any]
    freeze: tuple[str, ...]
    problem: Problem | None
    free: tuple[str, ...] = ()
    start: Design | None = None

    def make(self) -> Problem:
        """The problem."""
        if self.use_case is None:
            assert self.problem is not None
            return self.problem
        built = usecases.load(self.use_case).build(self.options)
        space = built.space
        if self.free:
            space = space.free_only(*self.free)
        if self.freeze:
            space = space.freeze(*self.freeze)
        if self.start is not None:
            space = space.starting_at(self.start)
        return built if space is built.space else built.with_space(space)


@dataclass(frozen=True)
class Capabilities:
    """What an executor can do.

    Args:
        parallel: Several pieces of work at a time.
        elastic: Workers may come and go in mid-study.
        remote: Workers may be on other machines.
        replaces_workers: A worker that dies is replaced, and its work done again.
        survives_controller: Work that is done stays done when this process dies.
    """

    parallel: bool = False
    elastic: bool = False
    remote: bool = False
    replaces_workers: bool = False
    survives_controller: bool = False


class Pending(ABC):
    """A piece of work that was submitted."""

    @abstractmethod
    def result(self) -> Answer:
        """Wait for the answer.

        Raises:
            SimulationError: The simulation failed.
        """

    @abstractmethod
    def done(self) -> bool:
        """Whether `result` answers at once."""

    def cancel(self) -> None:  # noqa: B027 (an answer that nobody reads does no harm)
        """Nobody wants the answer any more; work that runs already may go on."""


class Executor(ABC):
    """Submits pieces of work, and answers requests, in their order.

    Args:
        problem: The design problem.
    """

    capabilities = Capabilities()

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @abstractmethod
    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Give pieces of work to any workers."""

    @abstractmethod
    def evaluate(self, requests: Sequence[Request], seed: Seed) -> list[Evaluation]:
        """Answer requests."""

    @abstractmethod
    def summarize(self, work: Sequence[DesignChunk]) -> list[Summary]:
        """Summaries of chunks in the reference simulation."""

    def signal_worker(self, number: int) -> bool:  # noqa: ARG002 (none by default)
        """Send a signal to one of the workers, for a check; False where none is reached."""
        return False

    def clock_skews(self) -> list[float]:
        """How far the clocks of other machines are ahead of this one [s]."""
        return []

    def close(self) -> None:  # noqa: B027 (nothing to free by default)
        """Free the workers."""

    def __enter__(self) -> "Executor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SerialExecutor(Executor):
    """Everything in this process."""

    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Pieces of work that are done when their answers are asked for."""
        return [_Later(self.problem, piece) for piece in work]

    def evaluate(self, requests: Sequence[Request], seed: Seed) -> list[Evaluation]:
        """Answer requests one after the other."""
        return [evaluate(self.problem, request, seed) for request in requests]

    def summarize(self, work: Sequence[DesignChunk]) -> list[Summary]:
        """Chunks one after the other."""
        return [summary_of(answer(self.problem, Work(chunk)).summary) for chunk in work]


class _Later(Pending):
    """Work that waits for its reader."""

    def __init__(self, problem: Problem, work: Work) -> None:
        self._problem, self._work = problem, work
        self._found: Answer | None = None

    def result(self) -> Answer:
        """Do it, once."""
        if self._found is None:
            self._found = answer(self._problem, self._work)
        return self._found

    def done(self) -> bool:
        """Whether it is done."""
        return self._found is not None


def summary_of(summary: Summary | None) -> Summary:
    """The summary, which an answer to a summarizing piece of work has."""
    assert summary is not None
    return summary
