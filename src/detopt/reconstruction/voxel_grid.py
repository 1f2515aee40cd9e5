"""Regular voxel grids."""

__all__ = ["Grid"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Equal voxels, with edges along the axes.

    Args:
        low: Lowest corner (x, y, z) [m].
        voxel: Edge lengths of a voxel [m].
        shape: Number of voxels in x, y and z.
    """

    low: tuple[float, float, float]
    voxel: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def high(self) -> tuple[float, float, float]:
        """Highest corner [m]."""
        x, y, z = (lo + n * d for lo, n, d in zip(self.low, self.shape, self.voxel, strict=True))
        return x, y, z

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    def edges(self, axis: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, " n_edges"]:
        """Edges along one axis [m]."""
        steps = torch.arange(self.shape[axis] + 1, dtype=torch.float64)
        return (self.low[axis] + self.voxel[axis] * steps).to(dtype)

    def centers(self, axis: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, " n"]:
        """Middles of the voxels along one axis [m]."""
        steps = torch.arange(self.shape[axis], dtype=torch.float64) + 0.5
        return (self.low[axis] + self.voxel[axis] * steps).to(dtype)

    def find(
        self, points: Float[Tensor, "3 *batch"]
    ) -> tuple[Int[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Voxels that hold points.

        Args:
            points: x, y and z [m].

        Returns:
            Flat index of the voxel, z running fastest, 0 outside the grid; and whether the point
            is inside. A point that is not a number is outside.
        """
        inside = torch.ones(points.shape[1:], dtype=torch.bool)
        flat = torch.zeros(points.shape[1:], dtype=torch.int64)
        for axis, n in enumerate(self.shape):
            cell = ((points[axis].detach() - self.low[axis]) / self.voxel[axis]).floor()
            inside &= (cell >= 0) & (cell < n)
            flat = flat * n + torch.where(inside, cell, 0.0).long()
        return torch.where(inside, flat, 0), inside
