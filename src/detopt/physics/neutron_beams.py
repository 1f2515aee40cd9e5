r"""Optics of a neutron beam behind apertures, in closed form for Gaussian and for sharp edges.

Lengths are in metres, angles in radians. The beam runs along z; one transverse coordinate is
treated, because a rectangular aperture acts on both apart: transmissions of the two planes
multiply. The line starts at z = 0.

An aperture with a Gaussian edge transmits :math:`e^{-x^2/2a^2}`; with a sharp one, all within its
half width.
"""

__all__ = [
    "GaussianBeam",
    "beam_divergence",
    "beam_profile",
    "beam_size",
    "cumulative_transmission",
    "gaussian_divergence",
    "gaussian_source",
    "kl_divergence",
    "through_apertures",
]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors


@dataclass(frozen=True)
class GaussianBeam:
    """A beam whose rays are normally distributed in offset and slope.

    Attributes:
        precision: Inverse covariance of (offset [m], slope [rad]) at the start of the line, in
            float64: behind narrow apertures its determinant is a small difference.
        transmission: Share of the neutrons of the source that are left.
    """

    precision: Float[Tensor, "*batch 2 2"]
    transmission: Float[Tensor, "*batch"]


def gaussian_source(size: Values, divergence: Values) -> GaussianBeam:
    """A source with Gaussian offsets and slopes that do not depend on each other.

    Args:
        size: Standard deviation of the offset [m].
        divergence: Standard deviation of the slope [rad].

    Raises:
        DomainError: A Python number is not positive.
    """
    require_positive(size=size, divergence=divergence)
    widths = torch.stack(torch.broadcast_tensors(*as_tensors(size, divergence)), dim=-1)
    return GaussianBeam(torch.diag_embed(widths.double() ** -2), torch.ones_like(widths[..., 0]))


def through_apertures(
    beam: GaussianBeam, positions: Float[Tensor, "*batch n"], widths: Float[Tensor, "*batch n"]
) -> GaussianBeam:
    r"""The beam behind apertures with Gaussian edges.

    .. math::
        P' = P + \sum_i \frac{v_i v_i^T}{a_i^2}, \qquad v_i = (1, z_i), \qquad
        T' = T \sqrt{\frac{\det P}{\det P'}}

    Args:
        beam: The beam in front.
        positions: Distance :math:`z_i` of each aperture from the start [m].
        widths: Its Gaussian width :math:`a_i` [m].

    Note:
        Exact for this form of edge. Differentiable in everything.

    References:
        Gaussian integral over the phase space of the source.
    """
    positions, inverse = positions.double(), widths.double() ** -2
    cross = (positions * inverse).sum(-1)
    rows = [inverse.sum(-1), cross, cross, (positions**2 * inverse).sum(-1)]
    before = beam.precision.double()
    precision = before + torch.stack(rows, dim=-1).unflatten(-1, (2, 2))
    ratio = _determinant(before) / _determinant(precision)
    share = ratio.sqrt().to(torch.promote_types(beam.transmission.dtype, widths.dtype))

    return GaussianBeam(precision, beam.transmission * share)


def cumulative_transmission(
    beam: GaussianBeam, positions: Float[Tensor, "*batch n"], widths: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch n"]:
    """Share of the neutrons of the source left behind each of the apertures, in their order.

    Args:
        beam: The beam in front.
        positions: Distance of each aperture from the start [m].
        widths: Its Gaussian width [m].

    Note:
        See `through_apertures`. Differentiable.
    """
    passed = []
    for k in range(positions.shape[-1]):
        beam = through_apertures(beam, positions[..., k : k + 1], widths[..., k : k + 1])
        passed.append(beam.transmission)
    return torch.stack(passed, dim=-1)


def beam_size(beam: GaussianBeam, position: Values) -> Float[Tensor, "*batch"]:
    r"""Standard deviation of the offset at a plane, :math:`\sqrt{v^T P^{-1} v}`, v = (1, z).

    Args:
        beam: The beam.
        position: Distance :math:`z` of the plane from the start [m].

    Note:
        Differentiable.
    """
    precision = beam.precision.double()
    _, position = as_tensors(precision, position)
    form = (
        precision[..., 1, 1]
        - 2 * position * precision[..., 0, 1]
        + position**2 * precision[..., 0, 0]
    )
    return torch.sqrt(form / _determinant(precision)).to(beam.transmission.dtype)


def beam_divergence(beam: GaussianBeam) -> Float[Tensor, "*batch"]:
    """Standard deviation of the slope [rad].

    Args:
        beam: The beam.

    Note:
        Differentiable.
    """
    precision = beam.precision.double()
    return torch.sqrt(precision[..., 0, 0] / _determinant(precision)).to(beam.transmission.dtype)


def gaussian_divergence(size: Values, target: Values) -> Float[Tensor, "*batch"]:
    r"""Kullback-Leibler divergence of one centred Gaussian from another.

    .. math::
        D(Q\|P) = \ln\frac{\sigma_P}{\sigma_Q} + \frac{\sigma_Q^2}{2\sigma_P^2} - \frac12

    Args:
        size: Standard deviation :math:`\sigma_Q` of the beam [m].
        target: Standard deviation :math:`\sigma_P` that is wanted [m].

    Returns:
        Divergence in nats; 0 where both are equal.

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Differentiable.

    References:
        S. Kullback and R. A. Leibler, Ann. Math. Stat. 22 (1951) 79.
    """
    require_positive(size=size, target=target)
    size, target = as_tensors(size, target)
    ratio = size / target
    return ratio**2 / 2 - 0.5 - torch.log(ratio)


def kl_divergence(
    beam: Float[Tensor, "*batch bins"], target: Float[Tensor, "*#batch bins"]
) -> Float[Tensor, "*batch"]:
    r"""Kullback-Leibler divergence of a binned beam from a target.

    .. math::
        D(Q\|P) = \sum_x Q(x) \ln\frac{Q(x)}{P(x)}

    Args:
        beam: Distribution :math:`Q` up to a factor; bins may be empty.
        target: Distribution :math:`P` up to a factor. It must be positive wherever the beam is:
            give it a floor, or the divergence is infinite and its gradient useless.

    Returns:
        Divergence in nats.

    Note:
        Differentiable in filled bins; an empty bin has gradient 0.

    References:
        S. Kullback and R. A. Leibler, Ann. Math. Stat. 22 (1951) 79; arXiv:2203.13818,
        section 4.5.
    """
    q = beam / beam.sum(-1, keepdim=True)
    p = target / target.sum(-1, keepdim=True)
    filled = q > 0
    logarithm = torch.where(filled, q, 1.0).log() - torch.where(filled, p, 1.0).log()
    return torch.where(filled, q * logarithm, 0.0).sum(-1)


def beam_profile(
    offset: Float[Tensor, " points"],
    positions: Float[Tensor, "*batch n"],
    half_widths: Float[Tensor, "*batch n"],
    plane: float,
    divergence: float,
    softness: float = 0.0,
) -> Float[Tensor, "*batch points"]:
    r"""Intensity across a plane behind sharp apertures, for a broad source.

    A ray of slope :math:`s` that hits the plane :math:`L` at :math:`x` passes aperture
    :math:`i` if :math:`|x - s (L - z_i)| \le w_i`. The slopes that pass all apertures are those
    between

    .. math::
        s_- = \max_i \frac{x - w_i}{L - z_i}, \qquad s_+ = \min_i \frac{x + w_i}{L - z_i}

    and the intensity is what the source sends there,
    :math:`\Phi(s_+/\sigma) - \Phi(s_-/\sigma)`, or 0.

    Args:
        offset: Points :math:`x` on the plane [m].
        positions: Distance :math:`z_i` of each aperture from the start [m], all before the plane.
            A source of finite size is an aperture at 0.
        half_widths: Half width :math:`w_i` of each [m].
        plane: Distance :math:`L` of the plane from the start [m].
        divergence: Standard deviation :math:`\sigma` of the slopes of the source [rad].
        softness: Slope over which maximum, minimum and edge are rounded [rad]; 0 for sharp.

    Returns:
        Intensity relative to no aperture, 0 to 1.

    Raises:
        DomainError: `divergence` is not positive or `softness` is negative.

    Note:
        Exact where `softness` is 0, and then differentiable except at the kinks; tends to it as
        the softness goes to 0, with an error of first order near kinks and edges alone.

    References:
        Trigonometry of a collimated beam; arXiv:2203.13818, section 4.5.
    """
    require_positive(divergence=divergence)
    if softness < 0:
        raise DomainError(f"`softness` must be >= 0 rad, got {softness}. 0 means sharp edges.")
    lever = (plane - positions)[..., None]
    low = (offset - half_widths[..., None]) / lever
    high = (offset + half_widths[..., None]) / lever
    if softness == 0:
        lowest, highest = low.amax(-2), high.amin(-2)
        width = (highest - lowest).clamp(min=0.0)
    else:
        lowest = softness * torch.logsumexp(low / softness, dim=-2)
        highest = -softness * torch.logsumexp(-high / softness, dim=-2)
        width = softness * torch.nn.functional.softplus((highest - lowest) / softness)
    middle = (highest + lowest) / 2
    passed: Tensor = torch.special.ndtr((middle + width / 2) / divergence) - torch.special.ndtr(
        (middle - width / 2) / divergence
    )
    return passed


def _determinant(matrix: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch"]:
    return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]
