"""The design space as a unit cube: coordinates for methods that search a box."""

__all__ = ["UnitCube"]

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from detopt.design import (
    Categorical,
    Continuous,
    DesignSpace,
    FixedSum,
    Integer,
    Interval,
    Ordered,
    Parameter,
)
from detopt.errors import MethodError
from detopt.optimizers.relaxed_categorical import RelaxedCategorical
from detopt.random import Seed

EDGE = 1e-6  # distance from the faces of the cube, where theta would be infinite
MAX_DRAWS = 200  # times the number of points wanted, before the search for allowed ones ends


class _Axis(ABC):
    """The cube's coordinates of one parameter."""

    n: int  # coordinates
    n_levels: int = 0  # values that a coordinate can take; 0 where it is continuous
    is_category: bool = False

    @abstractmethod
    def theta(self, unit: Tensor) -> Tensor:
        """Piece of theta."""

    @abstractmethod
    def unit(self, theta: Tensor) -> Tensor:
        """Inverse of `theta`."""


@dataclass(frozen=True)
class _Box(_Axis):
    """Real numbers, from the start minus to the start plus `reach`."""

    start: Float[Tensor, " n"]
    reach: float

    @property
    def n(self) -> int:  # type: ignore[override]
        return len(self.start)

    def theta(self, unit: Tensor) -> Tensor:
        return self.start + self.reach * (2 * unit - 1)

    def unit(self, theta: Tensor) -> Tensor:
        return ((theta - self.start) / self.reach + 1) / 2


@dataclass(frozen=True)
class _Interval(_Axis):
    """Numbers between bounds, in proportion."""

    n: int

    def theta(self, unit: Tensor) -> Tensor:
        return torch.logit(unit)

    def unit(self, theta: Tensor) -> Tensor:
        return torch.sigmoid(theta)


@dataclass(frozen=True)
class _Shares(_Axis):
    r"""Shares of a whole, broken off one after the other.

    With n + 1 shares, :math:`s_i = r_i [1 - (1 - u_i)^{1/(n-i)}]` of the rest
    :math:`r_i = 1 - \sum_{j<i} s_j`: uniform coordinates are uniform shares.
    """

    n: int
    ordered: bool  # logits of `Ordered`, whose first is 0, or of `FixedSum`, whose mean is 0

    def _powers(self, like: Tensor) -> Tensor:
        return torch.arange(self.n, 0, -1, dtype=like.dtype)

    def theta(self, unit: Tensor) -> Tensor:
        kept = torch.log1p(-unit) / self._powers(unit)  # log of the share of the rest that stays
        rest = torch.cat([torch.zeros_like(kept[..., :1]), kept.cumsum(dim=-1)], dim=-1)
        logits = rest[..., :-1] + torch.log(-torch.expm1(kept))
        logits = torch.cat([logits, rest[..., -1:]], dim=-1)
        if self.ordered:
            return logits[..., 1:] - logits[..., :1]
        return logits - logits.mean(dim=-1, keepdim=True)

    def unit(self, theta: Tensor) -> Tensor:
        logits = theta
        if self.ordered:
            logits = torch.cat([torch.zeros_like(theta[..., :1]), theta], dim=-1)
        rest = logits.flip(-1).logcumsumexp(dim=-1).flip(-1)
        return -torch.expm1(self._powers(theta) * (rest[..., 1:] - rest[..., :-1]))


@dataclass(frozen=True)
class _Levels(_Axis):
    """A whole number or a category: each level has a cell of equal width."""

    n_levels: int
    is_category: bool
    n = 1

    def theta(self, unit: Tensor) -> Tensor:
        cell = (unit.detach() * self.n_levels).floor().clamp(0, self.n_levels - 1)
        if self.is_category:
            return one_hot(cell[..., 0].long(), self.n_levels).to(unit)
        return torch.logit((cell + 0.5) / self.n_levels)

    def unit(self, theta: Tensor) -> Tensor:
        if self.is_category:
            cell = theta.argmax(dim=-1, keepdim=True).to(theta.dtype)
        else:
            cell = (torch.sigmoid(theta) * self.n_levels).floor().clamp(0, self.n_levels - 1)
        return (cell + 0.5) / self.n_levels


def _axis(parameter: Parameter, reach: float) -> _Axis:
    if isinstance(parameter, Integer):
        return _Levels(parameter.high - parameter.low + 1, is_category=False)
    if isinstance(parameter, (Categorical, RelaxedCategorical)):
        return _Levels(len(parameter.choices), is_category=True)
    if isinstance(parameter, Continuous):
        if isinstance(parameter.domain, Interval):
            return _Interval(parameter.n_free)
        if isinstance(parameter.domain, Ordered):
            return _Shares(parameter.n_free, ordered=True)
        if isinstance(parameter.domain, FixedSum) and parameter.n_free > 1:
            return _Shares(parameter.n_free - 1, ordered=False)
    return _Box(parameter.encode(parameter.start_value), reach)


class UnitCube:
    r"""A map between the unit cube and theta, for methods that search a box.

    Intervals are mapped in proportion. Ordered values and shares of a fixed sum are broken off
    one after the other, so that uniform points of the cube are uniform in the domain. A whole
    number and a category take one coordinate, with a cell of equal width for each level. Real
    numbers, and domains that are not known here, reach from the start minus to the start plus
    `reach` in units of theta.

    Args:
        space: Design space.
        reach: Half width of the search where the domain has no bounds, in units of theta, > 0.

    Raises:
        MethodError: `reach` is not positive.
    """

    def __init__(self, space: DesignSpace, reach: float = 4.0) -> None:
        if not (math.isfinite(reach) and reach > 0):
            raise MethodError(f"`reach` must be > 0, got {reach}.")
        self.space = space
        self._axes = [_axis(parameter, reach) for parameter in space.free]
        self._n_theta = [parameter.n_free for parameter in space.free]
        levels = [[axis.n_levels] * axis.n for axis in self._axes]
        self.n_levels: list[int] = [n for piece in levels for n in piece]
        categories = [[axis.is_category] * axis.n for axis in self._axes]
        self.is_category: list[bool] = [one for piece in categories for one in piece]

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return len(self.n_levels)

    def n_of(self, name: str) -> int:
        """Number of coordinates of the parameter `name`."""
        names = [parameter.name for parameter in self.space.free]
        return self._axes[names.index(name)].n

    @property
    def is_discrete(self) -> Tensor:
        """Which coordinates have levels."""
        return torch.tensor([n > 0 for n in self.n_levels])

    def theta(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n_free"]:
        """Theta at a point of the cube, differentiable in its continuous coordinates."""
        inside = unit.clamp(EDGE, 1 - EDGE)
        pieces = inside.split([axis.n for axis in self._axes], dim=-1)
        found = [axis.theta(piece) for axis, piece in zip(self._axes, pieces, strict=True)]
        return torch.cat(found, dim=-1)

    def unit(self, theta: Float[Tensor, "*batch n_free"]) -> Float[Tensor, "*batch n"]:
        """Inverse of `theta`; levels lie at the centers of their cells."""
        pieces = theta.to(torch.float64).split(self._n_theta, dim=-1)
        found = [axis.unit(piece) for axis, piece in zip(self._axes, pieces, strict=True)]
        return torch.cat(found, dim=-1).clamp(EDGE, 1 - EDGE)

    def snap(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The same points with levels at the centers of their cells."""
        levels = torch.tensor(self.n_levels, dtype=unit.dtype)
        many = levels.clamp(min=1)
        cells = ((unit * many).floor().clamp(min=0).minimum(many - 1) + 0.5) / many
        return torch.where(levels > 0, cells, unit)

    def features(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n_features"]:
        """What a regression sees: a category becomes one indicator for each choice."""
        snapped = self.snap(unit)
        pieces: list[Tensor] = []
        for i, (levels, category) in enumerate(zip(self.n_levels, self.is_category, strict=True)):
            column = snapped[..., i]
            if category:
                cell = (column.detach() * levels).floor().long()
                pieces.append(one_hot(cell, levels).to(unit))
            else:
                pieces.append(column.unsqueeze(-1))
        return torch.cat(pieces, dim=-1)

    def allowed(self, unit: Float[Tensor, "k n"]) -> Float[Tensor, "m n"]:
        """Those of the points whose designs keep the limits of the space."""
        if not self.space.limits or not len(unit):
            return unit
        thetas = self.theta(unit)
        try:
            keep = torch.vmap(self._keeps)(thetas)
        except RuntimeError:  # a limit that looks at numbers, such as `int(design["n"])`
            keep = torch.tensor([self.space.allows(theta) for theta in thetas], dtype=torch.bool)
        return unit[keep]

    def _keeps(self, theta: Tensor) -> Tensor:
        design = self.space.design(theta)
        found = [limit.excess(design) <= 0 for limit in self.space.limits]
        return torch.stack(found).all()

    def bring_in(
        self, theta: Float[Tensor, " n_free"], anchor: Float[Tensor, " n_free"] | None = None
    ) -> Float[Tensor, " n_free"]:
        """The allowed design near `theta`, by `DesignSpace.project` or `admit`: the nearer one.

        Projection keeps categories but can overshoot where a domain saturates.

        Args:
            theta: A proposal.
            anchor: An allowed design; the start of the space by default.
        """
        if self.space.allows(theta):
            return theta
        found = [self.space.project(theta, anchor), self.space.admit(theta, anchor)]
        here = self.unit(theta)
        return min(found, key=lambda one: float((self.unit(one) - here).norm()))

    def sobol(self, n_points: int, seed: Seed) -> Float[Tensor, "n_points n"]:
        """Allowed points of a scrambled Sobol sequence, levels at the centers of their cells.

        Raises:
            MethodError: Hardly any design of the box keeps the limits.
        """
        engine = torch.quasirandom.SobolEngine(self.n, scramble=True, seed=seed.number % 2**31)
        found = torch.empty(0, self.n, dtype=torch.float64)
        for _ in range(MAX_DRAWS):
            drawn = self.snap(engine.draw(n_points, dtype=torch.float64))
            found = torch.cat([found, self.allowed(drawn)])
            if len(found) >= n_points:
                return found[:n_points]
        raise no_room(len(found), n_points)


def no_room(found: int, wanted: int) -> MethodError:
    """The error of a search for allowed designs that found too few."""
    return MethodError(
        f"Only {found} of {wanted} designs that keep the limits were found in the box. Narrow the "
        "domains, so that more of the space is allowed, or take a method that walks from the start."
    )
