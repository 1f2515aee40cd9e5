"""Quadrature and interpolation on regular tables, shared by the modules of this package."""

__all__ = ["bilinear", "interpolate", "simpson"]

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


@lru_cache(maxsize=16)
def simpson(upper: float, n_intervals: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Simpson's rule from 0 to `upper`, for an even number of intervals."""
    nodes = torch.linspace(0.0, upper, n_intervals + 1, dtype=torch.float64)
    weights = torch.full_like(nodes, 2.0)
    weights[1::2] = 4.0
    weights[0] = weights[-1] = 1.0
    return nodes, weights * upper / n_intervals / 3


def interpolate(
    where: Float[Tensor, "*rows m"],
    knots: Float[Tensor, "*rows n"],
    values: Float[Tensor, "*rows n"],
) -> Float[Tensor, "*rows m"]:
    """Linear interpolation between increasing knots; straight on beyond the ends."""
    where, knots, values = where.contiguous(), knots.contiguous(), values.contiguous()
    index = torch.searchsorted(knots, where, right=True).clamp(1, knots.shape[-1] - 1)
    left, right = knots.gather(-1, index - 1), knots.gather(-1, index)
    low, high = values.gather(-1, index - 1), values.gather(-1, index)
    return torch.lerp(low, high, (where - left) / (right - left))


def bilinear(
    table: Float[Tensor, "n_rows n_columns"],
    row: Float[Tensor, "*batch"],
    column: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Value of a table between its entries, at a row and column counted from 0."""
    n_rows, n_columns = table.shape
    top = row.detach().clamp(0, n_rows - 2).int()
    left = column.detach().clamp(0, n_columns - 2).int()
    corner = (top * n_columns + left).flatten()
    flat = table.flatten()
    corners = [
        flat.index_select(0, corner + shift).reshape(row.shape)
        for shift in (0, 1, n_columns, n_columns + 1)
    ]
    across = column - left
    upper = torch.lerp(corners[0], corners[1], across)
    lower = torch.lerp(corners[2], corners[3], across)
    return torch.lerp(upper, lower, row - top)
