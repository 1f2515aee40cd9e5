"""Limits that a design must keep for certain: length, price, weight, power."""

__all__ = ["Limit"]

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DesignError

ROUNDING = 1e-12  # relative excess that counts as rounding


@dataclass(frozen=True)
class Limit:
    """A quantity of the design that must not exceed a bound.

    It is a known function, without randomness, and is enforced before a design is simulated. What
    only a simulation can tell is a constraint of the outcome instead.

    Args:
        name: What is limited.
        quantity: Maps a design to it; differentiable where the design is.
        bound: The largest value that is allowed.
        unit: Its unit, for people.
    """

    name: str
    quantity: Callable[[Mapping[str, Tensor]], Float[Tensor, ""]]
    bound: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.bound):
            raise DesignError(f"The limit of `{self.name}` must be finite, got {self.bound}.")

    def excess(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """By how much the design is above the bound; not positive where it is allowed."""
        return self._value(design) - self.bound

    def violation(self, design: Mapping[str, Tensor]) -> str | None:
        """What is wrong with the design, or None."""
        value = float(self._value(design))
        if value <= self.bound or value - self.bound <= ROUNDING * self._scale(design):
            return None
        unit = f" [{self.unit}]" if self.unit else ""
        return f"`{self.name}`{unit} must be at most {self.bound:g}, got {value:g}"

    def _value(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        found = self.quantity(design)
        return found if isinstance(found, Tensor) else torch.tensor(found, dtype=torch.float64)

    def _scale(self, design: Mapping[str, Tensor]) -> float:
        """Size of the terms that the excess is the difference of."""
        with torch.enable_grad():
            leaves = {
                name: v.detach().clone().requires_grad_(v.is_floating_point())
                for name, v in design.items()
            }
            value = self._value(leaves)
        scale = abs(self.bound)
        if value.requires_grad:
            free = [leaf for leaf in leaves.values() if leaf.requires_grad]
            slopes = torch.autograd.grad(value, free, allow_unused=True)
            terms = [
                (s * v).abs().sum() for s, v in zip(slopes, free, strict=True) if s is not None
            ]
            scale = max(scale, float(sum(terms)))
        return scale if math.isfinite(scale) else 0.0
