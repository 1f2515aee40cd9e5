r"""Where the energy of an electromagnetic shower is along its axis, and how much leaks out.

Depths are in radiation lengths. A gamma distribution falls too fast behind the maximum, because
photons of a few MeV, where matter is most transparent, feed the real tail. With the coefficients
for the mean of many showers its 95 % depth is still within 0.8 radiation lengths of Geant4;
beyond that, add `photon_tail`. The often quoted :math:`L_{95} = t_\text{max} + 0.08 Z + 9.6` is 3
to 6 radiation lengths longer than full simulation.
"""

__all__ = [
    "PhotonTail",
    "contained_fraction",
    "containment_depth",
    "leakage",
    "longitudinal_profile",
    "photon_tail",
]

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._incomplete_gamma import gamma_density, lower_gamma, lower_gamma_quantile
from detopt.physics._tensors import Values, as_tensor, as_tensors
from detopt.physics.electromagnetic_showers import LongitudinalShape

TAIL_WEIGHT = 0.08  # fit to Geant4 11.4, Al to U, 1 to 100 GeV
TAIL_SCALE, TAIL_POWER = 1.29, 0.22  # radiation lengths; idem, fall of the leakage beyond 20


@dataclass(frozen=True)
class PhotonTail:
    """The share of energy that penetrating photons carry behind the gamma profile.

    Attributes:
        weight: Share of the energy in the component with the long tail.
        attenuation: Length of its exponential fall in radiation lengths.
    """

    weight: Values
    attenuation: Values


def photon_tail(atomic_number: Values) -> PhotonTail:
    r"""The tail that brings the leakage to that of full simulation.

    .. math::
        w = 0.08, \qquad \lambda = 1.29\, Z^{0.22}\, X_0

    Args:
        atomic_number: Atomic number :math:`Z`, averaged with the masses.

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Fitted with `AVERAGE` to showers of 1, 10 and 100 GeV in Al, Fe, Cu, PbWO4, W, Pb and U.
        The depths that hold 95, 98, 99 and 99.5 % agree within 0.8 radiation lengths, the
        leakage within 25 %. In lead 3.4 radiation lengths, as measured for photons there.

    References:
        Geant4 11.4.0 libraries, electromagnetic option 1, with substitute data (bremsstrahlung
        below 1 GeV from the formula of Tsai, photoelectric effect from xraylib); not official
        Geant4 data.
    """
    require_positive(atomic_number=atomic_number)
    number = as_tensor(atomic_number)
    return PhotonTail(TAIL_WEIGHT, TAIL_SCALE * number**TAIL_POWER)


def longitudinal_profile(depth: Values, shape: LongitudinalShape) -> Float[Tensor, "*batch"]:
    r"""Share of the energy deposited per radiation length.

    .. math::
        \frac{1}{E}\frac{dE}{dt} = \frac{\beta (\beta t)^{\alpha-1} e^{-\beta t}}{\Gamma(\alpha)}

    Args:
        depth: Depth :math:`t` in radiation lengths; the profile is 0 where it is negative.
        shape: Shape of the shower.

    Returns:
        Share per radiation length; its integral over depth is 1.

    Note:
        Differentiable in depth and shape.

    References:
        E. Longo and I. Sestili, Nucl. Instrum. Meth. 128 (1975) 283.
    """
    _, depth = as_tensors(shape.alpha, depth)
    return shape.beta * gamma_density(shape.alpha, shape.beta * depth)


def contained_fraction(
    depth: Values, shape: LongitudinalShape, tail: PhotonTail | None = None
) -> Float[Tensor, "*batch"]:
    r"""Share of the energy deposited in front of a depth.

    .. math::
        C(t) = (1 - w)\, P(\alpha, \beta t) + w\, P(1 + T/\lambda, t/\lambda)

    The second component has the same maximum as the first and falls with the attenuation length
    :math:`\lambda` of photons; :math:`w = 0` without a tail.

    Args:
        depth: Depth :math:`t` in radiation lengths; nothing is contained where it is negative.
        shape: Shape of the shower.
        tail: Tail of photons, see `photon_tail`; None for the pure gamma profile, whose leakage
            is too small by a factor 2 where 0.5 % leak.

    Note:
        Differentiable in depth, shape and tail, exactly.

    References:
        See `longitudinal_profile` and `photon_tail`.
    """
    _, depth = as_tensors(shape.alpha, depth)
    core = lower_gamma(shape.alpha, shape.beta * depth)
    if tail is None:
        return core
    _, weight, length = as_tensors(core, tail.weight, tail.attenuation)
    return core + weight * (lower_gamma(1 + shape.maximum / length, depth / length) - core)


def leakage(
    depth: Values, shape: LongitudinalShape, tail: PhotonTail | None = None
) -> Float[Tensor, "*batch"]:
    """Share of the energy behind a depth, one minus `contained_fraction`."""
    return 1 - contained_fraction(depth, shape, tail)


def containment_depth(fraction: Values, shape: LongitudinalShape) -> Float[Tensor, "*batch"]:
    r"""Depth that holds a share of the energy by the pure gamma profile.

    Args:
        fraction: Share contained, between 0 and 1.
        shape: Shape of the shower.

    Returns:
        Depth in radiation lengths.

    Raises:
        DomainError: A Python number for the share is not between 0 and 1.

    Note:
        With `mean_shape` within 0.8 radiation lengths of full simulation up to 95 %, and too
        short beyond: by up to 1.2 at 99 %. Differentiable.

    References:
        See `photon_tail`.
    """
    if not isinstance(fraction, Tensor) and not 0 < fraction < 1:
        raise DomainError(
            f"`fraction` must lie between 0 and 1, got {fraction}. Say 0.95 for 95 %."
        )
    _, fraction = as_tensors(shape.alpha, fraction)
    return lower_gamma_quantile(shape.alpha, fraction) / shape.beta
