r"""Relativistic kinematics: four-vectors, boosts, two-body decays.

Energies, momenta and masses are in GeV. A four-vector is :math:`(E, p_x, p_y, p_z)` on the last
axis, the metric is :math:`(+, -, -, -)`. Scattering off electrons is in
`detopt.physics.electron_scattering`, whose names this module repeats.
"""

__all__ = [
    "boost",
    "compton_edge",
    "compton_electron_angle",
    "compton_energy",
    "decay_momentum",
    "elastic_cross_section",
    "elastic_electron_angle",
    "elastic_electron_energy",
    "elastic_max_electron_energy",
    "elastic_muon_angle",
    "elastic_vacuum_variable",
    "four_momentum",
    "invariant_mass",
    "kinetic_energy",
    "klein_nishina",
    "minkowski_product",
    "momentum_of",
    "momentum_transfer",
    "rest_frame_velocity",
    "sample_two_body_decay",
    "two_body_decay",
    "velocity",
]

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_not_negative, require_positive
from detopt.physics._tensors import Values, as_tensors
from detopt.physics.electron_scattering import (
    compton_edge,
    compton_electron_angle,
    compton_energy,
    elastic_cross_section,
    elastic_electron_angle,
    elastic_electron_energy,
    elastic_max_electron_energy,
    elastic_muon_angle,
    elastic_vacuum_variable,
    klein_nishina,
    momentum_transfer,
)


def velocity(momentum: Values, mass: Values) -> Float[Tensor, "*batch"]:
    r"""Velocity :math:`\beta = p/\sqrt{p^2 + m^2}` of a particle.

    Args:
        momentum: Momentum :math:`p` [GeV/c].
        mass: Mass :math:`m` [GeV/c2].

    Returns:
        Velocity in units of :math:`c`.

    Raises:
        DomainError: A Python number for the momentum is not positive.

    Note:
        Exact. Differentiable.
    """
    require_positive(momentum=momentum)
    p, m = as_tensors(momentum, mass)
    return p / torch.hypot(p, m)


def kinetic_energy(momentum: Values, mass: Values) -> Float[Tensor, "*batch"]:
    r"""Kinetic energy :math:`T = p^2/(\sqrt{p^2 + m^2} + m)`, without cancellation at small p.

    Args:
        momentum: Momentum :math:`p` [GeV/c].
        mass: Mass :math:`m` [GeV/c2].

    Returns:
        Kinetic energy [GeV].

    Raises:
        DomainError: A Python number for the momentum is not positive.

    Note:
        Exact. Differentiable.
    """
    require_positive(momentum=momentum)
    p, m = as_tensors(momentum, mass)
    return p.square() / (torch.hypot(p, m) + m)


def momentum_of(energy: Values, mass: Values) -> Float[Tensor, "*batch"]:
    r"""Momentum :math:`p = \sqrt{T (T + 2m)}` of a particle of kinetic energy :math:`T`.

    Args:
        energy: Kinetic energy :math:`T` [GeV].
        mass: Mass :math:`m` [GeV/c2].

    Returns:
        Momentum [GeV/c].

    Raises:
        DomainError: A Python number for the energy is not positive.

    Note:
        Exact. Differentiable for :math:`T > 0`.
    """
    require_positive(energy=energy)
    t, m = as_tensors(energy, mass)
    return (t * (t + 2 * m)).sqrt()


def four_momentum(momentum: Float[Tensor, "*#batch 3"], mass: Values) -> Float[Tensor, "*batch 4"]:
    r"""Four-vector of a particle on its mass shell.

    Args:
        momentum: Momentum vector [GeV/c].
        mass: Mass :math:`m` [GeV/c2].

    Returns:
        :math:`(\sqrt{p^2 + m^2}, p_x, p_y, p_z)` [GeV].

    Raises:
        DomainError: A Python number for the mass is negative.

    Note:
        Exact. Differentiable, for massless particles where the momentum is not 0.
    """
    if not isinstance(mass, Tensor) and not mass >= 0:
        raise DomainError(f"`mass` must be >= 0, got {mass}. Give the rest mass in GeV.")
    vector, m = as_tensors(momentum, mass)
    energy = (vector.square().sum(-1) + m.square()).sqrt().unsqueeze(-1)
    return torch.cat([energy, vector.expand(*energy.shape[:-1], 3)], dim=-1)


def minkowski_product(
    first: Float[Tensor, "*#batch 4"], second: Float[Tensor, "*#batch 4"]
) -> Float[Tensor, "*batch"]:
    r"""Invariant product :math:`E_1 E_2 - \vec p_1 \cdot \vec p_2`.

    Args:
        first: Four-vector [GeV].
        second: Four-vector [GeV].

    Returns:
        Product [GeV2].

    Note:
        Exact; for two nearly parallel light particles the digits cancel. Differentiable.
    """
    product = first * second
    return product[..., 0] - product[..., 1:].sum(-1)


def invariant_mass(vector: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    r"""Mass :math:`\sqrt{(E - p)(E + p)}` of a particle or a system.

    Args:
        vector: Four-vector, or the sum of those of a system [GeV].

    Returns:
        Invariant mass [GeV/c2]; NaN for a space-like vector.

    Note:
        Differentiable for a mass > 0 and a momentum that is not 0.
    """
    energy, momentum = vector[..., 0], torch.linalg.vector_norm(vector[..., 1:], dim=-1)
    return torch.sqrt((energy - momentum) * (energy + momentum))


def rest_frame_velocity(vector: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    r"""Velocity :math:`\vec\beta = \vec p/E` of the frame in which a system is at rest.

    Args:
        vector: Four-vector of the system [GeV].

    Returns:
        Velocity in units of :math:`c`.

    Note:
        Exact. Differentiable.
    """
    return vector[..., 1:] / vector[..., :1]


def boost(
    vector: Float[Tensor, "*#batch 4"], beta: Float[Tensor, "*#batch 3"]
) -> Float[Tensor, "*batch 4"]:
    r"""Boosts a four-vector: what was at rest moves with velocity :math:`\vec\beta` afterwards.

    .. math::
        E' = \gamma (E + \vec\beta\cdot\vec p), \qquad
        \vec p' = \vec p + \vec\beta\,\gamma
            \left(\frac{\gamma}{\gamma + 1}\, \vec\beta\cdot\vec p + E\right)

    Args:
        vector: Four-vector [GeV].
        beta: Velocity of the boost in units of :math:`c`, shorter than 1.

    Returns:
        Boosted four-vector [GeV].

    Note:
        The inverse is the boost by :math:`-\vec\beta`. Differentiable. Digits of :math:`\gamma`
        are lost as :math:`\gamma^2`: at :math:`\gamma = 1000` in float64 ten are left.
    """
    batch = torch.broadcast_shapes(vector.shape[:-1], beta.shape[:-1])
    # components lead in memory, so that each operation runs over long contiguous rows
    four, velocity = (
        x.expand(*batch, x.shape[-1]).movedim(-1, 0).contiguous() for x in (vector, beta)
    )
    energy, momentum = four[0], four[1:]
    gamma = (1 - velocity.square().sum(0)).rsqrt()
    along = (velocity * momentum).sum(0)
    shift = gamma * (gamma / (gamma + 1) * along + energy)
    moved = torch.addcmul(momentum, velocity, shift)
    return torch.cat([(gamma * (energy + along)).unsqueeze(0), moved]).movedim(0, -1)


def decay_momentum(
    mass: Values, first_mass: Values, second_mass: Values
) -> Float[Tensor, "*batch"]:
    r"""Momentum of the products of a two-body decay in the rest frame of the parent.

    .. math::
        p^* = \frac{\sqrt{[M^2 - (m_1 + m_2)^2][M^2 - (m_1 - m_2)^2]}}{2M}

    Args:
        mass: Mass :math:`M` of the parent [GeV/c2].
        first_mass: Mass :math:`m_1` [GeV/c2].
        second_mass: Mass :math:`m_2` [GeV/c2].

    Returns:
        Momentum [GeV/c]; NaN for tensors below the threshold.

    Raises:
        DomainError: Three Python numbers are below the threshold :math:`M > m_1 + m_2`.

    Note:
        Exact. Differentiable above the threshold.

    References:
        Particle Data Group, Review of Particle Physics (2022), eq. 49.18.
    """
    masses = (mass, first_mass, second_mass)
    if not any(isinstance(value, Tensor) for value in masses) and mass <= first_mass + second_mass:
        raise DomainError(
            f"`mass` must exceed the sum of the products, {first_mass + second_mass} GeV, "
            f"got {mass}. The decay is not allowed."
        )
    parent, first, second = as_tensors(*masses)
    total, difference = first + second, first - second
    factors = (parent - total) * (parent + total) * (parent - difference) * (parent + difference)
    return factors.sqrt() / (2 * parent)


def two_body_decay(
    parent: Float[Tensor, "*#batch 4"],
    first_mass: Values,
    second_mass: Values,
    cos_theta: Values,
    phi: Values,
) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch 4"]]:
    """Products of a two-body decay in the laboratory.

    Args:
        parent: Four-vector of the parent [GeV].
        first_mass: Mass of the first product [GeV/c2].
        second_mass: Mass of the second product [GeV/c2].
        cos_theta: Cosine of the polar angle of the first product in the rest frame; the axes are
            those of the laboratory.
        phi: Azimuth of the first product in the rest frame [rad].

    Returns:
        Four-vectors of the two products [GeV]; they add up to the parent.

    Raises:
        DomainError: A Python number for `cos_theta` lies outside -1 to 1, or for a mass is
            negative.

    Note:
        Exact. NaN where the masses exceed that of the parent. Differentiable for `cos_theta`
        between -1 and 1 and a parent that moves.

    References:
        Particle Data Group, Review of Particle Physics (2022), section 49.4.2.
    """
    if not isinstance(cos_theta, Tensor) and not -1 <= cos_theta <= 1:
        raise DomainError(
            f"`cos_theta` must lie between -1 and 1, got {cos_theta}. Give the cosine."
        )
    require_not_negative(first_mass=first_mass, second_mass=second_mass)
    parent, m1, m2, cosine, azimuth = as_tensors(parent, first_mass, second_mass, cos_theta, phi)
    size = decay_momentum(invariant_mass(parent), m1, m2)
    size, cosine, azimuth = torch.broadcast_tensors(size, cosine, azimuth)
    sine = ((1 - cosine) * (1 + cosine)).sqrt()
    direction = torch.stack([sine * azimuth.cos(), sine * azimuth.sin(), cosine], dim=-1)

    momentum, frame = size.unsqueeze(-1) * direction, rest_frame_velocity(parent)
    first = boost(four_momentum(momentum, m1), frame)
    second = boost(four_momentum(-momentum, m2), frame)
    return first, second


def sample_two_body_decay(
    parent: Float[Tensor, "*batch 4"], first_mass: Values, second_mass: Values, rng: Generator
) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch 4"]]:
    """Draws an isotropic two-body decay for each parent.

    Args:
        parent: Four-vectors of the parents [GeV].
        first_mass: Mass of the first product [GeV/c2].
        second_mass: Mass of the second product [GeV/c2].
        rng: Source of the draws, on the device of `parent`.

    Returns:
        Four-vectors of the two products [GeV].

    Raises:
        DomainError: A Python number for a mass is negative.

    Note:
        Differentiable in the parent and the masses at fixed seed.
    """
    uniform = torch.rand(
        (2, *parent.shape[:-1]), generator=rng, dtype=parent.dtype, device=parent.device
    )
    return two_body_decay(
        parent, first_mass, second_mass, 2 * uniform[0] - 1, 2 * math.pi * uniform[1]
    )
