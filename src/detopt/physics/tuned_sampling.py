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
    """Fluctuations of the visible energy of layers at given shapes, relative and squared.

    Attributes:
        seen: Number of each layer that shares its cell with a passive one and is read out.
        intrinsic: Of the tracks that cross a layer, independent from layer to layer.
        local: Factor of the Brownian bridge, see `sampling_noise`.
        lower: Share of the energy in front of the window of each layer.
        upper: The same behind it.
    """

    seen: Int[Tensor, " seen"]
    intrinsic: Float[Tensor, "*batch seen"]
    local: Float[Tensor, "*batch #seen"]
    lower: Float[Tensor, "*batch seen"]
    upper: Float[Tensor, "*batch seen"]

    @property
    def variance(self) -> Float[Tensor, "*batch seen"]:
        """Relative variance of each layer."""
        width = self.upper - self.lower
        return self.intrinsic + self.local * (1 - width) / width

    @property
    def covariance(self) -> Float[Tensor, "*batch seen seen"]:
        """Relative covariance of all pairs of layers."""
        ends = torch.stack([self.lower, self.upper], dim=-1)
        one, other = ends[..., :, None, :, None], ends[..., None, :, None, :]
        kernel = torch.minimum(one, other) - one * other
        width = self.upper - self.lower
        both = kernel[..., 1, 1] - kernel[..., 0, 1] - kernel[..., 1, 0] + kernel[..., 0, 0]
        shared = self.local[..., None] * both / (width[..., :, None] * width[..., None, :])
        return shared + torch.diag_embed(self.intrinsic)


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
    the same fluctuation.

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
    quantum = c[0] * MEV * (stack.ionization[..., seen] / MEV) ** c[1]
    intrinsic = quantum / deposit[..., seen].clamp(min=FLOOR)
    local = (c[2] * MEV / energy)[..., None]
    return SamplingNoise(seen, intrinsic, local, lower, upper.maximum(lower + SHARE_FLOOR))


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
    ends = torch.cat([noise.lower, noise.upper], dim=-1)
    lower, upper = _bridge(ends, draws[..., n_seen:]).chunk(2, dim=-1)
    shared = noise.local.sqrt() * (upper - lower) / (noise.upper - noise.lower)
    together = noise.intrinsic.sqrt() * draws[..., :n_seen] + shared
    variance = noise.variance
    spread = torch.log1p(variance)
    factor = torch.exp((spread / variance).sqrt() * together - spread / 2)
    return deposit * torch.ones_like(deposit).index_copy(-1, noise.seen, factor)


def _normals(energy: Tensor, n: int, rng: Generator) -> Tensor:
    shape = (*energy.shape, n)
    return torch.randn(shape, generator=rng, dtype=energy.dtype, device=rng.device)


def _bridge(
    share: Float[Tensor, "*batch layers"], draws: Float[Tensor, "*draw waves"]
) -> Float[Tensor, "*batch layers"]:
    r"""A Brownian bridge, :math:`\sum_k \sqrt2 \sin(k \pi u)\, z_k/(k \pi)`, cut off."""
    wave = math.pi * torch.arange(1, N_WAVES + 1, dtype=share.dtype, device=share.device)
    return (torch.sin(share[..., None] * wave) * (math.sqrt(2) / wave * draws)[..., None, :]).sum(
        -1
    )
