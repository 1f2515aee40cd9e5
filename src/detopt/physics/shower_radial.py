r"""Radial spread of electromagnetic showers around their axis.

Radii are in Molière radii, depths in radiation lengths, energies in GeV. A core and a tail share
the energy of each slice in depth; both widen along the shower.
"""

__all__ = [
    "TAIL_GROWTH_GEANT4",
    "TAIL_GROWTH_PAPER",
    "RadialShape",
    "lateral_containment",
    "radial_containment",
    "radial_profile",
    "radial_quantile",
    "radial_shape",
    "relative_depth",
]

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics._domain import require_not_negative, require_positive, require_share
from detopt.physics._incomplete_gamma import lower_gamma_quantile, smooth_floor
from detopt.physics._tensors import Values, as_tensors
from detopt.physics.electromagnetic_showers import LongitudinalShape, mean_shape
from detopt.physics.shower_media import Medium

TAIL_GROWTH_GEANT4 = 0.0412  # dimensionless; GVFlashHomoShowerTuning::ParRT6
TAIL_GROWTH_PAPER = 0.0421  # dimensionless; hep-ex/0001020, appendix A.1.3
NODES = 48  # of the Gauss-Legendre rule over depth in `lateral_containment`


@dataclass(frozen=True)
class RadialShape:
    """Two components of the energy in a slice across the axis.

    Attributes:
        core: Median radius of the core in Molière radii.
        tail: Median radius of the tail in Molière radii.
        weight: Share of the core in the energy.
    """

    core: Float[Tensor, "*batch"]
    tail: Float[Tensor, "*batch"]
    weight: Float[Tensor, "*batch"]


def relative_depth(
    depth: Values, shape: LongitudinalShape, mean: LongitudinalShape
) -> Float[Tensor, "*batch"]:
    r"""Age of a single shower in the units of the mean one.

    .. math::
        \tau_i = \frac{t}{\langle t\rangle_i}
            \frac{\langle\alpha\rangle}{\langle\alpha\rangle - 1},
            \qquad \langle t\rangle_i = \alpha_i/\beta_i

    Args:
        depth: Depth :math:`t` in radiation lengths.
        shape: Shape of the single shower.
        mean: Shape of the mean shower; with ``mean=shape`` the result is :math:`t/T`.

    Raises:
        DomainError: A Python number is negative.

    Note:
        Differentiable.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, section 3; Geant4 11.
    """
    require_not_negative(depth=depth)
    _, depth = as_tensors(shape.alpha, depth)
    return depth * shape.beta / shape.alpha * mean.alpha / (mean.alpha - 1)


def radial_shape(
    age: Values, energy: Values, medium: Medium, tail_growth: float = TAIL_GROWTH_GEANT4
) -> RadialShape:
    r"""Core, tail and their shares at one depth.

    .. math::
        R_C &= 0.0251 + 0.00319 \ln E + (0.1162 - 0.000381 Z)\, \tau \\
        R_T &= (0.659 - 0.00309 Z) \left[e^{-2.59 (\tau - 0.645)}
            + e^{(0.3585 + 0.0412 \ln E)(\tau - 0.645)}\right] \\
        p &= (2.632 - 0.00094 Z)\, e^{u - e^u}, \qquad
            u = \frac{0.401 + 0.00187 Z - \tau}{1.313 - 0.0686 \ln E}

    and in a sampling calorimeter, with :math:`\epsilon = 1 - \hat e`,

    .. math::
        \Delta R_C &= -0.0203\,\epsilon + 0.0397\, e^{-\tau}/F_S \\
        \Delta R_T &= -0.14\,\epsilon - 0.495\, e^{-\tau}/F_S \\
        \Delta p &= \epsilon \left[0.348 - 0.642\, e^{-(\tau - 1)^2}/F_S\right]

    Args:
        age: Depth over depth of the maximum, :math:`\tau`, see `relative_depth`.
        energy: Energy :math:`E` of the electron [GeV].
        medium: The medium.
        tail_growth: Growth of the tail with the logarithm of the energy. Geant4 and the paper
            have two digits in different order, 0.0412 and 0.0421 (`TAIL_GROWTH_PAPER`); the
            radii differ by less than 1 % up to 500 GeV and twice the depth of the maximum.

    Raises:
        DomainError: A Python number for the energy is not positive.

    Note:
        Fitted from 0.4 to 400 GeV. Radii stay above 0.005 and shares between 0 and 1 by floors
        that leave usual values alone. Differentiable.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, appendices A.1.3 and A.2.4;
        Geant4 11, GFlashHomoShowerParameterisation and GFlashSamplingShowerParameterisation.
    """
    require_positive(energy=energy)
    age, energy, z, cell, transition = as_tensors(
        age, energy, medium.atomic_number, medium.cell_thickness, medium.transition
    )
    log = torch.log(energy)

    core = 0.0251 + 0.00319 * log + (0.1162 - 0.000381 * z) * age
    rise = (0.3585 + tail_growth * log) * (age - 0.645)
    tail = (0.659 - 0.00309 * z) * (torch.exp(-2.59 * (age - 0.645)) + torch.exp(rise))
    u = (0.401 + 0.00187 * z - age) / (1.313 - 0.0686 * log)
    weight = (2.632 - 0.00094 * z) * torch.exp(u - torch.exp(u))

    fading = cell * torch.exp(-age)
    core = core - 0.0203 * transition + 0.0397 * fading
    tail = tail - 0.14 * transition - 0.495 * fading
    weight = weight + transition * (0.348 - 0.642 * cell * torch.exp(-((age - 1) ** 2)))

    return RadialShape(
        core=smooth_floor(core, 0.01, 0.005),
        tail=smooth_floor(tail, 0.05, 0.045),
        weight=1 - smooth_floor(1 - smooth_floor(weight, 1e-3, 1e-3), 0.02, 0.02),
    )


def radial_profile(radius: Values, shape: RadialShape) -> Float[Tensor, "*batch"]:
    r"""Share of the energy of a slice per Molière radius.

    .. math::
        f(r) = p\, \frac{2 r R_C^2}{(r^2 + R_C^2)^2} + (1 - p)\, \frac{2 r R_T^2}{(r^2 + R_T^2)^2}

    Args:
        radius: Distance :math:`r \ge 0` from the axis in Molière radii.
        shape: Shape of the slice.

    Raises:
        DomainError: A Python number is negative.

    Note:
        Its integral over the radius is 1. Differentiable.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, section 3, radial profiles.
    """
    require_not_negative(radius=radius)
    _, radius = as_tensors(shape.core, radius)
    core, tail = (2 * radius * r**2 / (radius**2 + r**2) ** 2 for r in (shape.core, shape.tail))
    return tail + shape.weight * (core - tail)


def radial_containment(radius: Values, shape: RadialShape) -> Float[Tensor, "*batch"]:
    r"""Share of the energy of a slice inside a radius.

    .. math::
        F(r) = p\, \frac{r^2}{r^2 + R_C^2} + (1 - p)\, \frac{r^2}{r^2 + R_T^2}

    Args:
        radius: Distance :math:`r \ge 0` from the axis in Molière radii.
        shape: Shape of the slice.

    Raises:
        DomainError: A Python number is negative.

    Note:
        Differentiable.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020, radial profile, integrated.
    """
    require_not_negative(radius=radius)
    _, radius = as_tensors(shape.core, radius)
    core, tail = (radius**2 / (radius**2 + r**2) for r in (shape.core, shape.tail))
    return tail + shape.weight * (core - tail)


def radial_quantile(probability: Values, shape: RadialShape) -> Float[Tensor, "*batch"]:
    r"""The radius inside which a share :math:`v` of the energy of a slice lies.

    `radial_containment` inverts in closed form: :math:`q = r^2` is the positive root of

    .. math::
        (1 - v)\, q^2 + \left[p R_T^2 + (1 - p) R_C^2 - v (R_C^2 + R_T^2)\right] q
            - v R_C^2 R_T^2 = 0

    Args:
        probability: Share :math:`v`, from 0 to below 1; uniform numbers give random radii.
        shape: Shape of the slice.

    Returns:
        Radius in Molière radii; infinite for a share of 1.

    Raises:
        DomainError: A Python number for the share is not between 0 and 1.

    Note:
        A draw by this inverse never chooses between core and tail, so that its derivative with
        respect to all parameters is unbiased. Differentiable for a share above 0.

    References:
        Derived here from `radial_containment`.
    """
    require_share(probability=probability)
    _, v = as_tensors(shape.core, probability)
    core, tail = shape.core**2, shape.tail**2
    linear = shape.weight * tail + (1 - shape.weight) * core - v * (core + tail)
    constant = v * core * tail
    root = torch.sqrt(linear**2 + 4 * (1 - v) * constant)
    # of the two equal forms, the one without cancellation
    low = 2 * constant / (linear.clamp(min=0.0) + root)
    high = (root - linear.clamp(max=0.0)) / (2 * (1 - v))

    return torch.where(linear > 0, low, high).sqrt()


def lateral_containment(radius: Values, energy: Values, medium: Medium) -> Float[Tensor, "*batch"]:
    r"""Share of the energy of a whole shower inside a cylinder around its axis.

    .. math::
        \int_0^\infty f(t)\, F(r; t/T)\, dt = \int_0^1 F(r; t(v)/T)\, dv

    Args:
        radius: Radius of the cylinder in Molière radii.
        energy: Energy of the electron [GeV].
        medium: The medium.

    Raises:
        DomainError: A Python number for the energy is not positive, or for the radius negative.

    Note:
        For the mean shower in infinite depth. Numerically good to 1e-4. Differentiable.

    References:
        `longitudinal_profile` and `radial_containment`.
    """
    require_positive(energy=energy)
    require_not_negative(radius=radius)
    energy, radius = as_tensors(energy, radius)
    shape = mean_shape(energy, medium)
    alpha, maximum, beta = (x[..., None] for x in (shape.alpha, shape.maximum, shape.beta))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    share, weight = (torch.as_tensor(x).to(alpha) for x in ((nodes + 1) / 2, weights / 2))

    age = lower_gamma_quantile(alpha, share) / (beta * maximum)
    slices = radial_shape(age, energy[..., None], medium.with_axis())
    inside = radial_containment(radius[..., None], slices)

    return (inside * weight).sum(-1)
