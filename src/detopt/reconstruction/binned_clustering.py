"""Binned clustering algorithm (BCA)."""

__all__ = ["binned_clustering_image"]

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError
from detopt.reconstruction.images import ScatteringImage
from detopt.reconstruction.poca_imaging import REFERENCE_MOMENTUM, located
from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.voxel_grid import Grid

NEAREST = 1e-6  # m; two points are never taken to be nearer
FILLING = 0.05  # quantile of the scores: the lowest one is that of a single odd voxel
CHUNK_PAIRS = 4_000_000  # pairs of muons held at once


def binned_clustering_image(
    tracks: MuonTracks,
    grid: Grid,
    *,
    most: int = 50,
    least: int = 3,
    share: float = 0.5,
) -> ScatteringImage:
    r"""Quantile over the pairs of scattering points in a voxel of how strong and close they are.

    Dense matter has many points of large angles close together. For the pairs of the `most`
    strongest scattered muons with their PoCA in the voxel,

    .. math::
        m_{ik} = \ln \frac{s_i s_k}{|x_i - x_k|}, \qquad
        s_i = \theta_i \frac{(\beta p)_i}{3\,\mathrm{GeV}}

    with distances in metres; the score is the quantile of :math:`m`. It is minus that of the
    publication, so that it grows with density.

    Args:
        tracks: The muons.
        grid: The voxels.
        most: Strongest scattered muons of a voxel that are kept.
        least: Voxels with fewer points get the score that 5 % of the others are below.
        share: Which quantile, from 0 to 1.

    Returns:
        The score; its counts are the points used.

    Raises:
        DomainError: `share` is outside 0 to 1, or not 2 <= `least` <= `most`.

    References:
        C. Thomay et al., J. Instrum. 8 (2013) P10013.
    """
    if not 0 <= share <= 1:
        raise DomainError(f"`share` must lie between 0 and 1, got {share:g}.")
    if not 2 <= least <= most:
        raise DomainError(f"2 <= `least` <= `most` must hold, got {least} and {most}.")
    poca = tracks.closest_approach()
    cell, inside = located(tracks, poca, grid)
    strength = poca.angle_squared[inside].sqrt() * tracks.beta_momentum[inside]
    points = torch.stack([*poca.position, poca.height])[:, inside]
    rows, first, kept = _strongest(cell[inside], strength, most, grid.n_voxels)

    values = torch.full((grid.n_voxels,), torch.nan, dtype=strength.dtype)
    log_strength = (strength / REFERENCE_MOMENTUM).log()
    filled = (kept >= least).nonzero().squeeze(-1)
    filled = filled[kept[filled].argsort()]  # alike together: little is padded
    start = 0
    while start < len(filled):
        n = max(1, CHUNK_PAIRS // (most * most))
        chunk = filled[start : start + n]
        width = int(kept[chunk].max())
        members = rows[(first[chunk, None] + torch.arange(width)).clamp_max(len(rows) - 1)]
        there = torch.arange(width) < kept[chunk, None]
        values[chunk] = _pair_quantiles(points[:, members], log_strength[members], there, share)
        start += len(chunk)
    filling = values[filled].quantile(FILLING) if len(filled) > 0 else 0.0
    values = torch.where(values.isnan(), filling, values)
    counts = torch.where(kept >= least, kept, 0)
    return ScatteringImage(
        grid,
        values.reshape(grid.shape),
        counts.reshape(grid.shape),
        f"clustering score, quantile {share:g}",
        "",
    )


def _strongest(
    cell: Int[Tensor, " n"], strength: Float[Tensor, " n"], most: int, n_voxels: int
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n_voxels"], Int[Tensor, " n_voxels"]]:
    """Muons ordered by voxel and falling strength; each voxel's first, and how many are kept."""
    falling = strength.argsort(descending=True)
    rows = falling[cell[falling].argsort(stable=True)]
    counts = torch.bincount(cell, minlength=n_voxels)
    return rows, counts.cumsum(0) - counts, counts.clamp_max(most)


def _pair_quantiles(
    points: Float[Tensor, "3 v k"],
    log_strength: Float[Tensor, "v k"],
    there: Tensor,
    share: float,
) -> Float[Tensor, " v"]:
    one, other = torch.triu_indices(points.shape[-1], points.shape[-1], 1)
    apart = (points[..., one] - points[..., other]).norm(dim=0).clamp_min(NEAREST)
    metric = log_strength[:, one] + log_strength[:, other] - apart.log()
    metric = torch.where(there[:, one] & there[:, other], metric, torch.nan)
    return metric.nanquantile(share, dim=-1)
