r"""How the energy loss in a layer fluctuates: Landau, Vavilov and Gauss.

Everything is expressed by Landau's variable

.. math::
    \lambda = \frac{\Delta - \bar\Delta}{\xi} - 1 + \gamma_E - \beta^2 - \ln\kappa,
    \qquad \xi = \frac{K}{2} \frac{Z}{A} \frac{z^2}{\beta^2} \rho x, \qquad \kappa = \frac{\xi}{W}

whose quantiles are tabulated against a standard-normal score, so that a sample is a smooth
function of normal noise and of the layer. Energies are in GeV, paths in metres.
"""

__all__ = [
    "landau_quantile",
    "landau_width",
    "most_probable_loss",
    "sample_loss",
    "straggling_width",
    "vavilov_kappa",
    "vavilov_most_probable_loss",
    "vavilov_quantile",
]

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from detopt.physics import _collision, _medium, _ranges, _vavilov
from detopt.physics._domain import require_positive
from detopt.physics._fused import Partials, fused
from detopt.physics._medium import Beam
from detopt.physics._octaves import OctaveTable
from detopt.physics._tensors import TensorLike, as_tensors
from detopt.physics._vavilov import landau_quantile, vavilov_quantile
from detopt.physics.materials import Material
from detopt.physics.particles import Particle

N_CELLS, FARTHEST = 4096, 6.5  # table of one layer's loss against the score, to both sides
CELL = 2 * FARTHEST / N_CELLS
MOST_PROBABLE = 0.200  # j of the most probable loss; H. Bichsel 1988
CM = 100.0  # in a metre


@dataclass(frozen=True)
class _Layer:
    """The numbers that the loss of a particle in a layer depends on."""

    energy: Tensor  # kinetic, GeV
    beta_squared: Tensor
    gamma: Tensor
    transfer: Tensor  # largest energy given to one electron, GeV
    width: Tensor  # xi, GeV
    thickness: Tensor  # g/cm2


def landau_width(
    particle: str | int | Particle,
    material: str | Material,
    kinetic_energy: TensorLike,
    path: TensorLike,
) -> Float[Tensor, "*batch"]:
    r"""The scale :math:`\xi` of the fluctuations.

    .. math::
        \xi = \frac{K}{2} \frac{Z}{A} \frac{z^2}{\beta^2} \rho x

    Args:
        particle: Name, PDG number or `Particle`.
        material: Name or `Material`.
        kinetic_energy: Kinetic energy [GeV], > 0.
        path: Thickness :math:`x` of the layer [m], > 0.

    Returns:
        :math:`\xi` [GeV]; the full width at half maximum of Landau's distribution is 4.018 of it.

    Raises:
        NotFoundError: The particle or the material does not exist.
        DomainError: The particle is neutral, or a Python number is not > 0.

    References:
        Particle Data Group, Review of Particle Physics, passage of particles through matter.
    """
    beam, medium = _medium.resolve(particle, material)
    return _layer(beam, medium, kinetic_energy, path).width


def vavilov_kappa(
    particle: str | int | Particle,
    material: str | Material,
    kinetic_energy: TensorLike,
    path: TensorLike,
) -> Float[Tensor, "*batch"]:
    r"""The ratio :math:`\kappa = \xi / W`: Landau below 0.01, Gauss above 10.

    Args:
        particle: Name, PDG number or `Particle`.
        material: Name or `Material`.
        kinetic_energy: Kinetic energy [GeV], > 0.
        path: Thickness of the layer [m], > 0.

    Raises:
        NotFoundError: The particle or the material does not exist.
        DomainError: The particle is neutral, or a Python number is not > 0.
    """
    beam, medium = _medium.resolve(particle, material)
    layer = _layer(beam, medium, kinetic_energy, path)
    return layer.width / layer.transfer


def most_probable_loss(
    particle: str | int | Particle,
    material: str | Material,
    kinetic_energy: TensorLike,
    path: TensorLike,
) -> Float[Tensor, "*batch"]:
    r"""Most probable loss in a thin layer, of Landau, Vavilov and Bichsel.

    .. math::
        \Delta_p = \xi \left[\ln\frac{2 m_e \beta^2\gamma^2}{I} + \ln\frac{\xi}{I} + 0.200
            - \beta^2 - \delta\right]

    Args:
        particle: Name, PDG number or `Particle`.
        material: Name or `Material`.
        kinetic_energy: Kinetic energy [GeV], > 0.
        path: Thickness of the layer [m], > 0.

    Returns:
        Most probable loss [GeV].

    Raises:
        NotFoundError: The particle or the material does not exist.
        DomainError: The particle is neutral, or a Python number is not > 0.

    Note:
        For :math:`\kappa < 0.01`; see `vavilov_most_probable_loss` above. In layers below about
        100 um of silicon the true distribution is wider than :math:`\xi` says.

    References:
        H. Bichsel, Rev. Mod. Phys. 60 (1988) 663; Review of Particle Physics.
    """
    beam, medium = _medium.resolve(particle, material)
    layer = _layer(beam, medium, kinetic_energy, path)
    beta_gamma = torch.sqrt(layer.gamma**2 - 1)
    excitation = medium.stopping_excitation_energy
    scale = 2 * _collision.ELECTRON_MASS / excitation
    logarithm = torch.log(scale * beta_gamma**2 * layer.width / excitation)
    delta = medium.sternheimer.delta(beta_gamma)

    return layer.width * (logarithm + MOST_PROBABLE - layer.beta_squared - delta)


def vavilov_most_probable_loss(
    particle: str | int | Particle,
    material: str | Material,
    kinetic_energy: TensorLike,
    path: TensorLike,
) -> Float[Tensor, "*batch"]:
    r"""Most probable loss for any :math:`\kappa`, from the mean loss and Vavilov's distribution.

    .. math::
        \Delta_p = \bar\Delta + \xi \left[\lambda_p(\kappa, \beta^2) + 1 - \gamma_E + \beta^2
            + \ln\kappa\right]

    Args:
        particle: Name, PDG number or `Particle`.
        material: Name or `Material`.
        kinetic_energy: Kinetic energy [GeV], > 0.
        path: Thickness of the layer [m], > 0.

    Returns:
        Most probable loss [GeV].

    Raises:
        NotFoundError: The particle or the material does not exist.
        DomainError: The particle is neutral, or a Python number is not > 0.

    Note:
        The loss must be small against the energy of the particle.

    References:
        P. V. Vavilov, Sov. Phys. JETP 5 (1957) 749.
    """
    beam, medium = _medium.resolve(particle, material)
    layer = _layer(beam, medium, kinetic_energy, path)
    kappa = layer.width / layer.transfer
    mode = _vavilov.mode(kappa, layer.beta_squared)
    return _loss_of(mode - _vavilov.mean(kappa, layer.beta_squared), beam, medium, layer)


def straggling_width(
    particle: str | int | Particle,
    material: str | Material,
    kinetic_energy: TensorLike,
    path: TensorLike,
) -> Float[Tensor, "*batch"]:
    r"""Standard deviation of the loss.

    .. math::
        \sigma^2 = \xi W \left(1 - \frac{\beta^2}{2}\right)

    Args:
        particle: Name, PDG number or `Particle`.
        material: Name or `Material`.
        kinetic_energy: Kinetic energy [GeV], > 0.
        path: Thickness of the layer [m], > 0.

    Returns:
        :math:`\sigma` [GeV].

    Raises:
        NotFoundError: The particle or the material does not exist.
        DomainError: The particle is neutral, or a Python number is not > 0.

    Note:
        The whole distribution is Gaussian for :math:`\kappa > 10`; in thin layers the few
        hardest collisions make most of the variance. Bohr's limit for slow particles.

    References:
        N. Bohr, Phil. Mag. 30 (1915) 581; P. V. Vavilov (1957).
    """
    beam, medium = _medium.resolve(particle, material)
    layer = _layer(beam, medium, kinetic_energy, path)
    return torch.sqrt(layer.width * layer.transfer * (1 - layer.beta_squared / 2))


def sample_loss(
    particle: str | int | Particle,
    material: str | Material,
    kinetic_energy: TensorLike,
    path: TensorLike,
    noise: Tensor | torch.Generator,
) -> Float[Tensor, "*batch"]:
    r"""Collision loss in a layer, drawn from Vavilov's distribution.

    Args:
        particle: Name, PDG number or `Particle`.
        material: Name or `Material`.
        kinetic_energy: Kinetic energy [GeV], > 0; 0 in a tensor is a particle that has stopped.
        path: Thickness of the layer [m], > 0.
        noise: Standard-normal noise, one number for each loss, or the generator to draw it with.

    Returns:
        Energy losses [GeV]; 0, with zero gradient, where the particle has stopped.

    Raises:
        NotFoundError: The particle or the material does not exist.
        DomainError: The particle is neutral, or a Python number is not > 0.

    Note:
        Tends to Landau for thin layers and to Gauss for thick ones, with the mean of
        `collision_stopping_power` (less the radiation of struck electrons). The loss must be
        small against the energy of the particle: cut thicker layers into steps. Differentiable
        in energy and path for given noise.
        Electrons are treated as heavy particles with half their energy as the largest transfer.
        For :math:`\kappa < 10^{-4}` the hardest 1e-4 of the losses are cut, so the mean is lower
        by a few per cent: knock-on electrons that would leave a thin layer. Many draws for one
        layer, given as numbers, are far faster than a layer for each draw.

    References:
        P. V. Vavilov, Sov. Phys. JETP 5 (1957) 749.
    """
    beam, medium = _medium.resolve(particle, material)
    if not isinstance(kinetic_energy, Tensor):
        return _sample(beam, medium, kinetic_energy, path, noise)
    stopped = kinetic_energy == 0
    moving = torch.where(stopped, beam.mass, kinetic_energy)
    return torch.where(stopped, 0.0, _sample(beam, medium, moving, path, noise))


def _sample(
    beam: Beam,
    medium: Material,
    kinetic_energy: TensorLike,
    path: TensorLike,
    noise: Tensor | torch.Generator,
) -> Float[Tensor, "*batch"]:
    """`sample_loss` of a moving particle."""
    layer = _layer(beam, medium, kinetic_energy, path)
    shape = layer.width.shape
    if isinstance(noise, torch.Generator):
        noise = torch.randn(
            shape, generator=noise, dtype=layer.width.dtype, device=noise.device
        ).to(layer.width.device)
    if len(shape) > 0 or noise.dtype != torch.float32 or noise.numel() <= N_CELLS:
        return _losses(beam, medium, layer, noise)
    if torch.is_tensor(kinetic_energy) or torch.is_tensor(path):
        return _between(_chords(beam, medium, layer, noise.device), noise)
    return _between(_remembered_chords(beam, medium, kinetic_energy, path, noise.device), noise)


def _losses(
    beam: Beam, medium: Material, layer: _Layer, score: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    kappa = layer.width / layer.transfer
    deviation = _vavilov.deviation(score, kappa, layer.beta_squared)
    return _loss_of(deviation, beam, medium, layer)


@functools.lru_cache(maxsize=256)
def _remembered_chords(
    beam: Beam, medium: Material, kinetic_energy: float, path: float, device: torch.device
) -> Complex[Tensor, " cells"]:
    with torch.no_grad():
        return _chords(beam, medium, _layer(beam, medium, kinetic_energy, path), device)


def _chords(
    beam: Beam, medium: Material, layer: _Layer, device: torch.device
) -> Complex[Tensor, " cells"]:
    """Losses between evenly spaced scores, to 1e-4: offset + i rise, which is fetched at once."""
    scores = torch.linspace(-FARTHEST, FARTHEST, N_CELLS + 1, device=device)
    nodes = _losses(beam, medium, layer, scores)
    rises = nodes.diff() / CELL
    return torch.complex(nodes[:-1] - rises * scores[:-1], rises)


def _between(
    chords: Complex[Tensor, " cells"], noise: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Losses in one layer, linear between the nodes."""

    def plain(noise: Tensor) -> Tensor:
        offset, rise = _chord_of(chords, noise)
        return torch.addcmul(offset, rise, noise)

    def together(needs_slope: bool, noise: Tensor) -> Partials:
        offset, rise = _chord_of(chords, noise)
        return torch.addcmul(offset, rise, noise), (rise,) if needs_slope else ()

    return plain(noise) if chords.requires_grad else fused(together, plain, noise)


def _chord_of(
    chords: Complex[Tensor, " cells"], noise: Float[Tensor, "*batch"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Offset and rise of the line at each score."""
    position = torch.add(N_CELLS / 2, noise.detach(), alpha=1 / CELL)
    cell = position.nan_to_num_().clamp_(0, N_CELLS - 1).int()
    at = chords.index_select(0, cell.reshape(-1)).reshape(noise.shape)
    offset, rise = torch.view_as_real(at).unbind(-1)
    return offset, rise


def _layer(beam: Beam, medium: Material, kinetic_energy: TensorLike, path: TensorLike) -> _Layer:
    require_positive(kinetic_energy=kinetic_energy, path=path)
    energy, length = as_tensors(kinetic_energy, path)
    gamma, beta_squared, transfer = _motion(beam, energy)
    thickness = length * (medium.density * CM)
    width = _strength(beam, medium) * thickness / beta_squared
    return _Layer(energy, beta_squared, gamma, transfer, width, thickness)


def _loss_of(
    deviation: Float[Tensor, "*batch"], beam: Beam, medium: Material, layer: _Layer
) -> Float[Tensor, "*batch"]:
    """Loss where Landau's variable is that much above its mean."""
    if layer.energy.dtype == torch.float32:
        mean = _soft_table(beam, medium, layer.energy.device)(layer.energy)
    else:
        mean = _soft_loss(beam, medium, layer.energy)
    return mean * layer.thickness + layer.width * deviation


def _soft_loss(
    beam: Beam, medium: Material, energy: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Mean loss of Rutherford-like collisions [GeV cm2/g].

    The spin term of the Bethe formula and the radiation of struck electrons, which harden the
    far tail only, are not in it.
    """
    loss = _ranges.look_up(beam, medium, "collision", energy)
    if beam.is_electron:
        return loss
    gamma, beta_squared, transfer = _motion(beam, energy)
    spin = (transfer / (gamma * beam.mass)).square() / 4
    loss = loss - _strength(beam, medium) / beta_squared * spin
    if beam.is_muon:
        loss = loss - _collision.electron_bremsstrahlung(gamma, beam.mass, medium.z_over_a)
    return loss


@functools.lru_cache(maxsize=64)
def _soft_table(beam: Beam, medium: Material, device: torch.device) -> OctaveTable:
    return OctaveTable.of(lambda energy: _soft_loss(beam, medium, energy), device)


def _strength(beam: Beam, medium: Material) -> float:
    """The scale of the fluctuations times the squared velocity over the thickness [GeV cm2/g]."""
    return _collision.K / 2 * medium.z_over_a * beam.charge**2


def _motion(beam: Beam, energy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lorentz factor, squared velocity and largest energy given to one electron [GeV]."""
    gamma = energy / beam.mass + 1
    beta_squared = 1 - gamma.square().reciprocal()
    if beam.is_electron:
        return gamma, beta_squared, energy if beam.charge > 0 else energy / 2
    return gamma, beta_squared, _collision.largest_transfer(gamma, beam.mass)
