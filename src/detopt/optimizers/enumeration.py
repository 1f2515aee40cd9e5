"""Every combination of the discrete parameters, each with its continuous part optimized."""

__all__ = ["Enumeration"]

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Categorical, Continuous, DesignSpace, Integer
from detopt.errors import DesignError, MethodError
from detopt.gradients import GradientEstimator
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.gradient_descent import Adam
from detopt.pipeline.evaluation import Evaluation, Request

MAX_COMBINATIONS = 256


@dataclass
class _Arm:
    """One combination: an optimizer of the continuous part, and what it has reached."""

    fixed: Float[Tensor, " n_free"]  # theta with the combination's levels
    search: Optimizer
    value: float = math.inf  # objective in the last round
    alive: bool = True


class Enumeration(Optimizer):
    """A gradient search for every combination of whole numbers and categories, ever fewer.

    Each combination has its own descent (`Adam`) of the continuous parameters, and a round is one
    round of one of them. After every stage, in which all that are left have the same number of
    rounds, the half with the higher objectives is given up (successive halving). Exact where
    every combination's rank is clear after its first rounds; the number of rounds must be at least
    that of the combinations.

    A combination whose start breaks a limit begins at the nearest allowed design; one that has no
    allowed design near the start is left out, see `left_out`.

    Args:
        space: Design space with at least one continuous and one discrete parameter.
        n_rounds: Rounds that are planned, of all combinations together.
        estimator: How the objective is differentiated; pathwise by default.
        n_events: Events in each evaluation, or None for the problem's own number.
        learning_rate: Of each descent, in units of theta, > 0.

    References:
        K. Jamieson and A. Talwalkar, arXiv:1502.07943.
    """

    uses_gradients = True
    accepts_discrete = True

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        estimator: GradientEstimator | None = None,
        n_events: int | None = None,
        learning_rate: float = 0.1,
    ) -> None:
        super().__init__(space, n_rounds)
        discrete = [p for p in space.free if isinstance(p, (Integer, Categorical))]
        if not discrete or len(discrete) == len(space.free):
            kind = "discrete" if not discrete else "continuous"
            raise MethodError(
                f"Enumeration needs a free {kind} parameter, and there is none. Take "
                f"{'adam' if not discrete else 'grid'}."
            )
        counts = [_count(p) for p in discrete]
        n = math.prod(counts)
        if n > min(MAX_COMBINATIONS, n_rounds):
            limit = f"{MAX_COMBINATIONS}" if n > MAX_COMBINATIONS else f"the {n_rounds} rounds"
            raise MethodError(
                f"There are {n} combinations of {', '.join(p.name for p in discrete)}, more than "
                f"{limit}. Freeze some, plan more rounds, or take bayesian or cma."
            )
        self._own = torch.tensor(
            [isinstance(p, Continuous) for p in space.free for _ in range(p.n_free)]
        )
        self.left_out: list[dict[str, float]] = []
        settings = {
            "estimator": estimator,
            "n_events": n_events,
            "learning_rate": learning_rate,
        }
        n_stages = 1 + math.ceil(math.log2(n))
        each = sum(
            max(1, n_rounds // (n_stages * math.ceil(n / 2**stage))) for stage in range(n_stages)
        )
        self._arms: list[_Arm] = []
        for levels in itertools.product(*(range(count) for count in counts)):
            values = {
                p.name: torch.tensor(float(level + (p.low if isinstance(p, Integer) else 0)))
                for p, level in zip(discrete, levels, strict=True)
            }
            self._add(values, each, settings)
        if not self._arms:
            raise MethodError(
                "No combination has an allowed design near the start. Move the start."
            )
        self._stage = 0
        self._turn = 0  # rounds within the stage

    def _add(
        self, values: Mapping[str, Tensor], n_rounds: int, settings: Mapping[str, Any]
    ) -> None:
        """The arm of one combination, if it has an allowed start."""
        free = DesignSpace(self.space.parameters, self.space.frozen)
        values = {name: value.to(torch.float64) for name, value in values.items()}
        fixed = free.theta({**self.space.start, **values})
        start = self.space.project(fixed, self.theta)
        found = self.space.design(start)
        if any(bool(found[name] != value) for name, value in values.items()):
            self.left_out.append({name: float(value) for name, value in values.items()})
            return
        moved = [
            replace(p, start=found[p.name].tolist())
            if isinstance(p, Continuous) and p.name not in self.space.frozen
            else p
            for p in self.space.parameters
        ]
        try:
            inner = DesignSpace(moved, {**self.space.frozen, **values}, self.space.limits)
        except DesignError:  # rounding on the limit
            self.left_out.append({name: float(value) for name, value in values.items()})
            return
        self._arms.append(_Arm(fixed, Adam(inner, max(1, n_rounds), **settings)))

    @property
    def _alive(self) -> list[_Arm]:
        return [arm for arm in self._arms if arm.alive]

    def _rounds_each(self) -> int:
        """Rounds of each combination in the present stage."""
        n_stages = 1 + math.ceil(math.log2(len(self._arms)))
        if self._stage >= n_stages - 1:
            return max(1, self.n_rounds)  # what is left
        return max(1, self.n_rounds // (n_stages * len(self._alive)))

    def _present(self) -> _Arm:
        alive = self._alive
        return alive[self._turn % len(alive)]

    def _whole(self, arm: _Arm, theta: Float[Tensor, " n_own"]) -> Float[Tensor, " n_free"]:
        found = arm.fixed.clone()
        found[self._own] = theta
        return found

    def ask(self) -> list[Request]:
        """What the present combination's descent needs."""
        arm = self._present()
        return [replace(r, theta=self._whole(arm, r.theta)) for r in arm.search.ask()]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """A step of the present combination; at the end of a stage the worse half is given up."""
        arm = self._present()
        arm.search.tell([self._inner(evaluation) for evaluation in evaluations])
        value = evaluations[0].value
        arm.value = value if math.isfinite(value) else math.inf
        self._turn += 1
        alive = self._alive
        if self._turn == self._rounds_each() * len(alive) and len(alive) > 1:
            alive.sort(key=lambda one: one.value)
            for loser in alive[math.ceil(len(alive) / 2) :]:
                loser.alive = False
            self._stage, self._turn = self._stage + 1, 0
        self.round += 1
        self.theta = self._best()

    def _inner(self, evaluation: Evaluation) -> Evaluation:
        gradient, spread = evaluation.gradient, evaluation.gradient_std_error
        theta = evaluation.request.theta[self._own]
        return replace(
            evaluation,
            request=replace(evaluation.request, theta=theta),
            gradient=None if gradient is None else gradient[self._own],
            gradient_std_error=None if spread is None else spread[self._own],
        )

    def _best(self) -> Float[Tensor, " n_free"]:
        arm = min(self._alive, key=lambda one: one.value)
        return self._whole(arm, arm.search.recommend())

    def recommend(self) -> Float[Tensor, " n_free"]:
        """What the best combination's descent recommends."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """All descents, and who is left."""
        return super().state_dict() | {
            "arms": [
                {"search": arm.search.state_dict(), "value": arm.value, "alive": arm.alive}
                for arm in self._arms
            ],
            "stage": self._stage,
            "turn": self._turn,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        for arm, stored in zip(self._arms, state["arms"], strict=True):
            arm.search.load_state_dict(stored["search"])
            arm.value, arm.alive = float(stored["value"]), bool(stored["alive"])
        self._stage, self._turn = int(state["stage"]), int(state["turn"])


def _count(parameter: Integer | Categorical) -> int:
    if isinstance(parameter, Integer):
        return parameter.high - parameter.low + 1
    return len(parameter.choices)
