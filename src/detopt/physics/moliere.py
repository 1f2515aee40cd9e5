r"""Molière's distribution of the projected angle of multiple scattering.

Its core is nearly Gaussian; its tails fall as the third power of the angle, as single collisions
with nuclei do. Lengths are in metres, momenta in GeV/c, densities in g/cm3; the angles of the
distribution itself are in units of its width.
"""

__all__ = [
    "collision_count",
    "lynch_dahl_angle",
    "moliere_deviate",
    "moliere_expansion",
    "moliere_survival",
]

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._constants import FINE_STRUCTURE
from detopt.physics._domain import require_charge, require_positive
from detopt.physics._numerics import interpolate, simpson
from detopt.physics._tensors import Values, as_tensors

CHARACTERISTIC = 0.157e-6  # GeV2 cm2/g; chi_c^2, Lynch & Dahl 1991 eq. 3
SCREENING = 2.007e-11  # GeV2; chi_alpha^2, Lynch & Dahl 1991 eq. 4
SCREENING_COULOMB = 3.34  # dimensionless; idem
CM_PER_M = 100.0
SCREENING_RATIO = 1.167  # exp(2 gamma - 1), from chi_alpha to Molière's angle; Bethe 1953 eq. 23
MIN_COLLISIONS = 100.0  # Molière theory fails below about 20 (Bethe 1953, section III)
CENTRAL_EDGE = 2.326348  # a unit Gaussian has 98 % inside, the part that Lynch & Dahl 1991 fit
CENTRAL_RMS = 0.934593  # rms of a unit Gaussian inside that edge
MAX_NORMAL = 5.0  # beyond (6e-7 of the draws) the transform is cut off
TABLE_STEP = 0.01


def collision_count(
    path: Values,
    density: Values,
    atomic_number: Values,
    mass_number: Values,
    momentum: Values,
    beta: Values,
    charge: int = 1,
) -> Float[Tensor, "*batch"]:
    r"""Mean number of elastic collisions :math:`\Omega` in a slab, which shapes the tails.

    .. math::
        \Omega = \chi_c^2 / \chi_\alpha^2

    with the characteristic and the screening angle of `lynch_dahl_angle`.

    Args:
        path: Path length in the slab [m].
        density: Density [g/cm3].
        atomic_number: Atomic number :math:`Z`.
        mass_number: Relative atomic mass :math:`A` [g/mol].
        momentum: Momentum [GeV/c].
        beta: Velocity :math:`\beta = v/c`.
        charge: Charge number :math:`z`.

    Returns:
        Number of collisions, dimensionless.

    Raises:
        DomainError: `charge` is 0, or another Python number is not positive.

    Note:
        For one element. Differentiable in all tensors.

    References:
        G. R. Lynch and O. I. Dahl, Nucl. Instrum. Meth. B 58 (1991) 6, eqs. 3 to 5.
    """
    characteristic, screening = _squared_angles(
        path, density, atomic_number, mass_number, momentum, beta, charge
    )
    return characteristic / screening


def lynch_dahl_angle(
    path: Values,
    density: Values,
    atomic_number: Values,
    mass_number: Values,
    momentum: Values,
    beta: Values,
    charge: int = 1,
    fraction: float = 0.98,
) -> Float[Tensor, "*batch"]:
    r"""Width of the projected scattering angle from the properties of the nuclei.

    .. math::
        \sigma^2 = \frac{\chi_c^2}{1 + F^2} \left[\frac{1 + v}{v} \ln(1 + v) - 1\right],
        \qquad v = \frac{\Omega}{2 (1 - F)}

        \chi_c^2 = 0.157\, Z (Z+1) \frac{X}{A} \frac{z^2}{p^2\beta^2}, \qquad
        \chi_\alpha^2 = 2.007\times10^{-5}\, \frac{Z^{2/3}}{p^2}
            \left[1 + 3.34 \left(\frac{Z z \alpha}{\beta}\right)^2\right]

    with :math:`\Omega = \chi_c^2/\chi_\alpha^2`, :math:`p` in MeV/c and :math:`X` in g/cm2.

    Args:
        path: Path length in the slab [m].
        density: Density [g/cm3].
        atomic_number: Atomic number :math:`Z`.
        mass_number: Relative atomic mass :math:`A` [g/mol].
        momentum: Momentum :math:`p` [GeV/c].
        beta: Velocity :math:`\beta = v/c`.
        charge: Charge number :math:`z`.
        fraction: Central fraction :math:`F` of the distribution that the Gaussian describes.

    Returns:
        Gaussian width :math:`\sigma` of the central fraction [rad].

    Raises:
        DomainError: `charge` is 0, `fraction` lies outside 0 to 1, or another Python number is
            not positive.

    Note:
        For one element; within 2 % of Molière theory for 10 to :math:`10^8` collisions and
        :math:`F` from 0.90 to 0.995. Differentiable in all tensors.

    References:
        G. R. Lynch and O. I. Dahl, Nucl. Instrum. Meth. B 58 (1991) 6, eqs. 3 to 7.
    """
    if not 0 < fraction < 1:
        raise DomainError(
            f"`fraction` must lie between 0 and 1, got {fraction}. The usual choice is 0.98."
        )
    characteristic, screening = _squared_angles(
        path, density, atomic_number, mass_number, momentum, beta, charge
    )
    ratio = characteristic / screening / (2 * (1 - fraction))
    bracket = (1 + ratio) / ratio * torch.log1p(ratio) - 1

    return (characteristic * bracket / (1 + fraction**2)).sqrt()


def moliere_expansion(collisions: float) -> float:
    r"""Molière's parameter :math:`B`, the root above 1 of :math:`B - \ln B = \ln(\Omega/1.167)`.

    Args:
        collisions: Mean number of collisions :math:`\Omega`, at least 100.

    Returns:
        The parameter :math:`B`; the distribution is expanded in powers of :math:`1/B`.

    Raises:
        DomainError: `collisions` is below 100, where Molière's expansion fails.

    References:
        H. A. Bethe, Phys. Rev. 89 (1953) 1256, eq. 23.
    """
    if not collisions >= MIN_COLLISIONS:
        raise DomainError(
            f"`collisions` must be >= {MIN_COLLISIONS:g}, got {collisions}. "
            "Thinner layers need single scattering, not Molière's theory."
        )
    reduced = math.log(collisions / SCREENING_RATIO)
    expansion = reduced + math.log(reduced)
    for _ in range(50):  # Newton; quadratic from this start
        expansion -= (expansion - math.log(expansion) - reduced) / (1 - 1 / expansion)
    return expansion


def moliere_survival(angle: Float[Tensor, " n"], expansion: float) -> Float[Tensor, " n"]:
    r"""Probability that the projected angle exceeds a value, on either side.

    .. math::
        P(|\phi| > a) = 1 - \frac{2}{\pi} \int_0^\infty \frac{\sin a u}{u} e^{-u^2/4}
            \left[1 + \frac{L}{B} + \frac{L^2}{2 B^2}\right] du,
        \qquad L = \frac{u^2}{4} \ln\frac{u^2}{4}

    Args:
        angle: Projected angle :math:`a` in units of :math:`\chi_c\sqrt B`, from 0 to 100.
        expansion: Parameter :math:`B` (see `moliere_expansion`).

    Returns:
        Probability between 0 and 1, to an absolute :math:`10^{-9}`.

    Raises:
        DomainError: `expansion` is not above 1, where the series ends.

    Note:
        Small angles, no nuclear form factor. Differentiable in `angle`.

    References:
        H. A. Bethe, Phys. Rev. 89 (1953) 1256, eqs. 25 to 28 for the projected angle.
    """
    if not expansion > 1:
        raise DomainError(
            f"`expansion` must be > 1, got {expansion}. `moliere_expansion` gives it."
        )
    nodes, weights = simpson(upper=12.0, n_intervals=4096)
    square = nodes.square() / 4
    log_term = torch.xlogy(square, square)
    kernel = torch.exp(-square) * (
        1 + log_term / expansion + log_term.square() / (2 * expansion**2)
    )
    waves = angle.unsqueeze(-1) * torch.sinc(angle.unsqueeze(-1) * nodes / math.pi)

    return 1 - 2 / math.pi * (waves @ (weights * kernel))


def moliere_deviate(normals: Float[Tensor, "*draw"], collisions: float) -> Float[Tensor, "*draw"]:
    r"""Turns unit normals into draws of Molière's projected angle, by equal probability.

    The scale is such that the rms of the central 98 % equals that of a unit Gaussian. Multiply by
    :math:`\theta_0` of the Highland formula to have an angle.

    Args:
        normals: Unit normals.
        collisions: Mean number of collisions :math:`\Omega` in the layer, at least 100.

    Returns:
        Draws with Molière's shape; odd and increasing in `normals`.

    Raises:
        DomainError: `collisions` is below 100, where Molière's expansion fails.

    Note:
        A table of the quantiles, interpolated linearly, to 0.1 % for \|normals\| < 4. Draws end
        at \|normals\| = 5, a probability of 6e-7. Differentiable.

    References:
        G. Molière, Z. Naturforsch. 3a (1948) 78; H. A. Bethe, Phys. Rev. 89 (1953) 1256.
    """
    table = _quantile_table(float(collisions)).to(normals)
    position = normals.abs().clamp(max=MAX_NORMAL) / TABLE_STEP
    index = position.detach().floor().clamp(max=len(table) - 2).long()
    low, high = table[index], table[index + 1]

    return torch.sign(normals) * torch.lerp(low, high, position - index)


@lru_cache(maxsize=64)
def _quantile_table(collisions: float) -> Tensor:
    """Quantiles of the absolute angle at normals 0, 0.01, ... 5, in units of the central width."""
    expansion = moliere_expansion(collisions)
    angles = torch.cat(
        [
            torch.linspace(0.0, 6.0, 601, dtype=torch.float64),
            torch.logspace(math.log10(6.0), 2.0, 200, dtype=torch.float64)[1:],
        ]
    )
    survival = moliere_survival(angles, expansion)
    tail = torch.logspace(2.0, 4.0, 100, dtype=torch.float64)[1:]  # falls as the inverse square
    survival = torch.cat([survival, survival[-1] * (angles[-1] / tail).square()])
    angles = torch.cat([angles, tail])

    n_points = round(MAX_NORMAL / TABLE_STEP) + 1
    normals = torch.linspace(0.0, MAX_NORMAL, n_points, dtype=torch.float64)
    quantiles = _quantiles(normals, survival, angles)

    return quantiles / _central_scale(survival, angles)


def _central_scale(survival: Float[Tensor, " n"], angles: Float[Tensor, " n"]) -> Tensor:
    """Central width of the distribution as that of the Gaussian of the same central rms."""
    normals = torch.linspace(0.0, CENTRAL_EDGE, 2001, dtype=torch.float64)
    square = _quantiles(normals, survival, angles).square()
    weight = torch.exp(-normals.square() / 2)
    mean_square = torch.trapezoid(weight * square) / torch.trapezoid(weight)
    return mean_square.sqrt() / CENTRAL_RMS


def _quantiles(
    normals: Float[Tensor, " m"], survival: Float[Tensor, " n"], angles: Float[Tensor, " n"]
) -> Float[Tensor, " m"]:
    """Absolute angles that are exceeded as rarely as the absolute normals."""
    wanted = torch.erfc(normals / math.sqrt(2))
    return interpolate(wanted.log().neg(), survival.log().neg(), angles)


def _squared_angles(
    path: Values,
    density: Values,
    atomic_number: Values,
    mass_number: Values,
    momentum: Values,
    beta: Values,
    charge: int,
) -> tuple[Tensor, Tensor]:
    """Squares of Molière's characteristic and screening angles [rad2]."""
    require_charge(charge)
    require_positive(
        path=path,
        density=density,
        atomic_number=atomic_number,
        mass_number=mass_number,
        momentum=momentum,
        beta=beta,
    )
    x, rho, number, mass, p, b = as_tensors(
        path, density, atomic_number, mass_number, momentum, beta
    )
    grammage = CM_PER_M * x * rho
    coulomb = (number * charge * FINE_STRUCTURE / b).square()

    characteristic = CHARACTERISTIC * number * (number + 1) * grammage / mass
    screening = SCREENING * number ** (2 / 3) * (1 + SCREENING_COULOMB * coulomb)

    return characteristic * (charge / (p * b)).square(), screening / p.square()
