"""What a comparison of methods found: all runs, and what they say together."""

__all__ = [
    "INTERVAL",
    "Comparison",
    "Front",
    "Spread",
    "Summary",
    "load_comparison",
    "without_dominated",
]

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from detopt._version import __version__
from detopt.errors import CheckpointError
from detopt.optimizers.pareto import hypervolume, non_dominated
from detopt.runtime.race import Plan, Run, run_from_dict
from detopt.runtime.store import write_whole

INTERVAL = (0.16, 0.84)  # of the seeds: a standard deviation either side, if they were normal
FILE = "comparison.json"


@dataclass(frozen=True)
class Spread:
    """Median over the seeds, and the interval of their middle 68 %."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of numbers, which may be infinite; NaN if one of them is, for it hides an answer."""
        if not values or any(math.isnan(value) for value in values):
            return cls(math.nan, math.nan, math.nan)
        ordered = sorted(values)
        return cls(*(_quantile(ordered, share) for share in (0.5, *INTERVAL)))


@dataclass(frozen=True)
class Summary:
    """A method, over its seeds.

    Args:
        method: Label.
        n_seeds: Seeds that ran.
        objective: Objective of the last design with fresh events.
        to_target: Calls until the target; infinite where it was not reached.
        n_reached: Seeds that reached it.
        n_violated: Seeds whose last design breaks a constraint or has no objective.
        n_failed: Failed evaluations, of all seeds.
        cpu_s: CPU time of a run [s].
        method_cpu_s: That of the method alone [s].
        hypervolume: Of the last front, where there are several objectives.
        reason: Why the method did not run, or stopped early in a seed; empty else.
    """

    method: str
    n_seeds: int
    objective: Spread
    to_target: Spread
    n_reached: int
    n_violated: int
    n_failed: int
    cpu_s: Spread
    method_cpu_s: Spread
    hypervolume: Spread | None
    reason: str


@dataclass(frozen=True)
class Front:
    """The best front of a method: that of the seed with the largest hypervolume."""

    method: str
    seed: int
    points: list[list[float]]


@dataclass(frozen=True)
class Comparison:
    """All runs of all methods.

    Args:
        use_case: Name of the problem.
        options: Its options.
        objective_name: What is minimized.
        objective_names: All objectives, where there are several.
        plan: What all methods were given.
        methods: Labels, in order.
        runs: One for each method and seed.
        reference: Worst point of the hypervolume, where there are several objectives.
    """

    use_case: str
    options: Mapping[str, Any]
    objective_name: str
    objective_names: tuple[str, ...]
    plan: Plan
    methods: tuple[str, ...]
    runs: tuple[Run, ...]
    reference: tuple[float, ...] = ()

    def of(self, method: str) -> list[Run]:
        """The runs of a method that have verdicts."""
        return [run for run in self.runs if run.method == method and run.checkpoints]

    def summaries(self) -> list[Summary]:
        """A line for each method."""
        return [self._summary(method) for method in self.methods]

    def _summary(self, method: str) -> Summary:
        runs = self.of(method)
        reasons = [run.reason for run in self.runs if run.method == method and run.reason]
        ends = [run.checkpoints[-1] for run in runs]
        reached = [math.inf if run.to_target is None else run.to_target for run in runs]
        return Summary(
            method,
            len(runs),
            objective=Spread.of([end.value for end in ends]),
            to_target=Spread.of(reached),
            n_reached=sum(math.isfinite(calls) for calls in reached),
            n_violated=sum(not end.allowed for end in ends),
            n_failed=sum(run.n_failed for run in runs),
            cpu_s=Spread.of([run.cpu_s for run in runs]),
            method_cpu_s=Spread.of([run.method_cpu_s for run in runs]),
            hypervolume=self.volumes(method)[-1] if self.reference and runs else None,
            reason=reasons[0] if reasons else "",
        )

    def values(self, method: str) -> list[Spread]:
        """Objective at each checkpoint."""
        return self._over_seeds(method, lambda run, i: run.checkpoints[i].value)

    def cpu(self, method: str) -> list[Spread]:
        """CPU time until each checkpoint [s]."""
        return self._over_seeds(method, lambda run, i: run.checkpoints[i].cpu_s)

    def volumes(self, method: str) -> list[Spread]:
        """Hypervolume at each checkpoint."""
        return self._over_seeds(method, lambda run, i: self.volume(run.checkpoints[i].front))

    def _over_seeds(self, method: str, number: Callable[[Run, int], float]) -> list[Spread]:
        runs = self.of(method)
        steps = range(self.plan.n_checkpoints + 1)
        return [Spread.of([number(run, i) for run in runs]) for i in steps]

    def volume(self, front: list[list[float]]) -> float:
        """Hypervolume of a front, up to the reference of all methods."""
        if not front:
            return 0.0
        points = torch.tensor(front, dtype=torch.float64)
        return float(hypervolume(points, torch.tensor(self.reference, dtype=torch.float64)))

    def fronts(self) -> list[Front]:
        """The best front of each method."""
        best = []
        for method in self.methods:
            runs = self.of(method)
            if runs and self.reference:
                run = max(runs, key=lambda one: self.volume(one.checkpoints[-1].front))
                best.append(Front(method, run.seed, without_dominated(run.checkpoints[-1].front)))
        return best

    def save(self, folder: Path) -> Path:
        """Write everything as `comparison.json`."""
        data = {"version": __version__, **asdict(self), "runs": [r.as_dict() for r in self.runs]}
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        write_whole(path, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())
        return path


def load_comparison(folder: Path) -> Comparison:
    """The comparison that `Comparison.save` wrote.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text())
        data.pop("version")
        data["plan"] = Plan(**data["plan"])
        data["runs"] = tuple(run_from_dict(run) for run in data["runs"])
        for key in ("objective_names", "methods", "reference"):
            data[key] = tuple(data[key])
        return Comparison(**data)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no comparison.") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}.") from error


def without_dominated(points: list[list[float]]) -> list[list[float]]:
    """Those that none dominates."""
    if not points:
        return []
    keep = non_dominated(torch.tensor(points, dtype=torch.float64))
    return [point for point, stays in zip(points, keep.tolist(), strict=True) if stays]


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between neighbours, which may be infinite."""
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    weight = place - math.floor(place)
    return low if weight == 0 or low == high else low + weight * (high - low)
