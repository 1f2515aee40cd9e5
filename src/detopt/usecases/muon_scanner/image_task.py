"""Task `image`: the radiation length of each voxel."""

__all__ = ["ImageAnalysis", "predicted_log_length", "true_log_lengths"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics.scattering import HIGHLAND_SCALE
from detopt.pipeline import Analysis
from detopt.reconstruction import bin_probabilities, separable_sums
from detopt.usecases.muon_scanner.calibration import CalibrationRows, calibration_rows
from detopt.usecases.muon_scanner.flow import Estimates, Scans
from detopt.usecases.muon_scanner.volumes import Grid, Volumes

MUON_MASS = 0.1056583755  # GeV; Particle Data Group 2022
PRIOR = 1e-3  # muons: what a voxel without any muon is filled up with, at the mean of the scan
NO_MUON = 1e-6  # muons: weight of knowing nothing, against those of a whole scan
UNSEEN_LENGTH = 0.361  # m; water: what a scan without any measured muon answers everywhere
EMPTY_LENGTH = 1e3  # m; radiation length ascribed to voxels of gas or nothing


class ImageAnalysis(Analysis[Estimates, Scans, CalibrationRows]):
    """Logarithm of the radiation length of each voxel, beside the true one.

    Args:
        volumes: Grid and materials.
    """

    def __init__(self, volumes: Volumes) -> None:
        super().__init__()
        self.grid = volumes.grid
        self.log_lengths = true_log_lengths(volumes)

    def forward(self, estimate: Estimates, events: Scans) -> CalibrationRows:
        """All voxels of a scan as one row."""
        predicted = predicted_log_length(estimate, self.grid)
        true = self.log_lengths[events.voxels].to(predicted.dtype)
        return calibration_rows(predicted.flatten(1), true.flatten(1))


def true_log_lengths(volumes: Volumes) -> Float[Tensor, " n_materials"]:
    """Logarithm of the radiation length of each material [ln m], at most that of 1 km."""
    return volumes.radiation_lengths().clamp_max(EMPTY_LENGTH).log()


def predicted_log_length(estimate: Estimates, grid: Grid) -> Float[Tensor, "n_volumes nx ny nz"]:
    r"""Logarithm of the radiation length of each voxel [ln m], from spread scattering points.

    Each muon is spread over the voxels by the normal distribution of its PoCA, with weights
    separable in x, y and z. The mean of the squared scattering angle in units of the momentum is
    inverted without the logarithm of Highland's formula:

    .. math::
        X_0 = \Delta z \left(13.6\,\mathrm{MeV}\right)^2
            \frac{\sum_i w_i}{\sum_i w_i\, (\beta p)_i^2\, \theta_i^2 / (2 s_i)}

    with the secant :math:`s_i` of the track. The weight :math:`w_i` is the muon's probability of
    being measured times that of the voxel, over :math:`(1 + n_i/m)^2` for the noise :math:`n_i` of
    its own scaled square and the mean m of all measured ones. A voxel without any muon answers the
    mean of the scan, a scan without any measured muon the radiation length of water.

    Note:
        It ascribes all scattering of a muon to one point, so it is biased by what else lies on
        the path; a linear correction of the logarithm follows. Differentiable.
    """
    poca = estimate.poca
    momentum = estimate.momentum
    beta_p = momentum.square() / (momentum.square() + MUON_MASS**2).sqrt()
    unit = (beta_p / HIGHLAND_SCALE).square() / 2 / estimate.secant
    signal = poca.angle_squared * unit
    noise = poca.angle_noise * unit
    measured = estimate.angle_weight
    n_measured = measured.sum(-1, keepdim=True).clamp_min(NO_MUON)
    typical = (measured * signal).sum(-1, keepdim=True) / n_measured
    excess = noise / typical.clamp_min(grid.voxel[2] / EMPTY_LENGTH) + 1
    weight = measured / (excess * excess)
    columns = [
        bin_probabilities(center, variance, grid.edges(axis, momentum.dtype))
        for axis, (center, variance) in enumerate(
            zip(
                (*poca.position, poca.height),
                (*poca.position_variance, poca.height_variance),
                strict=True,
            )
        )
    ]
    values = torch.stack([weight, weight * signal], dim=-1)
    count, total = separable_sums(columns[0], columns[1], columns[2], values).unbind(1)
    everywhere = values.sum(1)[:, :, None, None, None]
    ignorance = NO_MUON * grid.voxel[2] / UNSEEN_LENGTH
    mean = (everywhere[:, 1] + ignorance) / (everywhere[:, 0] + NO_MUON)
    length = (count + PRIOR) * grid.voxel[2] / (total + PRIOR * mean)
    return length.log()
