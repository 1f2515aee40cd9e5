"""Masses, charges and lifetimes of particles, from the tables of the Particle Data Group.

Masses are in GeV, lifetimes in nanoseconds, charges in elementary charges.

>>> get("muon").pdg_id
13
>>> round(mass("proton"), 5)
0.93827
"""

__all__ = ["Particle", "charge", "get", "lifetime", "mass", "names"]

import difflib
import functools
import math
from dataclasses import dataclass

from detopt.errors import NotFoundError
from detopt.physics._constants import ELECTRON_MASS

# Names that people use, with their number in the Monte Carlo scheme of the PDG. A name without a
# sign is the particle itself: the negative muon and electron, the positive pion and kaon.
NUMBERS = {
    "photon": 22,
    "gamma": 22,
    "electron": 11,
    "e-": 11,
    "positron": -11,
    "e+": -11,
    "muon": 13,
    "mu-": 13,
    "antimuon": -13,
    "mu+": -13,
    "tau": 15,
    "tau-": 15,
    "tau+": -15,
    "electron_neutrino": 12,
    "muon_neutrino": 14,
    "tau_neutrino": 16,
    "pion": 211,
    "pi+": 211,
    "pi-": -211,
    "pi0": 111,
    "kaon": 321,
    "K+": 321,
    "K-": -321,
    "K0S": 310,
    "K0L": 130,
    "eta": 221,
    "phi": 333,
    "proton": 2212,
    "p": 2212,
    "antiproton": -2212,
    "neutron": 2112,
    "n": 2112,
    "antineutron": -2112,
    "Lambda": 3122,
    "D0": 421,
    "D+": 411,
    "B0": 511,
    "B+": 521,
    "J/psi": 443,
    "Upsilon": 553,
    "W+": 24,
    "W-": -24,
    "Z": 23,
    "Higgs": 25,
    "deuteron": 1000010020,
    "triton": 1000010030,
    "alpha": 1000020040,
    "carbon_ion": 1000060120,
}
PER_GEV = 1e-3  # the tables are in MeV
NUCLEUS = 1_000_000_000  # numbers of nuclei begin here; their rows give the mass of the atom
NEUTRINOS = {12, 14, 16}
HEAVIEST_QUARK = 8  # numbers from 1 on are quarks, with the two of a fourth generation


@dataclass(frozen=True)
class Particle:
    """Properties of one particle.

    Attributes:
        name: The name or number asked for.
        pdg_id: Number in the Monte Carlo scheme of the PDG; negative for antiparticles.
        mass: Mass [GeV].
        charge: Charge [e].
        lifetime: Mean lifetime at rest [ns], infinite for a stable particle.
    """

    name: str
    pdg_id: int
    mass: float
    charge: float
    lifetime: float

    @property
    def is_quark(self) -> bool:
        """Whether it is a quark or an antiquark, which crosses no matter on its own."""
        return 1 <= abs(self.pdg_id) <= HEAVIEST_QUARK


def names() -> list[str]:
    """Names that `get` knows besides PDG numbers, in alphabetical order."""
    return sorted(NUMBERS, key=str.lower)


@functools.cache
def get(particle: str | int) -> Particle:
    """The particle of that name or number.

    Args:
        particle: A name of `names`, such as ``"muon"``, a name in the style of the PDG, such as
            ``"D(s)+"``, or a PDG number, such as 13.

    Raises:
        NotFoundError: There is none, and the message suggests the nearest names; or the name is
            that of particles of several charges, and the message lists them.

    Note:
        A particle with a measured width has the lifetime that belongs to it. Neutrinos, whose
        masses are below 1e-9 GeV, have mass 0. A nucleus has the mass of its atom less that of
        the electrons (their binding is below 1e-6 of it).

    References:
        Particle Data Group, Review of Particle Physics, through the package `particle`.
    """
    from particle import InvalidParticle, ParticleNotFound  # reads its tables: only when asked
    from particle import Particle as Entry

    try:
        entry = Entry.from_pdgid(_number(particle))
    except (InvalidParticle, ParticleNotFound):
        raise NotFoundError(_unknown(particle)) from None

    number, charge = int(entry.pdgid), float(entry.charge or 0.0)
    if entry.mass is None and abs(number) not in NEUTRINOS:
        raise NotFoundError(f"{particle!r} has no measured mass. Give the mass by hand.")
    mass = 0.0 if abs(number) in NEUTRINOS else (entry.mass or 0.0) * PER_GEV
    if abs(number) > NUCLEUS:
        mass -= abs(charge) * ELECTRON_MASS

    return Particle(
        name=str(particle),
        pdg_id=number,
        mass=mass,
        charge=charge,
        lifetime=math.inf if entry.lifetime is None else float(entry.lifetime),
    )


def mass(particle: str | int) -> float:
    """Mass [GeV] of the particle of that name or PDG number."""
    return get(particle).mass


def charge(particle: str | int) -> float:
    """Charge [e] of the particle of that name or PDG number."""
    return get(particle).charge


def lifetime(particle: str | int) -> float:
    """Mean lifetime at rest [ns] of the particle of that name or PDG number."""
    return get(particle).lifetime


def _number(particle: str | int) -> int:
    if isinstance(particle, int):
        return particle
    if particle in NUMBERS:
        return NUMBERS[particle]
    if particle.lower() in NUMBERS:
        return NUMBERS[particle.lower()]

    from particle import Particle as Entry

    found = Entry.findall(name=particle) or Entry.findall(pdg_name=particle)
    if not found:
        raise NotFoundError(_unknown(particle))
    if len({entry.charge for entry in found}) > 1:
        several = sorted(found, key=lambda entry: -(entry.charge or 0))
        listed = ", ".join(repr(entry.name) for entry in several)
        raise NotFoundError(f"{particle!r} may be any of {listed}. Name one of them.")
    return max(int(entry.pdgid) for entry in found)


def _unknown(particle: str | int) -> str:
    if isinstance(particle, int):
        return f"No particle with PDG number {particle}. See https://pdg.lbl.gov for the scheme."
    close = difflib.get_close_matches(particle, NUMBERS, n=3, cutoff=0.5)
    hint = ", ".join(repr(match) for match in close)
    advice = f"Did you mean {hint}?" if close else "See `detopt.physics.particles.names()`."
    return f"No particle {particle!r}. {advice}"
