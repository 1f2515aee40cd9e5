"""Image from points of closest approach (PoCA)."""

__all__ = ["AIR", "REFERENCE_MOMENTUM", "located", "poca_image"]

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from detopt.errors import DomainError
from detopt.reconstruction.images import ScatteringImage, voxel_sums
from detopt.reconstruction.muon_paths import path_lengths
from detopt.reconstruction.poca import PARALLEL_FLOOR, ClosestApproach
from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.voxel_grid import Grid

AIR = 6.8e-8  # rad2/m at 3 GeV/c: (13.6 MeV / 3 GeV)^2 / 304 m
REFERENCE_MOMENTUM = 3.0  # GeV/c; the scattering density is given for it, as in the literature
DENSITY_UNIT = 1e4  # mrad2/cm in rad2/m
SIGNIFICANT = 4.0  # squared angles above this many times their noise locate a point
MEV = 1e3  # MeV per GeV


def poca_image(tracks: MuonTracks, grid: Grid, score: str = "density") -> ScatteringImage:
    r"""Scattering ascribed to the point of closest approach of each muon.

    The score `density` is the scattering density at :math:`p_0 = 3` GeV/c: the sum over the muons
    with their point in the voxel, divided by the path of *all* muons in it. A muon that passes
    without being scattered there counts as 0,

    .. math::
        \lambda_j = \frac{1}{\sum_i L_{ij}}
            \sum_{i \in j} \left(\frac{(\beta p)_i}{p_0}\right)^2
            \frac{\theta_i^2 - \sigma_i^2}{2}

    with the angle in space :math:`\theta`, twice whose mean square in a plane it is, and its noise
    :math:`\sigma^2`. The score `angle` is the root mean square of :math:`\beta p \theta` of
    the muons with their point in the voxel, without regard to the others.

    Args:
        tracks: The muons.
        grid: The voxels.
        score: Which of the two.

    Returns:
        Scattering density [mrad2/cm], or angle times momentum [MeV]; its counts are points.

    Raises:
        DomainError: There is no such score.

    Note:
        All scattering of a muon is ascribed to one point, so that dense objects are stretched
        along the tracks. Points of angles that are not significant are left out.

    References:
        L. J. Schultz et al., Nucl. Instrum. Meth. A 519 (2004) 687.
    """
    if score not in {"density", "angle"}:
        raise DomainError(f"`score` must be `density` or `angle`, got {score!r}.")
    poca = tracks.closest_approach()
    cell, inside = located(tracks, poca, grid)
    cell = cell[inside]
    signal = poca.angle_squared[inside]
    strength = tracks.beta_momentum[inside].square()
    counts = torch.bincount(cell, minlength=grid.n_voxels)
    if score == "angle":
        mean = voxel_sums(cell, signal * strength, grid.n_voxels) / counts.clamp_min(1)
        values = mean.sqrt() * MEV
        quantity, unit = "momentum times scattering angle", "MeV"
    else:
        excess = (signal - poca.angle_noise[inside]) * strength / 2
        path = path_lengths(tracks, grid)
        least = min(grid.voxel)  # a voxel that fewer muons cross than one, straight, is empty
        sums = voxel_sums(cell, excess, grid.n_voxels)
        values = sums / path.clamp_min(least) * (DENSITY_UNIT / REFERENCE_MOMENTUM**2)
        quantity, unit = "scattering density at 3 GeV", "mrad2/cm"
    return ScatteringImage(
        grid, values.reshape(grid.shape), counts.reshape(grid.shape), quantity, unit
    )


def located(
    tracks: MuonTracks, poca: ClosestApproach, grid: Grid
) -> tuple[Int[Tensor, " n_muons"], Bool[Tensor, " n_muons"]]:
    """Voxel of each muon's PoCA, and whether it is known to lie in the grid.

    Its squared angle must be above four times what the errors of the hits and the air between the
    centroids of the hits give on average.
    """
    cell, inside = grid.find(torch.stack([*poca.position, poca.height]))
    path = (tracks.below.arm - tracks.above.arm) * tracks.secant
    air = 2 * AIR * path * (REFERENCE_MOMENTUM / tracks.beta_momentum).square()
    least = (SIGNIFICANT * (poca.angle_noise + air)).clamp_min(10 * PARALLEL_FLOOR)
    return cell, inside & (poca.angle_squared > least) & poca.angle_squared.isfinite()
