"""One method on one problem, until its calls of the simulation are used up.

A **call** is one evaluation of one design with the problem's number of events. An evaluation with
more events counts as so many calls more, a gradient counts nothing extra: its price is seen in the
CPU time. The designs that the method recommends on the way are judged by the problem's reference
simulation with fresh events, which no method sees, and which cost no calls.
"""

__all__ = ["Checkpoint", "Plan", "Run", "planned_rounds", "race", "run_from_dict"]

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.cpu import cpu_time
from detopt.errors import ConfigError, DetoptError, MethodError, SimulationError
from detopt.optimizers import Optimizer
from detopt.optimizers.pareto import non_dominated
from detopt.pipeline import Evaluation, Problem, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.threads import one_thread

_Verdict = tuple[float, float | None, list[float]]  # objective, worst constraint, all objectives
FRESH = Seed("comparison", "fresh events")  # of all verdicts: equal for all methods and seeds


@dataclass(frozen=True)
class Plan:
    """What all methods are given.

    Args:
        budget: Calls of the simulation, >= 1.
        n_checkpoints: Equal parts of the budget after which the recommended design is judged.
        evaluation_events: Fresh events of a verdict.
        target: Objective to be reached, or None.

    Raises:
        ConfigError: A number is out of range.
    """

    budget: int = 500
    n_checkpoints: int = 20
    evaluation_events: int = 4_000
    target: float | None = None

    def __post_init__(self) -> None:
        for name in ("budget", "n_checkpoints", "evaluation_events"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` must be >= 1, got {getattr(self, name)}.")
        if self.target is not None and not math.isfinite(self.target):
            raise ConfigError(f"`target` must be finite, got {self.target}.")


@dataclass(frozen=True)
class Checkpoint:
    """What a method recommends when so many calls were made.

    Args:
        budget: Calls that it may have made.
        calls: Calls that it made.
        cpu_s: CPU time so far, of simulation and method [s].
        value: Objective of the recommended design with fresh events; NaN where that failed.
        violation: Largest constraint of the outcome, violated where > 0; None without any.
        front: Objectives of the designs on the front of several objectives, with fresh events.
    """

    budget: float
    calls: float
    cpu_s: float
    value: float
    violation: float | None = None
    front: list[list[float]] = field(default_factory=list)

    @property
    def allowed(self) -> bool:
        """Whether the recommended design has an objective and keeps the constraints."""
        return math.isfinite(self.value) and not _broken(self.violation)


@dataclass(frozen=True)
class Run:
    """One method with one seed.

    Args:
        method: Label of the method.
        seed: Seed of everything that is random.
        calls: Calls in all.
        cpu_s: CPU time of simulation and method [s].
        method_cpu_s: CPU time of the method alone [s].
        n_failed: Evaluations that failed.
        to_target: Calls until the target was reached, or None.
        checkpoints: Verdicts on the way, that of the start first.
        design: The design at the end.
        reason: Why the method could not run, or stopped early; empty else.
    """

    method: str
    seed: int
    calls: float = 0.0
    cpu_s: float = 0.0
    method_cpu_s: float = 0.0
    n_failed: int = 0
    to_target: float | None = None
    checkpoints: list[Checkpoint] = field(default_factory=list)
    design: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, where a verdict that failed is None.

        A constraint that is no number is the text "nan", or "inf" or "-inf": None says that there
        is none.
        """
        data = asdict(self)
        for one in data["checkpoints"]:
            one["value"] = one["value"] if math.isfinite(one["value"]) else None
            worst = one["violation"]
            one["violation"] = worst if worst is None or math.isfinite(worst) else str(worst)
        return data


def _broken(violation: float | None) -> bool:
    return violation is not None and not violation <= 0


def _worst(constraints: Sequence[float]) -> float | None:
    """The largest constraint; NaN where one is, for then nothing says that it holds."""
    if any(math.isnan(value) for value in constraints):
        return math.nan
    return max(constraints, default=None)


def planned_rounds(make: Callable[[int], Optimizer], budget: int) -> int:
    """Rounds that fit into a budget, by the evaluations that the method plans for them.

    Raises:
        MethodError: The first round alone is too large.
    """
    first = len(make(budget).ask())
    if first > budget:
        raise MethodError(f"Its first round takes {first} calls, and the budget is {budget}.")

    def fits(n_rounds: int) -> bool:
        try:
            return make(n_rounds).planned_evaluations() <= budget
        except MethodError:  # it wants more rounds
            return True

    low, high = max(1, budget // max(1, first)), budget + 1
    if not fits(low + 1):  # most methods plan equal rounds
        return low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def race(
    problem: Problem,
    make: Callable[[int], Optimizer],
    plan: Plan,
    seed: int = 0,
    label: str = "",
    listener: Callable[[float], None] | None = None,
) -> Run:
    """Run a method until the next round would exceed the budget.

    Args:
        problem: The design problem.
        make: The optimizer for a number of planned rounds.
        plan: What all methods are given.
        seed: Seed of the evaluations.
        label: Name of the method.
        listener: Called with the calls so far.

    Returns:
        The run; a method that does not fit the problem, or gives up, leaves its reason there.
    """
    try:
        with one_thread():
            optimizer = make(planned_rounds(make, plan.budget))
    except DetoptError as error:
        return Run(label, seed, reason=str(error))
    return _Race(problem, optimizer, plan, Seed(seed)).run(seed, label, listener)


@dataclass(frozen=True, eq=False)
class _Step:
    """The state after a round."""

    calls: float
    cpu_s: float
    theta: Tensor
    n_seen: int  # evaluations so far


class _Race:
    def __init__(self, problem: Problem, optimizer: Optimizer, plan: Plan, seed: Seed) -> None:
        self.problem, self.optimizer, self.plan, self.seed = problem, optimizer, plan, seed
        self.steps = [_Step(0.0, 0.0, optimizer.recommend(), 0)]
        self.seen: list[Evaluation] = []
        self.method_cpu_s = 0.0
        self.reason = ""
        self._verdicts: dict[bytes, _Verdict] = {}

    def run(self, seed: int, label: str, listener: Callable[[float], None] | None) -> Run:
        try:
            self._search(listener)
        except DetoptError as error:
            self.reason = str(error)
        if not self.seen:
            return Run(label, seed, reason=self.reason)
        last = self.steps[-1]
        return Run(
            label,
            seed,
            calls=last.calls,
            cpu_s=last.cpu_s,
            method_cpu_s=self.method_cpu_s,
            n_failed=sum(bool(one.failure) for one in self.seen),
            to_target=self._to_target(),
            checkpoints=[self._checkpoint(calls) for calls in self._grid()],
            design=self.problem.space.design(last.theta).numbers(),
            reason=self.reason,
        )

    def _search(self, listener: Callable[[float], None] | None) -> None:
        calls = cpu_s = 0.0
        while not self.optimizer.finished:
            begin = cpu_time()
            with one_thread():
                requests = self.optimizer.ask()
            asked = cpu_time()
            usual = self.problem.n_events
            price = sum((request.n_events or usual) / usual for request in requests)
            if not requests or calls + price > self.plan.budget:
                return
            answers = [evaluate(self.problem, request, self.seed) for request in requests]
            answered = cpu_time()
            with one_thread():
                self.optimizer.tell(answers)
                theta = self.optimizer.recommend()
            done = cpu_time()
            self.method_cpu_s += (asked - begin) + (done - answered)
            calls, cpu_s = calls + price, cpu_s + done - begin
            self.seen += answers
            self.steps.append(_Step(calls, cpu_s, theta, len(self.seen)))
            if listener is not None:
                listener(calls)

    def _grid(self) -> list[float]:
        n = self.plan.n_checkpoints
        return [self.plan.budget * i / n for i in range(n + 1)]

    def _last_step(self, calls: float) -> _Step:
        return next(step for step in reversed(self.steps) if step.calls <= calls)

    def _checkpoint(self, calls: float) -> Checkpoint:
        step = self._last_step(calls)
        value, violation, _ = self._judge(step.theta)
        return Checkpoint(calls, step.calls, step.cpu_s, value, violation, self._front(step.n_seen))

    def _judge(self, theta: Float[Tensor, " n_free"]) -> _Verdict:
        """Objective, largest constraint and all objectives with fresh events."""
        key = theta.detach().numpy().tobytes()
        if key not in self._verdicts:
            self._verdicts[key] = self._fresh(theta)
        return self._verdicts[key]

    def _fresh(self, theta: Float[Tensor, " n_free"]) -> _Verdict:
        reference = self.problem.reference
        design = self.problem.space.design(theta.detach())
        try:
            _, outcome = summarize_design(reference, design, FRESH, self.plan.evaluation_events)
        except SimulationError:
            return math.nan, None, []
        violation = _worst([float(one) for one in outcome.constraints.values()])
        goals = [float(outcome.objectives[name]) for name in self.problem.objective_names]
        return float(outcome.objective), violation, goals

    def _front(self, n_seen: int) -> list[list[float]]:
        """Fresh objectives of what seemed to be the front among the first evaluations."""
        names = self.problem.objective_names
        allowed = [
            one
            for one in self.seen[:n_seen]
            if not one.failure
            and all(value <= 0 for value in one.constraints.values())
            and all(math.isfinite(value) for value in one.objectives.values())
        ]
        if len(names) < 2 or not allowed:
            return []
        values = torch.tensor([[one.objectives[name] for name in names] for one in allowed])
        keep = non_dominated(values.to(torch.float64)).nonzero().flatten().tolist()
        judged = [self._judge(allowed[i].request.theta) for i in keep]
        return [
            goals
            for value, worst, goals in judged
            if all(map(math.isfinite, [value, *goals])) and not _broken(worst)
        ]

    def _to_target(self) -> float | None:
        """Calls until the first recommended design that reaches the target.

        The checkpoints tell between which two it was, and bisection tells the round.
        """
        if self.plan.target is None:
            return None
        marks = [self.steps.index(self._last_step(calls)) for calls in self._grid()]
        first = next((i for i in marks if self._reaches(i)), None)
        if first is None:
            return None
        low, high = max([i for i in marks if i < first], default=-1), first
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._reaches(middle) else (middle, high)
        return self.steps[high].calls

    def _reaches(self, index: int) -> bool:
        value, violation, _ = self._judge(self.steps[index].theta)
        assert self.plan.target is not None
        return value <= self.plan.target and not _broken(violation)


def run_from_dict(data: dict[str, Any]) -> Run:
    """The run that `Run.as_dict` describes."""
    return Run(**{**data, "checkpoints": [_checkpoint(one) for one in data["checkpoints"]]})


def _checkpoint(data: dict[str, Any]) -> Checkpoint:
    value, worst = data["value"], data.get("violation")
    numbers = {
        "value": math.nan if value is None else value,
        "violation": None if worst is None else float(worst),
    }
    return Checkpoint(**{**data, **numbers})
