r"""What muons say of each voxel, in pure numbers: the input of the imaging network.

Lengths are counted in voxels, and scattering in that of a voxel of water: the network sees the same
numbers for voxels of 1 cm and of 10 cm with the same scattering in each.
"""

__all__ = ["N_FEATURES", "WATER", "muon_features", "muon_signals", "voxel_maps"]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics.voxels import voxel_segments
from detopt.reconstruction.muon_paths import chords
from detopt.reconstruction.poca import PARALLEL_FLOOR, ClosestApproach
from detopt.reconstruction.poca_imaging import REFERENCE_MOMENTUM
from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.voxel_grid import Grid
from detopt.reconstruction.voxel_map import bin_probabilities, separable_sums

WATER = 5.7e-5  # rad2/m at 3 GeV/c: (13.6 MeV / 3 GeV)^2 / 0.361 m
N_FEATURES = 8
NARROWEST = 0.05  # voxels: points are never taken to be better known
CLOSE = 0.2  # voxels: distance of the tracks from which on it counts
LEAST = 0.5  # crossings that every voxel is given: an unseen one has maps of 0
CHUNK = 8_192  # muons spread at once
CHUNK_SEGMENTS = 1_000_000  # segments held at once


def voxel_size(grid: Grid) -> float:
    """Edge of a cube of a voxel's volume [m]."""
    return math.prod(grid.voxel) ** (1 / 3)


def muon_signals(
    tracks: MuonTracks, poca: ClosestApproach, grid: Grid
) -> Float[Tensor, "*batch n_muons 2"]:
    r"""Scattering of each muon and the noise in it, in units of a voxel of water.

    .. math::
        \frac{(\beta p)^2}{p_0^2}\, \frac{\theta^2}{2 \lambda_w d}, \qquad
        \frac{(\beta p)^2}{p_0^2}\, \frac{\sigma^2}{2 \lambda_w d}

    with the angle in space :math:`\theta`, its noise :math:`\sigma^2`, the scattering density
    :math:`\lambda_w` of water at :math:`p_0 = 3` GeV/c and the edge d of a voxel.
    """
    unit = (tracks.beta_momentum / REFERENCE_MOMENTUM).square() / (2 * WATER * voxel_size(grid))
    return torch.stack([poca.angle_squared * unit, poca.angle_noise * unit], dim=-1)


def muon_features(
    tracks: MuonTracks, poca: ClosestApproach, grid: Grid
) -> Float[Tensor, "*batch n_muons n_features"]:
    """Numbers of order one that describe a muon, wherever it passed.

    Logarithms of scattering, noise, momentum, uncertainties of the scattering point along and
    across the vertical, and distance of the tracks; inclination; and whether the momentum was
    measured.

    Note:
        Differentiable in the tracks, also where they are parallel.
    """
    size = voxel_size(grid)
    signals = torch.log1p(muon_signals(tracks, poca, grid))
    k = tracks.above.slope - tracks.below.slope
    r = tracks.above.position - tracks.below.position
    mean = (tracks.above.slope + tracks.below.slope) / 2
    across = (r[0] * k[1] - r[1] * k[0]).square()
    steep = k.square().sum(0) + (mean[0] * k[1] - mean[1] * k[0]).square()
    distance = across / (steep + PARALLEL_FLOOR)
    sigma = torch.stack([poca.height_variance, poca.position_variance.mean(0)], dim=-1)
    known = torch.full_like(tracks.momentum, float(tracks.momentum_known))
    return torch.cat(
        [
            signals,
            (tracks.beta_momentum / REFERENCE_MOMENTUM).log().unsqueeze(-1),
            (sigma / size**2 + NARROWEST**2).log() / 4,
            torch.log1p(distance / (CLOSE * size) ** 2).unsqueeze(-1),
            torch.stack([tracks.secant - 1, known], dim=-1),
        ],
        dim=-1,
    )


def voxel_maps(
    tracks: MuonTracks,
    poca: ClosestApproach,
    weight: Float[Tensor, "*batch n_muons"],
    at_points: Float[Tensor, "*batch n_muons n_point"],
    on_paths: Float[Tensor, "*batch n_muons n_path"],
    grid: Grid,
) -> Float[Tensor, "*batch n_maps nx ny nz"]:
    r"""Sums over muons at their scattering points and along their paths, per crossing.

    .. math::
        N_j = \sum_i w_i \frac{L_{ij}}{d}, \qquad
        P_j = \frac{\sum_i w_i\, f_i\, p_{ij}}{N_j + 1/2}, \qquad
        B_j = \frac{\sum_i w_i\, g_i\, L_{ij} / d}{N_j + 1/2}

    with the probability :math:`p_{ij}` that the scattering point of muon i lies in voxel j, a
    normal distribution along each axis, and the path :math:`L_{ij}` of its chord.

    Args:
        tracks: The muons, of one volume or of several.
        poca: Their scattering points.
        weight: Probability that a muon is measured.
        at_points: Values f of each muon that belong to its scattering point.
        on_paths: Values g that belong to its path.
        grid: The voxels.

    Returns:
        The maps P, the maps B, and :math:`\ln(1 + N)`.

    Note:
        Differentiable in tracks, weights and values.
    """
    batch, n_muons = tracks.momentum.shape[:-1], tracks.momentum.shape[-1]
    weighted = weight.unsqueeze(-1)
    values = torch.cat([on_paths * weighted, weighted], dim=-1)
    paths = _path_sums(tracks, values.reshape(-1, n_muons, values.shape[-1]), grid)
    points = _point_sums(
        poca, (at_points * weighted).reshape(-1, n_muons, at_points.shape[-1]), grid
    )
    crossings = paths[:, -1:]
    sums = torch.cat([points, paths[:, :-1]], dim=1) / (crossings + LEAST)
    maps = torch.cat([sums, torch.log1p(crossings)], dim=1)
    return maps.reshape(*batch, *maps.shape[1:])


def _point_sums(
    poca: ClosestApproach, values: Float[Tensor, "v n c"], grid: Grid
) -> Float[Tensor, "v c nx ny nz"]:
    """Values spread over the voxels by the normal distributions of the points."""
    n_volumes, n_muons, _ = values.shape
    floor = (NARROWEST * voxel_size(grid)) ** 2
    axes = [
        (center.reshape(n_volumes, n_muons), variance.reshape(n_volumes, n_muons) + floor)
        for center, variance in (
            *zip(poca.position, poca.position_variance, strict=True),
            (poca.height, poca.height_variance),
        )
    ]
    edges = [grid.edges(axis, values.dtype) for axis in range(3)]
    total = values.new_zeros(n_volumes, values.shape[-1], *grid.shape)
    for first in range(0, n_muons, CHUNK):
        part = slice(first, first + CHUNK)
        columns = [
            bin_probabilities(center[:, part], variance[:, part], edge)
            for (center, variance), edge in zip(axes, edges, strict=True)
        ]
        total = total + separable_sums(columns[0], columns[1], columns[2], values[:, part])
    return total


def _path_sums(
    tracks: MuonTracks, values: Float[Tensor, "v n c"], grid: Grid
) -> Float[Tensor, "v c nx ny nz"]:
    """Values times path in voxels, summed along the chords."""
    n_volumes, n_muons, n_values = values.shape
    origin, way = (ends.reshape(-1, 3) for ends in chords(tracks, grid))
    lower, upper = (torch.tensor(end, dtype=values.dtype) for end in (grid.low, grid.high))
    volume = torch.arange(n_volumes).repeat_interleave(n_muons) * grid.n_voxels
    flat = values.reshape(-1, n_values)
    total = values.new_zeros(n_volumes * grid.n_voxels, n_values)
    step = max(1, CHUNK_SEGMENTS // (sum(grid.shape) + 2))
    for first in range(0, len(flat), step):
        part = slice(first, first + step)
        voxel, length = voxel_segments(origin[part], way[part], lower, upper, grid.shape)
        muon, segment = (length.detach() > 0).nonzero().unbind(-1)
        cell = voxel[muon, segment] + volume[part][muon]
        total = total.index_add(0, cell, flat[part][muon] * length[muon, segment].unsqueeze(-1))
    sums = total.reshape(n_volumes, *grid.shape, n_values) / voxel_size(grid)
    return sums.movedim(-1, 1)
