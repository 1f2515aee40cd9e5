"""Options of the calorimeter for muons, estimated prices, and bounds of its designs."""

__all__ = [
    "HIGHEST_THRESHOLD",
    "LARGEST_CELL",
    "N_SIDE",
    "PART",
    "SHALLOWEST",
    "SMALLEST_CELL",
    "THICKEST",
    "Config",
]

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detopt.units import Energy, Length, Number

N_SIDE = 5  # cells in a row that are told apart; those of the rim reach to the end of the block
SMALLEST_CELL, LARGEST_CELL = 2e-3, 0.06  # m
SHALLOWEST, THICKEST = 0.1, 0.3  # m, of the block and of a layer
HIGHEST_THRESHOLD = 0.2  # GeV
PART = 0.5  # layers that the start is below the baseline: there is no derivative at whole numbers


class Config(BaseModel):
    """Options of the use case; lengths in metres or with units, energies in GeV, money in kEUR."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low_energy: Energy = Field(100.0, ge=10, description="Least energy of the muons [GeV]")
    high_energy: Energy = Field(4_000.0, le=20_000, description="Largest energy [GeV]")
    material: str = Field("PbWO4", description="Of the block")
    cut: Energy = Field(
        0.02, ge=2e-3, le=0.5, description="Losses above it are drawn one by one [GeV]"
    )
    longest: Length = Field(2.0, gt=0.2, le=10, description="Largest depth of the block [m]")
    widest: Length = Field(0.5, gt=0.05, le=2, description="Largest width of the block [m]")
    aperture: Length = Field(
        0.2, ge=0, le=1, description="Width and height of the beam, evenly filled [m]"
    )
    most_layers: int = Field(80, ge=6, le=400, description="Largest number of layers")

    depth: Length = Field(1.0, gt=SHALLOWEST, description="Depth of the baseline [m]")
    width: Length = Field(
        0.24, gt=N_SIDE * SMALLEST_CELL, description="Width and height of the baseline [m]"
    )
    cell: Length = Field(
        0.02, gt=SMALLEST_CELL, lt=LARGEST_CELL, description="Edge of a cell of the baseline [m]"
    )
    layers: int = Field(50, ge=6, description="Layers of the baseline")
    threshold: Energy = Field(
        0.015, gt=0, lt=HIGHEST_THRESHOLD, description="Threshold of a channel, baseline [GeV]"
    )

    noise: Energy = Field(5e-3, gt=0, description="Electronic noise of a channel [GeV]")
    light: Number = Field(2_000.0, gt=0, description="Photoelectrons for a GeV")
    price: Number = Field(5_000.0, gt=0, description="Of the material [kEUR/m^3]; an estimate")
    channel_price: Number = Field(0.02, ge=0, description="Of a channel [kEUR]; an estimate")
    budget: Number | None = Field(None, gt=0, description="Money [kEUR]; the baseline's")
    tracker: Number = Field(
        0.0, ge=0, description="Relative error of a magnetic measurement at 1 TeV; 0 for none"
    )

    reconstruction: Literal["network", "trees", "sum", "truncated"] = Field(
        "network",
        description="Features of a network; boosted trees as verdict; sum or truncated mean alone",
    )
    softness: Number = Field(0.3, gt=0, lt=2, description="Width of the soft threshold, in noise")
    n_events: int = Field(1_000, ge=100, description="Muons in an evaluation")
    seed: int = Field(0, ge=0, description="Of the training of network and trees")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if not self.low_energy < self.high_energy:
            raise ValueError(
                f"`high_energy` must be > `low_energy`, got {self.high_energy} and "
                f"{self.low_energy}"
            )
        for name, most in (("depth", self.longest), ("width", self.widest)):
            if not getattr(self, name) < most:
                raise ValueError(f"`{name}` must be below {most} m, got {getattr(self, name)}")
        if not self.layers <= self.most_layers:
            raise ValueError(f"`layers` must be at most {self.most_layers}, got {self.layers}")
        if not self.depth / (self.layers - PART) < THICKEST:
            raise ValueError(
                f"`layers` must be above {self.depth / THICKEST + PART:g}, as a layer has at most "
                f"{THICKEST} m, got {self.layers}"
            )
        if not 4 * self.cell < self.width:
            raise ValueError(f"`cell` must be below a quarter of `width`, got {self.cell}")
        return self
