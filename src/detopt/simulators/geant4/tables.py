r"""Cross sections of electrons and photons, in the layouts that Geant4 reads.

Energies in a file are in MeV. The tables are derived from formulae and from the evaluated cross
sections of xraylib; they are not the data of Geant4.
"""

__all__ = [
    "ATOMIC_NUMBERS",
    "MEASURED",
    "bremsstrahlung",
    "no_nuclear",
    "photoelectric",
    "rayleigh",
]

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detopt.optional import require
from detopt.physics._composition import LIGHT_LOGARITHMS, coulomb_correction
from detopt.physics._constants import ELECTRON_MASS

ATOMIC_NUMBERS = range(1, 101)
MEASURED = range(1, 99)  # elements of xraylib
RADIATION = 2.3178  # mb, 4 alpha r_e^2
MEV_PER_GEV = 1e3
KEV_PER_MEV = 1e3
BARN = 1e-22  # mm2, the unit of area in Geant4
LOWEST_LOGARITHM = 0.3  # of screening, towards low energy
PHOTON_ENERGIES = np.geomspace(1e-3, 0.9, 300)  # MeV
ELECTRON_ENERGIES = np.geomspace(1e-3, 1e4, 57)  # MeV
SHARES = np.array(  # of the kinetic energy that the photon takes; dense where the spectrum ends
    [
        *(1e-12, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55),
        *(0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.99, 0.995, 0.999, 0.9995),
        *(0.9999, 0.99999, 1.0),
    ]
)
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Photoelectric:
    """The three files of an element."""

    cross_section: str
    low: str
    high: str


def bremsstrahlung(atomic_number: int) -> str:
    r"""Scaled bremsstrahlung spectrum of an element, `brem_SB/br{Z}`.

    .. math::
        \chi = \frac{\beta^2}{Z^2} k \frac{d\sigma}{dk}, \quad
        k \frac{d\sigma}{dk} = 4 \alpha r_e^2 \left\{ \left(\frac43 - \frac43 y + y^2\right)
            \left[Z^2 (L - f) + Z L'\right] + \frac19 (1 - y)(Z^2 + Z) \right\}

    with :math:`y = k/E`. Towards low energy the logarithms L and L' are limited by the value
    without screening, :math:`\ln[2 (E/m)(E - k)/k] - 1/2`, and from below by 0.3.

    Args:
        atomic_number: Z.

    Note:
        Complete screening, right above some tens of MeV. Geant4 reads it below 1 GeV only.

    References:
        Y.-S. Tsai, Rev. Mod. Phys. 46 (1974) 815.
    """
    mass = ELECTRON_MASS * MEV_PER_GEV
    kinetic, share = ELECTRON_ENERGIES[:, None], SHARES[None, :]
    energy, photon = kinetic + mass, share * kinetic
    after = np.maximum(energy - photon, mass)
    bare = np.log(2 * (energy / mass) * after / photon) - 0.5
    elastic, inelastic = (
        np.maximum(LOWEST_LOGARITHM, np.minimum(one, bare)) for one in _logarithms(atomic_number)
    )
    y, square = photon / energy, atomic_number**2
    screened = square * (elastic - coulomb_correction(atomic_number)) + atomic_number * inelastic
    spectrum = (4 / 3 - 4 * y / 3 + y**2) * screened + (1 - y) * (square + atomic_number) / 9
    beta_squared = kinetic * (kinetic + 2 * mass) / energy**2
    scaled = np.maximum(RADIATION * beta_squared / square * spectrum, 0.0)
    rows = [SHARES, np.log(ELECTRON_ENERGIES), *scaled]
    return _text([f"0 {len(SHARES)} {len(ELECTRON_ENERGIES)}", *map(_line, rows)])


def photoelectric(atomic_number: int) -> Photoelectric:
    r"""Photoelectric cross section of an element with one effective shell.

    `pe-cs` holds :math:`E^3 \sigma` in MeV3 barn; `pe-low` and `pe-high` say that the only shell is
    bound with the lowest energy of the table and that :math:`\sigma = a/E` above its end.

    Args:
        atomic_number: Z, at most 98.

    Raises:
        MissingExtraError: xraylib is not installed.
    """
    sigma = _cross_section("CSb_Photo", atomic_number)
    first, last = PHOTON_ENERGIES[0], PHOTON_ENERGIES[-1]
    shell = _text([f"1 1 {_number(last)}", f"{_line([first, sigma[-1] * last])} 0 0 0 0 0"])
    return Photoelectric(_points(PHOTON_ENERGIES**3 * sigma), shell, shell)


def rayleigh(atomic_number: int) -> str:
    r"""Rayleigh cross section of an element, :math:`E^2 \sigma` in MeV2 mm2, `rayl/re-cs`.

    Args:
        atomic_number: Z, at most 98.

    Raises:
        MissingExtraError: xraylib is not installed.

    Note:
        In the internal units of Geant4, unlike the photoelectric table.
    """
    sigma = _cross_section("CSb_Rayl", atomic_number)
    return _points(PHOTON_ENERGIES**2 * sigma * BARN)


def no_nuclear() -> str:
    """A cross section of photons with nuclei that is 0 up to 130 MeV, `gamma/inel{Z}`.

    Note:
        Above, Geant4 has a parametrization without a file: one in some hundred showers of 1 GeV
        loses part of its energy in a nuclear reaction of a photon.
    """
    return "0 130 2\n2\n0 0\n130 0\n"


def _logarithms(atomic_number: int) -> tuple[float, float]:
    thomas_fermi = (
        math.log(184.15 * atomic_number ** (-1 / 3)),
        math.log(1194 * atomic_number ** (-2 / 3)),
    )
    return LIGHT_LOGARITHMS.get(atomic_number, thomas_fermi)


def _cross_section(name: str, atomic_number: int) -> Array:
    """A cross section of xraylib [barn]; a power law of the energy where its table ends."""
    xraylib = require("xraylib", extra="geant4", purpose="Making substitute data for Geant4")
    value = functools.partial(_value, getattr(xraylib, name), atomic_number)
    known = [(energy, value(energy)) for energy in PHOTON_ENERGIES]
    inside = [(energy, sigma) for energy, sigma in known if sigma is not None]
    logs = np.log(np.array(inside))
    sigma = np.interp(np.log(PHOTON_ENERGIES), logs[:, 0], logs[:, 1])
    slope = (logs[-1, 1] - logs[-2, 1]) / (logs[-1, 0] - logs[-2, 0])
    beyond = np.log(PHOTON_ENERGIES) - logs[-1, 0]
    return np.asarray(np.exp(sigma + np.maximum(beyond, 0.0) * slope), dtype=np.float64)


def _value(function: Callable[..., Any], atomic_number: int, energy: float) -> float | None:
    try:
        return float(function(atomic_number, energy * KEV_PER_MEV))
    except ValueError:  # beyond the table
        return None


def _points(values: Array) -> str:
    first, last, n = PHOTON_ENERGIES[0], PHOTON_ENERGIES[-1], len(PHOTON_ENERGIES)
    pairs = zip(PHOTON_ENERGIES, values, strict=True)
    return _text([f"{_line([first, last])} {n}", str(n), *map(_line, pairs)])


def _line(numbers: Sequence[float] | Array | tuple[float, float]) -> str:
    return " ".join(map(_number, numbers))


def _number(value: float) -> str:
    return f"{value:.7g}"


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
