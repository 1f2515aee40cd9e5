r"""Light from charged particles: scintillation with quenching, and the Cherenkov effect.

Lengths, wavelengths too, are in metres, energies in GeV, mass stopping powers in GeV cm2/g.
"""

__all__ = [
    "BIRKS_POLYSTYRENE",
    "cherenkov_angle",
    "cherenkov_photons",
    "cherenkov_threshold",
    "quenching",
    "scintillation_photons",
]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._constants import FINE_STRUCTURE
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors

BIRKS_POLYSTYRENE = 12.6  # g/(GeV cm2); Hirschberg et al. 1992, 0.0126 g/(MeV cm2)


def quenching(stopping_power: Values, birks: Values = BIRKS_POLYSTYRENE) -> Float[Tensor, "*batch"]:
    r"""Share of the light of a scintillator that dense ionization leaves over.

    .. math::
        Q = \frac{1}{1 + k_B\, dE/dx}

    Args:
        stopping_power: Mass stopping power :math:`dE/dx` [GeV cm2/g].
        birks: Birks' constant :math:`k_B` [g/(GeV cm2)]; 0 for none.

    Raises:
        DomainError: A Python number for the stopping power is not positive, or `birks` is
            negative.

    Note:
        Good to a few per cent up to 0.1 GeV cm2/g, protons of a few MeV. Differentiable.

    References:
        J. B. Birks, Proc. Phys. Soc. A 64 (1951) 874;
        M. Hirschberg et al., IEEE Trans. Nucl. Sci. 39 (1992) 511, for polystyrene.
    """
    require_positive(stopping_power=stopping_power)
    if not isinstance(birks, Tensor) and birks < 0:
        raise DomainError(f"`birks` must be >= 0 g/(GeV cm2), got {birks}. Polystyrene has 12.6.")
    stopping_power, birks = as_tensors(stopping_power, birks)
    return 1 / (1 + birks * stopping_power)


def scintillation_photons(
    deposit: Values,
    stopping_power: Values,
    light_yield: Values,
    birks: Values = BIRKS_POLYSTYRENE,
) -> Float[Tensor, "*batch"]:
    r"""Mean number of scintillation photons.

    .. math::
        N = S\, \Delta E\, \frac{1}{1 + k_B\, dE/dx}

    Args:
        deposit: Deposited energy :math:`\Delta E` [GeV].
        stopping_power: Mass stopping power along the deposit [GeV cm2/g].
        light_yield: Photons per energy :math:`S` without quenching [1/GeV]; plastic 1e7.
        birks: Birks' constant [g/(GeV cm2)].

    Returns:
        Number of photons, not rounded.

    Raises:
        DomainError: See `quenching`; or the yield is not positive.

    Note:
        For a stopping power that changes along the track, sum over steps. Differentiable.

    References:
        J. B. Birks, Proc. Phys. Soc. A 64 (1951) 874.
    """
    require_positive(light_yield=light_yield)
    deposit, light_yield, quench = as_tensors(
        deposit, light_yield, quenching(stopping_power, birks)
    )
    return deposit * light_yield * quench


def cherenkov_threshold(index: Values) -> Float[Tensor, "*batch"]:
    r"""Velocity :math:`\beta = 1/n` above which a particle radiates.

    Args:
        index: Refractive index :math:`n`.

    Raises:
        DomainError: A Python number is not above 1.
    """
    _require_index(index)
    (index,) = as_tensors(index)
    return 1 / index


def cherenkov_angle(beta: Values, index: Values) -> Float[Tensor, "*batch"]:
    r"""Angle of Cherenkov light to the track.

    .. math::
        \cos\theta_c = \frac{1}{\beta n}

    Args:
        beta: Velocity :math:`\beta = v/c`.
        index: Refractive index :math:`n`.

    Returns:
        Angle [rad]; 0 below threshold.

    Raises:
        DomainError: A Python number for the velocity is not positive, or the index not above 1.

    Note:
        Differentiable; below threshold the gradient is 0, and at it infinite by nature.

    References:
        Particle Data Group, Review of Particle Physics (2022), section 34.7.1.
    """
    sine = _squared_sine(beta, index)
    radiates = sine > 0
    angle = torch.asin(torch.where(radiates, sine, 0.25).sqrt())
    return torch.where(radiates, angle, torch.zeros_like(angle))


def cherenkov_photons(
    path: Values,
    beta: Values,
    index: Values,
    band: tuple[float, float] = (300e-9, 600e-9),
    charge: int = 1,
) -> Float[Tensor, "*batch"]:
    r"""Mean number of Cherenkov photons in a band of wavelengths.

    .. math::
        N = 2\pi\alpha z^2 L \left(1 - \frac{1}{\beta^2 n^2}\right)
            \left(\frac{1}{\lambda_1} - \frac{1}{\lambda_2}\right)

    Args:
        path: Path :math:`L` in the radiator [m].
        beta: Velocity :math:`\beta = v/c`.
        index: Refractive index :math:`n`, taken as constant over the band.
        band: Shortest and longest wavelength [m].
        charge: Charge number :math:`z`.

    Returns:
        Number of photons, not rounded; 0 below threshold.

    Raises:
        DomainError: See `cherenkov_angle`; or the band is empty.

    Note:
        Differentiable; at threshold the slope jumps, below it the gradient is 0.

    References:
        Particle Data Group, Review of Particle Physics (2022), section 34.7.1.
    """
    short, long = band
    if not 0 < short < long:
        raise DomainError(f"`band` must hold 0 < short < long wavelengths in metres, got {band}.")
    sine = _squared_sine(beta, index)
    _, path = as_tensors(sine, path)
    per_metre = 2 * math.pi * FINE_STRUCTURE * charge**2 * (1 / short - 1 / long)
    return per_metre * path * sine


def _squared_sine(beta: Values, index: Values) -> Float[Tensor, "*batch"]:
    require_positive(beta=beta)
    _require_index(index)
    beta, index = as_tensors(beta, index)
    return 1 - 1 / (beta * index).clamp(min=1.0) ** 2  # a particle at rest keeps a finite slope


def _require_index(index: Values) -> None:
    if not isinstance(index, Tensor) and not index > 1:
        raise DomainError(f"`index` must be > 1, got {index}. Glass has 1.5, plastic 1.58.")
