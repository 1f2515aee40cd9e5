"""Images of scattering on a voxel grid, and sums and quantiles per voxel."""

__all__ = ["ScatteringImage", "voxel_quantiles", "voxel_sums"]

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError
from detopt.reconstruction.voxel_grid import Grid


@dataclass(frozen=True)
class ScatteringImage:
    """A number in each voxel that grows with the scattering in it.

    Args:
        grid: The voxels.
        values: The numbers.
        counts: What they rest on: muons, or pairs of muons, in each voxel; 0 where `values` is a
            mere filling.
        quantity: What the numbers are.
        unit: Their unit; empty for a pure number.
    """

    grid: Grid
    values: Float[Tensor, "nx ny nz"]
    counts: Int[Tensor, "nx ny nz"]
    quantity: str
    unit: str

    @property
    def label(self) -> str:
        """Quantity and unit, for the axis of a picture."""
        return f"{self.quantity} [{self.unit}]" if self.unit else self.quantity


def voxel_sums(
    voxels: Int[Tensor, " n"], values: Float[Tensor, " n"], n_voxels: int
) -> Float[Tensor, " n_voxels"]:
    """Sum of the values in each voxel.

    Args:
        voxels: Flat index of the voxel of each value.
        values: What is summed.
        n_voxels: Number of voxels.

    Note:
        Differentiable in the values.
    """
    return values.new_zeros(n_voxels).index_add(0, voxels, values)


def voxel_quantiles(
    voxels: Int[Tensor, " n"],
    members: Int[Tensor, " n"],
    values: Float[Tensor, " m"],
    share: float,
    n_voxels: int,
    weights: Float[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, " n_voxels"], Int[Tensor, " n_voxels"]]:
    """Quantile of the values in each voxel, and their number; 0 in a voxel without any.

    Between two values it is interpolated linearly. With weights it is the least value that,
    together with those below it, has the share of the weight. All voxels are sorted at once, as
    whole numbers that hold voxel and rank.

    Args:
        voxels: Flat index of a voxel.
        members: Which value belongs to it.
        values: The values; many voxels may share one.
        share: Which quantile, from 0 to 1.
        n_voxels: Number of voxels.
        weights: What each counts, > 0; all alike by default.

    Raises:
        DomainError: `share` is outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise DomainError(f"`share` must lie between 0 and 1, got {share:g}.")
    ordered, order = values.detach().sort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    keys = (voxels * max(1, len(values)) + rank[members]).numpy()
    counts = torch.bincount(voxels, minlength=n_voxels)
    first = counts.cumsum(0) - counts
    if weights is not None:
        rows = torch.from_numpy(keys.argsort())
        result = _weighted(values.detach()[members[rows]], weights[rows], counts, first, share)
        return result, counts
    keys.sort()  # several times faster than an argument sort
    place = share * (counts - 1).clamp_min(0).to(values.dtype)
    below = place.floor()
    last = max(0, len(keys) - 1)
    result = values.new_zeros(n_voxels)
    if len(keys) == 0:
        return result, counts
    found = [
        ordered[torch.from_numpy(keys[(first + step).clamp(0, last).numpy()] % len(values))]
        for step in (below.long(), place.ceil().long())
    ]
    result = found[0] + (place - below) * (found[1] - found[0])
    return torch.where(counts > 0, result, 0.0), counts


def _weighted(
    values: Float[Tensor, " n"],
    weights: Float[Tensor, " n"],
    counts: Int[Tensor, " n_voxels"],
    first: Int[Tensor, " n_voxels"],
    share: float,
) -> Float[Tensor, " n_voxels"]:
    """Weighted quantiles of values that are sorted by voxel, and within it."""
    if len(values) == 0:
        return values.new_zeros(len(counts))
    reached = torch.cat([torch.zeros(1, dtype=torch.float64), weights.double().cumsum(0)])
    start, end = reached[first], reached[first + counts]
    place = torch.searchsorted(reached[1:], start + share * (end - start))
    last = first + (counts - 1).clamp_min(0)
    place = torch.minimum(torch.maximum(place, first), last).clamp_max(len(values) - 1)
    return torch.where(counts > 0, values[place], 0.0)
