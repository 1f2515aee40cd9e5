"""Task `ladle`: the fill height of a ladle furnace."""

__all__ = ["FillAnalysis", "central_weight", "fill_height"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.pipeline import Analysis
from detopt.reconstruction import bin_probabilities
from detopt.usecases.muon_scanner.calibration import CalibrationRows, calibration_rows
from detopt.usecases.muon_scanner.flow import Estimates, Scans
from detopt.usecases.muon_scanner.quantiles import smooth_quantiles, weighted_quantiles
from detopt.usecases.muon_scanner.volumes import Grid

NO_MUON = 1e-6  # 1/m2; weight of knowing nothing: a point known to a kilometre
CENTRAL = (0.15865, 0.84135)  # quantiles of one standard deviation


class FillAnalysis(Analysis[Estimates, Scans, CalibrationRows]):
    """Fill height of each scan, beside the true one.

    Args:
        grid: The voxels, for the weight across the furnace.
        window: Half width of smooth quantiles in levels, or None for exact ones.
    """

    def __init__(self, grid: Grid, window: float | None = None) -> None:
        super().__init__()
        self.grid = grid
        self.window = window

    def forward(self, estimate: Estimates, events: Scans) -> CalibrationRows:
        """One prediction, its variance and one truth a scan."""
        predicted, variance = fill_height(estimate, self.grid, self.window)
        return calibration_rows(predicted[:, None], events.target[:, None], variance)


def fill_height(
    estimate: Estimates, grid: Grid, window: float | None = None
) -> tuple[Float[Tensor, " n_volumes"], Float[Tensor, " n_volumes"]]:
    r"""Weighted mean height of the scattering points of each scan [m], and its variance [m2].

    The weight of a muon is :math:`w_{xy} / \sigma_z^2` times the probability that it is
    measured. First :math:`\sigma_z` is clipped to its central 68 % over the measured muons, then
    the weight from above at its 84 % quantile.

    The variance is that of a weighted mean of muons that are each measured with probability u,
    :math:`\sum u w^2 (z - \hat z)^2 / (\sum u w)^2`. A scan without any measured muon answers the
    middle of the volume, with the variance of a uniform guess.

    Args:
        estimate: Scattering points and the probabilities of their measurement.
        grid: The voxels.
        window: Half width of smooth quantiles in levels, or None for exact ones.

    Note:
        The published estimator, with every measured muon. Its linear bias is corrected later.
        Quantiles are weighted by the probability of measurement; for probabilities of 0 and 1
        they are the plain ones. Differentiable, quantiles included.

    References:
        G. C. Strong et al., Mach. Learn.: Sci. Technol. 5 (2024) 035002, and its notebook.
    """
    poca = estimate.poca
    sigma = poca.height_variance.sqrt()
    measured = estimate.angle_weight
    low, high = _quantiles(sigma, measured, CENTRAL, window)
    sigma = torch.minimum(torch.maximum(sigma, low), high)
    weight = central_weight(poca.position, poca.position_variance, grid) / sigma.square()
    (limit,) = _quantiles(weight, measured, CENTRAL[1:], window)
    weight = torch.minimum(weight, limit)
    counted = weight * measured
    bottom, top = grid.low[2], grid.high[2]
    total = counted.sum(-1) + NO_MUON
    height = ((counted * poca.height).sum(-1) + NO_MUON * (bottom + top) / 2) / total
    deviation = (poca.height - height[:, None]).square()
    ignorance = NO_MUON**2 * (top - bottom) ** 2 / 12
    return height, ((counted * weight * deviation).sum(-1) + ignorance) / total.square()


def _quantiles(
    values: Tensor, weights: Tensor, levels: tuple[float, ...], window: float | None
) -> list[Tensor]:
    if window is None:
        return weighted_quantiles(values, weights, levels)
    return smooth_quantiles(values, weights, levels, window)


def central_weight(
    position: Float[Tensor, "2 *batch"], variance: Float[Tensor, "2 *batch"], grid: Grid
) -> Float[Tensor, "*batch"]:
    r"""Weight :math:`w_{xy}` of a point, 1 on the axis and falling to the walls.

    The product over x and y of :math:`g(d) = 2[s(1 - d)/s(1) - 1/2]` at the centers of the
    voxels, averaged with the probability that the point lies in each; d is the distance from
    the axis in half widths, s the logistic function. Outside the grid the weight is 0.
    """
    factors = []
    for axis in (0, 1):
        edges = grid.edges(axis, position.dtype)
        centers = (edges[1:] + edges[:-1]) / 2
        middle, half = (edges[0] + edges[-1]) / 2, (edges[-1] - edges[0]) / 2
        distance = (centers - middle).abs() / half
        profile = 2 * (torch.sigmoid(1 - distance) / torch.sigmoid(torch.ones_like(middle)) - 0.5)
        factors.append(bin_probabilities(position[axis], variance[axis], edges) @ profile)
    return factors[0] * factors[1]
