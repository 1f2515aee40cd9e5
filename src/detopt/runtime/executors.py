"""Where evaluations run: in this process, or in several.

An executor only decides where chunks are computed. Chunks have their own random streams and are
combined in order, so that every executor gives the same bits.
"""

__all__ = ["DesignChunk", "Executor", "ProcessExecutor", "SerialExecutor", "make_executor"]

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from detopt import usecases
from detopt.design import Design
from detopt.errors import DetoptError, SimulationError
from detopt.pipeline.evaluation import (
    Chunk,
    Evaluation,
    Request,
    after_failure,
    chunks,
    combine,
    differentiate_chunk,
    evaluate,
    judge_adjoint,
    one_thread,
    summarize_chunk,
)
from detopt.pipeline.outcome import Summary
from detopt.pipeline.problem import Problem
from detopt.random import Seed

WORKER_DIED = (
    "A worker process died: perhaps for lack of memory, or because a script starts the study "
    "outside of `if __name__ == '__main__':`. Resume with fewer workers, or with one."
)


@dataclass(frozen=True)
class DesignChunk:
    """Events of a design given by its values, judged by the problem's reference simulation."""

    design: Design
    seed: Seed
    n_events: int


def summarize_reference(problem: Problem, chunk: DesignChunk) -> Summary:
    """Summary of a chunk in the reference simulation."""
    judge = problem.reference
    with one_thread(), torch.no_grad():
        return judge.summarize(chunk.design.to(judge.dtype), chunk.n_events, chunk.seed.generator())


class Executor(ABC):
    """Answers requests, in their order."""

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
        return [summarize_reference(self.problem, chunk) for chunk in work]


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


_worker_problem: Problem | None = None


def _start_worker(recipe: ProblemRecipe) -> None:
    global _worker_problem
    torch.set_num_threads(1)
    _worker_problem = recipe.make()


def _problem() -> Problem:
    assert _worker_problem is not None
    return _worker_problem


def _work_summarize(chunk: Chunk) -> tuple[Summary, float]:
    return summarize_chunk(_problem(), chunk)


def _work_differentiate(chunk: Chunk, adjoint: list[Tensor]) -> tuple[Tensor, float]:
    return differentiate_chunk(_problem(), chunk, adjoint)


def _work_reference(chunk: DesignChunk) -> Summary:
    return summarize_reference(_problem(), chunk)


class ProcessExecutor(Executor):
    """Chunks spread over several processes.

    Args:
        problem: The problem, for the parts that stay in this process.
        recipe: How workers get theirs.
        workers: Number of processes.
    """

    def __init__(self, problem: Problem, recipe: ProblemRecipe, workers: int) -> None:
        super().__init__(problem)
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(recipe,),
        )

    def evaluate(self, requests: Sequence[Request], seed: Seed) -> list[Evaluation]:
        """All chunks of all requests at once; then all their gradients."""
        pending = [_Pending(self, request, seed) for request in requests]
        for one in pending:
            one.differentiate()
        return [one.answer() for one in pending]

    def summarize(self, work: Sequence[DesignChunk]) -> list[Summary]:
        """Chunks in any order, answers in theirs."""
        futures = [self.submit(_work_reference, chunk) for chunk in work]
        return [_result(future) for future in futures]

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Give work to any worker."""
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool as error:
            raise DetoptError(WORKER_DIED) from error

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Pending:
    """A request whose chunks are with the workers."""

    def __init__(self, executor: ProcessExecutor, request: Request, seed: Seed) -> None:
        self._executor, self._request, self._seed = executor, request, seed
        self._work = chunks(executor.problem, request, seed)
        self._forward = [executor.submit(_work_summarize, chunk) for chunk in self._work]
        self._backward: list[Future[tuple[Tensor, float]]] | None = None
        self._summaries: list[Summary] = []
        self._direct, self._cpu_s = torch.zeros(()), 0.0
        self._failure: SimulationError | None = None

    def differentiate(self) -> None:
        """Wait for the summaries and ask for the gradients, where they are wanted."""
        try:
            results = [_result(future) for future in self._forward]
        except SimulationError as error:
            self._failure = error
            return
        self._summaries = [summary for summary, _ in results]
        self._cpu_s += sum(seconds for _, seconds in results)
        if not self._request.gradient:
            return
        begin = time.process_time()
        problem, theta = self._executor.problem, self._request.theta
        _, adjoints, self._direct = judge_adjoint(problem, theta, self._summaries)
        self._cpu_s += time.process_time() - begin
        self._backward = [
            self._executor.submit(_work_differentiate, chunk, adjoint)
            for chunk, adjoint in zip(self._work, adjoints, strict=True)
        ]

    def answer(self) -> Evaluation:
        """Wait for the gradients and put everything together."""
        problem, gradients = self._executor.problem, None
        try:
            if self._failure is not None:
                raise self._failure
            if self._backward is not None:
                found = [_result(future) for future in self._backward]
                gradients = [gradient for gradient, _ in found]
                self._cpu_s += sum(seconds for _, seconds in found)
        except SimulationError as error:
            return after_failure(problem, self._request, error)
        return combine(
            problem,
            self._request,
            self._seed,
            self._summaries,
            gradients,
            self._direct,
            self._cpu_s,
        )


def _result(future: "Future[Any]") -> Any:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise DetoptError(WORKER_DIED) from error


def make_executor(problem: Problem, recipe: ProblemRecipe, workers: int) -> Executor:
    """One process, or several."""
    if workers == 1:
        return SerialExecutor(problem)
    return ProcessExecutor(problem, recipe, workers)
