"""Collision loss of charged particles from the numbers of a medium (no `Material` needed).

Energies are in GeV, mass stopping powers in GeV cm2/g.
"""

__all__ = [
    "ELECTRON_MASS",
    "FINE_STRUCTURE",
    "K",
    "berger_seltzer",
    "bethe",
    "electron_bremsstrahlung",
    "largest_transfer",
]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics._constants import ELECTRON_MASS, FINE_STRUCTURE
from detopt.physics._sternheimer import DensityEffect

K = 0.307075e-3  # GeV cm2/mol, 4 pi N_A r_e^2 m_e; PDG


def largest_transfer(gamma: Float[Tensor, "*batch"], mass: float) -> Float[Tensor, "*batch"]:
    r"""Largest energy that a heavy particle gives to an electron in one collision [GeV].

    .. math::
        W = \frac{2 m_e \beta^2\gamma^2}{1 + 2\gamma m_e/M + (m_e/M)^2}
    """
    ratio = ELECTRON_MASS / mass
    return 2 * ELECTRON_MASS * (gamma**2 - 1) / (1 + 2 * gamma * ratio + ratio**2)


def bethe(
    beta_gamma: Float[Tensor, "*batch"],
    mass: float,
    charge: float,
    z_over_a: float,
    mean_excitation_energy: float,
    density_effect: DensityEffect,
) -> Float[Tensor, "*batch"]:
    r"""Mean collision loss of a heavy charged particle [GeV cm2/g].

    .. math::
        -\frac{dE}{dx} = K z^2 \frac{Z}{A} \frac{1}{\beta^2} \left[
            \frac12 \ln\frac{2 m_e \beta^2\gamma^2 W}{I^2} - \beta^2 - \frac{\delta}{2}
            + \frac18\left(\frac{W}{\gamma M}\right)^2\right]

    Args:
        beta_gamma: Momentum over mass.
        mass: Mass :math:`M` of the particle [GeV].
        charge: Charge number :math:`z`.
        z_over_a: :math:`\langle Z/A\rangle` of the medium [mol/g].
        mean_excitation_energy: :math:`I` [GeV].
        density_effect: The correction :math:`\delta`.

    Note:
        Shell, Barkas and Bloch corrections are not in it.

    References:
        D. E. Groom, N. V. Mokhov and S. I. Striganov, At. Data Nucl. Data Tables 78 (2001) 183,
        equation 6.
    """
    gamma = torch.sqrt(1 + beta_gamma**2)
    beta_squared = (beta_gamma / gamma) ** 2
    transfer = largest_transfer(gamma, mass)
    logarithm = torch.log(2 * ELECTRON_MASS * beta_gamma**2 * transfer / mean_excitation_energy**2)
    spin = (transfer / (gamma * mass)) ** 2 / 8
    bracket = logarithm / 2 - beta_squared - density_effect.delta(beta_gamma) / 2 + spin

    return K * charge**2 * z_over_a / beta_squared * bracket


def berger_seltzer(
    tau: Float[Tensor, "*batch"],
    positron: bool,
    z_over_a: float,
    mean_excitation_energy: float,
    density_effect: DensityEffect,
) -> Float[Tensor, "*batch"]:
    r"""Mean collision loss of electrons (Moller) and positrons (Bhabha) [GeV cm2/g].

    .. math::
        -\frac{dE}{dx} = \frac{K}{2} \frac{Z}{A} \frac{1}{\beta^2} \left[
            \ln\frac{\tau^2(\tau + 2)}{2 (I/m_e)^2} + F^\mp(\tau) - \delta\right]

    Args:
        tau: Kinetic energy over the electron mass.
        positron: Whether the particle is a positron.
        z_over_a: :math:`\langle Z/A\rangle` of the medium [mol/g].
        mean_excitation_energy: :math:`I` [GeV].
        density_effect: The correction :math:`\delta`.

    References:
        ICRU Report 37 (1984); M. J. Berger and S. M. Seltzer, NBSIR 82-2550 (1982).
    """
    gamma_squared = (tau + 1) ** 2
    beta_squared = tau * (tau + 2) / gamma_squared
    if positron:
        series = 23 + 14 / (tau + 2) + 10 / (tau + 2) ** 2 + 4 / (tau + 2) ** 3
        shape = 2 * math.log(2) - beta_squared / 12 * series
    else:
        shape = 1 - beta_squared + (tau**2 / 8 - (2 * tau + 1) * math.log(2)) / gamma_squared
    ratio = mean_excitation_energy / ELECTRON_MASS
    logarithm = torch.log(tau**2 * (tau + 2) / (2 * ratio**2))
    delta = density_effect.delta(torch.sqrt(tau * (tau + 2)))

    return K / 2 * z_over_a / beta_squared * (logarithm + shape - delta)


def electron_bremsstrahlung(
    gamma: Float[Tensor, "*batch"], mass: float, z_over_a: float
) -> Float[Tensor, "*batch"]:
    r"""Bremsstrahlung of the struck atomic electrons, part of a muon's collision loss.

    .. math::
        \Delta\left|\frac{dE}{dx}\right| = \frac{K}{4\pi} \frac{Z}{A} \alpha \left[
            \ln\frac{2E}{M} - \frac13 \ln\frac{2W}{m_e}\right] \ln^2\frac{2W}{m_e}

    Returns:
        The addition to `bethe` [GeV cm2/g], 0 where the largest transfer is below the electron
        mass.

    References:
        Groom, Mokhov and Striganov (2001), equation 7, after S. R. Kelner.
    """
    transfer = torch.log(2 * largest_transfer(gamma, mass) / ELECTRON_MASS).clamp(min=0.0)
    scale = K / (4 * math.pi) * z_over_a * FINE_STRUCTURE

    return scale * (torch.log(2 * gamma) - transfer / 3).clamp(min=0.0) * transfer**2
