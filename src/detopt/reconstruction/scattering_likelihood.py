r"""Likelihood of a scattering density, given angles and offsets of muons.

The scattering density :math:`\lambda` is the variance of the projected angle per path length at
the momentum :math:`p_0`, :math:`\lambda \approx (13.6\,\mathrm{MeV}/p_0)^2 / X_0`. In each of two
planes the data of muon i are the angle between its tracks and their offset at a height in the
volume, with the covariance

.. math::
    \Sigma_i = E_i + \left(\frac{p_0}{(\beta p)_i}\right)^2 \sum_j \lambda_j W_{ij},

where E is that of the measurement and of the air between grid and planes, and W that of
`path_moments`.
"""

__all__ = ["ScatteringData", "ScatteringSystem", "log_likelihood", "scattering_data"]

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.reconstruction.muon_paths import chords, chunks, from_corner, path_moments
from detopt.reconstruction.poca_imaging import AIR, REFERENCE_MOMENTUM
from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.voxel_grid import Grid

SHORTEST = 1e-4  # of a voxel: shorter paths are left out
LEVEL = 1e-30  # keeps the direction of a vertical muon defined
N_VALUES = 4  # measured per muon: angle and offset in two planes


@dataclass(frozen=True)
class ScatteringData:
    """What the likelihood needs of each muon beside its path.

    Args:
        measured: Angle [rad] and offset [m], in the plane of the muon and across it.
        noise: Variance of the angle, covariance, and variance of the offset.
        strength: Squared ratio of the reference momentum to that of the muon.
    """

    measured: Float[Tensor, "2 2 n_muons"]
    noise: Float[Tensor, "3 2 n_muons"]
    strength: Float[Tensor, " n_muons"]


def scattering_data(tracks: MuonTracks, grid: Grid) -> ScatteringData:
    r"""Angles and offsets across the mean direction of each muon.

    With the difference of slopes :math:`k` and of positions :math:`r` at the reference height, and
    the secant s of the mean direction: :math:`(k_\parallel/s^2, r_\parallel/s)` in the vertical
    plane of the muon and :math:`(k_\perp/s, r_\perp)` across it. The air from the centroids of the
    hits to the grid counts as noise.

    Note:
        Differentiable, also for vertical muons.
    """
    above, below = tracks.above, tracks.below
    mean = (above.slope + below.slope) / 2
    squared = mean.square().sum(0)
    secant2 = 1 + squared
    secant = secant2.sqrt()
    along = mean / (squared + LEVEL).sqrt()
    along = torch.where(squared > LEVEL, along, along.new_tensor([[1.0], [0.0]]))
    across = torch.stack([-along[1], along[0]])
    k = above.slope - below.slope
    r = above.position - below.position
    angle = torch.stack([(k * along).sum(0) / secant2, (k * across).sum(0) / secant])
    offset = torch.stack([(r * along).sum(0) / secant, (r * across).sum(0)])

    slope = above.slope_variance + below.slope_variance
    mixed = above.arm * above.slope_variance + below.arm * below.slope_variance
    place = above.centroid_variance + below.centroid_variance
    for fit in (above, below):
        place = place + fit.arm.square() * fit.slope_variance
    noise = torch.stack(
        [
            torch.stack([slope / secant2.square(), slope / secant2]),
            torch.stack([mixed / (secant2 * secant), mixed / secant]),
            torch.stack([place / secant2, place]),
        ]
    )
    strength = (REFERENCE_MOMENTUM / tracks.beta_momentum).square()
    noise = noise + (AIR * strength * _gaps(tracks, grid) * _powers(secant)).unsqueeze(1)
    return ScatteringData(torch.stack([angle, offset]), noise, strength)


def _powers(secant: Float[Tensor, " n"]) -> Float[Tensor, "3 n"]:
    """From heights to paths, for the moments of order 0, 1 and 2."""
    return torch.stack([secant, secant.square(), secant.square() * secant])


def _gaps(tracks: MuonTracks, grid: Grid) -> Float[Tensor, "3 n"]:
    """Moments of the height under the reference, over the gaps between hits and grid."""
    top, bottom = tracks.reference - grid.high[2], tracks.reference - grid.low[2]
    total = torch.zeros(3, len(tracks), dtype=tracks.momentum.dtype)
    for near, far in ((top, tracks.above.arm), (-bottom, -tracks.below.arm)):
        # upwards first, then downwards with the sign turned
        sign = 1.0 if near is top else -1.0
        begin, end = torch.minimum(far, torch.full_like(far, near)), torch.full_like(far, near)
        total = total + torch.stack(
            [
                end - begin,
                sign * (end.square() - begin.square()) / 2,
                (end**3 - begin**3) / 3,
            ]
        )
    return total


def log_likelihood(
    density: Float[Tensor, " n_voxels"],
    tracks: MuonTracks,
    grid: Grid,
    degrees: float | None,
) -> Float[Tensor, ""]:
    r"""Logarithm of the likelihood, up to a constant.

    .. math::
        \ln L = -\tfrac12 \sum_i \ln |\Sigma_i| - \begin{cases}
            \tfrac12 \sum_i D_i^T \Sigma_i^{-1} D_i & \text{normal} \\
            \tfrac{\nu + 4}{2} \sum_i \ln(1 + D_i^T \Sigma_i^{-1} D_i / \nu) &
            \text{Student's t}
        \end{cases}

    Args:
        density: Scattering density in each voxel at 3 GeV/c [rad2/m], > 0.
        tracks: The muons.
        grid: The voxels.
        degrees: Degrees of freedom :math:`\nu` of Student's t, or None for normal.

    Note:
        Differentiable in densities and tracks. All segments are held at once: for many muons use
        `ScatteringSystem`.
    """
    data = scattering_data(tracks, grid)
    voxel, moments = path_moments(*chords(tracks, grid), tracks.reference, grid)
    scattered = (moments * density[voxel]).sum(-1) * data.strength
    s11, s12, s22 = (data.noise + scattered.unsqueeze(1)).unbind()
    determinant = s11 * s22 - s12 * s12
    angle, offset = data.measured.unbind()
    square = s22 * angle.square() - 2 * s12 * angle * offset + s11 * offset.square()
    distance = (square / determinant).sum(0)
    if degrees is None:
        penalty = distance
    else:
        penalty = (degrees + N_VALUES) * torch.log1p(distance / degrees)
    return -(determinant.log().sum() + penalty.sum()) / 2


class ScatteringSystem:
    """The likelihood of many muons, with its gradient, as products with sparse matrices.

    Args:
        tracks: The muons; no gradient is recorded.
        grid: The voxels.
        degrees: Degrees of freedom of Student's t, or None for normal.

    Note:
        Holds 16 bytes for each crossing of a muon and a voxel. Moments are in float32, what is
        kept per muon in float64.
    """

    def __init__(self, tracks: MuonTracks, grid: Grid, degrees: float | None) -> None:
        from scipy import sparse  # heavy: only where an image is made

        self.degrees = degrees
        tracks, grid = from_corner(tracks, grid)
        data = scattering_data(tracks, grid)
        self._measured = data.measured.detach().numpy().astype(np.float64)
        self._noise = data.noise.detach().numpy().astype(np.float64)
        self._strength = data.strength.detach().numpy().astype(np.float64)
        origin, way = (ends.detach().float() for ends in chords(tracks, grid))
        columns, parts, crossed = [], [], [torch.zeros(1, dtype=torch.int64)]
        for part in chunks(len(tracks), grid):
            voxel, moments = path_moments(origin[part], way[part], tracks.reference, grid)
            kept = moments[0] > SHORTEST * min(grid.voxel)
            columns.append(voxel[kept].int())
            parts.append(moments[:, kept])
            crossed.append(kept.sum(-1))
        column = torch.cat(columns).numpy()
        pointer = torch.cat(crossed).cumsum(0).numpy()
        shape = (len(tracks), grid.n_voxels)
        self._moments = [
            sparse.csr_array((row, column, pointer), shape=shape)
            for row in torch.cat(parts, dim=-1).contiguous().numpy()
        ]
        self.crossings = np.bincount(column, minlength=grid.n_voxels)

    def evaluate(self, density: np.ndarray) -> tuple[float, np.ndarray]:
        """Logarithm of the likelihood, and its derivative in the density of each voxel."""
        narrow = density.astype(np.float32)
        s11, s12, s22 = (
            noise + self._strength * (moment @ narrow)
            for noise, moment in zip(self._noise, self._moments, strict=True)
        )
        determinant = s11 * s22 - s12 * s12
        angle, offset = self._measured
        first = (s22 * angle - s12 * offset) / determinant
        second = (s11 * offset - s12 * angle) / determinant
        distance = (first * angle + second * offset).sum(0)
        if self.degrees is None:
            weight, penalty = 1.0, distance
        else:
            weight = (self.degrees + N_VALUES) / (self.degrees + distance)
            penalty = (self.degrees + N_VALUES) * np.log1p(distance / self.degrees)
        value = -float(np.log(determinant).sum() + penalty.sum()) / 2
        factors = (
            (weight * first * first - s22 / determinant).sum(0) / 2,
            (weight * first * second + s12 / determinant).sum(0),
            (weight * second * second - s11 / determinant).sum(0) / 2,
        )
        gradient = sum(
            moment.T @ (factor * self._strength).astype(np.float32)
            for moment, factor in zip(self._moments, factors, strict=True)
        )
        return value, np.asarray(gradient, dtype=np.float64)
