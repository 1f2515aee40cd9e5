"""What an executor is, and what it can do.

An executor only decides where chunks are computed. Chunks have their own random streams and are
combined in order, so that every executor gives the same bits.
"""

__all__ = ["Executor", "ProblemRecipe", "SerialExecutor"]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from detopt import usecases
from detopt.pipeline.evaluation import Evaluation, Request, evaluate
from detopt.pipeline.outcome import Summary
from detopt.pipeline.problem import Problem
from detopt.random import Seed
from detopt.runtime.executors.work import DesignChunk, Work, answer


@dataclass(frozen=True)
class ProblemRecipe:
    """How a worker gets its own problem: built from a use case, or pickled."""

    use_case: str | None
    options: dict[str, Any]
    freeze: tuple[str, ...]
    problem: Problem | None

    def make(self) -> Problem:
        """The problem."""
        if self.use_case is None:
            assert self.problem is not None
            return self.problem
        built = usecases.load(self.use_case).build(self.options)
        return built.with_space(built.space.freeze(*self.freeze)) if self.freeze else built


class Executor(ABC):
    """Answers requests, in their order.

    Args:
        problem: The design problem.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @abstractmethod
    def evaluate(self, requests: Sequence[Request], seed: Seed) -> list[Evaluation]:
        """Answer requests."""

    @abstractmethod
    def summarize(self, work: Sequence[DesignChunk]) -> list[Summary]:
        """Summaries of chunks in the reference simulation."""

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

    def evaluate(self, requests: Sequence[Request], seed: Seed) -> list[Evaluation]:
        """Answer requests one after the other."""
        return [evaluate(self.problem, request, seed) for request in requests]

    def summarize(self, work: Sequence[DesignChunk]) -> list[Summary]:
        """Chunks one after the other."""
        return [summary_of(answer(self.problem, Work(chunk)).summary) for chunk in work]


def summary_of(summary: Summary | None) -> Summary:
    """The summary, which an answer to a summarizing piece of work has."""
    assert summary is not None
    return summary
