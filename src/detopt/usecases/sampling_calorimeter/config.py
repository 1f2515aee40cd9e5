"""Options of the sampling calorimeter, and estimated prices of its materials."""

__all__ = ["N_FEATURES", "PIONS", "PRICES", "SHOWERS_PER_WEIGHT", "Config"]

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detopt.units import Energy, Length, Number

N_FEATURES = 8  # of the network, each with a weight
SHOWERS_PER_WEIGHT = 2  # at least; a fit with fewer follows its noise
PRICES = {  # kEUR for a cubic metre, machined; estimates, no offers
    "lead": 40.0,
    "iron": 45.0,
    "copper": 130.0,
    "tungsten": 2_500.0,
    "polystyrene": 110.0,
    "polyvinyltoluene": 130.0,
    "liquid_argon": 5.0,
    "PbWO4": 5_000.0,
}
PIONS: dict[str, Any] = {  # what pions need by default: six interaction lengths
    "low_energy": 5.0,
    "high_energy": 100.0,
    "n_layers": 20,
    "absorber": ("iron",),
    "absorber_thickness": 0.05,
}


class Config(BaseModel):
    """Options of the use case; lengths in metres or with units, energies in GeV, money in kEUR."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["fast", "geant4", "library"] = Field(
        "fast", description="Showers: fast model, real Geant4 events, or a library of depths"
    )
    library: Path | None = Field(
        None, description="File of showers for `library`; by default showers of the fast model"
    )
    particle: Literal["electron", "photon", "pion"] = Field(
        "electron", description="What enters; a pion (charged) changes defaults, see `PIONS`"
    )
    e_over_h: Number = Field(
        1.4, gt=0, description="Response to electrons over that to hadronic energy, for pions"
    )
    low_energy: Energy = Field(1.0, gt=0, description="Least energy [GeV]")
    high_energy: Energy = Field(50.0, gt=0, description="Largest energy [GeV]")
    measure: Literal["stochastic", "relative"] = Field(
        "stochastic",
        description="Error that counts: over the root of the energy, or over the energy",
    )
    reconstruction: Literal["linear", "network"] = Field(
        "linear", description="A weight for each layer, or features of a network besides"
    )

    design: Literal["shares", "thickness", "positions"] = Field(
        "shares",
        description="Absorber and active matter of the baseline shared among layers, thicknesses "
        "within limits, or active layers placed in a fixed block",
    )
    number: Literal["fixed", "relaxed"] = Field(
        "fixed", description="Whether layers may vanish (design `thickness`)"
    )
    n_layers: int = Field(8, ge=2, le=60, description="Active layers, at most")
    absorber: tuple[str, ...] = Field(
        ("lead",), min_length=1, description="Absorbers to choose from; the first is the baseline's"
    )
    active: tuple[str, ...] = Field(
        ("polystyrene",), min_length=1, description="Active materials to choose from, idem"
    )
    n_zones: int = Field(1, ge=1, description="Zones in depth with materials of their own")
    absorber_thickness: Length = Field(
        0.0175, gt=0, description="Thickness of the baseline's absorber layers [m]"
    )
    active_thickness: Length = Field(
        5e-3, gt=0, description="Thickness of the baseline's active layers [m]"
    )
    thinnest: Length = Field(2e-3, gt=0, description="Least thickness of a layer [m]")
    thickest: Length = Field(0.1, gt=0, description="Largest thickness of a layer [m]")
    width: Length = Field(0.5, gt=0, description="Width and height of the layers [m]")

    length: Length | None = Field(None, gt=0, description="Longest stack [m]; the baseline's")
    containment: Number = Field(
        0.95,
        ge=0,
        le=1,
        description="Least radiation lengths (of pions interaction lengths) over the baseline's",
    )
    budget: Number | None = Field(None, gt=0, description="Money [kEUR]; the baseline's")
    cell: Length = Field(0.05, gt=0, description="Edge of a readout cell [m]")
    channel_price: Number = Field(0.02, ge=0, description="Of a channel [kEUR]; an estimate")
    prices: dict[str, Number] = Field(
        default_factory=dict, description="Of further or other materials [kEUR/m^3]"
    )
    light: Number = Field(10_000.0, gt=0, description="Photoelectrons for a GeV in active layers")
    noise: Energy = Field(1e-4, ge=0, description="Electronic noise of a layer [GeV]")
    softness: Number = Field(0.1, gt=0, lt=0.5, description="Width of the soft presence of a layer")

    n_events: int = Field(1_000, ge=40, description="Showers in an evaluation")
    geant4_workers: int = Field(1, ge=1, description="Processes that run Geant4")
    seed: int = Field(0, ge=0, description="Of the library and of the network's training")

    @model_validator(mode="before")
    @classmethod
    def _for_pions(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("particle") == "pion":
            return {**PIONS, **given}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if not self.low_energy < self.high_energy:
            raise ValueError(
                f"`high_energy` must be > `low_energy`, got {self.high_energy} and "
                f"{self.low_energy}"
            )
        for name in ("absorber_thickness", "active_thickness"):
            if not self.thinnest < getattr(self, name) < self.thickest:
                raise ValueError(f"`{name}` must lie between `thinnest` and `thickest`")
        if self.n_zones > self.n_layers:
            raise ValueError(f"`n_zones` must be <= `n_layers`, got {self.n_zones}")
        if self.n_zones > 1 and len(self.absorber) == len(self.active) == 1:
            raise ValueError(
                "`n_zones` > 1 needs a choice: give several materials as `absorber` or `active`"
            )
        known = {**PRICES, **self.prices}
        unknown = [name for name in (*self.absorber, *self.active) if name not in known]
        if unknown:
            raise ValueError(f"`prices` must say what {unknown[0]} costs [kEUR/m^3]")
        if self.design != "thickness" and self.number == "relaxed":
            raise ValueError("`number` relaxed needs the design `thickness`")
        if self.library is not None and self.source != "library":
            raise ValueError("`library` is a file for the source `library`")
        if self.source == "library" and (len(self.absorber) > 1 or self.particle != "electron"):
            raise ValueError("the source `library` holds electrons in one absorber")
        if self.n_events < self.fewest_events:
            raise ValueError(
                f"`n_events` must be at least {self.fewest_events}, {SHOWERS_PER_WEIGHT} for each "
                f"of {self.n_weights} weights, got {self.n_events}"
            )
        return self

    @property
    def n_weights(self) -> int:
        """Weights that every design fits: of the layers, of a constant, and of features."""
        return self.n_layers + 1 + (N_FEATURES if self.reconstruction == "network" else 0)

    @property
    def fewest_events(self) -> int:
        """Showers without which the weights cannot be fitted."""
        return SHOWERS_PER_WEIGHT * self.n_weights

    @property
    def known_prices(self) -> dict[str, float]:
        """Prices of all materials [kEUR/m^3]."""
        return {**PRICES, **self.prices}
