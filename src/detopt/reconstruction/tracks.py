"""Weighted straight-line fits in closed form.

A track is a point and a slope at a given height; its covariance is the same in x and y because a
panel measures both with one resolution.
"""

__all__ = ["LineFit", "fit_lines"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

WEIGHT_FLOOR = 1e-7  # of the largest weight: a track with too few hits stays finite in float32
WEIGHT_LEAST = 1e-6  # 1/m2: so it does where no track of all has a hit


@dataclass(frozen=True)
class LineFit:
    r"""Straight tracks :math:`x(z) = a + b (z - z_0)` in x and y, at the height :math:`z_0`.

    The errors are those of a point at the centroid of the hits, at :math:`z_0 - \mathrm{arm}`,
    and of the slope, which are uncorrelated; the variance of :math:`x(z)` is
    `centroid_variance` + (z - z0 + `arm`)^2 `slope_variance`.

    Args:
        position: Points a at z0, x and y first [m].
        slope: Slopes b = dx/dz, x and y first.
        arm: Height of z0 over the centroid of the hits [m].
        centroid_variance: Variance of either coordinate at the centroid [m2].
        slope_variance: Variance of b.
    """

    position: Float[Tensor, " 2 *batch"]
    slope: Float[Tensor, " 2 *batch"]
    arm: Float[Tensor, "*batch"]
    centroid_variance: Float[Tensor, "*batch"]
    slope_variance: Float[Tensor, "*batch"]


def fit_lines(
    weighted_hits: Float[Tensor, " 2 n_panels *batch"],
    weights: Float[Tensor, " n_panels *batch"],
    heights: Float[Tensor, " n_panels"],
    reference: float,
) -> LineFit:
    r"""Least-squares lines through hits with weights, at the height `reference`.

    With :math:`S_k = \sum_i w_i \zeta_i^k`, :math:`T_k = \sum_i w_i \zeta_i^k x_i` and
    :math:`\zeta_i = z_i - \bar z`, :math:`D = S_0 S_2 - S_1^2`:

    .. math::
        b = (S_0 T_1 - S_1 T_0) / D, \qquad
        \mathrm{var}\,b = S_0 / D, \qquad
        x(\bar\zeta) = T_0 / S_0, \quad \bar\zeta = S_1 / S_0, \quad
        \mathrm{var}\,x(\bar\zeta) = 1 / S_0,

    where point and slope at :math:`\bar\zeta` are uncorrelated. A hit of weight 0 does not count;
    a lost hit costs precision, not the track. With fewer than two effective hits the variances
    become huge but stay finite.

    Args:
        weighted_hits: Weight times measured coordinate, :math:`w_i x_i` [1/m].
        weights: Inverse variances :math:`w_i` [1/m2], >= 0.
        heights: Heights :math:`z_i` of the panels [m], not all equal.
        reference: Height at which the fit is given [m].

    Note:
        Differentiable in all tensors. In float32 the slope is accurate to 1e-3 of its error for
        panels closer than 1/100 of their spread, and better otherwise.
    """
    n_panels = len(heights)
    center = heights.mean()
    zeta = heights - center
    powers = torch.stack([torch.ones_like(zeta), zeta, zeta.square()])
    shape = weights.shape[1:]
    s0, s1, s2 = (powers @ weights.reshape(n_panels, -1)).reshape(3, *shape)
    t0, t1 = (powers[:2] @ weighted_hits.reshape(2, n_panels, -1)).unbind(1)
    t0, t1 = t0.reshape(2, *shape), t1.reshape(2, *shape)

    largest = weights.detach().amax().clamp_min(WEIGHT_LEAST)
    s0 = s0 + WEIGHT_FLOOR * largest
    inverse = s0.reciprocal()
    mean = s1 * inverse
    spread = (s2 - s1 * mean).clamp_min(0) + WEIGHT_FLOOR * largest * zeta.square().sum()
    slope_variance = spread.reciprocal()
    slope = (t1 - mean * t0) * slope_variance
    arm = (reference - center) - mean
    return LineFit(
        position=t0 * inverse + slope * arm,
        slope=slope,
        arm=arm,
        centroid_variance=inverse,
        slope_variance=slope_variance,
    )
