"""Spans of a ray between parallel planes, shared by solids and voxel grids."""

__all__ = ["common_span", "nonzero", "slab_span"]

import torch
from torch import Tensor

TINY = 1e-12  # a direction component that a ray parallel to the planes is given


def nonzero(value: Tensor) -> Tensor:
    """`value`, or a tiny number in place of zero, so that a quotient stays finite."""
    return torch.where(value.abs() < TINY, TINY, value)


def slab_span(offset: Tensor, direction: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Distances at which a line enters and leaves the slab of planes at minus and plus `half`."""
    slope = nonzero(direction)
    low, high = (-half - offset) / slope, (half - offset) / slope
    return torch.minimum(low, high), torch.maximum(low, high)


def common_span(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The part that two spans share; its entry is beyond its exit if there is none."""
    return torch.maximum(first[0], second[0]), torch.minimum(first[1], second[1])
