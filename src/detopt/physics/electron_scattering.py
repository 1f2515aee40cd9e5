r"""Elastic scattering off electrons at rest: of muons, and of photons (Compton).

Energies and masses are in GeV, angles in radians, cross-sections in m2. Small angles come from
`atan2` of expressions without cancellation: a cosine holds no digit of a milliradian squared.
"""

__all__ = [
    "compton_edge",
    "compton_electron_angle",
    "compton_energy",
    "elastic_cross_section",
    "elastic_electron_angle",
    "elastic_electron_energy",
    "elastic_max_electron_energy",
    "elastic_muon_angle",
    "elastic_vacuum_variable",
    "klein_nishina",
    "momentum_transfer",
]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics._constants import ELECTRON_MASS, MUON_MASS
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors

ELECTRON_RADIUS = 2.8179403262e-15  # m, classical; CODATA 2018


def elastic_max_electron_energy(
    muon_energy: Values, mass: float = MUON_MASS
) -> Float[Tensor, "*batch"]:
    r"""Largest energy of the electron in elastic scattering.

    .. math::
        E_e^{max} = m_e + \frac{2 m_e p_\mu^2}{s}, \qquad s = m_\mu^2 + m_e^2 + 2 m_e E_\mu

    Args:
        muon_energy: Total energy :math:`E_\mu` of the incoming particle [GeV].
        mass: Its mass [GeV/c2].

    Returns:
        Total energy of the electron [GeV].

    Raises:
        DomainError: A Python number is below the rest mass.

    Note:
        Exact. Differentiable.
    """
    _, momentum, invariant = _beam(muon_energy, mass)
    return ELECTRON_MASS + 2 * ELECTRON_MASS * momentum.square() / invariant


def elastic_electron_energy(
    electron_angle: Values, muon_energy: Values, mass: float = MUON_MASS
) -> Float[Tensor, "*batch"]:
    r"""Energy of the electron from its angle.

    .. math::
        E_e = m_e \frac{1 + r^2\cos^2\theta_e}{1 - r^2\cos^2\theta_e}, \qquad
        r = \frac{p_\mu}{E_\mu + m_e}

    Args:
        electron_angle: Angle :math:`\theta_e` of the electron to the beam [rad], 0 to pi/2.
        muon_energy: Total energy :math:`E_\mu` of the incoming particle [GeV].
        mass: Its mass [GeV/c2].

    Returns:
        Total energy :math:`E_e` of the electron [GeV].

    Raises:
        DomainError: A Python number lies outside its domain.

    Note:
        Exact, also near 0 angle, where the denominator is formed without cancellation.
        Differentiable.

    References:
        G. Abbiendi et al., Eur. Phys. J. C 77 (2017) 139, eq. 8.
    """
    if not isinstance(electron_angle, Tensor) and not 0 <= electron_angle <= math.pi / 2:
        raise DomainError(
            f"`electron_angle` must lie between 0 and pi/2 rad, got {electron_angle}. "
            "An electron at rest is never scattered backwards."
        )
    angle = as_tensors(electron_angle, muon_energy)[0]
    energy, _, invariant = _beam(muon_energy, mass)
    sum_squared = (energy + ELECTRON_MASS).square()

    squared = (energy - mass) * (energy + mass)
    across = squared * angle.sin().square()
    along = squared - across
    return ELECTRON_MASS * (sum_squared + along) / (invariant + across)


def elastic_electron_angle(
    electron_energy: Values, muon_energy: Values, mass: float = MUON_MASS
) -> Float[Tensor, "*batch"]:
    r"""Angle of the electron from its energy.

    .. math::
        \tan\theta_e = \frac{\sqrt{s\,(T_{max} - T)}}{(E_\mu + m_e)\sqrt T}, \qquad T = E_e - m_e

    Args:
        electron_energy: Total energy :math:`E_e` of the electron [GeV].
        muon_energy: Total energy :math:`E_\mu` of the incoming particle [GeV].
        mass: Its mass [GeV/c2].

    Returns:
        Angle :math:`\theta_e` of the electron to the beam [rad]; NaN above the largest energy.

    Raises:
        DomainError: A Python number is below the rest mass.

    Note:
        Exact, and equivalent to the usual form in the cosine. Differentiable below the largest
        energy.

    References:
        G. Abbiendi et al., Eur. Phys. J. C 77 (2017) 139, eq. 8.
    """
    _require_energy("electron_energy", electron_energy, ELECTRON_MASS)
    kinetic = as_tensors(electron_energy, muon_energy)[0] - ELECTRON_MASS
    energy, momentum, invariant = _beam(muon_energy, mass)

    left = 2 * ELECTRON_MASS * momentum.square() - invariant * kinetic
    return torch.atan2(left.sqrt(), (energy + ELECTRON_MASS) * kinetic.sqrt())


def elastic_muon_angle(
    electron_energy: Values, muon_energy: Values, mass: float = MUON_MASS
) -> Float[Tensor, "*batch"]:
    r"""Angle of the scattered muon from the energy of the electron.

    .. math::
        \tan\theta_\mu = \frac{p_e\sin\theta_e}{p_\mu - p_e\cos\theta_e}
            = \frac{\sqrt{T s\,(T_{max} - T)}}{p_\mu^2 - (E_\mu + m_e)\,T}

    Args:
        electron_energy: Total energy :math:`E_e` of the electron [GeV].
        muon_energy: Total energy :math:`E_\mu` of the incoming particle [GeV].
        mass: Its mass [GeV/c2].

    Returns:
        Angle :math:`\theta_\mu` of the muon to the beam [rad], at most
        :math:`\arcsin(m_e/m_\mu)` = 4.84 mrad at any energy; NaN above the largest energy.

    Raises:
        DomainError: A Python number is below the rest mass.

    Note:
        Exact. Differentiable below the largest energy.
    """
    _require_energy("electron_energy", electron_energy, ELECTRON_MASS)
    kinetic = as_tensors(electron_energy, muon_energy)[0] - ELECTRON_MASS
    energy, momentum, invariant = _beam(muon_energy, mass)

    left = 2 * ELECTRON_MASS * momentum.square() - invariant * kinetic
    forward = momentum.square() - (energy + ELECTRON_MASS) * kinetic
    return torch.atan2((kinetic * left).sqrt(), forward)


def momentum_transfer(electron_energy: Values) -> Float[Tensor, "*batch"]:
    r"""Squared momentum transfer :math:`t = -2 m_e (E_e - m_e)` to an electron at rest.

    Args:
        electron_energy: Total energy :math:`E_e` of the electron [GeV].

    Returns:
        Squared momentum transfer :math:`t` [GeV2], <= 0.

    Raises:
        DomainError: A Python number is below the rest mass.

    Note:
        Exact. Differentiable.
    """
    _require_energy("electron_energy", electron_energy, ELECTRON_MASS)
    (energy,) = as_tensors(electron_energy)
    return -2 * ELECTRON_MASS * (energy - ELECTRON_MASS)


def elastic_vacuum_variable(transfer: Values, mass: float = MUON_MASS) -> Float[Tensor, "*batch"]:
    r"""Variable :math:`x` over which the hadronic vacuum polarization is integrated.

    .. math::
        x = \left(1 - \sqrt{1 - \frac{4 m_\mu^2}{t}}\right) \frac{t}{2 m_\mu^2}

    Args:
        transfer: Squared momentum transfer :math:`t` [GeV2], < 0.
        mass: Mass :math:`m_\mu` [GeV/c2].

    Returns:
        The variable :math:`x`, between 0 and 1.

    Raises:
        DomainError: A Python number is not negative.

    Note:
        The inverse is :math:`t = -x^2 m_\mu^2/(1 - x)`. Computed as
        :math:`2/(1 + \sqrt{1 - 4 m_\mu^2/t})`, without cancellation. Differentiable.

    References:
        C. M. Carloni Calame et al., Phys. Lett. B 746 (2015) 325, eq. 6.
    """
    if not isinstance(transfer, Tensor) and not transfer < 0:
        raise DomainError(f"`transfer` must be < 0 GeV2, got {transfer}. It is space-like.")
    (t,) = as_tensors(transfer)
    return 2 / (1 + (1 - 4 * mass**2 / t).sqrt())


def elastic_cross_section(
    electron_energy: Values, muon_energy: Values, mass: float = MUON_MASS
) -> Float[Tensor, "*batch"]:
    r"""Cross-section for a muon to knock an electron out, per energy of the electron.

    .. math::
        \frac{d\sigma}{dT} = \frac{2\pi r_e^2 m_e}{\beta^2 T^2}
            \left[1 - \beta^2 \frac{T}{T_{max}} + \frac{T^2}{2 E_\mu^2}\right]

    Args:
        electron_energy: Total energy :math:`E_e = T + m_e` of the electron [GeV].
        muon_energy: Total energy :math:`E_\mu` of the incoming particle [GeV].
        mass: Its mass [GeV/c2]; its spin is 1/2, its charge 1.

    Returns:
        Differential cross-section [m2/GeV] up to the largest energy of the electron.

    Raises:
        DomainError: A Python number is below the rest mass.

    Note:
        Lowest order in :math:`\alpha`. Differentiable.

    References:
        B. Rossi, High-Energy Particles (1952), section 2.3.
    """
    _require_energy("electron_energy", electron_energy, ELECTRON_MASS)
    kinetic = as_tensors(electron_energy, muon_energy)[0] - ELECTRON_MASS
    energy, momentum, invariant = _beam(muon_energy, mass)

    beta_squared = (momentum / energy).square()
    largest = 2 * ELECTRON_MASS * momentum.square() / invariant
    bracket = 1 - beta_squared * kinetic / largest + (kinetic / energy).square() / 2
    scale = 2 * math.pi * ELECTRON_RADIUS**2 * ELECTRON_MASS
    return scale * bracket / (beta_squared * kinetic.square())


def compton_energy(photon_energy: Values, cos_angle: Values) -> Float[Tensor, "*batch"]:
    r"""Energy of a photon after Compton scattering.

    .. math::
        E' = \frac{E}{1 + (E/m_e)(1 - \cos\theta)}

    Args:
        photon_energy: Energy :math:`E` of the photon [GeV].
        cos_angle: Cosine of its scattering angle :math:`\theta`.

    Returns:
        Energy :math:`E'` of the scattered photon [GeV]; the electron takes :math:`E - E'`.

    Raises:
        DomainError: A Python number lies outside its domain.

    Note:
        Exact for a free electron at rest. Differentiable.
    """
    _require_photon(photon_energy, cos_angle)
    energy, cosine = as_tensors(photon_energy, cos_angle)
    return energy / (1 + energy / ELECTRON_MASS * (1 - cosine))


def compton_edge(photon_energy: Values) -> Float[Tensor, "*batch"]:
    r"""Largest kinetic energy of the electron in Compton scattering, :math:`2E^2/(m_e + 2E)`.

    Args:
        photon_energy: Energy :math:`E` of the photon [GeV].

    Returns:
        Kinetic energy of the electron [GeV].

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Exact for a free electron at rest. Differentiable.
    """
    require_positive(photon_energy=photon_energy)
    (energy,) = as_tensors(photon_energy)
    return 2 * energy.square() / (ELECTRON_MASS + 2 * energy)


def compton_electron_angle(photon_energy: Values, cos_angle: Values) -> Float[Tensor, "*batch"]:
    r"""Angle of the electron in Compton scattering.

    .. math::
        \tan\phi = \frac{\sqrt{(1 + \cos\theta)/(1 - \cos\theta)}}{1 + E/m_e}

    Args:
        photon_energy: Energy :math:`E` of the photon [GeV].
        cos_angle: Cosine of the scattering angle :math:`\theta` of the photon.

    Returns:
        Angle :math:`\phi` of the electron to the photon that came in [rad], 0 to pi/2.

    Raises:
        DomainError: A Python number lies outside its domain.

    Note:
        Exact for a free electron at rest. Differentiable for :math:`|\cos\theta| < 1`.
    """
    _require_photon(photon_energy, cos_angle)
    energy, cosine = as_tensors(photon_energy, cos_angle)
    return torch.atan2((1 + cosine).sqrt(), (1 - cosine).sqrt() * (1 + energy / ELECTRON_MASS))


def klein_nishina(photon_energy: Values, cos_angle: Values) -> Float[Tensor, "*batch"]:
    r"""Cross-section of Compton scattering per solid angle.

    .. math::
        \frac{d\sigma}{d\Omega} = \frac{r_e^2}{2} \left(\frac{E'}{E}\right)^2
            \left[\frac{E'}{E} + \frac{E}{E'} - \sin^2\theta\right]

    Args:
        photon_energy: Energy :math:`E` of the photon [GeV].
        cos_angle: Cosine of the scattering angle :math:`\theta`.

    Returns:
        Differential cross-section per electron [m2/sr], unpolarized.

    Raises:
        DomainError: A Python number lies outside its domain.

    Note:
        A free electron at rest; binding matters below about 100 keV. Differentiable.

    References:
        O. Klein and Y. Nishina, Z. Phys. 52 (1929) 853.
    """
    _require_photon(photon_energy, cos_angle)
    energy, cosine = as_tensors(photon_energy, cos_angle)
    ratio = compton_energy(energy, cosine) / energy
    bracket = ratio + 1 / ratio - (1 - cosine) * (1 + cosine)
    return ELECTRON_RADIUS**2 / 2 * ratio.square() * bracket


def _beam(muon_energy: Values, mass: float) -> tuple[Tensor, Tensor, Tensor]:
    """Energy, momentum and squared energy in the centre of mass of a beam on an electron."""
    _require_energy("muon_energy", muon_energy, mass)
    (energy,) = as_tensors(muon_energy)
    momentum = ((energy - mass) * (energy + mass)).sqrt()
    return energy, momentum, mass**2 + ELECTRON_MASS**2 + 2 * ELECTRON_MASS * energy


def _require_energy(name: str, energy: Values, mass: float) -> None:
    if not isinstance(energy, Tensor) and not energy > mass:
        raise DomainError(
            f"`{name}` must exceed the rest mass {mass:g} GeV, got {energy}. "
            "Give the total energy in GeV."
        )


def _require_photon(photon_energy: Values, cos_angle: Values) -> None:
    require_positive(photon_energy=photon_energy)
    if not isinstance(cos_angle, Tensor) and not -1 <= cos_angle <= 1:
        raise DomainError(
            f"`cos_angle` must lie between -1 and 1, got {cos_angle}. Give the cosine."
        )
