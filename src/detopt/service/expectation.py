"""What an answer to a piece of work must look like, whoever gives it."""

__all__ = ["Expectation"]

import dataclasses
from typing import Any

import torch
from torch import Tensor

from detopt.errors import CheckpointError, SimulationError
from detopt.pipeline.outcome import Summary
from detopt.pipeline.problem import Problem
from detopt.runtime.executors.work import (
    Answer,
    DesignChunk,
    Work,
    answer,
    decode_answer,
    decode_work,
    encode_answer,
    encode_failure,
)

N_EVENTS = 4  # of the sample that shows what a summary looks like
LONGEST_MESSAGE = 2_000
MOST_CPU = 1e6  # s


class Expectation:
    """Checks answers for a problem.

    Args:
        problem: Made by whoever checks; nothing of an answer is believed.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._samples: dict[tuple[type, bool], Summary | None] = {}

    def prepare(self, payload: bytes) -> None:
        """Find out what an answer to a piece of work looks like.

        Raises:
            DetoptError: That cannot be found out here, such as for lack of a package.
            CheckpointError: This is no piece of work.
        """
        work = decode_work(payload)
        if isinstance(work.chunk, DesignChunk) or work.adjoint is None:
            self._sample(work)

    def checked(self, payload: bytes, data: bytes) -> bytes:
        """An answer without anything that does not belong to it.

        Args:
            payload: The piece of work.
            data: The answer of a worker.

        Raises:
            CheckpointError: It cannot be the answer to this piece of work.
        """
        work = decode_work(payload)
        try:
            found = decode_answer(data)
        except SimulationError as error:
            return encode_failure(SimulationError(str(error)[:LONGEST_MESSAGE]))
        except RecursionError as error:
            raise CheckpointError("This answer is nested too deeply.") from error
        if not 0 <= found.cpu_s < MOST_CPU:
            raise CheckpointError(f"An answer cannot take {found.cpu_s:g} s of CPU time.")
        if isinstance(work.chunk, DesignChunk) or work.adjoint is None:
            if found.gradient is not None or found.summary is None:
                raise CheckpointError("This piece of work asks for a summary and nothing else.")
            self._check_summary(work, found.summary)
        else:
            if found.summary is not None or found.gradient is None:
                raise CheckpointError("This piece of work asks for a gradient and nothing else.")
            theta = work.chunk.theta
            _check_tensor("the gradient", found.gradient, theta.shape, torch.float64, True)
        return encode_answer(Answer(found.summary, found.gradient, float(found.cpu_s)))

    def _check_summary(self, work: Work, found: Summary) -> None:
        sample = self._sample(work)
        if sample is None:
            return
        if type(found) is not type(sample):
            raise CheckpointError(
                f"A {type(found).__name__} came where a {type(sample).__name__} was expected."
            )
        expected = sample.tensors()
        n_rows = {_n_rows(one) for one in found.tensors()}
        if len(n_rows) != 1:
            raise CheckpointError("The fields of the summary have different numbers of rows.")
        rows = n_rows.pop()
        for i, (one, like) in enumerate(zip(found.tensors(), expected, strict=True)):
            finite = bool(torch.isfinite(like).all())
            shape = torch.Size([rows, *like.shape[1:]])
            _check_tensor(f"field {i} of the summary", one, shape, like.dtype, finite)

    def _sample(self, work: Work) -> Summary | None:
        """A small summary of the same kind; None where the simulation fails on it."""
        key = (type(work.chunk), getattr(work.chunk, "gradient", False))
        if key not in self._samples:
            n_events = min(N_EVENTS, work.chunk.n_events)
            small = Work(_with_events(work.chunk, n_events))
            try:
                self._samples[key] = answer(self._problem, small).summary
            except SimulationError:
                return None
        return self._samples[key]


def _n_rows(value: object) -> int:
    return len(value) if isinstance(value, Tensor) and value.dim() else -1


def _with_events(chunk: Any, n_events: int) -> Any:
    return dataclasses.replace(chunk, n_events=n_events)


def _check_tensor(
    what: str, found: object, shape: torch.Size, dtype: torch.dtype, finite: bool
) -> None:
    if not isinstance(found, Tensor):
        raise CheckpointError(f"{what} is no tensor but a {type(found).__name__}.")
    if found.shape != shape or found.dtype != dtype:
        raise CheckpointError(
            f"{what} has the shape {list(found.shape)} and type {found.dtype}, expected "
            f"{list(shape)} and {dtype}."
        )
    if finite and not bool(torch.isfinite(found).all()):
        raise CheckpointError(f"{what} holds a number that is not finite.")
