r"""Expected muons in the angular bins of telescopes, without and with a cavity.

Bins are spread over the target as a telescope sees it, in azimuth and elevation. One collects

.. math::
    \lambda = t\, \epsilon\, A\, \Delta\Omega \left[I(X + X_w, c) + B(c)\right]

muons in the time :math:`t` on the area :math:`A`, with the intensity :math:`I` behind the grammage
:math:`X` of the terrain and :math:`X_w` of the wall's threshold. Soft muons that were scattered
into the telescope are a share of the open sky's intensity that falls with the threshold
:math:`T_w` of the wall,

.. math::
    B(c) = b\, I(0, c)\, e^{-T_w / T_b}

which is a model of convenience: their number depends on the place (Ambrosino et al. 2015).

References:
    F. Ambrosino et al., J. Geophys. Res. Solid Earth 120 (2015) 7290; R. Nishiyama et al.,
    Geophys. J. Int. 206 (2016) 1039.
"""

__all__ = ["Bins", "angular_bins", "blob", "chord", "drawn_bins"]

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.physics.energy_loss import csda_range
from detopt.physics.fluxes import guan_intensity, shukla_sankrith_intensity, threshold_energy
from detopt.usecases.muon_absorption.config import Config
from detopt.usecases.muon_absorption.survival import TransmittedIntensity, transmitted_intensity
from detopt.usecases.muon_absorption.telescope import Telescopes
from detopt.usecases.muon_absorption.terrain import GRAMS_PER_METRE, Terrain

MODELS = {"guan": guan_intensity, "shukla_sankrith": shukla_sankrith_intensity}
SLOPE_STEP = 0.01  # of ln(density), to either side
SMALLEST_STEP = 1e-3  # g/cm2
SKYLINE = 0.25  # of the least grammage: width over which directions fade out
LEAST_GRAMMAGE = 100.0  # g/cm2, that is always left in the way
LOWEST = 0.02  # rad, elevation where the bins begin
SIDE, TOP = (
    1.05,
    0.6,
)  # bins reach to 1.05 half-widths of the target, and to its top at 0.6 of the way


@dataclass(frozen=True)
class Bins:
    """Angular bins of telescopes, and rays in each of them.

    Attributes:
        angles: Azimuth and elevation of the middle of each bin [rad].
        width: Widths of the bins of each telescope in both [rad].
        spread: Spread of an angle by the planes and by the terrain [rad].
        rays: Directions of the muons that are counted in each bin, unit vectors.
        grammage: Matter of the terrain on each ray [g/cm2].
        factor: Muons of each ray for a unit of intensity.
        background: Soft muons of each ray.
        threshold_grammage: Grammage of the terrain that counts as much as the wall [g/cm2].
        intensity: Intensity behind a grammage.
    """

    angles: Float[Tensor, "telescopes bins 2"]
    width: Float[Tensor, "telescopes 2"]
    spread: Float[Tensor, "telescopes bins"]
    rays: Float[Tensor, "telescopes bins rays 3"]
    grammage: Float[Tensor, "telescopes bins rays"]
    factor: Float[Tensor, "telescopes bins rays"]
    background: Float[Tensor, "telescopes bins rays"]
    threshold_grammage: Float[Tensor, " telescopes"]
    intensity: TransmittedIntensity

    def expected(
        self, missing: Float[Tensor, "*batch telescopes bins rays"] | float = 0.0
    ) -> Float[Tensor, "*batch telescopes bins"]:
        """Expected muons, with a part of the matter missing.

        Args:
            missing: Grammage that is not there [g/cm2].
        """
        return self._muons(missing).sum(dim=-1)

    def _muons(self, missing: Tensor | float) -> Tensor:
        """Expected muons of each ray."""
        left = self.grammage - missing
        left = LEAST_GRAMMAGE + torch.nn.functional.softplus(left - LEAST_GRAMMAGE, beta=0.01)
        through = left + self.threshold_grammage[:, None, None]
        return self.factor * self.intensity(through, self.rays[..., 2]) + self.background

    def slope(self) -> Float[Tensor, "telescopes bins"]:
        """Change of the expected muons for a unit of the logarithm of the density."""
        return self.change(self.grammage.unsqueeze(-1)).squeeze(-1)

    def change(
        self,
        added: Float[Tensor, "telescopes bins rays k"],
        missing: Float[Tensor, "*batch telescopes bins rays"] | float = 0.0,
    ) -> Float[Tensor, "*batch telescopes bins k"]:
        """Slope of the expected muons towards grammages that are added on the rays.

        Args:
            added: Grammages [g/cm2]; where the terrain has none, neither have these.
            missing: Grammage that is not there [g/cm2].
        """
        step = SLOPE_STEP * self.grammage
        rise = self._muons(missing - step) - self._muons(missing + step)
        slope = rise / (2 * step).clamp(min=SMALLEST_STEP)
        return torch.einsum("...tbr,tbrk->...tbk", slope, added)

    def excess(
        self, missing: Float[Tensor, "n telescopes bins"], scale: float
    ) -> Float[Tensor, "n telescopes bins"]:
        r"""Muons that are added where the same grammage is missing on all rays of a bin.

        The logarithm of the expected muons is a parabola in what is missing, through 0,
        `scale` and twice `scale`.

        Args:
            missing: Grammage that is not there [g/cm2].
            scale: Its size [g/cm2]: of the columns of a large cavity.
        """
        least = torch.finfo(missing.dtype).tiny
        nodes = (self.expected(k * scale).clamp(min=least) for k in range(3))
        mean, first, second = nodes
        near, far = torch.log(first / mean), torch.log(second / mean)
        share = missing / scale
        return mean * torch.expm1(share * (2 * near - far / 2) + share.square() * (far / 2 - near))


def angular_bins(
    config: Config, terrain: Terrain, telescopes: Telescopes, least: float = 0.0
) -> Bins:
    """Bins over the target, with the middles of `n_rays` by `n_rays` parts as rays.

    The edges of the acceptance are smooth.

    Args:
        config: Options.
        terrain: What the rays cross.
        telescopes: Where they start.
        least: Grammage below which a direction is left out, with a soft edge [g/cm2]: skyline
            and open sky; 0 for none.
    """
    middle, width = _grid(config, terrain, telescopes)
    part = _middles(config.n_rays, like=width) / 2
    parts = torch.stack(torch.meshgrid(part, part, indexing="ij"), dim=-1).reshape(-1, 2)
    angles = middle.unsqueeze(2) + width[:, None, None] * parts
    bins = _with_rays(config, terrain, telescopes, (middle, width), angles, soft=True)
    if least <= 0:
        return bins
    return _select(bins, torch.sigmoid((bins.grammage / least - 1) / SKYLINE))


def drawn_bins(
    config: Config,
    terrain: Terrain,
    telescopes: Telescopes,
    rng: Generator,
    least: float = 0.0,
) -> Bins:
    """The same bins with sharp acceptance, and with true directions that are drawn.

    Args:
        config: Options.
        terrain: What the rays cross.
        telescopes: Where they start.
        rng: Source of `n_draws` directions in each bin, smeared by the resolution.
        least: Grammage below which a reconstructed direction is left out [g/cm2]; 0 for none.
    """
    smooth = angular_bins(config, terrain, telescopes)
    middle = smooth.angles.unsqueeze(2)
    shape = (*smooth.angles.shape[:2], config.n_draws, 2)
    uniform = torch.rand(shape, generator=rng, dtype=middle.dtype)
    normal = torch.randn(shape, generator=rng, dtype=middle.dtype)
    level = torch.cos(middle[..., 1])
    stretch = torch.stack([1 / level, torch.ones_like(level)], dim=-1)
    smeared = smooth.spread[:, :, None, None] * stretch * normal
    found = middle + smooth.width[:, None, None] * (uniform - 0.5)
    grid = (smooth.angles, smooth.width)
    bins = _with_rays(config, terrain, telescopes, grid, found + smeared, soft=False)
    if least <= 0:
        return bins
    rays = telescopes.direction(found.flatten(1, 2))
    grammage = terrain.grammage(telescopes.place[:, None], rays, config.n_steps)
    return _select(bins, (grammage > least).to(rays).unflatten(1, bins.grammage.shape[1:]))


def _select(bins: Bins, kept: Float[Tensor, "telescopes bins rays"]) -> Bins:
    """Bins with a share of the muons of each ray."""
    return replace(bins, factor=kept * bins.factor, background=kept * bins.background)


def _grid(
    config: Config, terrain: Terrain, telescopes: Telescopes
) -> tuple[Float[Tensor, "telescopes bins 2"], Float[Tensor, "telescopes 2"]]:
    """Middles and widths of the bins."""
    low, high = terrain.target
    center = telescopes.place.new_tensor([(a + b) / 2 for a, b in zip(low, high, strict=True)])
    away = (telescopes.place - center)[:, :2].norm(dim=-1)
    half = SIDE * max(high[0] - low[0], high[1] - low[1]) / 2
    sideways = torch.atan2(torch.full_like(away, half), away)
    upward = torch.atan2(torch.full_like(away, high[2] - low[2]), TOP * away)
    n_azimuths, n_elevations = config.n_bins
    azimuth = _middles(n_azimuths, like=away)[None, :, None] * sideways[:, None, None]
    elevation = (1 + _middles(n_elevations, like=away)[None, None, :]) / 2
    elevation = LOWEST + (upward - LOWEST)[:, None, None] * elevation
    pairs = torch.broadcast_tensors(azimuth, elevation)
    width = torch.stack([2 * sideways / n_azimuths, (upward - LOWEST) / n_elevations], dim=-1)
    return torch.stack(pairs, dim=-1).flatten(1, 2), width


def _middles(n: int, like: Tensor) -> Float[Tensor, " n"]:
    """Middles of `n` bins from -1 to 1."""
    return (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) * (2 / n) - 1


def _with_rays(
    config: Config,
    terrain: Terrain,
    telescopes: Telescopes,
    grid: tuple[Float[Tensor, "telescopes bins 2"], Float[Tensor, "telescopes 2"]],
    angles: Float[Tensor, "telescopes bins rays 2"],
    *,
    soft: bool,
) -> Bins:
    """Bins with rays of given azimuths and elevations."""
    (middle, width), n_rays = grid, angles.shape[2]
    rays = telescopes.direction(angles.flatten(1, 2))
    grammage = terrain.grammage(telescopes.place[:, None], rays, config.n_steps)
    area, ahead = telescopes.acceptance(rays, soft=soft)
    time = telescopes.exposure * telescopes.efficiency * width.prod(dim=-1) / n_rays
    factor = time[:, None] * area * torch.cos(angles[..., 1].flatten(1))
    intensity = transmitted_intensity(MODELS[config.flux], config.material)
    open_sky = intensity(torch.full_like(factor, LEAST_GRAMMAGE), rays[..., 2])
    left = config.background * torch.exp(-telescopes.threshold / config.background_energy)
    parts = (1, (-1, n_rays))

    mean = grammage.unflatten(*parts).mean(dim=-1).clamp(min=LEAST_GRAMMAGE)
    cut = threshold_energy(mean, config.material)
    cosine = ahead.unflatten(*parts).mean(dim=-1).clamp(min=0.0)
    planes = telescopes.slope_error[:, None].square() * cosine**3
    return Bins(
        middle,
        width,
        torch.sqrt(planes + telescopes.scattering(cut, config.material).square()),
        rays.unflatten(*parts),
        grammage.unflatten(*parts),
        factor.unflatten(*parts),
        (factor * left[:, None] * open_sky).unflatten(*parts),
        csda_range("muon", config.material, telescopes.threshold),
        intensity,
    )


def blob(
    telescopes: Telescopes,
    bins: Bins,
    center: Float[Tensor, "n 3"],
    radius: Float[Tensor, " n"],
    density: float,
) -> Float[Tensor, "n telescopes bins"]:
    r"""Grammage that spheres take away in each bin, with the resolution of the telescope.

    The chords of a sphere are replaced by a normal distribution with the same integral and the same
    second moment :math:`r^2/5`, which is widened by the resolution :math:`\sigma` and averaged over
    each bin of azimuth :math:`a` and elevation :math:`e`:

    .. math::
        \delta X = \rho \frac{4\pi r^3}{3 D^2 \cos e_c} \frac{1}{\Delta_a \Delta_e}
            \int_{bin} N(a - a_c, s / \cos e_c)\, N(e - e_c, s)\, da\, de, \qquad
        s^2 = \sigma^2 + \frac{r^2}{5 D^2}

    with the sphere's direction :math:`(a_c, e_c)` and distance :math:`D`.

    Args:
        telescopes: Telescopes.
        bins: Their bins.
        center: Centers [m].
        radius: Radii [m].
        density: Density of what is missing [g/cm3].

    Note:
        Exact in the zeroth and second moments for spheres that are small against their distance
        and away from the zenith. The resolution of a slope counts as an angle with
        :math:`\cos^{3/2}\alpha`, the mean of both directions. Differentiable.
    """
    at, distance = telescopes.angles(center)
    level = torch.cos(at[..., 1])
    own = radius[:, None].square() / (5 * distance.square())
    spread = torch.sqrt(own.unsqueeze(-1) + bins.spread.square())
    scale = torch.stack([spread / level.unsqueeze(-1), spread], dim=-1) * math.sqrt(2)
    offset = bins.angles - at.unsqueeze(2)
    half = bins.width[:, None] / 2
    upper, lower = torch.erf((offset + half) / scale), torch.erf((offset - half) / scale)
    share = ((upper - lower) / (4 * half)).prod(dim=-1)
    volume = GRAMS_PER_METRE * density * 4 / 3 * math.pi * radius[:, None] ** 3
    return (volume / (distance.square() * level)).unsqueeze(-1) * share


def chord(
    place: Float[Tensor, "telescopes 3"],
    rays: Float[Tensor, "telescopes bins rays 3"],
    center: Float[Tensor, "n 3"],
    radius: Float[Tensor, " n"],
) -> Float[Tensor, "n telescopes bins rays"]:
    """Length of rays in spheres [m], with sharp edges.

    Args:
        place: Where the rays start [m].
        rays: Their unit vectors.
        center: Centers of the spheres [m].
        radius: Their radii [m].
    """
    offset = center[:, None] - place
    along = torch.einsum("nti,tbri->ntbr", offset, rays)
    aside = offset.square().sum(dim=-1)[..., None, None] - along.square()
    half = (radius[:, None, None, None].square() - aside).clamp(min=0.0).sqrt()
    return torch.where(along > 0, 2 * half, 0.0)
