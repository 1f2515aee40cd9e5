"""Searches from given designs, with or without settled choices."""

__all__ = ["SettledSearches", "with_theta"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace
from detopt.errors import DesignError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.relaxed_choices import Settling, exchanges, settle
from detopt.optimizers.successive_halving import Arm
from detopt.pipeline import Problem

SAME = 1e-9  # of theta


@dataclass(frozen=True)
class SettledSearches:
    """Begins searches of one method in a space that may hold relaxed choices.

    Args:
        space: Design space.
        method: Method of each search.
        options: Its options.
        problem: The problem, whose baselines are starts, or None.
        seed: For methods that draw.
    """

    space: DesignSpace
    method: str
    options: Mapping[str, Any]
    problem: Problem | None
    seed: int

    @property
    def choices(self) -> list[Continuous]:
        """Parameters that are relaxed choices."""
        return [
            p
            for p in self.space.free
            if isinstance(p, Continuous) and isinstance(p.domain, Settling)
        ]

    def settled(self, design: Mapping[str, Tensor]) -> Design:
        """The design with pure choices."""
        pure = {p.name: settle(p, design[p.name]) for p in self.choices}
        return Design({**design, **pure})

    def starts(self) -> list[Float[Tensor, " n_free"]]:
        """Theta of the space's start and of the baselines with pure choices, each once.

        Designs on a bound or above a limit, where no search can begin, are left out.
        """
        designs: list[Mapping[str, Tensor]] = [self.space.start]
        if self.problem is not None:
            designs += self.problem.baselines.values()
        found: list[Tensor] = []
        for design in designs:
            theta = self.theta_of(self.settled(design))
            found = found if theta is None else with_theta(found, theta)
        return found

    def theta_of(self, design: Design) -> Float[Tensor, " n_free"] | None:
        """Theta, or None where no search can begin: on a bound, above a limit, or elsewhere."""
        try:
            return self.space.theta(design)
        except DesignError:
            return None

    def exchanged(self, theta: Float[Tensor, " n_free"]) -> list[Float[Tensor, " n_free"]]:
        """All allowed designs that differ from `theta` in one choice."""
        design = self.space.design(theta).detach()
        found = []
        for parameter in self.choices:
            for other in exchanges(parameter, design[parameter.name]):
                changed = self.theta_of(Design({**design, parameter.name: other}))
                if changed is not None and self.space.allows(changed):
                    found.append(changed)
        return found

    def begin(self, theta: Float[Tensor, " n_free"], n_rounds: int, *, settles: bool) -> Arm:
        """A search from `theta`.

        Args:
            theta: Where it begins.
            n_rounds: Rounds that it plans.
            settles: Whether it keeps its choices, made pure.
        """
        design = self.space.design(theta).detach()
        choices = self.choices if settles else []
        frozen = {p.name: settle(p, design[p.name]) for p in choices}
        moved = [
            p if p.name in self.space.frozen or p.name in frozen else p.starting_at(design[p.name])
            for p in self.space.parameters
        ]
        inner = DesignSpace(moved, {**self.space.frozen, **frozen}, self.space.limits)
        own = torch.tensor([p.name not in frozen for p in self.space.free for _ in range(p.n_free)])
        return Arm(theta.clone(), own, self._search(inner, n_rounds))

    def resume(self, state: StateDict) -> Arm:
        """A search with the state that `Arm.state_dict` gave."""
        arm = self.begin(state["begin"], int(state["n_rounds"]), settles=bool(state["settles"]))
        arm.search.load_state_dict(state["search"])
        arm.values = [float(value) for value in state["values"]]
        arm.score = float(state["score"])
        return arm

    def _search(self, space: DesignSpace, n_rounds: int) -> Optimizer:
        from detopt.optimizers import METHODS, make  # the methods are listed there

        options = dict(self.options)
        if self.method in METHODS and "seed" in signature(METHODS[self.method]).parameters:
            options.setdefault("seed", self.seed)
        problem = None if self.problem is None else self.problem.with_space(space)
        return make(self.method, space, n_rounds, options, problem)


def with_theta(
    thetas: Sequence[Float[Tensor, " n_free"]], other: Float[Tensor, " n_free"]
) -> list[Float[Tensor, " n_free"]]:
    """The designs and another one, unless it is among them."""
    is_new = all(float((theta - other).abs().max()) > SAME for theta in thetas)
    return [*thetas, other] if is_new else list(thetas)
