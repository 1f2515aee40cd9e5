"""Simulated scans with a random detector, to train an imaging network with."""

__all__ = ["ImagingScans", "random_scans"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.reconstruction import LineFit, MuonTracks, fit_lines
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.imaging.scenes import (
    random_scenes,
    scattering_densities,
    training_materials,
)
from detopt.usecases.muon_scanner.sources import MuonBeam, MuonSource
from detopt.usecases.muon_scanner.transport import Medium, propagate

VOXEL = (0.01, 0.1)  # m
SIDE, HEIGHT = (8, 20), (6, 18)  # voxels
MUONS = (3.0, 100.0)  # for each column of voxels
MOST_MUONS = 16_000
RESOLUTION = (1e-6, 1e-3)  # m
ROOM = (0.02, 0.3)  # m between the volume and the first plane
ARM = (0.1, 0.8)  # m between the first and the last plane
MARGIN = 0.3  # m: most reach of the illumination beyond the volume
WIDE_MOMENTA = (0.5, 1_000.0)  # GeV/c; evenly spread in the logarithm
MEAN_MOMENTUM = 3.0  # GeV/c; taken where the momentum is not known


@dataclass(frozen=True)
class ImagingScans:
    """Scans of several volumes with one detector.

    Args:
        tracks: Tracks of the muons of each volume.
        weight: 1 where a muon has two hits or more on each side, else 0.
        grid: The voxels.
        density: True scattering density in each voxel [rad2/m at 3 GeV/c].
    """

    tracks: MuonTracks
    weight: Float[Tensor, "n_volumes n_muons"]
    grid: Grid
    density: Float[Tensor, "n_volumes nx ny nz"]


@torch.no_grad()
def random_scans(n_volumes: int, rng: torch.Generator) -> ImagingScans:
    """Scans of random volumes with one random detector above and below them.

    Voxels have edges of 1 to 10 cm. Two to four planes on each side have a resolution of 1 um to
    1 mm and an efficiency of 0.85 to 1. Muons have momenta of the flux at sea level, known or not,
    one momentum of all, or known momenta that are evenly spread in the logarithm; 3 to 100 of them
    start above each column of voxels.

    Args:
        n_volumes: Number of volumes.
        rng: Where everything comes from.
    """

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=rng))

    def spread(low: float, high: float) -> float:
        return math.exp(between(math.log(low), math.log(high)))

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=rng))

    edge, shape = spread(*VOXEL), (whole(*SIDE), whole(*SIDE), whole(*HEIGHT))
    grid = Grid((0.0, 0.0, 0.0), (edge, edge, edge), shape)
    room, arm = between(*ROOM), between(*ARM)
    steps = torch.linspace(0, 1, whole(2, 4))
    heights = torch.stack([grid.high[2] + room + arm * steps, grid.low[2] - room - arm * steps])
    beam = MuonBeam(
        momentum=None,
        height=float(heights.max()) + 0.01,
        margin=between(0.0, min(MARGIN, edge * min(shape))),
        crossing=False,
    )
    n_muons = min(MOST_MUONS, round(spread(*MUONS) * shape[0] * shape[1]))
    voxels = random_scenes(grid, n_volumes, rng)
    before, known = _muons(MuonSource(beam, grid), n_volumes, n_muons, rng, between(0.0, 1.0))
    after, stopped = propagate(before, voxels, Medium(grid, training_materials()), rng)
    reference = (grid.low[2] + grid.high[2]) / 2
    resolution, efficiency = spread(*RESOLUTION), between(0.85, 1.0)
    fits, weight = [], (~stopped).float()
    for muons, places in zip((before, after), heights, strict=True):
        fit, usable = _track(muons, places, reference, resolution, efficiency, rng)
        fits.append(fit)
        weight = weight * usable
    momentum = before.momentum if known else torch.full_like(before.momentum, MEAN_MOMENTUM)
    tracks = MuonTracks(fits[0], fits[1], reference, momentum, known)
    return ImagingScans(tracks, weight, grid, scattering_densities()[voxels])


def _muons(
    source: MuonSource, n_volumes: int, n_muons: int, rng: torch.Generator, kind: float
) -> tuple[Muons, bool]:
    """Muons, and whether their momenta are known."""
    muons = source.draw(n_volumes, n_muons, rng, torch.float32)
    if kind < 0.4:
        return muons, True
    if kind < 0.65:
        return muons, False
    if kind < 0.8:
        momentum = torch.full_like(muons.momentum, 2 + 20 * (kind - 0.65))  # 2 to 5 GeV/c
    else:
        low, high = WIDE_MOMENTA
        momentum = low * (high / low) ** torch.rand(muons.momentum.shape, generator=rng)
    return Muons(muons.position, muons.slope, momentum, muons.height), True


def _track(
    muons: Muons,
    heights: Tensor,
    reference: float,
    resolution: float,
    efficiency: float,
    rng: torch.Generator,
) -> tuple[LineFit, Float[Tensor, "n_volumes n_muons"]]:
    """Tracks of one side, and whether they have two hits."""
    drop = heights[:, None, None] - muons.height
    true = muons.position[:, None] + muons.slope[:, None] * drop
    hits = true + resolution * torch.randn(true.shape, generator=rng)
    seen = torch.rand(true.shape[1:], generator=rng) < efficiency
    weights = seen / resolution**2
    fit = fit_lines(hits * weights, weights, heights, reference)
    return fit, (seen.sum(0) >= 2).float()
