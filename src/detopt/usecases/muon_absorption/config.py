"""Options of absorption muography."""

__all__ = ["PITCHES", "Config"]

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detopt.units import Energy, Length, Number
from detopt.usecases.muon_absorption.terrain import DENSEST

PITCHES = (0.002, 0.05)  # m


class Config(BaseModel):
    """Options of the use case; lengths in metres or with units, money in thousands (k)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["cavity", "density"] = Field(
        "cavity", description="Find a cavity of unknown place, or measure densities"
    )
    target: Literal["hill", "volcano", "building"] = Field(
        "hill", description="Generated target, unless `terrain` names a file"
    )
    terrain: Path | None = Field(
        None, description="Elevation grid or density voxels (npz), or points x, y, z (csv)"
    )
    material: str = Field("standard_rock", description="Material of the target")
    density: Number | None = Field(
        None, gt=0, description="Density of an elevation grid [g/cm3]; null for the material's own"
    )
    flux: Literal["guan", "shukla_sankrith"] = Field("guan", description="Model of the muon flux")

    radius: tuple[Length, Length] | None = Field(
        None, description="Smallest and largest radius of a cavity [m]"
    )
    cover: Number = Field(1.5, gt=1, description="Least depth of a cavity's center, in radii")
    false_positive_rate: Number = Field(
        0.05, gt=0, lt=0.5, description="Probability to see a cavity anywhere where there is none"
    )
    systematic: Number = Field(
        0.02, ge=0, description="Relative uncertainty of the expected counts of a bin"
    )
    density_spread: Number = Field(
        0.03,
        gt=0,
        le=0.3,
        description="Spread of the mean density before the measurement, relative; normal",
    )
    sector_spread: Number = Field(
        0.1,
        gt=0,
        le=0.5,
        description="Spread of the density of a sector (task `density`), relative; lognormal",
    )
    sectors: tuple[int, int, int] = Field(
        (4, 4, 3), description="Nodes of the densities in x, y and z (task `density`)"
    )

    n_telescopes: int = Field(1, ge=1, le=8, description="Telescopes around the target")
    n_planes: int = Field(3, ge=2, le=12, description="Planes of a telescope, evenly spaced")
    distance: tuple[Length, Length] | None = Field(
        None, description="Nearest and farthest accessible place, from the target's middle [m]"
    )
    efficiency: Number = Field(0.97, gt=0, le=1, description="Probability of a hit in a plane")
    wall: str = Field("iron", description="Material of the absorber wall")
    pitch: Length = Field(
        0.01, gt=PITCHES[0], lt=PITCHES[1], description="Start of the strips' pitch [m]"
    )
    free: tuple[Literal["pitch"], ...] = Field((), description="Further parameters to free")
    background: Number = Field(
        2e-3, ge=0, description="Soft scattered muons, as a share of the open sky's intensity"
    )
    background_energy: Energy = Field(
        0.5, gt=0, description="Energy after which the soft muons fall by 1/e [GeV]"
    )

    budget: Number | None = Field(
        None,
        gt=0,
        description="Money for telescopes and their time [k]; null: the target's own",
    )
    plane_price: Number = Field(3.0, gt=0, description="Of a square metre of a plane [k]")
    channel_price: Number = Field(0.02, ge=0, description="Of a channel, both coordinates [k]")
    day_price: Number = Field(0.15, gt=0, description="Of a day of running a telescope [k]")
    wall_price: Number = Field(2.0, gt=0, description="Of a tonne of wall in place [k]")

    n_bins: tuple[int, int] = Field((24, 12), description="Angular bins in azimuth and elevation")
    n_rays: int = Field(3, ge=1, le=10, description="Rays in a bin in azimuth and in elevation")
    n_steps: int = Field(64, ge=16, description="Steps of a ray through the terrain")
    n_templates: int = Field(128, ge=8, description="Cavities that the search scans for")
    n_draws: int = Field(8, ge=1, description="Directions in a bin of the sharp simulation")
    n_events: int = Field(64, ge=2, description="Targets in an evaluation")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for name in ("radius", "distance"):
            pair = getattr(self, name)
            if pair is not None and not 0 < pair[0] < pair[1]:
                raise ValueError(f"`{name}` must hold two increasing lengths > 0, got {pair}")
        if self.density is not None and self.density > DENSEST:
            raise ValueError(
                f"`density` must be at most {DENSEST:g} g/cm3, got {self.density:g}; divide kg/m3 "
                f"by 1,000"
            )
        if min(self.n_bins) < 2:
            raise ValueError(f"`n_bins` must hold two counts >= 2, got {self.n_bins}")
        if min(self.sectors) < 1:
            raise ValueError(f"`sectors` must hold three counts >= 1, got {self.sectors}")
        return self
