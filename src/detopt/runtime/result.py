"""What a study found: designs, costs, and an independent verdict with intervals."""

__all__ = ["Interval", "Result", "Sensitivity", "conclude", "load_result"]

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt._version import __version__
from detopt.design import Design
from detopt.errors import CheckpointError, SimulationError
from detopt.pipeline import Problem, Request, Summary, merge
from detopt.pipeline.evaluation import bootstrap
from detopt.runtime.digests import design_digest
from detopt.runtime.executors import DesignChunk, Executor
from detopt.runtime.rounds import Round
from detopt.runtime.storage import Lineage, Link
from detopt.runtime.store import write_whole

if TYPE_CHECKING:
    from detopt.runtime.study import Study

LEVEL = 0.95
N_RESAMPLES = 1_000
STEP = 0.1  # of theta, for curvatures
FILE = "result.json"
PIECES = 16  # progress is reported this often in the re-evaluation


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Plain numbers."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Sensitivity:
    """What one entry of theta is worth at the final design.

    Args:
        name: Parameter.
        gradient: dL/dtheta, by central differences with common random numbers.
        curvature: d2L/dtheta2, likewise.
    """

    name: str
    gradient: float
    curvature: float


@dataclass(frozen=True)
class Result:
    """The answer of a study, as `result.json` holds it.

    Args:
        data: What the file holds.
        summaries: Of the designs whose simulation did not fail, by name.
    """

    data: dict[str, Any]
    summaries: Mapping[str, Summary]

    def save(self, folder: Path) -> Path:
        """Write `result.json`."""
        path = folder / FILE
        text = json.dumps(_finite(self.data), indent=2, allow_nan=False) + "\n"
        write_whole(path, text.encode())
        return path


def load_result(folder: Path) -> dict[str, Any]:
    """The stored result of a run.

    Raises:
        CheckpointError: The run has none yet, or it is damaged.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} has no result yet. Finish it with `detopt resume {folder}`."
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: it holds no mapping.")
    return data


def conclude(
    study: "Study",
    executor: Executor,
    listener: Callable[[str, int, int, Round | None], None] | None = None,
) -> Result:
    """Re-evaluate start, final and baselines with fresh events and the reference simulation.

    All designs see the same fresh events, which belong to no round; the intervals come from
    resampling independent rows. A design whose simulation fails has no numbers where the problem
    says `on_failure="skip"`, and its reason stands under `failures`. `evaluation_events` were asked
    for; `evaluation_rows` count the independent rows that there were, which a source with a limited
    number of events makes fewer.

    Raises:
        SimulationError: A simulation failed, and the problem says to stop then.
    """
    problem = study.problem
    designs = study.designs
    summaries, failures = _summarize_all(study, executor, designs, listener)
    samples = {
        name: _resample(study, summary, designs[name]) for name, summary in summaries.items()
    }
    intervals = {
        name: _interval(problem, summary, designs[name], samples[name])
        for name, summary in summaries.items()
    }
    missing = torch.full((N_RESAMPLES,), math.nan, dtype=torch.float64)
    samples |= dict.fromkeys(failures, missing)
    intervals |= dict.fromkeys(failures, Interval(math.nan, math.nan, math.nan))
    sensitivities = _sensitivities(study, executor, listener)
    final = summaries.get("final")
    plots = [] if final is None else problem.reference.diagnose(final)
    diagnostics = [vars(plot) for plot in plots]
    data = _collect(study, designs, intervals, samples, sensitivities, diagnostics)
    found = {
        "evaluation_rows": {name: summary.n_rows for name, summary in summaries.items()},
        "differences": _differences(intervals, samples),
        "failures": failures,
    }
    result = Result(data | found, summaries)
    _keep(study, result, designs["final"])
    return result


def _keep(study: "Study", result: Result, final: Design) -> None:
    """Write the result, and let others find it and its design by their digests."""
    run_id, store = study.store.id, study.store.store
    path = result.save(study.store.folder)
    store.keep(run_id, FILE, path.read_bytes())
    Lineage(store.database).add(run_id, [Link("final", design_digest(final), run_id)])


def _differences(
    intervals: Mapping[str, Interval], samples: Mapping[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Final minus each other design; rows are paired by their events."""
    found = {}
    for name in intervals:
        if name == "final":
            continue
        low, high = _ends(samples["final"] - samples[name])
        value = intervals["final"].value - intervals[name].value
        found[name] = Interval(value, low, high).as_dict()
    return found


def _ends(samples: Float[Tensor, " n"]) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = samples.quantile(torch.tensor([tail, 1 - tail], dtype=samples.dtype)).tolist()
    return low, high


def _summarize_all(
    study: "Study",
    executor: Executor,
    designs: Mapping[str, Design],
    listener: Callable[[str, int, int, Round | None], None] | None,
) -> tuple[dict[str, Summary], dict[str, str]]:
    """Summaries by design, and why the others have none."""
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


def _cast(design: Design, problem: Problem) -> Design:
    return design.to(problem.reference.dtype)


def _resample(study: "Study", summary: Summary, design: Design) -> Float[Tensor, " n"]:
    judge = study.problem.reference
    seed = study.seed.child("evaluation")
    return bootstrap(judge, summary, _cast(design, study.problem), seed, N_RESAMPLES)


def _interval(
    problem: Problem, summary: Summary, design: Design, samples: Float[Tensor, " n"]
) -> Interval:
    with torch.no_grad():
        outcome = problem.reference.judge(summary, _cast(design, problem))
    return Interval(float(outcome.objective), *_ends(samples))


def _sensitivities(
    study: "Study",
    executor: Executor,
    listener: Callable[[str, int, int, Round | None], None] | None,
) -> list[Sensitivity]:
    """First and second derivatives of the optimized objective at the final design."""
    space = study.problem.space
    if space.has_discrete:
        return []
    center = study.optimizer.recommend()
    steps = STEP * torch.eye(len(center), dtype=center.dtype)
    points = [center, *(center + sign * row for row in steps for sign in (1, -1))]
    requests = [
        Request(point, ("sensitivity",), n_events=study.config.events, std_error=False)
        for point in points
    ]
    if listener is not None:
        listener("sensitivities", 0, 1, None)
    middle, *sides = [e.value for e in executor.evaluate(requests, study.seed)]
    if listener is not None:
        listener("sensitivities", 1, 1, None)
    return [
        Sensitivity(
            label,
            (sides[2 * i] - sides[2 * i + 1]) / (2 * STEP),
            (sides[2 * i] - 2 * middle + sides[2 * i + 1]) / STEP**2,
        )
        for i, label in enumerate(space.labels)
    ]


def _collect(
    study: "Study",
    designs: Mapping[str, Design],
    intervals: Mapping[str, Interval],
    samples: Mapping[str, Tensor],
    sensitivities: list[Sensitivity],
    diagnostics: list[dict[str, Any]],
) -> dict[str, Any]:
    baselines = [name for name in designs if name not in {"start", "final"}]
    judged = [name for name in baselines if math.isfinite(intervals[name].value)]
    best = min(judged, key=lambda name: intervals[name].value, default=None)
    chosen = {"start": "start", "final": "final", "baseline": best}
    history = study.history

    def three(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: None if name is None else values[name] for key, name in chosen.items()}

    costs = {name: _cost(study.problem, designs[name]) for name in designs}
    plain = {name: interval.as_dict() for name, interval in intervals.items()}
    return {
        "study": study.store.id,
        "use_case": study.config.use_case,
        "version": __version__,
        "method": study.config.method,
        "seed": study.config.seed,
        "rounds": len(history),
        "evaluations": sum(record.n_evaluations for record in history),
        "evaluation_events": study.config.evaluation_events,
        "wall_s": sum(record.wall_s for record in history),
        "cpu_s": sum(record.cpu_s for record in history),
        "objective_name": study.problem.objective_name,
        "data_labels": list(study.problem.data_labels),
        "design": three({name: design.numbers() for name, design in designs.items()}),
        "cost": three(costs),
        "objective": three(plain),
        "ratio": _ratio(intervals, samples, best),
        "baselines": {
            name: {"design": designs[name].numbers(), "cost": costs[name], "objective": plain[name]}
            for name in baselines
        },
        "best_baseline": best,
        "theta": study.optimizer.recommend().tolist(),
        "diagnostics": diagnostics,
        "sensitivities": [vars(sensitivity) for sensitivity in sensitivities],
    }


def _ratio(
    intervals: Mapping[str, Interval], samples: Mapping[str, Tensor], best: str | None
) -> dict[str, float] | None:
    """Final over the best baseline, or over the start; rows are paired by their events."""
    base = "start" if best is None else best
    low, high = _ends(samples["final"] / samples[base])
    below = intervals[base].value
    value = intervals["final"].value / below if below != 0 else math.nan
    return {"value": value, "low": low, "high": high}


def _cost(problem: Problem, design: Design) -> float | None:
    with torch.no_grad():
        cost = problem.cost(design)
    return None if cost is None else float(cost)


def _finite(data: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
