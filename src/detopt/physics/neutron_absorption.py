r"""Cold neutrons: wavelength, speed and energy, gravity, and absorption in matter.

Lengths, wavelengths too, are in metres, speeds in metres per nanosecond, energies in GeV, cross
sections in square metres, densities in g/cm3.
"""

__all__ = [
    "absorbed_fraction",
    "absorption_coefficient",
    "absorption_cross_section",
    "gravity_drop",
    "material_absorption",
    "neutron_energy",
    "neutron_speed",
]

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import NotFoundError
from detopt.physics import materials
from detopt.physics._constants import AVOGADRO
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors

PLANCK = 6.62607015e-34  # J s; exact
NEUTRON_MASS = 1.67492749804e-27  # kg; CODATA 2018
JOULE = 1 / 1.602176634e-10  # GeV; exact
NANOSECOND = 1e-9  # s
THERMAL_SPEED = 2200e-9  # m/ns; the reference speed of tabulated cross sections
GRAVITY = 9.80665e-18  # m/ns2; standard
BARN = 1e-28  # m2
PER_M3 = 1e6  # 1/cm3 to 1/m3


def neutron_speed(wavelength: Values) -> Float[Tensor, "*batch"]:
    r"""Speed of a neutron of given wavelength, :math:`v = h/(m\lambda)`.

    Args:
        wavelength: De Broglie wavelength :math:`\lambda` [m].

    Returns:
        Speed [m/ns]; 3956 m/s at 1 angstrom.

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Exact for slow neutrons. Differentiable.

    References:
        L. de Broglie (1924); constants of CODATA 2018.
    """
    require_positive(wavelength=wavelength)
    (wavelength,) = as_tensors(wavelength)
    return PLANCK / NEUTRON_MASS * NANOSECOND / wavelength


def neutron_energy(wavelength: Values) -> Float[Tensor, "*batch"]:
    r"""Kinetic energy of a neutron of given wavelength, :math:`E = h^2/(2 m \lambda^2)`.

    Args:
        wavelength: De Broglie wavelength :math:`\lambda` [m].

    Returns:
        Energy [GeV]; 81.80 meV at 1 angstrom.

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Exact for slow neutrons. Differentiable. Computed from the speed, so that it does not
        underflow in float32.

    References:
        L. de Broglie (1924); constants of CODATA 2018.
    """
    speed = neutron_speed(wavelength)
    return NEUTRON_MASS * JOULE / (2 * NANOSECOND**2) * speed**2


def gravity_drop(distance: Values, speed: Values) -> Float[Tensor, "*batch"]:
    r"""How far a neutron falls on a horizontal path, :math:`g L^2/(2 v^2)`.

    Args:
        distance: Path :math:`L` [m].
        speed: Speed :math:`v` [m/ns].

    Returns:
        Drop [m].

    Raises:
        DomainError: A Python number for the speed is not positive.

    Note:
        Differentiable.
    """
    require_positive(speed=speed)
    distance, speed = as_tensors(distance, speed)
    return GRAVITY / 2 * (distance / speed) ** 2


def absorption_cross_section(nuclide: str) -> float:
    """Absorption cross section at 2200 m/s of an element or nuclide [m2].

    Args:
        nuclide: Chemical symbol of an element in natural abundance (``"Cd"``), or a light
            nuclide (``"He3"``, ``"Li6"``, ``"B10"``).

    Raises:
        NotFoundError: There is no such entry.

    References:
        V. F. Sears, Neutron News 3 (1992) 26.
    """
    table = _table()
    if nuclide not in table:
        raise NotFoundError(
            f"No absorption cross section of {nuclide!r}. There are: {', '.join(table)}."
        )
    return table[nuclide] * BARN


def absorption_coefficient(
    number_density: Values, cross_section: Values, speed: Values
) -> Float[Tensor, "*batch"]:
    r"""Inverse absorption length by the :math:`1/v` law.

    .. math::
        \Sigma = n\, \sigma_0\, \frac{v_0}{v}, \qquad v_0 = 2200\,\mathrm{m/s}

    Args:
        number_density: Nuclei per volume :math:`n` [1/m3].
        cross_section: Cross section :math:`\sigma_0` at 2200 m/s [m2].
        speed: Speed :math:`v` [m/ns].

    Returns:
        Coefficient [1/m].

    Raises:
        DomainError: A Python number for the speed is not positive.

    Note:
        Exact for cold neutrons in most nuclides. Cd, Sm, Eu and Gd have resonances near thermal
        energies and follow the law only for wavelengths above about 2 angstrom. Differentiable.

    References:
        E. Fermi et al. (1934); V. F. Sears, Neutron News 3 (1992) 26.
    """
    require_positive(speed=speed)
    number_density, cross_section, speed = as_tensors(number_density, cross_section, speed)
    return number_density * cross_section * THERMAL_SPEED / speed


def material_absorption(material: materials.Material, speed: Values) -> Float[Tensor, "*batch"]:
    r"""Inverse absorption length of a material, :math:`\Sigma = \sum_j \Sigma_j`.

    Args:
        material: The material.
        speed: Speed of the neutrons [m/ns].

    Returns:
        Coefficient [1/m].

    Raises:
        DomainError: A Python number for the speed is not positive.
        NotFoundError: An element of the material has no entry.

    Note:
        See `absorption_coefficient`; scattering is left out. Differentiable in the speed.
    """
    per_nucleus = _nuclei_cross_section(material.composition)
    return absorption_coefficient(material.density * AVOGADRO * PER_M3, per_nucleus, speed)


def absorbed_fraction(thickness: Values, coefficient: Values) -> Float[Tensor, "*batch"]:
    r"""Share of a beam that a sheet absorbs, :math:`1 - e^{-\Sigma d}`.

    Args:
        thickness: Thickness :math:`d` [m].
        coefficient: Coefficient :math:`\Sigma` [1/m].

    Raises:
        DomainError: A Python number for the thickness is not positive.

    Note:
        Precise for thin sheets too. Differentiable.
    """
    require_positive(thickness=thickness)
    thickness, coefficient = as_tensors(thickness, coefficient)
    return -torch.expm1(-thickness * coefficient)


def _nuclei_cross_section(composition: Mapping[str, float]) -> float:
    """Sum of mass fraction times cross section over atomic mass [m2 mol/g]."""
    total = sum(composition.values())
    return sum(
        fraction / total * absorption_cross_section(symbol) / materials.get(symbol).mass_number
        for symbol, fraction in composition.items()
    )


@cache
def _table() -> dict[str, float]:
    text = resources.files("detopt.physics").joinpath("data/neutron_absorption.json").read_text()
    table = json.loads(text)
    return {**table["elements"], **table["isotopes"]}
