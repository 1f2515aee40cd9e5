"""Limits that a design must keep for certain: length, price, weight, power."""

__all__ = ["Limit"]

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detopt.errors import DesignError


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
        return self.quantity(design) - self.bound

    def violation(self, design: Mapping[str, Tensor]) -> str | None:
        """What is wrong with the design, or None."""
        value = float(self.quantity(design))
        if value <= self.bound:
            return None
        unit = f" [{self.unit}]" if self.unit else ""
        return f"`{self.name}`{unit} must be at most {self.bound:g}, got {value:g}"
