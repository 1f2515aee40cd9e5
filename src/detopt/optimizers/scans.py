"""Scans: designs that are chosen in advance, on a grid or at random."""

__all__ = ["GridScan", "RandomScan"]

import itertools
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.records import Records
from detopt.optimizers.unit_cube import MAX_DRAWS, UnitCube, no_room
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed

MAX_POINTS = 1_000_000  # of a grid


class _Scan(Optimizer):
    """Evaluate a list of designs that does not depend on the answers; recommend the best."""

    accepts_discrete = True
    accepts_constraints = True
    points: Float[Tensor, "n_points n_free"]
    batch: int
    n_events: int | None

    @abstractmethod
    def _streams(self, n: int) -> list[tuple[int | str, ...]]:
        """The random streams of a round."""

    def ask(self) -> list[Request]:
        """The next designs of the list."""
        first = self.round * self.batch
        rows = self.points[first : first + self.batch]
        return [
            Request(row.clone(), stream, n_events=self.n_events)
            for row, stream in zip(rows, self._streams(len(rows)), strict=True)
        ]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep the answers."""
        self.records.add(evaluations)
        self.theta = self.recommend()
        self.round += 1

    def _begin(self) -> None:
        self.records = Records(self.space.n_free)

    @property
    def finished(self) -> bool:
        """Whether the list is at its end."""
        return self.round * self.batch >= len(self.points)

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The lowest objective that keeps the constraints; noise favors it: evaluate it again."""
        if not len(self.records):
            return self.theta.clone()
        return self.records.thetas[self.records.best()].clone()

    def front(self) -> Float[Tensor, "n n_free"]:
        """All designs that none dominates."""
        return self.records.thetas[self.records.front()].clone()

    def state_dict(self) -> StateDict:
        """All evaluations so far."""
        return super().state_dict() | {"records": self.records.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self.records.load_state_dict(state["records"])


class GridScan(_Scan):
    """All combinations of equally spaced values, for a few parameters.

    The grid is laid in the unit cube of the space (`UnitCube`): n values of a continuous
    coordinate lie in the middle of n equal cells; a category takes all its choices, a whole number
    at most n of its values. Designs that break a limit are left out. All designs share their
    random numbers, so that they are ranked by the design, not by luck.

    Args:
        space: Design space.
        n_rounds: Rounds over which the grid is spread.
        n_events: Events in each evaluation, or None for the problem's own number.
        points: Values of each coordinate, >= 1, or by the name of the parameter.
        reach: Half width of the grid where the domain has no bounds, in units of theta, > 0.
    """

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None = None,
        points: int | Mapping[str, int] = 5,
        reach: float = 4.0,
    ) -> None:
        super().__init__(space, n_rounds)
        cube = UnitCube(space, reach)
        numbers = _numbers(space, cube, points)
        n_points = math.prod(numbers)
        if n_points > MAX_POINTS:
            raise MethodError(
                f"The grid would have {n_points} designs, more than {MAX_POINTS}. Lower `points`, "
                "freeze parameters, or take a random scan."
            )
        rows = itertools.product(*([(i + 0.5) / n for i in range(n)] for n in numbers))
        grid = cube.allowed(cube.snap(torch.tensor(list(rows), dtype=torch.float64)))
        if not len(grid):
            raise no_room(0, n_points)
        self.n_events = n_events
        self.points = cube.theta(grid)
        self.batch = math.ceil(len(grid) / n_rounds)
        self._begin()

    def _streams(self, n: int) -> list[tuple[int | str, ...]]:
        return [("sample",)] * n


def _numbers(space: DesignSpace, cube: UnitCube, points: int | Mapping[str, int]) -> list[int]:
    names = [parameter.name for parameter in space.free]
    counts = dict.fromkeys(names, points) if isinstance(points, int) else dict(points)
    if set(counts) != set(names):
        raise MethodError(
            f"`points` must name every free parameter ({', '.join(names)}), got "
            f"{', '.join(counts) or 'none'}."
        )
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise MethodError(f"`points` of `{name}` must be a whole number >= 1, got {count!r}.")
    wanted = [counts[name] for name in names for _ in range(cube.n_of(name))]
    kinds = zip(wanted, cube.n_levels, cube.is_category, strict=True)
    return [n if category else min(count, n or count) for count, n, category in kinds]


class RandomScan(_Scan):
    """Designs spread over the whole space, allowed ones only.

    A Sobol sequence fills the space most evenly; a Latin hypercube has one design in each of n
    slices of every coordinate; `uniform` designs are independent. The first design is the start.

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        batch: Designs in a round, >= 1.
        sampling: How the designs are spread.
        reach: Half width of the search where the domain has no bounds, in units of theta, > 0.
        seed: Seed of the designs.

    References:
        M. D. McKay, R. J. Beckman and W. J. Conover, Technometrics 21 (1979) 239.
    """

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None = None,
        batch: int = 8,
        sampling: Literal["sobol", "latin_hypercube", "uniform"] = "sobol",
        reach: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds)
        if not isinstance(batch, int) or batch < 1:
            raise MethodError(f"`batch` must be a whole number >= 1, got {batch!r}.")
        cube = UnitCube(space, reach)
        stream = Seed(int(seed)).child("random scan")
        n_points = n_rounds * batch - 1
        if sampling == "sobol":
            rows = cube.sobol(max(n_points, 1), stream)[:n_points]
        elif sampling in ("latin_hypercube", "uniform"):
            rows = _drawn(cube, n_points, stream, in_slices=sampling == "latin_hypercube")
        else:
            raise MethodError(
                f"`sampling` must be sobol, latin_hypercube or uniform, got {sampling!r}."
            )
        self.n_events = n_events
        self.batch = batch
        self.points = torch.cat([self.theta[None], cube.theta(rows)])
        self._begin()

    def _streams(self, n: int) -> list[tuple[int | str, ...]]:
        return [("round", self.round)] * n


def _drawn(cube: UnitCube, n_points: int, seed: Seed, *, in_slices: bool) -> Tensor:
    """Random points, each coordinate in its own slice of a permutation if `in_slices`."""
    rng = seed.generator()
    found = torch.empty(0, cube.n, dtype=torch.float64)
    for _ in range(MAX_DRAWS):
        if len(found) >= n_points:
            return found[:n_points]
        points = torch.rand(n_points, cube.n, generator=rng, dtype=torch.float64)
        if in_slices:
            slices = [torch.randperm(n_points, generator=rng) for _ in range(cube.n)]
            points = (torch.stack(slices, dim=1) + points) / n_points
        found = torch.cat([found, cube.allowed(cube.snap(points))])
    raise no_room(len(found), n_points)
