r"""What a set of tracking layers measures: momentum, angle and impact parameter.

Lengths are in metres, momenta in GeV/c, fields in tesla, angles in radians. The covariance of a
track needs no track: it follows from where the layers stand, how well they measure and how much
matter they hold. Filters are in `detopt.physics.kalman` and `detopt.physics.helix_fit`, vertices in
`detopt.physics.vertexing`; this module repeats their names.
"""

__all__ = [
    "Filtered",
    "HelixFit",
    "LinearModel",
    "Smoothed",
    "TrackResolution",
    "TrackingLayers",
    "Vertex",
    "fit_covariance",
    "fit_vertex",
    "gluckstern_resolution",
    "helix_fit",
    "helix_step",
    "kalman_filter",
    "kalman_smoother",
    "position_covariance",
    "straight_line_model",
    "track_resolution",
]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors
from detopt.physics.fields import CURVATURE
from detopt.physics.helix_fit import HelixFit, helix_fit, helix_step
from detopt.physics.kalman import (
    Filtered,
    LinearModel,
    Smoothed,
    kalman_filter,
    kalman_smoother,
    straight_line_model,
)
from detopt.physics.scattering import highland_variance
from detopt.physics.vertexing import Vertex, fit_vertex

PION_MASS = 0.13957039  # GeV; Particle Data Group 2022
PASSIVE = 1e3  # m, the resolution that an infinite one is replaced by
VACUUM = 1e-12  # radiation lengths; keeps the logarithm finite where there is no matter


@dataclass(frozen=True)
class TrackingLayers:
    """Coaxial layers around the beam, from the inside out."""

    radius: Float[Tensor, "*#batch n"]  # [m], increasing
    resolution: Float[Tensor, "*#batch n"]  # across r and z [m], infinite for a passive layer
    thickness: Float[Tensor, "*#batch n"]  # radiation lengths at normal incidence
    longitudinal: Float[Tensor, "*#batch n"] | None = None  # along z [m], as `resolution` if None


@dataclass(frozen=True)
class TrackResolution:
    """Standard deviations of a track at the beam line."""

    momentum: Float[Tensor, "*batch"]  # relative, of the transverse momentum
    azimuth: Float[Tensor, "*batch"]  # [rad]
    impact: Float[Tensor, "*batch"]  # [m], across the beam
    polar: Float[Tensor, "*batch"]  # [rad]
    longitudinal_impact: Float[Tensor, "*batch"]  # [m], along the beam
    transverse: Float[Tensor, "*batch 3 3"]  # covariance of impact, azimuth, curvature [1/m]
    longitudinal: Float[Tensor, "*batch 2 2"]  # covariance of z [m] and cotangent of polar angle


def gluckstern_resolution(
    n_points: int, length: Values, resolution: Values, momentum: Values, field: Values
) -> Float[Tensor, "*batch"]:
    r"""Relative resolution of the transverse momentum with equal layers and no matter.

    .. math::
        \frac{\sigma(p_T)}{p_T} = \frac{p_T\, \sigma}{0.2998\, B L^2}
            \sqrt{\frac{720 N^3}{(N-1)(N+1)(N+2)(N+3)}}

    Args:
        n_points: Number :math:`N + 1` of equally spaced layers.
        length: Distance :math:`L` from the first to the last [m].
        resolution: Resolution :math:`\sigma` of each layer [m].
        momentum: Transverse momentum :math:`p_T` [GeV/c].
        field: Magnetic field :math:`B` [T].

    Returns:
        Relative standard deviation.

    Raises:
        DomainError: There are fewer than 3 points, or a Python number is not positive.

    Note:
        Exact for a small sagitta. Differentiable.

    References:
        R. L. Gluckstern, Nucl. Instrum. Meth. 24 (1963) 381.
    """
    if n_points < 3:
        raise DomainError(
            f"`n_points` must be >= 3, got {n_points}. Fewer points do not measure a curvature."
        )
    require_positive(length=length, resolution=resolution, momentum=momentum, field=field)
    span, sigma, p, b = as_tensors(length, resolution, momentum, field)
    n = n_points - 1
    factor = math.sqrt(720 * n**3 / ((n - 1) * (n + 1) * (n + 2) * (n + 3)))
    return factor * p * sigma / (CURVATURE * b * span.square())


def position_covariance(
    positions: Float[Tensor, "*#batch n"],
    resolution: Float[Tensor, "*#batch n"],
    scatterers: Float[Tensor, "*#batch m"],
    scattering_angle: Float[Tensor, "*#batch m"],
) -> Float[Tensor, "*batch n n"]:
    r"""Covariance of the measured offsets of a track: resolution and scattering.

    .. math::
        V_{ij} = \sigma_i^2 \delta_{ij} + \sum_k \theta_k^2\, (r_i - r_k)_+ (r_j - r_k)_+

    Args:
        positions: Positions :math:`r_i` of the measurements along the track [m].
        resolution: Resolution :math:`\sigma_i` of each [m].
        scatterers: Positions :math:`r_k` of thin scatterers [m].
        scattering_angle: Width :math:`\theta_k` of the projected angle in each [rad].

    Returns:
        Covariance of the offsets [m2] for a particle that starts before all layers.

    Note:
        For thin scatterers and small angles. Differentiable.
    """
    return _offset_covariance(positions, resolution, scatterers, scattering_angle.square())


def fit_covariance(
    positions: Float[Tensor, "*#batch n"],
    covariance: Float[Tensor, "*#batch n n"],
    degree: int,
    reference: float = 0.0,
) -> Float[Tensor, "*batch k k"]:
    r"""Covariance of the best fit of a polynomial to measured offsets.

    .. math::
        y(r) = \sum_{k=0}^{d} a_k \frac{(r - r_0)^k}{k!}, \qquad C = (A^T V^{-1} A)^{-1}

    Args:
        positions: Positions :math:`r_i` [m].
        covariance: Covariance :math:`V` of the offsets [m2], as of `position_covariance`.
        degree: Degree :math:`d`: 1 for a line, 2 for a curved track.
        reference: Position :math:`r_0` at which the parameters are wanted [m].

    Returns:
        Covariance of offset [m], slope and curvature [1/m] at the reference.

    Raises:
        DomainError: There are fewer positions than parameters.

    Note:
        The fit that `covariance` makes optimal (Gauss and Markov). The polynomial is conditioned
        on the span of the layers. Differentiable.
    """
    if positions.shape[-1] <= degree:
        raise DomainError(
            f"`positions` must hold more than {degree} layers to fit degree {degree}, "
            f"got {positions.shape[-1]}. Add layers or lower the degree."
        )
    center = positions.detach().mean(-1, keepdim=True)
    scale = (positions.detach() - center).abs().amax(-1, keepdim=True)
    design = _powers((positions - center) / scale, degree)

    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), design, upper=False)
    _, triangle = torch.linalg.qr(whitened)
    identity = torch.eye(degree + 1, dtype=triangle.dtype, device=triangle.device)
    spread = torch.linalg.solve_triangular(triangle, identity, upper=True)
    moved = _derivatives((reference - center) / scale, scale, degree) @ spread
    return torch.matmul(moved, moved.mT)


def track_resolution(
    layers: TrackingLayers,
    momentum: Values,
    field: Values,
    polar_angle: Values = math.pi / 2,
    mass: float = PION_MASS,
) -> TrackResolution:
    r"""Resolution of a cylindrical tracker for a track from the beam line.

    In the transverse plane :math:`y = d_0 + \phi r + r^2/(2R)`, along the beam
    :math:`z = z_0 + r\cot\theta`. Scattering by :math:`\theta_0` turns the azimuth by
    :math:`\theta_0/\sin\theta` and the cotangent by :math:`\theta_0/\sin^2\theta`, and

    .. math::
        \frac{\sigma(p_T)}{p_T} = \frac{p_T}{0.2998\, B}\, \sigma\!\left(\frac1R\right)

    Args:
        layers: Where the layers stand, how they measure and what they hold.
        momentum: Transverse momentum :math:`p_T` [GeV/c].
        field: Magnetic field :math:`B` along the beam [T].
        polar_angle: Polar angle :math:`\theta` [rad]; the matter counts as 1/sin.
        mass: Mass of the particle [GeV/c2].

    Returns:
        Standard deviations and covariances at the beam line.

    Raises:
        DomainError: Fewer than 3 layers measure across the beam or fewer than 2 along it, or a
            Python number is not positive.

    Note:
        For tracks that turn by less than about 0.3 rad. All layers share the logarithm of the
        whole matter, as steps of one path do. A passive layer (infinite resolution) only
        scatters. Differentiable in all tensors.

    References:
        Particle Data Group, Review of Particle Physics (2022), section 35.13.
    """
    require_positive(momentum=momentum, field=field, polar_angle=polar_angle, mass=mass)
    radius, p, b, theta = as_tensors(layers.radius, momentum, field, polar_angle)
    sine = theta.sin()
    variance = _layer_variances(layers.thickness, p / sine, sine, mass)
    along = layers.resolution if layers.longitudinal is None else layers.longitudinal
    _require_measuring("resolution", layers.resolution, degree=2)
    _require_measuring("longitudinal", along, degree=1)
    across, along = layers.resolution.clamp(max=PASSIVE), along.clamp(max=PASSIVE)

    turned = variance / sine.square().unsqueeze(-1)
    transverse = fit_covariance(
        radius, _offset_covariance(radius, across, radius, turned), degree=2
    )
    tilted = turned / sine.square().unsqueeze(-1)
    longitudinal = fit_covariance(
        radius, _offset_covariance(radius, along, radius, tilted), degree=1
    )
    impact, azimuth, curvature = transverse.diagonal(dim1=-2, dim2=-1).sqrt().unbind(-1)
    far, cotangent = longitudinal.diagonal(dim1=-2, dim2=-1).sqrt().unbind(-1)

    return TrackResolution(
        momentum=p / (CURVATURE * b) * curvature,
        azimuth=azimuth,
        impact=impact,
        polar=cotangent * sine.square(),
        longitudinal_impact=far,
        transverse=transverse,
        longitudinal=longitudinal,
    )


def _require_measuring(name: str, resolution: Tensor, degree: int) -> None:
    """Refuses a tracker in which too few layers have a finite resolution."""
    try:
        fewest = int(resolution.isfinite().sum(-1).min()) if resolution.numel() else 0
    except RuntimeError:  # within `vmap`, where values cannot be read
        return
    if fewest <= degree:
        raise DomainError(
            f"`{name}` must be finite in more than {degree} layers to fit degree {degree}, got "
            f"{fewest}. A passive layer does not measure: add layers that do."
        )


def _offset_covariance(
    positions: Tensor, resolution: Tensor, scatterers: Tensor, variance: Tensor
) -> Tensor:
    """As `position_covariance`, from variances of the angles: smooth where there is no matter."""
    lever = (positions.unsqueeze(-1) - scatterers.unsqueeze(-2)).clamp(min=0.0)
    scattered = (lever * variance.unsqueeze(-2)) @ lever.mT
    return scattered + torch.diag_embed(resolution.square())


def _layer_variances(thickness: Tensor, momentum: Tensor, sine: Tensor, mass: float) -> Tensor:
    """Variance of the scattering angle in each layer, crossed at an angle."""
    crossed = thickness / sine.unsqueeze(-1)
    total = crossed.sum(-1, keepdim=True).clamp(min=VACUUM)
    beta = momentum / (momentum.square() + mass**2).sqrt()
    return highland_variance(crossed, total, momentum.unsqueeze(-1), beta.unsqueeze(-1))


def _powers(value: Tensor, degree: int) -> Tensor:
    """Columns t^k / k! for k up to the degree."""
    return torch.stack([value**k / math.factorial(k) for k in range(degree + 1)], dim=-1)


def _derivatives(where: Tensor, scale: Tensor, degree: int) -> Tensor:
    """Matrix from scaled coefficients to value, slope and curvature at a scaled position."""
    powers, zero = _powers(where, degree), torch.zeros_like(where)
    rows = [
        torch.stack(
            [powers[..., m - k] / scale**k if m >= k else zero for m in range(degree + 1)], dim=-1
        )
        for k in range(degree + 1)
    ]
    return torch.cat(rows, dim=-2)
