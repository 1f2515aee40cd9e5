"""An executor whose pieces of work are done elsewhere, in any order."""

__all__ = ["PooledExecutor"]

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from detopt.errors import SimulationError
from detopt.pipeline.evaluation import (
    Evaluation,
    Request,
    after_failure,
    chunks,
    combine,
    judge_adjoint,
)
from detopt.pipeline.outcome import Summary
from detopt.random import Seed
from detopt.runtime.executors.base import Executor, Pending, summary_of
from detopt.runtime.executors.work import Answer, DesignChunk, Work


class PooledExecutor(Executor):
    """Chunks spread over workers; what remains is done in this process."""

    def evaluate(self, requests: Sequence[Request], seed: Seed) -> list[Evaluation]:
        """All chunks of all requests at once; then all their gradients.

        What has no gradient is put together while the workers are at the others.
        """
        pieces = [chunks(self.problem, request, seed) for request in requests]
        pending = iter(self.submit([Work(chunk) for piece in pieces for chunk in piece]))
        rounds = [
            _Evaluating(self, request, seed, [next(pending) for _ in piece])
            for request, piece in zip(requests, pieces, strict=True)
        ]
        for one in rounds:
            one.differentiate()
        return [one.answer() for one in rounds]

    def summarize(self, work: Sequence[DesignChunk]) -> list[Summary]:
        """Chunks in any order, answers in theirs."""
        pending = self.submit([Work(chunk) for chunk in work])
        return [summary_of(one.result().summary) for one in pending]


class _Evaluating:
    """A request whose chunks are with the workers."""

    def __init__(
        self, executor: PooledExecutor, request: Request, seed: Seed, forward: list[Pending]
    ) -> None:
        self._executor, self._request, self._seed = executor, request, seed
        self._forward = forward
        self._backward: Sequence[Pending] = ()
        self._summaries: list[Summary] = []
        self._direct, self._cpu_s = torch.zeros(()), 0.0
        self._failure: SimulationError | None = None
        self._whole: Evaluation | None = None

    def differentiate(self) -> None:
        """Wait for the summaries and ask for the gradients; without them that is all."""
        try:
            self._differentiate()
        except SimulationError as error:
            self._failure = error
            _drop(self._forward)

    def _differentiate(self) -> None:
        answers = [one.result() for one in self._forward]
        self._summaries = [summary_of(one.summary) for one in answers]
        self._cpu_s += sum(one.cpu_s for one in answers)
        if not self._request.gradient:
            self._whole = self._combine(None)
            return
        begin = time.process_time()
        problem, theta = self._executor.problem, self._request.theta
        _, adjoints, self._direct = judge_adjoint(problem, theta, self._summaries)
        self._cpu_s += time.process_time() - begin
        work = chunks(problem, self._request, self._seed)
        self._backward = self._executor.submit(
            [Work(chunk, tuple(adjoint)) for chunk, adjoint in zip(work, adjoints, strict=True)]
        )

    def answer(self) -> Evaluation:
        """Wait for the gradients and put everything together."""
        if self._whole is not None:
            return self._whole
        try:
            if self._failure is not None:
                raise self._failure
            found = [one.result() for one in self._backward]
            self._cpu_s += sum(one.cpu_s for one in found)
            return self._combine([_gradient(one) for one in found])
        except SimulationError as error:
            _drop(self._backward)
            return after_failure(self._executor.problem, self._request, error)

    def _combine(self, gradients: list[Tensor] | None) -> Evaluation:
        return combine(
            self._executor.problem,
            self._request,
            self._seed,
            self._summaries,
            gradients,
            self._direct,
            self._cpu_s,
        )


def _drop(pending: Sequence[Pending]) -> None:
    """Nobody reads the answers of a request that failed."""
    for one in pending:
        one.cancel()


def _gradient(found: Answer) -> Tensor:
    assert found.gradient is not None
    return found.gradient
