"""Point of closest approach (PoCA) of two tracks, with propagated uncertainty."""

__all__ = ["ClosestApproach", "closest_approach"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.reconstruction.tracks import LineFit

VARIANCE_FLOOR = 1e-12  # m2: (1 micrometre)^2, so that the square root has a derivative
PARALLEL_FLOOR = 1e-10  # rad2: below 10 microradian two tracks count as parallel


@dataclass(frozen=True)
class ClosestApproach:
    """Where two tracks come closest, and by how much their directions differ.

    Args:
        position: Mean of both tracks at the height of closest approach, x and y first [m].
        height: Height z of the middle of the shortest connection [m].
        position_variance: Variances of x and y [m2].
        height_variance: Variance of z [m2].
        angle_squared: Squared angle between the tracks [rad2].
        angle_noise: What the measurement adds to `angle_squared` on average [rad2].
    """

    position: Float[Tensor, " 2 *batch"]
    height: Float[Tensor, "*batch"]
    position_variance: Float[Tensor, " 2 *batch"]
    height_variance: Float[Tensor, "*batch"]
    angle_squared: Float[Tensor, "*batch"]
    angle_noise: Float[Tensor, "*batch"]


def closest_approach(above: LineFit, below: LineFit, reference: float) -> ClosestApproach:
    r"""PoCA of the tracks above and below, both given at the height `reference`.

    Let :math:`m` be the mean of both slopes, :math:`k` their difference, :math:`r` that of the
    positions at :math:`z_0`, all in the horizontal plane, and :math:`G = 1 + n n^T` with
    :math:`n = (-m_y, m_x)`, which measures lengths across the mean direction. Then

    .. math::
        z = z_0 + h, \qquad h = -\frac{k \cdot G r}{k \cdot G k}, \qquad
        \theta^2 = \frac{k \cdot G k}{(1 + m^2)^2}.

    This is the textbook solution for two lines in space, written such that nothing cancels for
    small angles. Linear error propagation in r and k, with :math:`g = G k`,
    :math:`q = G r + 2 h g` and the errors of each track at its centroid (variance s) and in its
    slope (variance v, arm l), gives a sum of squares,

    .. math::
        \mathrm{var}\,h = \frac{\sum_{tracks} s\, g^2 + v\, (l g + q)^2}{(k \cdot G k)^2}.

    Note:
        The dependence of h on the mean slope is left out of its variance, a relative error of the
        order of the squared scattering angle. The squared angle is floored by 1e-10 rad2 in the
        denominators. Differentiable in all tensors.

    References:
        L. J. Schultz et al., Nucl. Instrum. Meth. A 519 (2004) 687, for the use of the PoCA.
    """
    mean = (above.slope + below.slope) / 2
    k = above.slope - below.slope
    r = above.position - below.position
    mx, my = mean.unbind()
    n = torch.stack([-my, mx])
    mean_squared = mean * mean
    length = mean_squared.sum(0) + 1
    g = k + n * (n * k).sum(0)
    gr = r + n * (n * r).sum(0)

    determinant = (k * g).sum(0)
    inverse = (determinant + PARALLEL_FLOOR * length).reciprocal()
    h = -((k * gr).sum(0) * inverse)

    q = torch.add(gr, h * g, alpha=2)
    g_squared, g_q, q_squared = (g * g).sum(0), (g * q).sum(0), (q * q).sum(0)
    lateral = above.centroid_variance + below.centroid_variance
    numerator = lateral * g_squared
    twice_g_q = g_q + g_q
    for track in (above, below):
        # |l g + q|^2 >= 0, whatever rounding does to its three terms
        square = q_squared + track.arm * (twice_g_q + track.arm * g_squared)
        numerator = numerator + track.slope_variance * square.clamp_min(0)
        reach = track.arm + h
        lateral = lateral + track.slope_variance * (reach * reach)
    height_variance = numerator * (inverse * inverse) + VARIANCE_FLOOR
    noise = above.slope_variance + below.slope_variance
    flat = length.reciprocal()
    return ClosestApproach(
        position=(above.position + below.position) / 2 + h * mean,
        height=reference + h,
        position_variance=lateral / 4 + mean_squared * height_variance,
        height_variance=height_variance,
        angle_squared=determinant * (flat * flat),
        angle_noise=noise * flat * (1 + flat),
    )
