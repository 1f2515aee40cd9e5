"""What enters the scanner: volumes, and sea-level muons that cross them."""

__all__ = ["BlockSource", "CatalogueSource", "MuonBeam", "MuonSource"]

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError
from detopt.physics import particles
from detopt.physics.fluxes import guan_intensity, shukla_sankrith_intensity
from detopt.physics.muon_flux import MuonFlux
from detopt.pipeline import Source
from detopt.random import Seed
from detopt.usecases.muon_scanner.flow import Muons, Scans
from detopt.usecases.muon_scanner.transport import Medium, propagate
from detopt.usecases.muon_scanner.volumes import Grid, Volumes, blocks

FLUXES = {"guan": guan_intensity, "shukla_sankrith": shukla_sankrith_intensity}
LEAST_ACCEPTANCE = 1e-4  # share that crosses; of less, a scan of a thousand would not fit in memory
N_ACCEPTANCE = 200_000  # muons for the share that crosses: 0.3 % precise
SPARE = 1.1  # candidates drawn beyond the expected need


@dataclass(frozen=True)
class MuonBeam:
    """Sea-level muons over a horizontal area above the volume.

    Args:
        flux: Key of `FLUXES`.
        momentum: Momentum of all muons [GeV/c], or None for the spectrum of the flux.
        energy_range: Total energies of the spectrum [GeV].
        max_zenith: Largest zenith angle [rad].
        height: Height z at which muons start [m].
        margin: How far the starting area reaches beyond the volume on every side [m].
        crossing: Whether only muons are kept whose straight line leaves the volume through its
            bottom; the others are redrawn, and the rate counts only those kept.
    """

    flux: str = "guan"
    momentum: float | None = 5.0
    energy_range: tuple[float, float] = (0.5, 500.0)
    max_zenith: float = math.radians(70.0)
    height: float = 1.8
    margin: float = 0.0
    crossing: bool = True

    @property
    def model(self) -> MuonFlux:
        """The flux as a sampler."""
        return MuonFlux(FLUXES[self.flux], self.energy_range, self.max_zenith)


class MuonSource:
    """Draws the muons of scans, and knows their absolute rate.

    Args:
        beam: Spectrum and starting area.
        grid: Volume to be crossed.
    """

    def __init__(self, beam: MuonBeam, grid: Grid) -> None:
        self.beam = beam
        self.grid = grid

    def draw(self, n_volumes: int, n_muons: int, rng: torch.Generator, dtype: torch.dtype) -> Muons:
        """Muons for each volume, all independent."""
        n_total = n_volumes * n_muons
        if self.beam.crossing:
            position, slope, momentum = self._accepted(n_total, rng, dtype)
        else:
            position, slope, momentum = self._candidates(n_total, rng, dtype)
        return Muons(
            position.reshape(2, n_volumes, n_muons),
            slope.reshape(2, n_volumes, n_muons),
            momentum.reshape(n_volumes, n_muons),
            self.beam.height,
        )

    @property
    def area(self) -> float:
        """Starting area [m2]."""
        (x, y, _), (dx, dy, _) = self.grid.low, self.grid.high
        return (dx - x + 2 * self.beam.margin) * (dy - y + 2 * self.beam.margin)

    @property
    def rate(self) -> float:
        """Muons that are kept, per second."""
        accepted = self.acceptance if self.beam.crossing else 1.0
        return self.beam.model.rate_per_area * self.area * accepted

    @property
    def acceptance(self) -> float:
        """Share of the muons through the starting area that cross the bottom."""
        return _acceptance(self.beam, self.grid)

    def _accepted(
        self, n_total: int, rng: torch.Generator, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        missing = n_total
        while missing > 0:  # almost always once
            n_drawn = int(SPARE * missing / self.acceptance) + 100
            position, slope, momentum = self._candidates(n_drawn, rng, dtype)
            kept = self._crosses(position, slope).nonzero().squeeze(-1)[:missing]
            parts.append((position[:, kept], slope[:, kept], momentum[kept]))
            missing -= len(kept)
        position, slope, momentum = (
            torch.cat(pieces, dim=-1) for pieces in zip(*parts, strict=True)
        )
        return position, slope, momentum

    def _candidates(
        self, n: int, rng: torch.Generator, dtype: torch.dtype
    ) -> tuple[Float[Tensor, "2 n"], Float[Tensor, "2 n"], Float[Tensor, " n"]]:
        beam = self.beam
        low = torch.tensor(self.grid.low[:2], dtype=dtype) - beam.margin
        size = torch.tensor(self.grid.high[:2], dtype=dtype) + beam.margin - low
        position = low[:, None] + size[:, None] * torch.rand(2, n, generator=rng, dtype=dtype)
        if beam.momentum is None:
            energy, cosine = beam.model.sample(n, rng, dtype)
            momentum = (energy.square() - particles.mass("muon") ** 2).sqrt()
        else:
            momentum = torch.full((n,), beam.momentum, dtype=dtype)
            energy = (momentum.square() + particles.mass("muon") ** 2).sqrt()
            cosine = beam.model.sample_zenith(energy, rng)
        tangent = (cosine.square().reciprocal() - 1).clamp_min(0).sqrt()
        azimuth = 2 * math.pi * torch.rand(n, generator=rng, dtype=dtype)
        slope = tangent * torch.stack([azimuth.cos(), azimuth.sin()])
        return position, slope, momentum

    def _crosses(self, position: Tensor, slope: Tensor) -> Tensor:
        bottom = position + slope * (self.grid.low[2] - self.beam.height)
        low = torch.tensor(self.grid.low[:2], dtype=bottom.dtype)[:, None]
        high = torch.tensor(self.grid.high[:2], dtype=bottom.dtype)[:, None]
        return ((bottom >= low) & (bottom < high)).all(0)


@functools.cache
def _acceptance(beam: MuonBeam, grid: Grid) -> float:
    """Share that crosses.

    Raises:
        ConfigError: It is too small to draw muons until enough of them do.
    """
    source = MuonSource(beam, grid)
    rng = Seed("muon acceptance").generator()
    position, slope, _ = source._candidates(N_ACCEPTANCE, rng, torch.float64)
    share = float(source._crosses(position, slope).double().mean())
    if share < LEAST_ACCEPTANCE:
        raise ConfigError(
            f"Of the muons that start within {beam.margin:g} m around the volume a share of "
            f"{share:.1g} leaves through its bottom, which needs {LEAST_ACCEPTANCE:g}. Lower "
            "`margin` or `max_zenith`, or set `crossing: false`."
        )
    return share


class CatalogueSource(Source[Scans]):
    """Scans of given volumes, each as often as the others or once more.

    Args:
        volumes: What is scanned.
        medium: How muons pass through it.
        muons: What it is scanned with.
        n_muons: Muons in a scan.
    """

    def __init__(self, volumes: Volumes, medium: Medium, muons: MuonSource, n_muons: int) -> None:
        super().__init__()
        self.volumes = volumes
        self.medium = medium
        self.muons = muons
        self.n_muons = n_muons

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Scans:
        """The catalogue as many times as it fits, then volumes drawn from it, each at most once."""
        n_volumes = len(self.volumes)
        n_drawn = n_events % n_volumes
        index = torch.arange(n_events) % n_volumes
        if n_drawn > 0:
            index[n_events - n_drawn :] = torch.randperm(n_volumes, generator=rng)[:n_drawn]
        target = self.volumes.target
        chosen = torch.zeros(n_events, dtype=dtype) if target is None else target[index].to(dtype)
        before = self.muons.draw(n_events, self.n_muons, rng, dtype)
        return _scans(self.volumes.voxels[index], chosen, before, self.medium, rng)


class BlockSource(Source[Scans]):
    """Scans of volumes of one material with a block of another at a random place.

    Args:
        medium: The voxels with the materials around the block and of the block.
        size: Size of the block in voxels.
        muons: What the volumes are scanned with.
        n_muons: Muons in a scan.
    """

    def __init__(
        self, medium: Medium, size: tuple[int, int, int], muons: MuonSource, n_muons: int
    ) -> None:
        super().__init__()
        self.medium = medium
        self.size = size
        self.muons = muons
        self.n_muons = n_muons

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Scans:
        """Fresh volumes and fresh muons."""
        filling, block = self.medium.materials
        volumes = blocks(
            self.medium.grid, n_events, rng, size=self.size, filling=filling, block=block
        )
        target = torch.zeros(n_events, dtype=dtype)
        before = self.muons.draw(n_events, self.n_muons, rng, dtype)
        return _scans(volumes.voxels, target, before, self.medium, rng)


def _scans(
    voxels: Tensor, target: Tensor, before: Muons, medium: Medium, rng: torch.Generator
) -> Scans:
    after, stopped = propagate(before, voxels, medium, rng)
    return Scans(voxels, target, before, after, stopped)
