"""Designs met by the same fresh events: summaries, outcomes and resampled objectives."""

__all__ = ["judge", "resample", "summarize_all"]

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from detopt.design import Design
from detopt.errors import DetoptError, SimulationError
from detopt.pipeline import Outcome, Problem, Summary, merge
from detopt.pipeline.resampling import resampled
from detopt.runtime.executors import DesignChunk, Executor
from detopt.runtime.rounds import Round

if TYPE_CHECKING:
    from detopt.runtime.study import Study

PIECES = 16  # progress is reported this often in the re-evaluation


def summarize_all(
    study: "Study",
    executor: Executor,
    designs: Mapping[str, Design],
    listener: Callable[[str, int, int, Round | None], None] | None,
) -> tuple[dict[str, Summary], dict[str, str]]:
    """Summaries by design, and why the others have none.

    Raises:
        SimulationError: A simulation failed, and the problem says to stop then.
    """
    n_events = study.config.evaluation_events
    summaries: dict[str, Summary] = {}
    failures: dict[str, str] = {}
    for i, (name, design) in enumerate(designs.items()):
        try:
            summaries[name] = _summarize(
                study, executor, name, design, n_events, listener, i, len(designs)
            )
        except SimulationError as error:
            if study.problem.on_failure == "stop":
                raise
            failures[name] = str(error)
    return summaries, failures


def _summarize(
    study: "Study",
    executor: Executor,
    name: str,
    design: Design,
    n_events: int,
    listener: Callable[[str, int, int, Round | None], None] | None,
    index: int,
    n_designs: int,
) -> Summary:
    problem = study.problem.reference
    stream = study.seed.child("evaluation")  # the same events for every design
    size = problem.chunk_size
    starts = range(0, n_events, size)
    work = [
        DesignChunk(design, stream.child(i), min(size, n_events - first))
        for i, first in enumerate(starts)
    ]
    parts: list[Summary] = []
    per_piece = max(1, math.ceil(len(work) / PIECES))
    for first in range(0, len(work), per_piece):
        parts += executor.summarize(work[first : first + per_piece])
        if listener is not None:
            done = index * len(work) + len(parts)
            listener(f"re-evaluating {name}", done, n_designs * len(work), None)
    return merge(parts)


def judge(problem: Problem, summary: Summary, design: Design) -> Outcome:
    """The outcome of a design in the reference simulation."""
    with torch.no_grad():
        return problem.reference.judge(summary, _cast(design, problem))


def resample(
    study: "Study", summary: Summary, design: Design, n_samples: int
) -> tuple[list[Outcome], str]:
    """Outcomes of resampled rows, or none and the reason where the rows give none."""
    reference, seed = study.problem.reference, study.seed.child("evaluation")
    try:
        return resampled(reference, summary, _cast(design, study.problem), seed, n_samples), ""
    except DetoptError as error:  # the objective itself is known, and the study need not end
        return [], str(error)


def _cast(design: Design, problem: Problem) -> Design:
    return design.to(problem.reference.dtype)
