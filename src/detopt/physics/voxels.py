"""Exact path lengths of rays in the voxels of a regular grid.

Lengths are in metres.
"""

__all__ = ["voxel_path_lengths", "voxel_segments"]

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._rays import nonzero

Shape = tuple[int, int, int]


def voxel_segments(
    origin: Float[Tensor, "*batch 3"],
    direction: Float[Tensor, "*batch 3"],
    lower: Float[Tensor, "3"],
    upper: Float[Tensor, "3"],
    shape: Shape,
) -> tuple[Int[Tensor, "*batch n_segments"], Float[Tensor, "*batch n_segments"]]:
    """Voxels that rays cross, in order, with the path length in each.

    The crossings with all planes of the grid are sorted along the ray; between two of them lies
    one voxel.

    Args:
        origin: Start of the rays [m].
        direction: Direction of the rays, of any length.
        lower: Lower corner of the grid [m].
        upper: Upper corner of the grid [m].
        shape: Number of voxels along x, y and z.

    Returns:
        Flat index of the voxel (z runs fastest) and length [m] of each of the
        ``nx + ny + nz + 2`` segments. Segments outside the grid have length 0 and the index of
        a voxel at its edge.

    Raises:
        DomainError: The grid has an axis without voxels.

    Note:
        Exact. The lengths are differentiable, for rays that cross no edge of a voxel.
    """
    if min(shape) < 1:
        raise DomainError(f"`shape` must hold 3 counts >= 1, got {shape}. Give (nx, ny, nz).")
    unit = torch.nn.functional.normalize(direction, dim=-1)
    slope = nonzero(unit)
    crossings = [
        (
            lower[axis]
            + (upper[axis] - lower[axis]) * _edges(count, origin)
            - origin[..., axis, None]
        )
        / slope[..., axis, None]
        for axis, count in enumerate(shape)
    ]
    first = torch.stack([c.amin(-1) for c in crossings], dim=-1).amax(-1).clamp(min=0.0)
    last = torch.stack([c.amax(-1) for c in crossings], dim=-1).amin(-1)
    last = torch.maximum(first, last)

    bounded = torch.cat(crossings, dim=-1)
    bounded = torch.maximum(bounded, first.unsqueeze(-1))
    ordered = torch.minimum(bounded, last.unsqueeze(-1)).sort(dim=-1).values
    lengths = ordered.diff(dim=-1)

    middle = (ordered[..., 1:] + ordered[..., :-1]).detach() / 2
    where = origin.unsqueeze(-2) + middle.unsqueeze(-1) * unit.unsqueeze(-2)
    return _flat_index((where - lower) / (upper - lower), shape), lengths


def voxel_path_lengths(
    origin: Float[Tensor, "*batch 3"],
    direction: Float[Tensor, "*batch 3"],
    lower: Float[Tensor, "3"],
    upper: Float[Tensor, "3"],
    shape: Shape,
) -> Float[Tensor, "*batch nx ny nz"]:
    """Path length of rays in every voxel of a grid.

    Args:
        origin: Start of the rays [m].
        direction: Direction of the rays, of any length.
        lower: Lower corner of the grid [m].
        upper: Upper corner of the grid [m].
        shape: Number of voxels along x, y and z.

    Returns:
        Path length in each voxel [m].

    Raises:
        DomainError: The grid has an axis without voxels.

    Note:
        Exact; the sum over the voxels is the path length in the grid. Dense: for many voxels use
        `voxel_segments`. Differentiable, for rays that cross no edge of a voxel.
    """
    index, lengths = voxel_segments(origin, direction, lower, upper, shape)
    empty = torch.zeros(
        *lengths.shape[:-1], math.prod(shape), dtype=lengths.dtype, device=lengths.device
    )
    return empty.scatter_add(-1, index, lengths).reshape(*empty.shape[:-1], *shape)


def _edges(count: int, like: Tensor) -> Tensor:
    return torch.linspace(0.0, 1.0, count + 1, dtype=like.dtype, device=like.device)


def _flat_index(share: Float[Tensor, "*batch 3"], shape: Shape) -> Int[Tensor, "*batch"]:
    """Flat index of the voxel at a share of the grid along each axis."""
    counts = torch.tensor(shape, device=share.device)
    cell = (share.detach() * counts).floor().long().clamp(min=0)
    i, j, k = torch.minimum(cell, counts - 1).unbind(-1)
    return (i * shape[1] + j) * shape[2] + k
