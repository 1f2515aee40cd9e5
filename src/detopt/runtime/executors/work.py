"""Pieces of work: what a worker computes, from plain data, with a problem of its own.

A piece says everything that its answer depends on. It travels as bytes without pickle, so that a
worker may be another process, another machine or another site.
"""

__all__ = [
    "Answer",
    "DesignChunk",
    "Work",
    "answer",
    "decode_answer",
    "decode_work",
    "encode_answer",
    "encode_failure",
    "encode_work",
    "make_summary",
    "read_summary",
    "summary_value",
]

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detopt.cpu import cpu_time
from detopt.design import Design
from detopt.errors import CheckpointError, SimulationError
from detopt.pipeline.evaluation import Chunk, differentiate_chunk, summarize_chunk
from detopt.pipeline.outcome import Summary
from detopt.pipeline.problem import Problem
from detopt.random import Seed
from detopt.runtime.storage.encoding import decode, encode
from detopt.threads import one_thread


@dataclass(frozen=True)
class DesignChunk:
    """Events of a design given by its values, judged by the problem's reference simulation."""

    design: Design
    seed: Seed
    n_events: int


@dataclass(frozen=True)
class Work:
    """A chunk to summarize, or to differentiate where an adjoint is given.

    Args:
        chunk: Events of a point of the search, or of a design in the reference simulation.
        adjoint: Derivative of the objective in each tensor of the chunk's summary.
    """

    chunk: Chunk | DesignChunk
    adjoint: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class Answer:
    """What a piece of work gave.

    Args:
        summary: Of the chunk, or None for a derivative.
        gradient: Derivative in theta, or None for a summary.
        cpu_s: CPU time that it took [s].
    """

    summary: Summary | None
    gradient: Tensor | None
    cpu_s: float


def answer(problem: Problem, work: Work) -> Answer:
    """Do a piece of work.

    Raises:
        SimulationError: The simulation failed.
    """
    chunk = work.chunk
    if isinstance(chunk, DesignChunk):
        begin = cpu_time()
        judge = problem.reference
        with one_thread(), torch.no_grad():
            design = chunk.design.to(judge.dtype)
            summary = judge.summarize(design, chunk.n_events, chunk.seed.generator())
        return Answer(summary, None, cpu_time() - begin)
    if work.adjoint is None:
        summary, cpu_s = summarize_chunk(problem, chunk)
        return Answer(summary, None, cpu_s)
    gradient, cpu_s = differentiate_chunk(problem, chunk, work.adjoint)
    return Answer(None, gradient, cpu_s)


def encode_work(work: Work) -> bytes:
    """Bytes that `decode_work` reads."""
    chunk = work.chunk
    value: dict[str, Any] = {"seed": list(chunk.seed.key), "n_events": chunk.n_events}
    if isinstance(chunk, DesignChunk):
        value["design"] = dict(chunk.design)
    else:
        value |= {"theta": chunk.theta, "gradient": chunk.gradient}
        value["adjoint"] = None if work.adjoint is None else list(work.adjoint)
    return encode(value)


def decode_work(data: bytes) -> Work:
    """The piece of work in some bytes.

    Raises:
        CheckpointError: They are none.
    """
    value = decode(data)
    try:
        seed, n_events = Seed(*value["seed"]), int(value["n_events"])
        if "design" in value:
            return Work(DesignChunk(Design(value["design"]), seed, n_events))
        chunk = Chunk(value["theta"], seed, n_events, bool(value["gradient"]))
        adjoint = None if value["adjoint"] is None else tuple(value["adjoint"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"This is no piece of work: {error}.") from error
    return Work(chunk, adjoint)


def encode_answer(found: Answer) -> bytes:
    """Bytes that `decode_answer` reads."""
    return encode(
        {**summary_value(found.summary), "gradient": found.gradient, "cpu_s": found.cpu_s}
    )


def summary_value(summary: Summary | None) -> dict[str, Any]:
    """Plain data that `read_summary` reads."""
    return {
        "kind": None if summary is None else _name(type(summary)),
        "summary": None if summary is None else summary.tensors(),
    }


def read_summary(value: Mapping[str, Any]) -> Summary | None:
    """The summary in plain data."""
    if value["kind"] is None:
        return None
    kind = next(k for k in _kinds(Summary) if _name(k) == value["kind"])
    return make_summary(kind, value["summary"])


def make_summary(kind: type[Summary], tensors: Sequence[Tensor]) -> Summary:
    """A summary of that kind from its fields, in order."""
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**dict(zip(names, tensors, strict=True)))


def encode_failure(error: SimulationError) -> bytes:
    """Bytes that say that the simulation failed, and why."""
    return encode({"failure": str(error)})


def decode_answer(data: bytes) -> Answer:
    """The answer in some bytes, which may come from anybody: no code in them is run.

    Raises:
        SimulationError: The simulation failed.
        CheckpointError: They are no answer.
    """
    value = decode(data)
    if isinstance(value, dict) and "failure" in value:
        raise SimulationError(str(value["failure"]))
    try:
        return Answer(read_summary(value), value["gradient"], float(value["cpu_s"]))
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise CheckpointError(f"This is no answer of this problem: {error!r}.") from error


def _name(kind: type[Summary]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _kinds(kind: type[Summary]) -> Iterator[type[Summary]]:
    """All kinds of summaries that are loaded: those of the problem are."""
    yield kind
    for one in kind.__subclasses__():
        yield from _kinds(one)
