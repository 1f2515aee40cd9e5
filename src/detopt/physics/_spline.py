"""Smooth, differentiable interpolation of tables on a uniform grid."""

__all__ = ["UniformSpline", "natural_slopes"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class UniformSpline:
    """A cubic spline through values on a uniform grid, straight outside of it.

    Attributes:
        start: First grid point.
        step: Distance of the grid points.
        coefficients: Of the cubic in each cell, by falling power of the position in it.
    """

    start: float
    step: float
    coefficients: Float[Tensor, "cells 4"]

    @classmethod
    def through(
        cls, start: float, step: float, values: Float[Tensor, " points"]
    ) -> "UniformSpline":
        """The natural spline, twice continuously differentiable, through `values`."""
        slopes = natural_slopes(values)
        left, right = values[:-1], values[1:]
        rise = right - left
        cubic = slopes[:-1] + slopes[1:] - 2 * rise
        square = 3 * rise - 2 * slopes[:-1] - slopes[1:]
        return cls(start, step, torch.stack([cubic, square, slopes[:-1], left], dim=-1))

    def __call__(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Value at `x`, differentiable in it; not a number where `x` is none."""
        position = (x - self.start) / self.step
        cell = position.detach().floor().nan_to_num().clamp(0, self.coefficients.shape[0] - 1)
        table = self.coefficients.to(dtype=x.dtype, device=x.device)
        c3, c2, c1, c0 = table[cell.long()].unbind(dim=-1)
        offset = position - cell
        inside = offset.clamp(0.0, 1.0)
        slope = (3 * c3 * inside + 2 * c2) * inside + c1

        return ((c3 * inside + c2) * inside + c1) * inside + c0 + slope * (offset - inside)


def natural_slopes(values: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
    """Slopes, per grid step, of the natural cubic spline through `values`.

    They solve a tridiagonal system with 2, 4, ..., 4, 2 on the diagonal and 1 beside it.
    """
    y = values.tolist()
    rises = [3 * (y[min(i + 1, len(y) - 1)] - y[max(i - 1, 0)]) for i in range(len(y))]
    pivots, slopes = [2.0], [rises[0]]
    for i in range(1, len(y)):
        diagonal = 2.0 if i == len(y) - 1 else 4.0
        pivots.append(diagonal - 1 / pivots[-1])
        slopes.append(rises[i] - slopes[-1] / pivots[i - 1])
    slopes[-1] /= pivots[-1]
    for i in range(len(y) - 2, -1, -1):
        slopes[i] = (slopes[i] - slopes[i + 1]) / pivots[i]
    return torch.tensor(slopes, dtype=values.dtype)
