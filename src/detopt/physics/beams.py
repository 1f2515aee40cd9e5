"""Particle beams: momentum spread, size, divergence and emittance.

Lengths are in metres, momenta in GeV/c, slopes in radians. The beam runs along z.
"""

__all__ = ["Beam", "BeamParticles", "beam_emittance", "twiss_widths"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors

Widths = Float[Tensor, ""] | Float[Tensor, "2"] | float | int  # for both planes, or for x and y


@dataclass(frozen=True)
class BeamParticles:
    """Particles of a beam where it starts."""

    momentum: Float[Tensor, "*batch"]  # [GeV/c]
    position: Float[Tensor, "*batch 2"]  # x and y [m]
    slope: Float[Tensor, "*batch 2"]  # dx/dz and dy/dz [rad]


@dataclass(frozen=True)
class Beam:
    r"""A beam that is Gaussian in momentum, position and slope.

    .. math::
        p = \bar p\, (1 + \delta z_0), \qquad x = \sigma z_1, \qquad
        x' = \sigma' \left(\rho z_1 + \sqrt{1 - \rho^2}\, z_2\right)

    Args:
        momentum: Mean momentum :math:`\bar p` [GeV/c].
        spread: Relative rms :math:`\delta` of the momentum.
        size: Rms :math:`\sigma` of the position [m], one number or one for x and one for y.
        divergence: Rms :math:`\sigma'` of the slope [rad], likewise.
        correlation: Correlation :math:`\rho` of position and slope, likewise; negative in a beam
            that converges.

    Raises:
        DomainError: A Python number lies outside its domain.

    Note:
        Draws are differentiable in every tensor.
    """

    momentum: Float[Tensor, ""] | float | int
    spread: Float[Tensor, ""] | float | int = 0.0
    size: Widths = 0.0
    divergence: Widths = 0.0
    correlation: Widths = 0.0

    def __post_init__(self) -> None:
        require_positive(momentum=self.momentum)
        for name in ("spread", "size", "divergence"):
            value = getattr(self, name)
            if not isinstance(value, Tensor) and not value >= 0:
                raise DomainError(f"`{name}` must be >= 0, got {value}. Give an rms width.")
        _require_correlation(self.correlation)

    def sample(self, shape: int | tuple[int, ...], rng: Generator) -> BeamParticles:
        """Draws particles at the start of the beam.

        Args:
            shape: Number of particles, or shape of the draws.
            rng: Source of the draws, on the device of the widths.

        Returns:
            Momentum [GeV/c], position [m] and slope [rad].
        """
        leading = (shape,) if isinstance(shape, int) else tuple(shape)
        mean, spread, size, divergence, correlation = as_tensors(
            self.momentum, self.spread, self.size, self.divergence, self.correlation
        )
        normals = torch.randn((*leading, 5), generator=rng, dtype=mean.dtype, device=mean.device)
        first, second = normals[..., 1:3], normals[..., 3:5]
        mixed = correlation * first + (1 - correlation.square()).sqrt() * second

        return BeamParticles(
            momentum=mean * (1 + spread * normals[..., 0]),
            position=size * first,
            slope=divergence * mixed,
        )


def twiss_widths(
    emittance: Values, beta: Values, alpha: Values
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""Widths of a beam from its emittance and the Twiss parameters of one plane.

    .. math::
        \sigma = \sqrt{\epsilon\beta}, \qquad
        \sigma' = \sqrt{\epsilon (1 + \alpha^2)/\beta}, \qquad
        \rho = -\alpha/\sqrt{1 + \alpha^2}

    Args:
        emittance: Geometric rms emittance :math:`\epsilon` [m rad].
        beta: Twiss parameter :math:`\beta` [m].
        alpha: Twiss parameter :math:`\alpha`, positive in a beam that converges.

    Returns:
        Size [m], divergence [rad] and correlation, as `Beam` takes them.

    Raises:
        DomainError: A Python number for the emittance or :math:`\beta` is not positive.

    Note:
        Differentiable.

    References:
        S. Y. Lee, Accelerator Physics, 3rd ed. (2012), section 2.II.
    """
    require_positive(emittance=emittance, beta=beta)
    area, length, tilt = as_tensors(emittance, beta, alpha)
    gamma = 1 + tilt.square()
    size, divergence, correlation = torch.broadcast_tensors(
        (area * length).sqrt(), (area * gamma / length).sqrt(), -tilt / gamma.sqrt()
    )
    return size, divergence, correlation


def beam_emittance(
    size: Values, divergence: Values, correlation: Values = 0.0
) -> Float[Tensor, "*batch"]:
    r"""Geometric rms emittance :math:`\epsilon = \sigma\sigma'\sqrt{1 - \rho^2}` of one plane.

    Args:
        size: Rms :math:`\sigma` of the position [m].
        divergence: Rms :math:`\sigma'` of the slope [rad].
        correlation: Correlation :math:`\rho` of position and slope.

    Returns:
        Emittance [m rad].

    Raises:
        DomainError: A Python number lies outside its domain.

    Note:
        The same all along a drift. Differentiable for :math:`|\rho| < 1`.
    """
    require_positive(size=size, divergence=divergence)
    _require_correlation(correlation)
    width, slope, rho = as_tensors(size, divergence, correlation)
    return width * slope * (1 - rho.square()).sqrt()


def _require_correlation(correlation: Tensor | float | int) -> None:
    if not isinstance(correlation, Tensor) and not -1 <= correlation <= 1:
        raise DomainError(
            f"`correlation` must lie between -1 and 1, got {correlation}. "
            "It is the covariance over the product of the two widths."
        )
