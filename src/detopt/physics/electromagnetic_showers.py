r"""Longitudinal development of electromagnetic showers: the mean and its fluctuations.

Depths are in radiation lengths, energies in GeV. The family
is GFLASH: one gamma distribution in depth whose two parameters follow the medium and, shower by
shower, a correlated log-normal law. Its authors fitted the *mean of many showers* and the *centre
of single showers* separately; the first set is `AVERAGE`, the second `INDIVIDUAL`.
"""

__all__ = [
    "AVERAGE",
    "INDIVIDUAL",
    "LongitudinalCoefficients",
    "LongitudinalShape",
    "ShapeFluctuations",
    "fluctuated_shape",
    "mean_shape",
    "rossi_shape",
    "sample_conversion_depth",
    "sample_shape",
    "shape_fluctuations",
    "shower_maximum",
]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._incomplete_gamma import smooth_floor
from detopt.physics._tensors import Values, as_tensors
from detopt.physics.shower_media import Medium

CONVERSION_LENGTH = 9 / 7  # radiation lengths; PDG
ROSSI_OFFSET = {"electron": -0.5, "photon": 0.5}  # PDG, section 34.5


@dataclass(frozen=True)
class LongitudinalCoefficients:
    r"""Coefficients of :math:`T` and :math:`\alpha`, homogeneous and for sampling."""

    maximum: float
    alpha: float
    alpha_slope: float
    alpha_slope_over_z: float
    maximum_cell: float
    maximum_transition: float
    alpha_cell: float


AVERAGE = LongitudinalCoefficients(-0.858, 0.21, 0.492, 2.38, -0.59, -0.53, -0.444)
"""Mean profile of many showers; hep-ex/0001020, appendices A.1.1 and A.2.2."""

INDIVIDUAL = LongitudinalCoefficients(-0.812, 0.81, 0.458, 2.26, -0.55, -0.69, -0.476)
"""Centre of the distribution of single showers; idem, A.1.2 and A.2.3, and Geant4."""


@dataclass(frozen=True)
class LongitudinalShape:
    r"""Gamma distribution of deposited energy in depth.

    Attributes:
        maximum: Depth :math:`T` of the maximum in radiation lengths.
        alpha: Shape parameter :math:`\alpha > 1`.
    """

    maximum: Float[Tensor, "*batch"]
    alpha: Float[Tensor, "*batch"]

    @property
    def beta(self) -> Float[Tensor, "*batch"]:
        r"""Rate :math:`\beta = (\alpha - 1)/T` per radiation length."""
        return (self.alpha - 1) / self.maximum


@dataclass(frozen=True)
class ShapeFluctuations:
    r"""Widths of :math:`\ln T` and :math:`\ln\alpha` from shower to shower."""

    maximum: Float[Tensor, "*batch"]
    alpha: Float[Tensor, "*batch"]
    correlation: Float[Tensor, "*batch"]


def shower_maximum(
    energy: Values, critical_energy: Values, particle: str = "electron"
) -> Float[Tensor, "*batch"]:
    r"""Depth of the shower maximum in the textbook form.

    .. math::
        t_\text{max} = \ln\frac{E}{E_c} + C, \qquad C_e = -0.5, \quad C_\gamma = +0.5

    Args:
        energy: Energy of the incident particle [GeV].
        critical_energy: Critical energy by Rossi's definition [GeV], as in `materials`.
        particle: ``"electron"`` or ``"photon"``.

    Returns:
        Depth in radiation lengths.

    Raises:
        DomainError: The particle starts no electromagnetic shower, or a Python number is not
            positive.

    Note:
        For 1 to 100 GeV, good to about 0.5 radiation lengths. Differentiable.

    References:
        Particle Data Group, Review of Particle Physics (2022), section 34.5.
    """
    if particle not in ROSSI_OFFSET:
        raise DomainError(
            f"A {particle!r} starts no electromagnetic shower. Take 'electron' or 'photon'."
        )
    require_positive(energy=energy, critical_energy=critical_energy)
    energy, critical_energy = as_tensors(energy, critical_energy)
    return torch.log(energy / critical_energy) + ROSSI_OFFSET[particle]


def rossi_shape(
    energy: Values,
    critical_energy: Values,
    particle: str = "electron",
    beta: float = 0.5,
) -> LongitudinalShape:
    r"""The textbook profile: maximum of `shower_maximum`, and one rate for all media.

    Args:
        energy: Energy of the incident particle [GeV].
        critical_energy: Critical energy by Rossi's definition [GeV].
        particle: ``"electron"`` or ``"photon"``.
        beta: Rate :math:`\beta` per radiation length; 0.5 fits most media from carbon to uranium.

    Raises:
        DomainError: See `shower_maximum`; or `beta` is not positive.

    References:
        Particle Data Group, Review of Particle Physics (2022), section 34.5.
    """
    require_positive(beta=beta)
    maximum = shower_maximum(energy, critical_energy, particle)
    return LongitudinalShape(maximum, 1 + beta * maximum)


def mean_shape(
    energy: Values, medium: Medium, coefficients: LongitudinalCoefficients = AVERAGE
) -> LongitudinalShape:
    r"""Profile of an electron shower in a homogeneous or sampling calorimeter.

    .. math::
        T &= \ln y - 0.858 - 0.59/F_S - 0.53\, (1 - \hat e) \\
        \alpha &= 0.21 + (0.492 + 2.38/Z) \ln y - 0.444/F_S

    with :math:`y = E/E_c`. `INDIVIDUAL` puts the numbers -0.812, -0.55, -0.69 and 0.81, 0.458,
    2.26, -0.476 in their places.

    Args:
        energy: Energy :math:`E` of the electron [GeV].
        medium: The medium; its `cell_thickness` is :math:`1/F_S`.
        coefficients: `AVERAGE` for the mean of many showers, `INDIVIDUAL` for the centre of the
            distribution of single ones.

    Raises:
        DomainError: A Python number for the energy is not positive.

    Note:
        Fitted from 0.4 to 400 GeV. Exact for :math:`T > 1` and :math:`\alpha > 1.2`; below, both
        approach 0.5 and 1.1 smoothly. Differentiable in the energy and in the medium.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, appendices A.1 and A.2.
    """
    require_positive(energy=energy)
    energy, critical, number, cell, transition = as_tensors(
        energy,
        medium.critical_energy,
        medium.atomic_number,
        medium.cell_thickness,
        medium.transition,
    )
    c = coefficients
    logarithm = torch.log(energy / critical)
    maximum = logarithm + c.maximum + c.maximum_cell * cell + c.maximum_transition * transition
    slope = c.alpha_slope + c.alpha_slope_over_z / number
    alpha = c.alpha + slope * logarithm + c.alpha_cell * cell

    return LongitudinalShape(smooth_floor(maximum, 1.0, 0.5), smooth_floor(alpha, 1.2, 0.1))


def shape_fluctuations(energy: Values, medium: Medium) -> ShapeFluctuations:
    r"""Spread of the shape from shower to shower.

    .. math::
        \sigma(\ln T) = \frac{1}{-1.4 + 1.26 \ln y}, \qquad
        \sigma(\ln\alpha) = \frac{1}{-0.58 + 0.86 \ln y}, \qquad
        \rho = 0.705 - 0.023 \ln y

    for homogeneous media; -2.5, 1.25, -0.82, 0.79 and 0.784 in sampling calorimeters.

    Args:
        energy: Energy of the electron [GeV].
        medium: The medium.

    Raises:
        DomainError: A Python number for the energy is not positive.

    Note:
        The widths have poles at :math:`\ln y` of 1.1 (homogeneous) and 2.0 (sampling). They are
        exact below 0.89, that is above :math:`\ln y` of 2.0 and 2.9, and level off at 1 below
        that. Differentiable.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, appendices A.1.2 and A.2.3.
    """
    require_positive(energy=energy)
    energy, critical = as_tensors(energy, medium.critical_energy)
    logarithm = torch.log(energy / critical)
    if medium.sampling:
        maximum, alpha = -2.5 + 1.25 * logarithm, -0.82 + 0.79 * logarithm
        correlation = 0.784 - 0.023 * logarithm
    else:
        maximum, alpha = -1.4 + 1.26 * logarithm, -0.58 + 0.86 * logarithm
        correlation = 0.705 - 0.023 * logarithm

    return ShapeFluctuations(
        1 / smooth_floor(maximum, 1.12, 0.12), 1 / smooth_floor(alpha, 1.12, 0.12), correlation
    )


def fluctuated_shape(
    energy: Values, medium: Medium, normals: Float[Tensor, "*draw 2"]
) -> LongitudinalShape:
    r"""Shape of single showers, from given unit normals.

    .. math::
        \ln T_i = \langle\ln T\rangle + \sigma_T (c_+ z_1 + c_- z_2), \quad
        \ln\alpha_i = \langle\ln\alpha\rangle + \sigma_\alpha (c_+ z_1 - c_- z_2), \quad
        c_\pm = \sqrt{(1 \pm \rho)/2}

    Args:
        energy: Energy of the electrons [GeV]; broadcasts against the draws.
        medium: The medium.
        normals: Unit normals; the last axis is :math:`(z_1, z_2)`.

    Note:
        Differentiable in energy and medium at fixed normals.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, section 3; Geant4 11.
    """
    centre = mean_shape(energy, medium, INDIVIDUAL)
    spread = shape_fluctuations(energy, medium)
    first, second = normals.unbind(-1)
    shared = torch.sqrt((1 + spread.correlation) / 2) * first
    apart = torch.sqrt((1 - spread.correlation) / 2) * second
    maximum = centre.maximum * torch.exp(spread.maximum * (shared + apart))
    alpha = centre.alpha * torch.exp(spread.alpha * (shared - apart))

    return LongitudinalShape(smooth_floor(maximum, 1.0, 0.5), smooth_floor(alpha, 1.2, 0.1))


def sample_shape(
    energy: Float[Tensor, "*batch"], medium: Medium, rng: Generator
) -> LongitudinalShape:
    """Draws the shape of one shower for each energy; see `fluctuated_shape`."""
    normals = torch.randn((*energy.shape, 2), generator=rng, dtype=energy.dtype, device=rng.device)
    return fluctuated_shape(energy, medium, normals)


def sample_conversion_depth(
    shape: tuple[int, ...], rng: Generator, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "..."]:
    r"""Draws depths of the first conversion of photons, :math:`t = -\frac97 \ln u`.

    A shower of a photon is that of an electron which starts there.

    Args:
        shape: Shape of the draws.
        rng: Source of the draws.
        dtype: Type of the result.

    Returns:
        Depths in radiation lengths.

    References:
        Particle Data Group, Review of Particle Physics (2022), section 34.4: the cross section
        tends to 7/9 per radiation length above 1 GeV.
    """
    uniform = torch.rand(shape, generator=rng, dtype=dtype, device=rng.device)
    return -CONVERSION_LENGTH * torch.log1p(-uniform)
