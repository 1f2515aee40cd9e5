"""What a study found: designs, costs, and an independent verdict with intervals."""

__all__ = ["Interval", "Result", "Sensitivity", "conclude", "load_result"]

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt._version import __version__
from detopt.design import Design
from detopt.errors import CheckpointError
from detopt.pipeline import Outcome, Problem, Request, Summary
from detopt.pipeline.resampling import objectives
from detopt.runtime.digests import design_digest
from detopt.runtime.executors import Executor
from detopt.runtime.reevaluation import judge, resample, summarize_all
from detopt.runtime.rounds import Round
from detopt.runtime.storage import Lineage, Link
from detopt.runtime.store import write_whole

if TYPE_CHECKING:
    from detopt.runtime.study import Study

LEVEL = 0.95
N_RESAMPLES = 1_000
STEP = 0.1  # of theta, for curvatures
FILE = "result.json"
NEEDED = ("objective_name", "evaluation_events", "method", "design", "cost", "objective")


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
    _check(data, path)
    return data


def _check(data: Mapping[str, Any], path: Path) -> None:
    """Refuse a result without what all that read it need."""
    missing = [key for key in NEEDED if key not in data]
    if missing:
        raise CheckpointError(f"{path} is damaged: it lacks {', '.join(missing)}.")
    for key in ("design", "cost", "objective"):
        if not (isinstance(data[key], dict) and {"start", "final"} <= data[key].keys()):
            raise CheckpointError(f"{path} is damaged: `{key}` lacks start or final.")
    for name in ("start", "final"):
        numbers = data["objective"][name]
        known = isinstance(numbers, dict) and {"value", "low", "high"} <= numbers.keys()
        if not known or not all(isinstance(x, int | float | None) for x in numbers.values()):
            raise CheckpointError(f"{path} is damaged: the objective of {name} is no interval.")
        if not isinstance(data["design"][name], dict):
            raise CheckpointError(f"{path} is damaged: the design of {name} is no mapping.")


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
    number of events makes fewer. `constraints` are those of each design, broken where positive, and
    `constraint_intervals` the ends of their 95 % intervals, where the events leave any room. A
    design whose resampled objective fails has no interval, and the reason under `without_interval`.

    Raises:
        SimulationError: A simulation failed, and the problem says to stop then.
    """
    problem = study.problem
    designs = study.designs
    summaries, failures = summarize_all(study, executor, designs, listener)
    outcomes = {name: judge(problem, one, designs[name]) for name, one in summaries.items()}
    resampled = {
        name: resample(study, one, designs[name], N_RESAMPLES) for name, one in summaries.items()
    }
    missing = torch.full((N_RESAMPLES,), math.nan, dtype=torch.float64)
    samples = {name: objectives(ones) if ones else missing for name, (ones, _) in resampled.items()}
    intervals = {
        name: Interval(float(outcome.objective), *_ends(samples[name]))
        for name, outcome in outcomes.items()
    }
    samples |= dict.fromkeys(failures, missing)
    intervals |= dict.fromkeys(failures, Interval(math.nan, math.nan, math.nan))
    constraints = {name: _constraints(outcome) for name, outcome in outcomes.items()}
    level, sensitivities = _sensitivities(study, executor, listener)
    final = summaries.get("final")
    plots = [] if final is None else problem.reference.diagnose(final)
    diagnostics = [vars(plot) for plot in plots]
    data = _collect(study, designs, intervals, samples, constraints)
    found = {
        "constraints": constraints,
        "constraint_intervals": {n: _constraint_ends(ones) for n, (ones, _) in resampled.items()},
        "diagnostics": diagnostics,
        "objective_at_theta": level,
        "sensitivities": [vars(sensitivity) for sensitivity in sensitivities],
        "evaluation_rows": {name: summary.n_rows for name, summary in summaries.items()},
        "differences": _differences(intervals, samples),
        "failures": failures,
        "without_interval": {name: why for name, (_, why) in resampled.items() if why},
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


def _constraints(outcome: Outcome) -> dict[str, float]:
    """By name; the least number stands for minus infinity, which keeps the constraint."""
    numbers = {name: float(value) for name, value in outcome.constraints.items()}
    return {k: -sys.float_info.max if v == -math.inf else v for k, v in numbers.items()}


def _constraint_ends(outcomes: Sequence[Outcome]) -> dict[str, tuple[float, float]]:
    """Ends of the intervals of those constraints that differ between resampled events."""
    found = {}
    for name in outcomes[0].constraints if outcomes else ():
        low, high = _ends(torch.stack([one.constraints[name].double() for one in outcomes]))
        if low < high:
            found[name] = low, high
    return found


def _ends(samples: Float[Tensor, " n"]) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = samples.quantile(torch.tensor([tail, 1 - tail], dtype=samples.dtype)).tolist()
    return low, high


def _sensitivities(
    study: "Study",
    executor: Executor,
    listener: Callable[[str, int, int, Round | None], None] | None,
) -> tuple[float, list[Sensitivity]]:
    """The optimized objective at the final design, and its first and second derivatives.

    NaN and nothing where parameters are discrete.
    """
    space = study.problem.space
    if space.has_discrete:
        return math.nan, []
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
    return middle, [
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
    constraints: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    baselines = [name for name in designs if name not in {"start", "final"}]

    def rank(name: str) -> tuple[bool, float]:
        """Those that keep the constraints come first."""
        allowed = all(value <= 0 for value in constraints[name].values())
        return not allowed, intervals[name].value

    judged = [name for name in baselines if math.isfinite(intervals[name].value)]
    best = min(judged, key=rank, default=None)
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
