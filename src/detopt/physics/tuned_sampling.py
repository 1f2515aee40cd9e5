r"""Draws showers with fitted coefficients: shapes, and what layers see of them.

Thicknesses are in metres, energies in GeV, depths in radiation lengths. See
`detopt.physics.tuned_showers` for mean energies at given shapes.
"""

__all__ = ["SamplingNoise", "sample_started_showers", "sample_tuned_showers", "sampling_noise"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from detopt.errors import DomainError
from detopt.physics._tensors import Values, as_tensors
from detopt.physics.electromagnetic_showers import LongitudinalShape, sample_conversion_depth
from detopt.physics.shower_stacks import Stack, stack_medium
from detopt.physics.tuned_showers import (
    ShowerTuning,
    cumulative_share,
    expected_layer_energies,
    load_tuning,
    tuned_shape,
)

MEV = 1e-3  # GeV
FLOOR, SHARE_FLOOR = 1e-9, 1e-6  # GeV and share of the energy: less does not fluctuate more
N_WAVES = 32  # of the Brownian bridge


@dataclass(frozen=True)
class SamplingNoise:
    """Fluctuations of the visible energy of layers at given shapes, as log-normal factors.

    Attributes:
        seen: Number of each layer that shares its cell with a passive one and is read out.
        alone: Relative variance of each layer that is independent of the others.
        waves: What the waves of the Brownian bridge add, relative and for unit normals, see
            `sampling_noise`.
    """

    seen: Int[Tensor, " seen"]
    alone: Float[Tensor, "*batch seen"]
    waves: Float[Tensor, "*batch seen waves"]

    @property
    def variance(self) -> Float[Tensor, "*batch seen"]:
        """Relative variance of each layer."""
        return self.alone + self.waves.square().sum(-1)

    @property
    def scale(self) -> Float[Tensor, "*batch seen"]:
        r"""Factor :math:`\sqrt{\ln(1 + v)/v}` from relative errors to those of the logarithm."""
        variance = self.variance
        return (torch.log1p(variance) / variance).sqrt()

    @property
    def covariance(self) -> Float[Tensor, "*batch seen seen"]:
        r"""Relative covariance of all pairs of layers, :math:`e^{c} - 1` for that of logarithms."""
        scale = self.scale
        waves = scale[..., None] * self.waves
        return torch.expm1(waves @ waves.mT + torch.diag_embed(scale.square() * self.alone))


def sampling_noise(
    stack: Stack,
    energy: Values,
    shape: LongitudinalShape,
    deposit: Float[Tensor, "*batch layers"],
    tuning: ShowerTuning | None = None,
    start: Values = 0.0,
) -> SamplingNoise:
    r"""How the visible energy of layers fluctuates beyond the shape of the shower.

    The energy in front of a depth fluctuates, but not the whole: it is :math:`C + \sqrt{c_2/E}\,
    B(C)` with a Brownian bridge :math:`B`. An active layer sees what is deposited within
    :math:`\pm c_3` radiation lengths of its middle, and on top of that the tracks that cross it
    fluctuate, with the relative variance

    .. math::
        \frac{c_0\, \delta^{c_1}}{E_\text{layer}}

    where :math:`\delta` is the loss of a minimum ionizing particle in the layer [MeV] and energies
    are in MeV. So coarse stacks fluctuate more than fine ones, and layers close to each other see
    the same fluctuation. The bridge is a sum of waves :math:`\sqrt2 \sin(k \pi C)\, z_k/(k \pi)`;
    what those beyond the 32nd add to a layer is independent from layer to layer.

    Args:
        stack: The layers.
        energy: Energy of the showers [GeV].
        shape: Their shapes.
        deposit: Expected energies [GeV], see `expected_layer_energies`.
        tuning: Coefficients; those of the package by default.
        start: Depth where they start, in radiation lengths.

    Note:
        Differentiable.

    References:
        R. Wigmans, Calorimetry (2017), chapter 4, for the number of crossing tracks.
    """
    tuning = load_tuning() if tuning is None else tuning
    energy, start = as_tensors(energy, start)
    c = tuning.sampling
    seen = stack.sampling_mask.nonzero().flatten()
    depth = stack.depth
    middle = (depth.cumsum(-1) - depth / 2)[..., seen] - start[..., None]
    lower, upper = (
        cumulative_share(stack, energy, shape, middle + sign * c[3], tuning) for sign in (-1, 1)
    )
    upper = upper.maximum(lower + SHARE_FLOOR)
    width = upper - lower
    waves = (_bridge_waves(upper) - _bridge_waves(lower)) / width[..., None]
    beyond = ((1 - width) / width - waves.square().sum(-1)).clamp(min=0.0)
    quantum = c[0] * MEV * (stack.ionization[..., seen] / MEV) ** c[1]
    intrinsic = quantum / deposit[..., seen].clamp(min=FLOOR)
    local = (c[2] * MEV / energy)[..., None]
    return SamplingNoise(seen, intrinsic + local * beyond, local.sqrt()[..., None] * waves)


def sample_tuned_showers(
    stack: Stack,
    energy: Float[Tensor, "*showers"],
    rng: Generator,
    particle: str = "electron",
    tuning: ShowerTuning | None = None,
) -> Float[Tensor, "*batch layers"]:
    """Draws the energy in each layer, shower by shower.

    Shapes are those of `tuned_shape`, photons convert after a random depth, and the energy of each
    active layer is multiplied by a log-normal factor with the variance of `sampling_noise`.

    Args:
        stack: The layers; see `sample_layer_energies` for batches of designs.
        energy: Energies of the incident particles [GeV].
        rng: Source of the draws, on the device of the energies.
        particle: ``"electron"`` or ``"photon"``.
        tuning: Coefficients; those of the package by default.

    Returns:
        Energies [GeV]. Those of active layers are visible energies.

    Raises:
        DomainError: The particle starts no electromagnetic shower.

    Note:
        Differentiable in thicknesses and energies at a fixed seed; no draw is discrete.

    References:
        See `expected_layer_energies` and `sampling_noise`.
    """
    if particle not in ("electron", "photon"):
        raise DomainError(
            f"A {particle!r} starts no electromagnetic shower. Take 'electron' or 'photon'."
        )
    normals = _normals(energy, 2, rng)
    start = torch.zeros((), dtype=energy.dtype, device=energy.device)
    if particle == "photon":
        start = sample_conversion_depth(tuple(energy.shape), rng, energy.dtype)
    return _sampled(stack, energy, start, normals, rng, tuning)


def sample_started_showers(
    stack: Stack,
    energy: Float[Tensor, "*showers"],
    start: Float[Tensor, "*showers"],
    rng: Generator,
    tuning: ShowerTuning | None = None,
) -> Float[Tensor, "*batch layers"]:
    """Draws the energy in each layer of showers that start inside, see `sample_tuned_showers`.

    Args:
        stack: The layers.
        energy: Energies of the showers [GeV].
        start: Depths where they start, in radiation lengths.
        rng: Source of the draws, on the device of the energies.
        tuning: Coefficients; those of the package by default.

    Returns:
        Energies [GeV]. Those of active layers are visible energies.

    Note:
        Differentiable in thicknesses, energies and starts.
    """
    return _sampled(stack, energy, start, _normals(energy, 2, rng), rng, tuning)


def _sampled(
    stack: Stack,
    energy: Tensor,
    start: Tensor,
    normals: Tensor,
    rng: Generator,
    tuning: ShowerTuning | None,
) -> Tensor:
    showers = tuned_shape(energy, stack_medium(stack), normals, tuning)
    deposit = expected_layer_energies(stack, energy, showers, tuning, start)
    if not stack.is_sampling:
        return deposit
    noise = sampling_noise(stack, energy, showers, deposit, tuning, start)
    n_seen = len(noise.seen)
    draws = _normals(energy, n_seen + N_WAVES, rng)
    shared = (noise.waves * draws[..., None, n_seen:]).sum(-1)
    scale = noise.scale
    spread = scale.square() * noise.variance
    together = noise.alone.sqrt() * draws[..., :n_seen] + shared
    factor = torch.exp(scale * together - spread / 2)
    return deposit * torch.ones_like(deposit).index_copy(-1, noise.seen, factor)


def _normals(energy: Tensor, n: int, rng: Generator) -> Tensor:
    shape = (*energy.shape, n)
    return torch.randn(shape, generator=rng, dtype=energy.dtype, device=rng.device)


def _bridge_waves(share: Float[Tensor, "*batch seen"]) -> Float[Tensor, "*batch seen waves"]:
    r"""The waves :math:`\sqrt2 \sin(k \pi u)/(k \pi)` whose sum is a Brownian bridge."""
    wave = math.pi * torch.arange(1, N_WAVES + 1, dtype=share.dtype, device=share.device)
    return torch.sin(share[..., None] * wave) * (math.sqrt(2) / wave)
