"""Roots of a batch of functions of one variable, each between two points; no graph is kept."""

__all__ = ["bracketed_root"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError

MAX_ITERATIONS = 100


def bracketed_root(
    function: Callable[[Tensor], Tensor],
    low: Float[Tensor, "*batch"],
    high: Float[Tensor, "*batch"],
    tolerance: float = 1e-11,
) -> Float[Tensor, "*batch"]:
    """Where an elementwise function changes its sign, by Illinois steps and bisections.

    Args:
        function: Not above zero at `low`, not below at `high`.
        low: Lower end.
        high: Upper end.
        tolerance: Length of the last bracket or step, relative to 1 + its position.

    Raises:
        DomainError: There is no change of sign, or a value is not finite.
    """
    with torch.no_grad():
        at_low, at_high = function(low), function(high)
        if not bool(((at_low <= 0) & (at_high >= 0)).all()):
            raise DomainError("There is no root between the ends of the bracket. Widen it.")
        middle, last = low, torch.zeros_like(low)
        for iteration in range(MAX_ITERATIONS):
            bisect = iteration % 8 == 7  # no bracket may stay long on one side
            previous = middle
            falsi = (low * at_high - high * at_low) / (at_high - at_low).clamp(min=1e-300)
            middle = (low + high) / 2 if bisect else torch.minimum(torch.maximum(falsi, low), high)
            value = function(middle)
            if not bool(torch.isfinite(value).all()):
                raise DomainError("The function has no finite value inside the bracket.")
            scale = tolerance * (1 + middle.abs())
            settled = (value == 0) | (high - low <= scale)
            if not bisect:
                settled = settled | ((middle - previous).abs() <= scale)
            if bool(settled.all()):
                return middle
            # the value of an end that stays twice is halved, which draws the next point to it
            side = torch.where(value < 0, -1.0, 1.0)
            repeated = torch.where(side == last, 0.5, 1.0)
            below, last = side < 0, side
            at_low, at_high = (
                torch.where(below, value, at_low * repeated),
                torch.where(below, at_high * repeated, value),
            )
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        raise DomainError(f"No root found in {MAX_ITERATIONS} steps.")
