r"""Domains: the sets that continuous parameters may not leave, by construction.

Each domain is a bijection between a box-free vector :math:`\theta \in \mathbb{R}^n`, in which
optimizers walk, and values that obey its constraint for every :math:`\theta`. A value exactly on
a closed bound belongs to the domain but has no finite :math:`\theta`.
"""

__all__ = ["Domain", "FixedSum", "Interval", "Ordered", "Real"]

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DesignError

TOLERANCE = 1e-6  # relative to the width of the domain, and
ROUNDING = 2.0**-22  # relative to its bounds: two roundings of float32 designs


class Domain(ABC):
    """Where a parameter may lie, and the smooth coordinates of that set."""

    def n_free(self, n_values: int) -> int:
        """Number of free coordinates behind `n_values` values."""
        return n_values

    @abstractmethod
    def values(self, theta: Float[Tensor, "*batch n_free"]) -> Float[Tensor, "*batch n_values"]:
        """Values that obey the constraint, differentiable in `theta`."""

    @abstractmethod
    def theta(self, values: Float[Tensor, "*batch n_values"]) -> Float[Tensor, "*batch n_free"]:
        """Inverse of `values`, for values in the interior of the domain."""

    @abstractmethod
    def violation(self, values: Float[Tensor, " n_values"]) -> str | None:
        """What is wrong with `values`, or None where they lie in the (closed) domain."""


@dataclass(frozen=True)
class Real(Domain):
    """All real numbers; `scale` is the step that counts as one."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise DesignError(f"`scale` must be > 0, got {self.scale}.")

    def values(self, theta: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Values in units of `scale`."""
        return self.scale * theta

    def theta(self, values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Inverse of `values`."""
        return values / self.scale

    def violation(self, values: Float[Tensor, " n"]) -> str | None:
        """None, if the values are finite."""
        return None if bool(torch.isfinite(values).all()) else "is not finite"


@dataclass(frozen=True)
class Interval(Domain):
    r"""Between two bounds: :math:`v = l + (h - l)\,\sigma(\theta)`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)

    def values(self, theta: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Values between the bounds."""
        return self.low + (self.high - self.low) * torch.sigmoid(theta)

    def theta(self, values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Inverse of `values`."""
        return torch.logit((values - self.low) / (self.high - self.low))

    def violation(self, values: Float[Tensor, " n"]) -> str | None:
        """Which bound is broken."""
        return _outside(values, self.low, self.high)


@dataclass(frozen=True)
class Ordered(Domain):
    r"""Between two bounds, in order, at least `gap` apart: layers that must not overlap.

    The room that the gaps leave, :math:`r = h - l - (n-1) g`, is shared by a softmax of
    :math:`n + 1` logits, the first of which is fixed to 0:
    :math:`v_i = l + i g + r \sum_{j \le i} \mathrm{softmax}(0, \theta)_j`.
    """

    low: float
    high: float
    gap: float = 0.0
    descending: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if not self.gap >= 0:
            raise DesignError(f"`gap` must be >= 0, got {self.gap}.")

    def _room(self, n_values: int) -> float:
        room = self.high - self.low - (n_values - 1) * self.gap
        if room <= 0:
            raise DesignError(
                f"{n_values} values at least {self.gap} apart do not fit between {self.low} and "
                f"{self.high}. Widen the bounds or lower the gap."
            )
        return room

    def values(self, theta: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Values in order, from the low bound up, or from the high bound down."""
        n_values = theta.shape[-1]
        logits = torch.cat([torch.zeros_like(theta[..., :1]), theta], dim=-1)
        shares = torch.softmax(logits, dim=-1).cumsum(dim=-1)[..., :-1]
        steps = self.gap * torch.arange(n_values, dtype=theta.dtype, device=theta.device)
        rising = self._room(n_values) * shares + steps
        return self.high - rising if self.descending else self.low + rising

    def theta(self, values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Inverse of `values`."""
        n_values = values.shape[-1]
        steps = self.gap * torch.arange(n_values, dtype=values.dtype, device=values.device)
        rising = self.high - values if self.descending else values - self.low
        shares = (rising - steps) / self._room(n_values)
        edges = torch.cat(
            [torch.zeros_like(shares[..., :1]), shares, torch.ones_like(shares[..., :1])], dim=-1
        )
        logits = edges.diff(dim=-1).log()
        return logits[..., 1:] - logits[..., :1]

    def violation(self, values: Float[Tensor, " n"]) -> str | None:
        """Which bound or gap is broken."""
        self._room(values.shape[-1])
        outside = _outside(values, self.low, self.high)
        if outside is not None or len(values) < 2:
            return outside
        gaps = -values.diff() if self.descending else values.diff()
        if float(gaps.min()) < self.gap - _slack(self.low, self.high):
            order = "fall" if self.descending else "rise"
            return (
                f"must {order} by at least {self.gap} from one value to the next, got a gap of "
                f"{float(gaps.min()):.6g}"
            )
        return None


@dataclass(frozen=True)
class FixedSum(Domain):
    r"""Shares of a fixed total, each at least `low`: a budget that is spent exactly.

    :math:`v = l + (T - n l)\,\mathrm{softmax}(\theta)` with the logits shifted to mean zero by
    the softmax itself; there are as many logits as values, so that none is special.
    """

    total: float
    low: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.total) and self.total > 0):
            raise DesignError(f"`total` must be > 0, got {self.total}.")
        if not self.low >= 0:
            raise DesignError(f"`low` must be >= 0, got {self.low}.")

    def _spare(self, n_values: int) -> float:
        spare = self.total - n_values * self.low
        if spare <= 0:
            raise DesignError(
                f"{n_values} shares of at least {self.low} exceed the total of {self.total}."
            )
        return spare

    def values(self, theta: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Shares that add up to the total."""
        return self.low + self._spare(theta.shape[-1]) * torch.softmax(theta, dim=-1)

    def theta(self, values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The inverse with mean 0."""
        logits = ((values - self.low) / self._spare(values.shape[-1])).log()
        return logits - logits.mean(dim=-1, keepdim=True)

    def violation(self, values: Float[Tensor, " n"]) -> str | None:
        """Whether the sum is missed or a share is too small."""
        self._spare(values.shape[-1])
        total = float(values.sum())
        if not abs(total - self.total) <= 1e-5 * self.total:
            return f"must add up to {self.total:.6g}, got {total:.6g}"
        return _outside(values, self.low, self.total)


def _check_bounds(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DesignError(f"Bounds must be finite and `low` < `high`, got {low} and {high}.")


def _slack(low: float, high: float) -> float:
    return TOLERANCE * (high - low) + ROUNDING * max(abs(low), abs(high))


def _outside(values: Tensor, low: float, high: float) -> str | None:
    slack = _slack(low, high)
    smallest, largest = float(values.min()), float(values.max())
    if not smallest >= low - slack:
        return f"must be >= {low:.6g}, got {smallest:.6g}"
    if not largest <= high + slack:
        return f"must be <= {high:.6g}, got {largest:.6g}"
    return None
