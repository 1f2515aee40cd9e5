"""Evolution of a front of designs (NSGA-II and NSGA-III), through the package `pymoo`."""

__all__ = ["NSGA2", "NSGA3"]

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.pareto import non_dominated
from detopt.optimizers.records import Records
from detopt.optimizers.unit_cube import EDGE, UnitCube
from detopt.optional import require
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed

EXTRA, PURPOSE = "baselines", "NSGA"
WORST = 1e30  # objective and violation of a design without an answer


class NSGA2(Optimizer):
    r"""A population that evolves towards the front of several objectives.

    A generation crosses and mutates designs of the population, evaluates them, and keeps those
    that few others dominate and that lie in sparse parts of the front. Constraints of the outcome
    rank before the objectives; designs that break a limit of the space are moved onto it before
    they are evaluated.

    Noise favors lucky designs, which then stay for ever. Therefore each round also evaluates some
    designs of the present front again with fresh random numbers, those first that were evaluated
    the least, and ranks them by the mean of all their values.

    Args:
        space: Design space.
        n_rounds: Generations that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        population: Designs that are kept, and new designs in a round, >= 4.
        n_repeated: Designs of the front that each round evaluates again; 0 without noise.
        reach: Half width of the search where the domain has no bounds, in units of theta, > 0.
        seed: Seed of the search itself.

    Note:
        Whole numbers and categories are cells of a coordinate, so that mutations prefer
        neighboring choices.

    References:
        K. Deb et al., IEEE Trans. Evol. Comput. 6 (2002) 182.
    """

    accepts_discrete = True
    accepts_constraints = True
    n_objectives = 20

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None = None,
        population: int = 24,
        n_repeated: int = 4,
        reach: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds)
        if not isinstance(population, int) or population < 4:
            raise MethodError(f"`population` must be a whole number >= 4, got {population!r}.")
        if not isinstance(n_repeated, int) or not 0 <= n_repeated <= population:
            raise MethodError(
                f"`n_repeated` must be a whole number from 0 to the population, got {n_repeated!r}."
            )
        require("pymoo", extra=EXTRA, purpose=PURPOSE)
        self.cube = UnitCube(space, reach)
        self.n_events = n_events
        self.population = population
        self.n_repeated = n_repeated
        self._seed = Seed(int(seed)).child("nsga")
        self._restart()

    def _restart(self) -> None:
        self.records = Records(self.space.n_free)
        self._told: list[int] = []  # evaluations of each round
        self._search: Any = None
        first = self.cube.sobol(self.population - 1, self._seed.child("initial"))
        start = self.cube.unit(self.space.theta(self.space.start))
        self._new = self._allowed(torch.cat([start[None], first]))
        self._repeated: list[Any] = []
        self._infills: Any = None

    def _allowed(self, points: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        points = self.cube.snap(points.clamp(EDGE, 1 - EDGE))
        if not self.space.limits:
            return points
        anchor = self.space.theta(self.space.start)
        thetas = [self.cube.bring_in(theta, anchor) for theta in self.cube.theta(points)]
        return self.cube.unit(torch.stack(thetas))

    def _thetas(self) -> Float[Tensor, "n n_free"]:
        again = [torch.as_tensor(one.X, dtype=torch.float64) for one in self._repeated]
        thetas = self.cube.theta(torch.stack([*self._new, *again]))
        anchor = self.space.theta(self.space.start)
        return torch.stack([self.space.admit(theta, anchor) for theta in thetas])

    def ask(self) -> list[Request]:
        """A generation, and designs of the front once more, with common random numbers."""
        stream = ("round", self.round)
        return [Request(theta, stream, n_events=self.n_events) for theta in self._thetas()]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep the answers and breed the next generation."""
        n_before = len(self.records)
        self.records.add(evaluations)
        self._check_names()
        self._breed(n_before, len(evaluations))
        self.round += 1
        self.theta = self._best()

    def _check_names(self) -> None:
        """Refuse numbers of objectives that the method has no meaning for."""

    def _breed(self, first: int, n: int) -> None:
        self._told.append(n)
        rows = self._rows(first, n)
        if self._search is None:
            self._search = self._make_search()
            self._infills = self._search.ask()
        n_new, n_constraints = len(self._new), len(self.records.constraint_names)
        for individual, point, row in zip(self._infills, self._new, rows[:n_new], strict=True):
            individual.X = point.numpy().copy()
            individual.data["sums"] = row
            individual.data["shape"] = len(self.records.objective_names), n_constraints
            _set(individual)
        for individual, row in zip(self._repeated, rows[n_new:], strict=True):
            if row is not None:
                known = individual.data["sums"]
                individual.data["sums"] = (
                    row if known is None else [a + b for a, b in zip(known, row, strict=True)]
                )
                _set(individual)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._search.tell(infills=self._infills)
            self._infills = self._search.ask()
        self._follow()

    def _rows(self, first: int, n: int) -> list[list[Any] | None]:
        """Objectives, count and constraints, to be summed; None without an answer.

        All evaluations have as many events, so that each counts the same. Their standard errors
        are no weights: of a skewed objective, low values have low errors.
        """
        records = self.records
        found: list[list[Any] | None] = []
        for i in range(first, first + n):
            if not bool(records.answered[i]):
                found.append(None)
                continue
            values, constraints = records.objectives[i].numpy(), records.constraints[i].numpy()
            found.append([values.copy(), 1, constraints.copy()])
        return found

    def _make_search(self) -> Any:
        core = require("pymoo.core.problem", extra=EXTRA, purpose=PURPOSE)
        ends = require("pymoo.core.termination", extra=EXTRA, purpose=PURPOSE)
        n_objectives = len(self.records.objective_names)
        search = self._algorithm(n_objectives, self._new.numpy().copy())
        problem = core.Problem(
            n_var=self.cube.n,
            n_obj=n_objectives,
            n_ieq_constr=len(self.records.constraint_names),
            xl=np.full(self.cube.n, EDGE),
            xu=np.full(self.cube.n, 1 - EDGE),
        )
        search.setup(problem, seed=self._seed.number % 2**32, termination=ends.NoTermination())
        return search

    def _algorithm(self, n_objectives: int, first: Any) -> Any:  # noqa: ARG002 (NSGA-III's)
        genetic = require("pymoo.algorithms.moo.nsga2", extra=EXTRA, purpose=PURPOSE)
        return genetic.NSGA2(pop_size=self.population, sampling=first, eliminate_duplicates=False)

    def _follow(self) -> None:
        """The next generation in allowed designs, and whom to evaluate again."""
        points = np.stack([individual.X for individual in self._infills]).astype(float)
        self._new = self._allowed(torch.as_tensor(points, dtype=torch.float64))
        members = [one for one in self._search.pop if one.data["sums"] is not None]
        front = [members[i] for i in self._front_of(members)]
        front.sort(key=lambda one: one.data["sums"][1])
        self._repeated = front[: self.n_repeated]

    @staticmethod
    def _front_of(members: Sequence[Any]) -> list[int]:
        """Indices of those that keep the constraints and that none dominates."""
        feasible = [i for i, one in enumerate(members) if not (one.G > 0).any()]
        if not feasible:
            return []
        values = torch.as_tensor(np.stack([members[i].F for i in feasible]), dtype=torch.float64)
        return [feasible[i] for i in non_dominated(values).nonzero().flatten().tolist()]

    def _best(self) -> Float[Tensor, " n_free"]:
        """The member of the front that the problem's own objective prefers."""
        members = [one for one in self._search.pop if one.data["sums"] is not None]
        front = [members[i] for i in self._front_of(members)]
        if not front:
            return self.records.thetas[self.records.best()].clone()
        thetas = self._decoded(front)
        distance = torch.cdist(thetas, self.records.thetas)
        same = distance <= distance.min(dim=1, keepdim=True).values + 1e-9
        values = torch.where(self.records.answered, self.records.values, torch.nan)
        means = torch.stack([values[row].nanmean() for row in same]).nan_to_num(nan=torch.inf)
        return thetas[int(means.argmin())].clone()

    def _decoded(self, members: Sequence[Any]) -> Tensor:
        points = np.stack([one.X for one in members]).astype(float)
        thetas = self.cube.theta(torch.as_tensor(points, dtype=torch.float64))
        anchor = self.space.theta(self.space.start)
        return torch.stack([self.space.admit(theta, anchor) for theta in thetas])

    def front(self) -> Float[Tensor, "n n_free"]:
        """The designs of the population that keep the constraints and that none dominates."""
        if self._search is None:
            return self.theta[None].clone()
        members = [one for one in self._search.pop if one.data["sums"] is not None]
        front = [members[i] for i in self._front_of(members)]
        return self._decoded(front) if front else self.theta.new_empty(0, self.space.n_free)

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The design of the front that the problem's own objective prefers."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """All evaluations so far: the search is replayed from them."""
        return super().state_dict() | {
            "records": self.records.state_dict(),
            "told": list(self._told),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Replay the search on the stored evaluations."""
        super().load_state_dict(state)
        self._restart()
        self.records.load_state_dict(state["records"])
        first = 0
        for n in state["told"]:
            self._breed(first, int(n))
            first += int(n)


def _set(individual: Any) -> None:
    """Objectives and constraints of an individual from the sums of its evaluations."""
    sums = individual.data["sums"]
    n_objectives, n_constraints = individual.data["shape"]
    if sums is None:
        individual.F = np.full(n_objectives, WORST)
        individual.G = np.full(n_constraints, WORST)
    else:
        values, count, constraints = sums
        individual.F = values / count
        individual.G = constraints / count
    individual.evaluated.update({"F", "G"})


class NSGA3(NSGA2):
    """NSGA-II with reference directions, which keep a front of many objectives spread.

    As `NSGA2`; of the designs that none dominates, those survive that lie along directions spread
    evenly over the objectives, as many as the population. Needs at least two objectives.

    Args:
        space: Design space.
        n_rounds: Generations that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        population: Designs that are kept, and new designs in a round, >= 4.
        n_repeated: Designs of the front that each round evaluates again; 0 without noise.
        reach: Half width of the search where the domain has no bounds, in units of theta, > 0.
        seed: Seed of the search itself.

    References:
        K. Deb and H. Jain, IEEE Trans. Evol. Comput. 18 (2014) 577.
    """

    def _check_names(self) -> None:
        if len(self.records.objective_names) < 2:
            raise MethodError(
                "NSGA-III needs at least two objectives in the outcome, got one. Take nsga2 or cma."
            )

    def _algorithm(self, n_objectives: int, first: Any) -> Any:
        genetic = require("pymoo.algorithms.moo.nsga3", extra=EXTRA, purpose=PURPOSE)
        directions = require("pymoo.util.ref_dirs", extra=EXTRA, purpose=PURPOSE)
        divisions = 1
        while math.comb(divisions + n_objectives, n_objectives - 1) <= self.population:
            divisions += 1
        return genetic.NSGA3(
            directions.get_reference_directions("das-dennis", n_objectives, n_partitions=divisions),
            pop_size=self.population,
            sampling=first,
            eliminate_duplicates=False,
        )
