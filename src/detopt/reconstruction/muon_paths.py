"""Paths of muons through a voxel grid."""

__all__ = ["chords", "from_corner", "path_lengths", "path_moments"]

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.physics.voxels import voxel_segments
from detopt.reconstruction.images import voxel_sums
from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.voxel_grid import Grid

CHUNK_SEGMENTS = 500_000  # segments held at once: the working set stays in cache


def from_corner(tracks: MuonTracks, grid: Grid) -> tuple[MuonTracks, Grid]:
    """The same muons and voxels, seen from the lowest corner of the grid.

    Note:
        float32 resolves half a metre in the coordinates of a map, and 0.1 um in those of a volume
        of a metre.
    """
    corner = torch.tensor(grid.low[:2], dtype=tracks.momentum.dtype)
    corner = corner.reshape(2, *[1] * tracks.momentum.ndim)
    above, below = (
        replace(fit, position=fit.position - corner) for fit in (tracks.above, tracks.below)
    )
    reference = tracks.reference - grid.low[2]
    moved = MuonTracks(above, below, reference, tracks.momentum, tracks.momentum_known)
    return moved, Grid((0.0, 0.0, 0.0), grid.voxel, grid.shape)


def chords(
    tracks: MuonTracks, grid: Grid
) -> tuple[Float[Tensor, "*batch n_muons 3"], Float[Tensor, "*batch n_muons 3"]]:
    """Straight lines from where a muon leaves the heights of the grid to where it enters them.

    Returns:
        The lower end, on the track below at the bottom of the grid, and the way from there to the
        track above at its top [m].

    Note:
        A muon that scatters by 30 mrad in the middle of a volume 0.6 m high leaves the chord by
        up to 4 mm. Differentiable.
    """
    ends = []
    for fit, height in ((tracks.below, grid.low[2]), (tracks.above, grid.high[2])):
        x, y = fit.position + fit.slope * (height - tracks.reference)
        ends.append(torch.stack([x, y, torch.full_like(x, height)], dim=-1))
    return ends[0], ends[1] - ends[0]


def path_lengths(tracks: MuonTracks, grid: Grid) -> Float[Tensor, " n_voxels"]:
    """Path of all muons together in each voxel [m], along their chords."""
    tracks, grid = from_corner(tracks, grid)
    origin, way = (ends.float().detach() for ends in chords(tracks, grid))
    lower, upper = torch.tensor(grid.low), torch.tensor(grid.high)
    total = torch.zeros(grid.n_voxels, dtype=tracks.momentum.dtype)
    for part in chunks(len(tracks), grid):
        voxel, length = voxel_segments(origin[part], way[part], lower, upper, grid.shape)
        total += voxel_sums(voxel.flatten(), length.flatten(), grid.n_voxels)
    return total


def chunks(n_muons: int, grid: Grid) -> list[slice]:
    """Muons that are treated together, such that their segments fit into the cache."""
    size = max(1, CHUNK_SEGMENTS // (sum(grid.shape) + 2))
    return [slice(first, first + size) for first in range(0, n_muons, size)]


def path_moments(
    origin: Float[Tensor, "n 3"],
    way: Float[Tensor, "n 3"],
    reference: float,
    grid: Grid,
) -> tuple[Int[Tensor, "n s"], Float[Tensor, "3 n s"]]:
    r"""Voxels on chords, and the moments of the lever arm over the path in each.

    With the path :math:`T` from a point of scattering up to the height `reference`, along the
    chord,

    .. math::
        W = \int \begin{pmatrix} 1 & T \\ T & T^2 \end{pmatrix} \mathrm{d}s

    is the covariance of the angle and of the offset at `reference` for a unit of scattering
    density.

    Args:
        origin: Lower ends of the chords [m].
        way: From there to the upper ends [m].
        reference: The height [m].
        grid: The voxels.

    Returns:
        Flat indices of the voxels, and :math:`W_{11}, W_{12}, W_{22}`, in powers of m.

    Note:
        Differentiable, for chords that cross no edge of a voxel.
    """
    lower = torch.tensor(grid.low, dtype=origin.dtype)
    upper = torch.tensor(grid.high, dtype=origin.dtype)
    voxel, length = voxel_segments(origin, way, lower, upper, grid.shape)
    unit = torch.nn.functional.normalize(way, dim=-1)
    flat = unit[:, :2].abs() < torch.finfo(unit.dtype).tiny
    steep = torch.where(flat, torch.ones_like(unit[:, :2]), unit[:, :2])
    sides = torch.stack([lower[:2] - origin[:, :2], upper[:2] - origin[:, :2]]) / steep
    before = torch.where(flat, torch.zeros_like(steep), sides.amin(0)).amax(-1).clamp_min(0)

    end = ((reference - grid.low[2]) / unit[:, 2] - before).unsqueeze(-1) - length.cumsum(-1)
    begin = end + length
    first = length * (begin + end) / 2
    second = length * (begin * begin + begin * end + end * end) / 3
    return voxel, torch.stack([length, first, second])
