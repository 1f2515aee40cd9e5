r"""How light travels along bars and fibres: trapping, attenuation, arrival.

Lengths are in metres, times in nanoseconds. Emission is isotropic and uniform over the section.
"""

__all__ = [
    "attenuation",
    "bar_escape_fraction",
    "bar_guided_fraction",
    "fibre_trapped_fraction",
    "guided_photons",
    "mean_transmission",
    "propagation_time",
    "reflection_count",
]

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors

LIGHT_SPEED = 0.299792458  # m/ns; exact
NODES = 24  # of the Gauss-Legendre rule in `mean_transmission`


def bar_escape_fraction(index: Values) -> Float[Tensor, "*batch"]:
    r"""Share of light that leaves a bar in air through one end without loss at the sides.

    .. math::
        f = \frac12 \left(1 - \sqrt{1 - 1/n^2}\right)

    These are the rays within the critical angle of the axis. All of them are totally reflected at
    the sides.

    Args:
        index: Refractive index :math:`n > \sqrt 2`.

    Raises:
        DomainError: A Python number is not above :math:`\sqrt 2`.

    Note:
        Exact for a rectangular bar with polished faces, without Fresnel reflection at the end.
        Differentiable.

    References:
        Solid angle of the escape cone; W. R. Leo, Techniques for Nuclear and Particle Physics
        Experiments (1994), section 7.6.
    """
    _require_bar(index)
    (index,) = as_tensors(index)
    return (1 - torch.sqrt(1 - index**-2)) / 2


def bar_guided_fraction(index: Values) -> Float[Tensor, "*batch"]:
    r"""Share of light that the four sides of a bar in air guide to one end.

    .. math::
        f = \frac12 \left[1 - 2 \left(1 - \sqrt{1 - 1/n^2}\right)\right]

    It is what a sensor gets that is coupled without a gap of lower index.

    Args:
        index: Refractive index :math:`n > \sqrt 2`; below, the escape cones of the sides overlap.

    Raises:
        DomainError: A Python number is not above :math:`\sqrt 2`.

    Note:
        Exact for a rectangular bar with polished faces. Differentiable.

    References:
        Solid angle outside four escape cones, as `bar_escape_fraction`.
    """
    return (1 - 4 * bar_escape_fraction(index)) / 2


def fibre_trapped_fraction(
    core: Values, cladding: Values, skew: bool = False
) -> Float[Tensor, "*batch"]:
    r"""Share of light that a round fibre traps in one direction.

    .. math::
        f = \frac12 \left(1 - \frac{n_2}{n_1}\right) \text{ (meridional)}, \qquad
        f = \frac12 \left(1 - \frac{n_2^2}{n_1^2}\right) \text{ (with skew rays)}

    Args:
        core: Refractive index :math:`n_1` of the core.
        cladding: Refractive index :math:`n_2` of the outermost cladding that guides.
        skew: Whether rays that miss the axis count. They are trapped up to a larger angle, yet
            travel further, and are lost first where the surface is bad.

    Raises:
        DomainError: Python numbers with :math:`n_2 \ge n_1`.

    Note:
        Exact; the second form averages over an evenly lit core, so that both add skew rays in the
        ratio :math:`1 + n_2/n_1`. Differentiable.

    References:
        Particle Data Group, Review of Particle Physics (2022), section 35.3.3, for the first;
        derived for the second from the chords of a disc, and checked by ray tracing.
    """
    numbers = not isinstance(core, Tensor) and not isinstance(cladding, Tensor)
    if numbers and not 0 < cladding < core:
        raise DomainError(
            f"`cladding` must lie between 0 and `core`, got {cladding} and {core}. "
            "Light is guided in the denser medium."
        )
    core, cladding = as_tensors(core, cladding)
    ratio = cladding / core
    return (1 - ratio**2) / 2 if skew else (1 - ratio) / 2


def attenuation(path: Values, length: Values) -> Float[Tensor, "*batch"]:
    r"""Share of light left after a path in the bulk, :math:`e^{-\text{path}/\lambda}`.

    Args:
        path: Path of the light [m], along the ray.
        length: Attenuation length :math:`\lambda` [m].

    Raises:
        DomainError: A Python number for the length is not positive.

    Note:
        Differentiable.
    """
    require_positive(length=length)
    path, length = as_tensors(path, length)
    return torch.exp(-path / length)


def mean_transmission(distance: Values, length: Values, cosine: Values) -> Float[Tensor, "*batch"]:
    r"""Share of light left at the end of a guide, averaged over a cone of directions.

    .. math::
        \langle T\rangle = \frac{1}{1 - \mu_0} \int_{\mu_0}^1 e^{-L/(\lambda\mu)}\, d\mu

    Args:
        distance: Distance :math:`L` along the axis [m].
        length: Attenuation length :math:`\lambda` of the bulk [m].
        cosine: Cosine :math:`\mu_0` of the half angle of the cone, from above 0 to below 1.

    Raises:
        DomainError: A Python number for the length is not positive, or the cosine does not lie
            between 0 and 1.

    Note:
        Numerically exact to 1e-8 for :math:`\mu_0 > 0.2` and :math:`L < 10 \lambda`.
        Differentiable.

    References:
        Average of `attenuation`; in closed form a difference of exponential integrals
        :math:`E_2`.
    """
    require_positive(length=length)
    if not isinstance(cosine, Tensor) and not 0 < cosine < 1:
        raise DomainError(f"`cosine` must lie between 0 and 1, got {cosine}. A cone needs both.")
    distance, length, cosine = as_tensors(distance, length, cosine)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    node, weight = (torch.as_tensor(x).to(length) for x in ((nodes + 1) / 2, weights / 2))

    cosine = cosine[..., None]
    mu = cosine + (1 - cosine) * node
    return (torch.exp(-(distance / length)[..., None] / mu) * weight).sum(-1)


def reflection_count(distance: Values, width: Values, cosine: Values) -> Float[Tensor, "*batch"]:
    r"""Mean number of reflections between two parallel sides, :math:`L \tan\theta / w`.

    Args:
        distance: Distance :math:`L` along the axis [m].
        width: Distance :math:`w` of the sides [m].
        cosine: Cosine of the angle :math:`\theta` to the axis, in the plane across the sides.

    Returns:
        Number of reflections, averaged over the point of emission.

    Raises:
        DomainError: A Python number for width or cosine is not positive.

    Note:
        Differentiable for a cosine below 1.
    """
    require_positive(width=width, cosine=cosine)
    distance, width, cosine = as_tensors(distance, width, cosine)
    return distance / width * torch.sqrt(1 - cosine**2) / cosine


def guided_photons(
    photons: Values,
    guided: Values,
    transmission: Values = 1.0,
    reflectivity: Values = 1.0,
    reflections: Values = 0.0,
) -> Float[Tensor, "*batch"]:
    r"""Mean number of photons at the end of a guide.

    .. math::
        N = N_0\, f\, T\, R^k

    Args:
        photons: Photons :math:`N_0` at the source.
        guided: Share :math:`f` that is guided to the end.
        transmission: Share :math:`T` that the bulk transmits, see `mean_transmission`.
        reflectivity: Reflectivity :math:`R` of a side, above 0.
        reflections: Number of reflections :math:`k`.

    Raises:
        DomainError: A Python number for the reflectivity is not positive.

    Note:
        Differentiable.
    """
    require_positive(reflectivity=reflectivity)
    photons, guided, transmission, reflectivity, reflections = as_tensors(
        photons, guided, transmission, reflectivity, reflections
    )
    return photons * guided * transmission * reflectivity**reflections


def propagation_time(distance: Values, index: Values, cosine: Values) -> Float[Tensor, "*batch"]:
    r"""Time of flight of light along a guide, :math:`t = n L / (c \mu)`.

    Args:
        distance: Distance :math:`L` along the axis [m].
        index: Group index :math:`n`.
        cosine: Cosine :math:`\mu` of the angle to the axis.

    Returns:
        Time [ns].

    Raises:
        DomainError: A Python number for index or cosine is not positive.

    Note:
        Differentiable.
    """
    require_positive(index=index, cosine=cosine)
    distance, index, cosine = as_tensors(distance, index, cosine)
    return distance * index / (LIGHT_SPEED * cosine)


def _require_bar(index: Values) -> None:
    if not isinstance(index, Tensor) and not index > 2**0.5:
        raise DomainError(
            f"`index` must be > 1.4142 for the cones of the sides to be apart, got {index}. "
            "Trace rays for a medium that light."
        )
