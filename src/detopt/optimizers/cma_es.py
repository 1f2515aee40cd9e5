"""Covariance matrix adaptation evolution strategy, through the package `cma`."""

__all__ = ["CMAES"]

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optional import require
from detopt.pipeline.evaluation import Evaluation, Request


class CMAES(Optimizer):
    """Sample designs from a normal distribution that learns from the best of them.

    Needs no gradients and takes discrete parameters; a round is one population. Designs of one
    round share their random numbers, so that they are ranked by the design, not by luck.

    Args:
        space: Design space.
        n_rounds: Populations that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        step: First standard deviation, in units of theta, > 0.
        population: Designs in a round, >= 4, or None for the rule of the package.
        seed: Seed of the search itself.

    References:
        N. Hansen, arXiv:1604.00772.
    """

    accepts_discrete = True

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None = None,
        step: float = 0.5,
        population: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds)
        if not (math.isfinite(step) and step > 0):
            raise MethodError(f"`step` must be > 0, got {step}.")
        if population is not None and not (isinstance(population, int) and population >= 4):
            raise MethodError(f"`population` must be a whole number >= 4, got {population!r}.")
        self.n_events = n_events
        self._settings = {"step": step, "population": population}
        self._seed = int(seed)
        self._told: list[list[float]] = []
        self._search = self._restart()
        self._points: list[Any] = self._search.ask()

    def _restart(self) -> Any:
        cma = require("cma", extra="baselines", purpose="CMA-ES")
        numbers = np.random.RandomState(self._seed)
        options: dict[str, Any] = {"randn": numbers.randn, "seed": np.nan, "verbose": -9}
        if self._settings["population"] is not None:
            options["popsize"] = self._settings["population"]
        start = self.space.theta(self.space.start).numpy()
        return cma.CMAEvolutionStrategy(start, self._settings["step"], options)

    def ask(self) -> list[Request]:
        """One population, with common random numbers."""
        return [
            Request(
                self.space.project(torch.as_tensor(np.array(point), dtype=torch.float64)),
                ("round", self.round),
                n_events=self.n_events,
            )
            for point in self._points
        ]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn from a population; a design without a finite objective ranks last.

        A population that fails altogether is asked for again, with fresh random numbers.
        """
        if self._count_failures(evaluations, all_needed=False):
            self.round += 1
            return
        values = [e.value if math.isfinite(e.value) else math.inf for e in evaluations]
        if not any(math.isfinite(value) for value in values):
            raise MethodError(
                f"The objective is finite for no design of round {self.round}. Look at the "
                "objective at the start, or take a smaller `step`."
            )
        self._learn(values)
        mean = torch.as_tensor(np.array(self._search.mean), dtype=torch.float64)
        self.theta = self.space.project(mean)
        self.round += 1

    def _learn(self, values: list[float]) -> None:
        self._told.append(values)
        self._search.tell(self._points, values)
        self._points = self._search.ask()

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The center of the distribution, which the noise of one evaluation does not favor."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """The values told so far: the search is replayed from them."""
        return super().state_dict() | {"told": [list(values) for values in self._told]}

    def load_state_dict(self, state: StateDict) -> None:
        """Replay the search on the stored values."""
        super().load_state_dict(state)
        self._told = []
        self._search = self._restart()
        self._points = self._search.ask()
        for values in state["told"]:
            self._learn(list(values))
