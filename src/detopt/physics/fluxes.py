r"""Intensity of atmospheric muons at sea level and under ground.

Intensities are per m2, second, steradian and GeV, energies in GeV, depths in g/cm2. The two models
of the surface are fits to measured spectra in which energy and momentum of a muon are the same
thing to the accuracy of the data; :math:`E` is taken as the **total energy**. Particles are drawn
from an intensity by `detopt.physics.muon_flux` and for beams by `detopt.physics.beams`, whose
names this module repeats.
"""

__all__ = [
    "Beam",
    "BeamParticles",
    "Intensity",
    "MuonFlux",
    "gaisser_intensity",
    "guan_intensity",
    "integral_intensity",
    "intensity_at_depth",
    "muon_flux_at_depth",
    "shukla_sankrith_intensity",
    "threshold_energy",
]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics import particles
from detopt.physics._domain import require_positive
from detopt.physics._numerics import simpson
from detopt.physics._tensors import Values, as_tensors
from detopt.physics.beams import Beam, BeamParticles
from detopt.physics.energy_loss import energy_of_range
from detopt.physics.materials import Material
from detopt.physics.muon_flux import Intensity, MuonFlux

GAISSER_SCALE = 1400.0  # 1/(m2 s sr GeV); Gaisser 1990
GAISSER_INDEX = 2.7  # dimensionless; idem
PION_ENERGY, KAON_ENERGY = 115.0, 850.0  # GeV, critical energies; idem
KAON_SHARE = 0.054  # dimensionless; idem
GAISSER_LIMIT = 30.0  # GeV; decay and energy loss of the muons are neglected below

GUAN_ENERGY = 3.64  # GeV; Guan et al. 2015
GUAN_POWER = 1.29  # dimensionless; idem
CHIRKIN = (0.102573, -0.068287, 0.958633, 0.0407253, 0.817285)  # P1..P5; idem, after Chirkin 2003

SHUKLA_INTENSITY = 88.0  # 1/(m2 s sr) above E_c, before decay; Shukla & Sankrith 2018, sea level
SHUKLA_OFFSET = 3.87  # GeV, E_0; idem
SHUKLA_CUTOFF = 0.5  # GeV, E_c; idem
SHUKLA_DECAY = 854.0  # GeV, epsilon; idem
SHUKLA_RATIO = 174.0  # radius of the Earth / depth of the air; idem
SHUKLA_INDEX = 3.0  # dimensionless; idem

DEPTH_FLUXES = (0.6797, 0.02071)  # 1/(m2 s); Mei & Hime 2006, eq. 4
DEPTH_LENGTHS = (0.285e5, 0.698e5)  # g/cm2; idem


def guan_intensity(energy: Values, cos_zenith: Values) -> Float[Tensor, "*batch"]:
    r"""Muons at sea level, after Guan et al.: Gaisser's formula mended at low energy.

    .. math::
        I = 1400 \left[E \left(1 + \frac{3.64}{E\, c_*^{1.29}}\right)\right]^{-2.7}
            \left[\frac{1}{1 + 1.1 E c_*/115} + \frac{0.054}{1 + 1.1 E c_*/850}\right]

        c_*^2 = \frac{c^2 + P_1^2 + P_2 c^{P_3} + P_4 c^{P_5}}{1 + P_1^2 + P_2 + P_4}

    Args:
        energy: Total energy :math:`E` [GeV].
        cos_zenith: Cosine :math:`c` of the zenith angle, 0 to 1.

    Returns:
        Intensity [1/(m2 s sr GeV)].

    Raises:
        DomainError: A Python number lies outside the domain.

    Note:
        For all zenith angles from about 0.5 GeV; 60.5 /(m2 s sr) vertically above 1 GeV, 14 %
        below the mean of the measurements. Differentiable for `cos_zenith` > 0.

    References:
        M. Guan et al., arXiv:1509.06176; D. Chirkin, arXiv:hep-ph/0407078.
    """
    _require_domain(energy, cos_zenith)
    energy, cosine = as_tensors(energy, cos_zenith)
    p1, p2, p3, p4, p5 = CHIRKIN

    # exponentials of shared logarithms: half the price of powers, a third in the backward pass
    logarithm = torch.log(cosine)
    powers = p2 * torch.exp(p3 * logarithm) + p4 * torch.exp(p5 * logarithm)
    square = (cosine.square() + powers + p1**2) / (1 + p1**2 + p2 + p4)
    mended = energy + GUAN_ENERGY * torch.exp(-GUAN_POWER / 2 * torch.log(square))

    return _gaisser(mended, energy * square.sqrt())


def shukla_sankrith_intensity(energy: Values, cos_zenith: Values) -> Float[Tensor, "*batch"]:
    r"""Muons at sea level, after Shukla and Sankrith.

    .. math::
        I = I_0 (n-1) (E_0 + E_c)^{n-1} (E_0 + E)^{-n}
            \left(1 + \frac{E}{\epsilon}\right)^{-1} D^{-(n-1)}, \qquad
        D = \sqrt{r^2 c^2 + 2r + 1} - r c

    with :math:`n = 3`, :math:`I_0 = 88` /(m2 s sr), :math:`E_0 = 3.87` GeV, :math:`E_c = 0.5` GeV,
    :math:`\epsilon = 854` GeV and :math:`r = 174`.

    Args:
        energy: Total energy :math:`E` [GeV].
        cos_zenith: Cosine :math:`c` of the zenith angle, 0 to 1.

    Returns:
        Intensity [1/(m2 s sr GeV)].

    Raises:
        DomainError: A Python number lies outside the domain.

    Note:
        For all zenith angles from :math:`E_c` up; 70.4 /(m2 s sr) vertically above 1 GeV.
        Differentiable.

    References:
        P. Shukla and S. Sankrith, Int. J. Mod. Phys. A 33 (2018) 1850175, arXiv:1606.06907.
    """
    _require_domain(energy, cos_zenith)
    energy, cosine = as_tensors(energy, cos_zenith)
    n, r = SHUKLA_INDEX, SHUKLA_RATIO

    scale = SHUKLA_INTENSITY * (n - 1) * math.pow(SHUKLA_OFFSET + SHUKLA_CUTOFF, n - 1)
    spectrum = (SHUKLA_OFFSET + energy).pow(-n) / (1 + energy / SHUKLA_DECAY)
    distance = ((r * cosine).square() + (2 * r + 1)).sqrt() - r * cosine

    return scale * spectrum * distance.pow(1 - n)


def gaisser_intensity(energy: Values, cos_zenith: Values) -> Float[Tensor, "*batch"]:
    r"""Muons at sea level by Gaisser's plain formula, for high energies only.

    .. math::
        I = 1400\, E^{-2.7} \left[\frac{1}{1 + 1.1 E c/115} + \frac{0.054}{1 + 1.1 E c/850}\right]

    Args:
        energy: Energy :math:`E` [GeV], at least 30.
        cos_zenith: Cosine :math:`c` of the zenith angle, above about 0.35 (70 degrees).

    Returns:
        Intensity [1/(m2 s sr GeV)].

    Raises:
        DomainError: An energy is below 30 GeV, or a Python number lies outside the domain.

    Note:
        A flat Earth and muons that neither decay nor lose energy: 10 % high at 100 GeV, 36 % at
        30 GeV. Differentiable. The energies of a tensor are read to refuse low ones, so this
        function does not go through `torch.vmap`.

    References:
        T. K. Gaisser, Cosmic Rays and Particle Physics (1990); Particle Data Group, Review of
        Particle Physics (2022), eq. 30.4.
    """
    _require_domain(energy, cos_zenith)
    energy, cosine = as_tensors(energy, cos_zenith)
    lowest = energy.detach().min().item() if energy.numel() else math.inf
    if lowest < GAISSER_LIMIT:
        raise DomainError(
            f"`energy` must be >= 30 GeV for Gaisser's plain formula, got {lowest:g}. "
            "Use `guan_intensity` or `shukla_sankrith_intensity` at lower energies."
        )
    return _gaisser(energy, energy * cosine)


def integral_intensity(
    model: Intensity, threshold: Values, cos_zenith: Values
) -> Float[Tensor, "*batch"]:
    r"""Muons above a threshold, :math:`\int_{E_{min}}^\infty I(E, c)\, dE`.

    Args:
        model: Differential intensity, for instance `guan_intensity`.
        threshold: Lowest energy :math:`E_{min}` [GeV].
        cos_zenith: Cosine of the zenith angle.

    Returns:
        Integral intensity [1/(m2 s sr)].

    Raises:
        DomainError: A Python number lies outside the domain.

    Note:
        Simpson's rule in the logarithm of the energy over six decades: :math:`10^{-6}` for
        spectra that fall at least as the square. Differentiable.
    """
    _require_domain(threshold, cos_zenith)
    lowest, cosine = torch.broadcast_tensors(*as_tensors(threshold, cos_zenith))

    nodes, weights = simpson(upper=6 * math.log(10), n_intervals=512)
    energy = lowest.unsqueeze(-1) * nodes.to(lowest).exp()
    intensity = model(energy, cosine.unsqueeze(-1).expand_as(energy))

    return torch.matmul(intensity * energy, weights.to(lowest))


def threshold_energy(
    grammage: Values, material: str | Material = "standard_rock"
) -> Float[Tensor, "*batch"]:
    r"""Energy that a muon needs to cross a thick layer.

    .. math::
        E_{min} = m_\mu c^2 + R^{-1}(X)

    with the range :math:`R` of `detopt.physics.energy_loss.csda_range`.

    Args:
        grammage: Matter :math:`X` along the track [g/cm2], > 0; 1 km of water is 1e5.
        material: Name or `Material` of the layer.

    Returns:
        Total energy :math:`E_{min}` [GeV].

    Raises:
        NotFoundError: The material does not exist.
        DomainError: The grammage is a Python number that is not > 0.

    Note:
        The mean loss, without fluctuations; up to 100 TeV, which cross 1.2e6 g/cm2 of standard
        rock. Differentiable in `grammage`.
    """
    require_positive(grammage=grammage)
    muon = particles.get("muon")
    return energy_of_range(muon, material, grammage) + muon.mass


def intensity_at_depth(
    model: Intensity,
    grammage: Values,
    cos_zenith: Values,
    material: str | Material = "standard_rock",
) -> Float[Tensor, "*batch"]:
    r"""Muons that a layer lets through, from the spectrum at the surface.

    .. math::
        I(X, c) = \int_{E_{min}(X)}^\infty I(E, c)\, dE

    with :math:`E_{min}` of `threshold_energy`.

    Args:
        model: Differential intensity at the surface.
        grammage: Matter :math:`X` along the track (slant depth) [g/cm2], > 0.
        cos_zenith: Cosine of the zenith angle.
        material: Name or `Material` of the layer.

    Returns:
        Integral intensity [1/(m2 s sr)].

    Raises:
        NotFoundError: The material does not exist.
        DomainError: A Python number lies outside the domain.

    Note:
        Vertically in standard rock the two models of the surface lie within 25 % of the fit of
        Mei and Hime to measurements from 1 to 5 km of water equivalent, and below it at larger
        depths, 25 % and 36 % at 6 km: the fluctuations of the loss, neglected here, help muons
        through, and the spectra fall too steeply. Differentiable.

    References:
        D.-M. Mei and A. Hime, Phys. Rev. D 73 (2006) 053004, eq. 1; J. de Jong, arXiv:0706.1110,
        on the slope of the spectrum.
    """
    return integral_intensity(model, threshold_energy(grammage, material), cos_zenith)


def muon_flux_at_depth(grammage: Values) -> Float[Tensor, "*batch"]:
    r"""Total muon flux in an underground laboratory below flat rock.

    .. math::
        \Phi = 67.97\times10^{-6} e^{-h/0.285} + 2.071\times10^{-6} e^{-h/0.698}
            \quad \mathrm{cm^{-2}\, s^{-1}}

    Args:
        grammage: Vertical depth :math:`h` [g/cm2] (1e5 is 1 km of water equivalent).

    Returns:
        Flux over all directions, through a sphere of unit cross-section [1/(m2 s)].

    Raises:
        DomainError: A Python number lies outside 1 to 10 km of water equivalent.

    Note:
        A fit to underground laboratories between 1 and 10 km of water equivalent, to 5 %.
        Differentiable.

    References:
        D.-M. Mei and A. Hime, Phys. Rev. D 73 (2006) 053004, eq. 4.
    """
    if not isinstance(grammage, Tensor) and not 1e5 <= grammage <= 1e6:
        raise DomainError(
            f"`grammage` must lie between 1e5 and 1e6 g/cm2, where the fit holds, got {grammage}. "
            "Use `intensity_at_depth` for shallow sites."
        )
    (depth,) = as_tensors(grammage)
    near, far = (
        flux * torch.exp(-depth / length)
        for flux, length in zip(DEPTH_FLUXES, DEPTH_LENGTHS, strict=True)
    )
    return near + far


def _gaisser(spectral_energy: Tensor, slant_energy: Tensor) -> Tensor:
    """Power law with the decay probabilities of the parent pions and kaons."""
    pions = 1 / (1 + 1.1 / PION_ENERGY * slant_energy)
    kaons = KAON_SHARE / (1 + 1.1 / KAON_ENERGY * slant_energy)
    spectrum = torch.exp(math.log(GAISSER_SCALE) - GAISSER_INDEX * torch.log(spectral_energy))
    return spectrum * (pions + kaons)


def _require_domain(energy: Values, cos_zenith: Values) -> None:
    require_positive(energy=energy)
    if not isinstance(cos_zenith, Tensor) and not 0 <= cos_zenith <= 1:
        raise DomainError(
            f"`cos_zenith` must lie between 0 and 1, got {cos_zenith}. "
            "Give the cosine of the angle to the vertical; muons come from above."
        )
