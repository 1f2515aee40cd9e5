r"""Radiative losses of muons, :math:`b(E) = b_{brems} + b_{pair} + b_{nuclear}`, by element.

Each is :math:`\frac{N_A}{A} \int v \frac{d\sigma}{dv} dv` over the fraction :math:`v` of the
energy that is lost, integrated once per element and kept. Energies are in GeV, :math:`b` is in
cm2/g.

References:
    D. E. Groom, N. V. Mokhov and S. I. Striganov, At. Data Nucl. Data Tables 78 (2001) 183;
    bremsstrahlung: S. R. Kelner, R. P. Kokoulin and A. A. Petrukhin, MEPhI preprint 024-95
    (1995), Phys. Atom. Nucl. 60 (1997) 576; pairs: R. P. Kokoulin and A. A. Petrukhin, Proc. 12th
    ICRC 6 (1971) 2436, S. R. Kelner, Phys. Atom. Nucl. 61 (1998) 448, with the Coulomb correction
    of D. Yu. Ivanov et al., Phys. Lett. B 442 (1998) 453; nuclear: L. B. Bezrukov and
    E. V. Bugaev, Sov. J. Nucl. Phys. 33 (1981) 635.
"""

__all__ = [
    "bremsstrahlung",
    "bremsstrahlung_spectrum",
    "gauss",
    "largest_fraction",
    "nuclear",
    "nuclear_spectrum",
    "pair_production",
    "pair_spectrum",
    "radiative_loss",
]

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics import _composition
from detopt.physics._collision import ELECTRON_MASS, FINE_STRUCTURE
from detopt.physics._constants import AVOGADRO, MUON_MASS
from detopt.physics._spline import UniformSpline

ELECTRON_RADIUS = 2.8179403262e-13  # cm; CODATA 2018
MICROBARN = 1e-30  # cm2
SQRT_E = math.sqrt(math.e)
RATIO = MUON_MASS / ELECTRON_MASS
SCREENING, SCREENING_HYDROGEN = 183.0, 202.4  # radiation logarithm of pairs; Kelner 1998
PHOTON_THRESHOLD = 0.2  # GeV, smallest transfer of a nuclear interaction; Bezrukov & Bugaev 1981
VECTOR_MASSES = (0.54, 1.80)  # GeV^2, m_1^2 and m_2^2; idem
LOWEST, HIGHEST, POINTS = 0.2, 1e6, 96  # total energies [GeV] of the table and their number
N_FRACTIONS, N_ASYMMETRIES = 160, 24  # Gauss-Legendre points in ln v and in rho


@functools.cache
def radiative_loss(symbol: str) -> UniformSpline:
    """Table of ln b against ln E [GeV] of the element; accurate to 0.1 % of the cross sections."""
    element = _composition.load_table().elements[symbol]
    step = math.log(HIGHEST / LOWEST) / (POINTS - 1)
    energy = LOWEST * torch.exp(step * torch.arange(POINTS, dtype=torch.float64))
    number, mass = element.atomic_number, element.atomic_mass
    total = (
        bremsstrahlung(energy, number, mass)
        + pair_production(energy, number, mass)
        + nuclear(energy, mass)
    )
    return UniformSpline.through(math.log(LOWEST), step, total.log())


def bremsstrahlung(
    energy: Float[Tensor, " n"], atomic_number: int, atomic_mass: float
) -> Float[Tensor, " n"]:
    """Loss to bremsstrahlung on nucleus and atomic electrons."""
    v, weight = _log_nodes(torch.full_like(energy, 1e-6), largest_fraction(energy, atomic_number))
    spectrum = bremsstrahlung_spectrum(energy[:, None], v, atomic_number, atomic_mass)
    return (weight * v * spectrum).sum(dim=-1)


def bremsstrahlung_spectrum(
    energy: Float[Tensor, "*#batch"],
    v: Float[Tensor, "*#batch"],
    atomic_number: int,
    atomic_mass: float,
) -> Float[Tensor, "*batch"]:
    r"""Bremsstrahlung on nucleus and atomic electrons, :math:`\frac{N_A}{A} v \frac{d\sigma}{dv}`.

    .. math::
        \frac{d\sigma}{dv} = \alpha \left(2 r_e \frac{m_e}{M}\right)^2 Z
            \left(\frac43 - \frac43 v + v^2\right) \frac{Z \Phi_n(\delta) + \Phi_e(\delta)}{v},
            \qquad \delta = \frac{M^2 v}{2 E (1 - v)}
    """
    cube_root = atomic_number ** (1 / 3)
    delta = MUON_MASS**2 * v / (2 * energy * (1 - v))
    elastic, inelastic = (202.4, 446.0) if atomic_number == 1 else (182.7, 1429.0)

    screened = elastic / (cube_root * ELECTRON_MASS)
    nucleus = torch.log(screened * MUON_MASS / (1 + delta * SQRT_E * screened))
    size = 1.54 * atomic_mass**0.27
    nucleus = nucleus - torch.log(size / (1 + delta * (size * SQRT_E - 2) / MUON_MASS))

    shell = inelastic / (cube_root**2 * ELECTRON_MASS)
    electrons = torch.log(MUON_MASS / delta / (delta * MUON_MASS / ELECTRON_MASS**2 + SQRT_E))
    electrons = electrons - torch.log(1 + 1 / (delta * SQRT_E * shell))
    reachable = v <= 1 / (1 + MUON_MASS**2 / (2 * ELECTRON_MASS * energy))
    electrons = torch.where(reachable, electrons, 0.0).clamp(min=0.0)

    shape = 4 / 3 - 4 / 3 * v + v**2
    strength = atomic_number * nucleus.clamp(min=0.0) + electrons
    scale = FINE_STRUCTURE * (2 * ELECTRON_RADIUS / RATIO) ** 2 * atomic_number
    return AVOGADRO / atomic_mass * scale * shape * strength


def pair_production(
    energy: Float[Tensor, " n"], atomic_number: int, atomic_mass: float
) -> Float[Tensor, " n"]:
    """Loss to direct production of electron pairs on nucleus and atomic electrons."""
    v, weight = _log_nodes(4 * ELECTRON_MASS / energy, largest_fraction(energy, atomic_number))
    spectrum = pair_spectrum(energy[:, None], v, atomic_number, atomic_mass)
    return (weight * v * spectrum).sum(dim=-1)


def pair_spectrum(
    energy: Float[Tensor, "*#batch"],
    v: Float[Tensor, "*#batch"],
    atomic_number: int,
    atomic_mass: float,
) -> Float[Tensor, "*batch"]:
    r"""Direct production of electron pairs, :math:`\frac{N_A}{A} v \frac{d\sigma}{dv}`.

    .. math::
        \frac{d\sigma}{dv} = \frac{4}{3\pi} Z (Z + \zeta) (\alpha r_e)^2 \frac{1 - v}{v}
            \int_0^{\rho_{max}} \left(\Phi_e + \frac{m_e^2}{M^2} \Phi_\mu\right) d\rho

    The radiation logarithm is reduced by the Coulomb correction, 7 % of the loss in lead.
    """
    opening = (1 - 4 * ELECTRON_MASS / (energy * v)).clamp(min=0.0).sqrt()
    rho_max = (1 - 6 * MUON_MASS**2 / (energy**2 * (1 - v))).clamp(min=0.0) * opening
    nodes, weights = gauss(N_ASYMMETRIES)
    # rho = 1 - (1 - rho_max) ^ s, which resolves the peak at rho = 1
    log_gap = torch.log1p(-rho_max.clamp(max=1 - 1e-15))[..., None]
    rho = 1 - torch.exp(log_gap * nodes)
    measure = weights * (1 - rho) * (-log_gap)
    spectrum = _pair_bracket(energy[..., None], v[..., None], rho, atomic_number)
    integral = (spectrum * measure).sum(dim=-1)

    charge = atomic_number * (atomic_number + _pair_electrons(energy, atomic_number))
    scale = 4 / (3 * math.pi) * (FINE_STRUCTURE * ELECTRON_RADIUS) ** 2
    return AVOGADRO / atomic_mass * scale * charge * (1 - v) * integral


def nuclear(energy: Float[Tensor, " n"], atomic_mass: float) -> Float[Tensor, " n"]:
    """Loss to inelastic interactions with nuclei."""
    v, weight = _log_nodes(
        (PHOTON_THRESHOLD / energy).clamp(max=0.999), torch.full_like(energy, 1 - 1e-9)
    )
    spectrum = nuclear_spectrum(energy[:, None], v, atomic_mass)
    return (weight * v * spectrum).sum(dim=-1)


def nuclear_spectrum(
    energy: Float[Tensor, "*#batch"], v: Float[Tensor, "*#batch"], atomic_mass: float
) -> Float[Tensor, "*batch"]:
    r"""Inelastic interaction with nuclei, :math:`\frac{N_A}{A} v \frac{d\sigma}{dv}`.

    By vector-meson dominance with nuclear shadowing. The shadowing is applied to hydrogen too, as
    the tables of Groom et al. have it (10 % of the term there).
    """
    photon = v * energy
    cross_section = 114.3 + 1.647 * torch.log(0.0213 * photon) ** 2  # microbarn per nucleon
    x = 0.00282 * math.cbrt(atomic_mass) * cross_section
    shadow = 3 / x**3 * (x**2 / 2 - 1 + torch.exp(-x) * (1 + x))
    transverse = 0.75 * shadow
    first, second = VECTOR_MASSES
    t = MUON_MASS**2 * v**2 / (1 - v)
    kappa = 1 - 2 / v + 2 / v**2
    tail = 2 * MUON_MASS**2 / t

    bracket = transverse * (kappa * torch.log(1 + first / t) - kappa * first / (first + t) - tail)
    bracket = bracket + 0.25 * (kappa * torch.log(1 + second / t) - tail)
    longitudinal = transverse * first / (first + t) + 0.25 * second / t * torch.log(1 + t / second)
    bracket = bracket + MUON_MASS**2 / (2 * t) * longitudinal

    sigma = FINE_STRUCTURE / (2 * math.pi) * atomic_mass * cross_section * MICROBARN * v * bracket
    above = photon >= PHOTON_THRESHOLD
    return AVOGADRO / atomic_mass * torch.where(above, v * sigma.clamp(min=0.0), 0.0)


def largest_fraction(
    energy: Float[Tensor, "*batch"], atomic_number: int
) -> Float[Tensor, "*batch"]:
    """Largest fraction of the energy that bremsstrahlung or a pair takes."""
    cube_root: float = atomic_number ** (1 / 3)
    return 1 - 0.75 * SQRT_E * MUON_MASS / energy * cube_root


def _pair_bracket(
    energy: Float[Tensor, "*#batch 1"],
    v: Float[Tensor, "*#batch 1"],
    rho: Float[Tensor, "*#batch rho"],
    atomic_number: int,
) -> Float[Tensor, "*batch rho"]:
    """The bracket of the cross section; beyond Born approximation by the Coulomb correction."""
    cube_root = atomic_number ** (1 / 3)
    coulomb = _composition.coulomb_correction(atomic_number)
    square = rho**2
    beta = v**2 / (2 * (1 - v))
    xi = (RATIO * v / 2) ** 2 * (1 - square) / (1 - v)
    log_xi = torch.log1p(1 / xi)

    b_e = ((2 + square) * (1 + beta) + xi * (3 + square)) * log_xi
    b_e = b_e + (1 - square - beta) / (1 + xi) - (3 + square)
    large = (3 - square + 2 * beta * (1 + square)) / (2 * xi)
    b_e = torch.where(xi > 1e3, large, b_e)
    b_mu = ((1 + square) * (1 + 1.5 * beta) - (1 + 2 * beta) * (1 - square) / xi) * torch.log1p(xi)
    b_mu = b_mu + xi * (1 - square - beta) / (1 + xi) + (1 + 2 * beta) * (1 - square)
    b_mu = torch.where(xi < 1e-3, xi / 2 * (5 - square + beta * (3 + square)), b_mu)

    y_e = (5 - square + 4 * beta * (1 + square)) / (
        2 * (1 + 3 * beta) * torch.log(3 + 1 / xi) - square - 2 * beta * (2 - square)
    )
    y_mu = (4 + square + 3 * beta * (1 + square)) / (
        (1 + square) * (1.5 + 2 * beta) * torch.log(3 + xi) + 1 - 1.5 * square
    )
    screening = (SCREENING_HYDROGEN if atomic_number == 1 else SCREENING) / cube_root
    recoil = 2 * ELECTRON_MASS * SQRT_E * screening * (1 + xi) / (energy * v * (1 - square))
    spread_e = (1 + xi) * (1 + y_e)
    l_e = torch.log(screening * spread_e.sqrt() / (1 + recoil * (1 + y_e)))
    l_e = l_e - torch.log1p((1.5 * cube_root / RATIO) ** 2 * spread_e) / 2 - coulomb
    # the factor ((1 + 1/xi)(1 + Y))^(1/2) cancels between the two logarithms of L_mu
    l_mu = torch.log(RATIO * screening / (1.5 * cube_root) / (1 + recoil * (1 + y_mu)))

    return (b_e * l_e).clamp(min=0.0) + (b_mu * l_mu).clamp(min=0.0) / RATIO**2


def _pair_electrons(energy: Float[Tensor, "*batch"], atomic_number: int) -> Float[Tensor, "*batch"]:
    """Weight of pair production on atomic electrons relative to a unit of nuclear charge."""
    first, second = (4.4e-5, 4.8e-5) if atomic_number == 1 else (1.95e-5, 5.3e-5)
    gamma = energy / MUON_MASS
    top = torch.log(gamma / (1 + first * atomic_number ** (2 / 3) * gamma))
    bottom = torch.log(gamma / (1 + second * atomic_number ** (1 / 3) * gamma))
    top = (0.073 * top - 0.26).clamp(min=0.0)
    return torch.where(top > 0, top / (0.058 * bottom - 0.14), 0.0)


def _log_nodes(
    low: Float[Tensor, " n"], high: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "n v"], Float[Tensor, "n v"]]:
    """Fractions v, evenly in ln v, and their weights for an integral over ln v."""
    nodes, weights = gauss(N_FRACTIONS)
    high = torch.maximum(high, low * (1 + 1e-9))
    width = torch.log(high / low)[:, None]
    return low[:, None] * torch.exp(nodes * width), weights * width


@functools.cache
def gauss(n: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Gauss-Legendre nodes and weights on (0, 1), from the Jacobi matrix of Golub and Welsch."""
    k = torch.arange(1, n, dtype=torch.float64)
    off = k / (4 * k**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return (values + 1) / 2, vectors[0] ** 2
