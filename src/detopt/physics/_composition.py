"""What a composition says about a medium: Tsai's radiation length and Bragg's additivity."""

__all__ = ["Element", "Table", "load_table", "mass_fractions", "radiation_depth", "tsai"]

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from detopt.errors import DomainError, NotFoundError
from detopt.physics._collision import FINE_STRUCTURE

TSAI_SCALE = 716.408  # g/cm2, 1 / (4 alpha r_e^2 N_A) per unit atomic mass; PDG
# Radiation logarithms (L, L') of the elements that Thomas-Fermi does not describe; Tsai 1974
LIGHT_LOGARITHMS = {1: (5.31, 6.144), 2: (4.79, 5.621), 3: (4.74, 5.805), 4: (4.71, 5.924)}
MASS_FRACTION_SUM = 1e-3  # numbers that sum to 1 within this are mass fractions


@dataclass(frozen=True)
class Element:
    """One chemical element."""

    symbol: str
    atomic_number: int
    atomic_mass: float  # g/mol
    mean_excitation_energy: float  # GeV
    interaction_depth: float  # nuclear interaction length, g/cm2

    @property
    def radiation_depth(self) -> float:
        """Radiation length [g/cm2]."""
        return tsai(self.atomic_number, self.atomic_mass)


@dataclass(frozen=True)
class Table:
    """The shipped data file: rows of elements, materials and alloys, and other names."""

    elements: dict[str, Element]
    materials: dict[str, dict[str, Any]]
    alloys: dict[str, dict[str, Any]]
    aliases: dict[str, str]


@functools.cache
def load_table() -> Table:
    """The table of `data/materials.json`, which states its sources."""
    path = resources.files("detopt.physics") / "data" / "materials.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    elements = {
        symbol: Element(
            symbol,
            row["atomic_number"],
            row["atomic_mass"],
            row["excitation"] * 1e-9,
            row["interaction_length"],
        )
        for symbol, row in raw["elements"].items()
    }
    return Table(elements, raw["materials"], raw["alloys"], raw["aliases"])


def tsai(atomic_number: int, atomic_mass: float) -> float:
    r"""Radiation length of an element [g/cm2].

    .. math::
        \frac{1}{X_0} = \frac{Z^2 [L - f(\alpha Z)] + Z L'}{716.408\,\mathrm{g/cm^2}\; A}

    References:
        Y.-S. Tsai, Rev. Mod. Phys. 46 (1974) 815.
    """
    coulomb = coulomb_correction(atomic_number)
    thomas_fermi = (
        math.log(184.15 * atomic_number ** (-1 / 3)),
        math.log(1194 * atomic_number ** (-2 / 3)),
    )
    elastic, inelastic = LIGHT_LOGARITHMS.get(atomic_number, thomas_fermi)
    strength = atomic_number**2 * (elastic - coulomb) + atomic_number * inelastic

    return TSAI_SCALE * atomic_mass / strength


def coulomb_correction(atomic_number: int) -> float:
    r"""What the radiation logarithm loses beyond the first Born approximation.

    .. math::
        f(a) = a^2 \left[\frac{1}{1 + a^2} + 0.20206 - 0.0369 a^2 + 0.0083 a^4 - 0.002 a^6\right],
            \qquad a = \alpha Z

    References:
        H. Davies, H. A. Bethe and L. C. Maximon, Phys. Rev. 93 (1954) 788, in the form of the
        Review of Particle Physics.
    """
    square = (FINE_STRUCTURE * atomic_number) ** 2
    series = 1 / (1 + square) + 0.20206 - 0.0369 * square + 0.0083 * square**2 - 0.002 * square**3
    return square * series


def radiation_depth(composition: Mapping[str, float]) -> float:
    r"""Radiation length of a compound [g/cm2], :math:`1/X = \sum_j w_j/X_j`."""
    elements = load_table().elements
    return 1 / sum(w / elements[symbol].radiation_depth for symbol, w in composition.items())


def mass_fractions(amounts: Mapping[str, float | int], by: str) -> dict[str, float]:
    """Mass fractions by symbol from atom counts or mass fractions.

    Args:
        amounts: A number > 0 for each chemical symbol.
        by: ``"atoms"``, ``"mass"``, or ``"auto"``: numbers that sum to 1 are mass fractions.

    Raises:
        DomainError: There is no element, an amount is not > 0, or `by` is another word.
        NotFoundError: A symbol is not an element of the table.
    """
    elements = load_table().elements
    if not amounts:
        raise DomainError("A composition needs at least one element, got none.")
    for symbol, amount in amounts.items():
        if symbol not in elements:
            raise NotFoundError(f"No element {symbol!r}. Use chemical symbols such as 'Si'.")
        if not amount > 0:
            raise DomainError(f"The amount of {symbol!r} must be > 0, got {amount}. Leave it out.")
    if by not in {"auto", "atoms", "mass"}:
        raise DomainError(f"`by` must be 'auto', 'atoms' or 'mass', got {by!r}.")

    total = sum(amounts.values())
    is_mass = by == "mass" or (by == "auto" and abs(total - 1) < MASS_FRACTION_SUM)
    masses = {s: n * (1.0 if is_mass else elements[s].atomic_mass) for s, n in amounts.items()}
    scale = sum(masses.values())

    return {symbol: mass / scale for symbol, mass in masses.items()}
