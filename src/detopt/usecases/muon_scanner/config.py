"""Options of the muon scanner."""

__all__ = ["Config"]

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from detopt.units import Angle, Duration, Energy, Length, Number
from detopt.usecases.muon_scanner.portal.options import PORTAL, PortalOptions
from detopt.usecases.muon_scanner.realism.options import WORTHWHILE, RealismOptions

PositiveLength = Annotated[Length, Field(gt=0)]
INDUSTRY: Mapping[str, Any] = {  # 8 panels of a square metre on average, unknown momentum
    "budget": 8.0,
    "momentum": None,
    "known_momentum": "marginalised",
    "n_scans": 16,
}
SLAB_OPTIONS = ("slab_thickness", "slab_material", "slab_reach")
TASK_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "pipe": INDUSTRY,
    "furnace": INDUSTRY,
    "portal": PORTAL,
}


class Config(PortalOptions, RealismOptions):
    """Options of the use case; lengths in metres, energies in GeV, or texts with units."""

    task: Literal["ladle", "image", "pipe", "furnace", "portal"] = Field(
        "ladle", description="What the scanner shall find out"
    )
    volume: Path | None = Field(
        None, description="npz, HDF5 or YAML file of volumes; None makes them"
    )
    voxel_size: PositiveLength = Field(0.1, description="Edge of a voxel of generated volumes [m]")
    block: str = Field("Pb", description="Material of the block (task `image`)")
    filling: str = Field("water", description="Material around the block (task `image`)")

    reconstruction: Literal["poca", "learned"] = Field(
        "poca",
        description="Images from scattering points, or by a frozen network (task `image`)",
    )
    imager: Path | None = Field(
        None, description="File of the network, see `detopt train-imager`; None takes the shipped"
    )

    n_muons: int = Field(1_000, gt=0, description="Muons that cross the volume in a scan")
    exposure: Duration | None = Field(
        None,
        gt=0,
        description="Time of a scan [s]; sets `n_muons` from the absolute rate (tasks `pipe` and "
        "`furnace`: what the information of `n_muons` is scaled to, an hour by default)",
    )
    flux: Literal["guan", "shukla_sankrith"] = Field("guan", description="Model of the muon flux")
    momentum: Energy | None = Field(
        5.0,
        ge=1e-3,
        le=1e6,
        description="Momentum of all muons [GeV/c]; null for the spectrum",
    )
    max_zenith: Angle = Field(
        math.radians(70), gt=0, lt=math.pi / 2, description="Largest zenith angle [rad]"
    )
    margin: Length | None = Field(
        None, ge=0, description="Reach of the muons' starting area beyond the volume [m]"
    )
    crossing: bool = Field(
        True,
        description="Keep only muons that leave through the bottom; by default not where there are "
        "`side_panels`, which measure the others",
    )
    energy_loss: bool | None = Field(
        None, description="Muons lose energy; by default not in the published task `ladle`"
    )
    step: PositiveLength | None = Field(None, description="Height of a transport step [m]")
    material_samples: int = Field(4, ge=1, description="Material look-ups in a transport step")

    n_above: int = Field(4, ge=2, description="Panels above the volume")
    n_below: int = Field(4, ge=2, description="Panels below the volume")
    reach: PositiveLength = Field(0.4, description="Room for panels above and below [m]")
    clearance: PositiveLength = Field(0.005, description="Smallest distance between panels [m]")
    upper_z: tuple[Length, ...] | None = Field(None, description="Start heights above [m], falling")
    lower_z: tuple[Length, ...] | None = Field(None, description="Start heights below [m], falling")
    center: tuple[Length, Length] = Field((0.0, 0.0), description="Start of all centers, x, y [m]")
    resolution: PositiveLength = Field(1e-4, description="Resolution of a coordinate [m]")
    efficiency: Number = Field(0.9, gt=0, lt=1, description="Probability of a hit in a panel")
    smoothness: PositiveLength = Field(0.05, description="Width of the panels' soft edges [m]")
    quantile_window: Number = Field(
        0.08, gt=0, lt=0.15, description="Half width of smooth quantiles, in levels"
    )

    budget: Number = Field(6.0, gt=0, description="Cost of all panels; 1 is a standard m2")
    budget_mode: Literal["fixed", "soft"] = Field(
        "fixed", description="Spend the budget exactly, or punish its excess"
    )
    free: tuple[str, ...] = Field(
        (),
        description="Parameters to free: panel_resolution, panel_efficiency; panel_thickness and "
        "panel_areal_density where panels have any",
    )
    n_scans: int = Field(
        64, gt=0, description="Scans in an evaluation; the task `ladle` needs three"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, data: Any) -> Any:
        """Defaults that other tasks do not share."""
        if not isinstance(data, dict):
            return data
        own = dict(TASK_DEFAULTS.get(str(data.get("task")), {}))
        if data.get("momentum") is not None:  # then it is known
            own.pop("known_momentum", None)
        if data.get("n_muons") is not None:  # instead of a time
            own.pop("exposure", None)
        if data.get("budget_mode") == "soft":  # panels have free edges and no shares
            own.pop("removal_share", None)
        return {**own, **data}

    @model_validator(mode="before")
    @classmethod
    def _every_muon_beside_the_volume(cls, data: Any) -> Any:
        """Side panels are there for muons that leave through the sides."""
        if not isinstance(data, dict) or data.get("crossing") is not None:
            return data
        return {**data, "crossing": not data.get("side_panels")}

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> "Config":
        """Options that would be ignored are refused."""
        if self.n_behind and self.known_momentum != "estimated":
            raise ValueError(
                "`n_behind` panels measure nothing but momenta: set `known_momentum: estimated` "
                "and `momentum` to null beside it, or leave `n_behind` out"
            )
        if self.technologies and self.task != "portal":
            raise ValueError(f"`technologies` belong to the task `portal`, not to `{self.task}`")
        needed: dict[str, str] = {}
        if self.task != "portal":
            needed |= dict.fromkeys(PortalOptions.model_fields, "`task: portal`")
        if not self.n_behind:
            needed |= dict.fromkeys(SLAB_OPTIONS, "`n_behind` panels behind the slab")
        for name, what in needed.items():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` has no effect without {what}: leave it out")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for name, heights, n in (
            ("upper_z", self.upper_z, self.n_above),
            ("lower_z", self.lower_z, self.n_below),
        ):
            if heights is not None and len(heights) != n:
                raise ValueError(f"`{name}` must hold {n} heights, got {len(heights)}")
        if self.known_momentum is not True and self.momentum is not None:
            raise ValueError(
                "`known_momentum` is about the spectrum: set `momentum` to null beside it, or leave"
                " `known_momentum` true"
            )
        if self.known_momentum == "estimated" and self.n_behind < 2:
            raise ValueError(
                f"an estimated momentum needs `n_behind` >= 2 panels below the slab, got "
                f"{self.n_behind}"
            )
        if self.reconstruction == "learned" and self.task != "image":
            raise ValueError(
                f"`reconstruction: learned` belongs to the task `image`, not to `{self.task}`"
            )
        if self.imager is not None and self.reconstruction != "learned":
            raise ValueError("`imager` needs `reconstruction: learned`")
        if self.budget_mode == "soft" and (self.panel_base_price or self.removal_share):
            raise ValueError("`panel_base_price` and `removal_share` need `budget_mode: fixed`")
        if self.removal_share * self.n_panels >= 1:
            raise ValueError(
                f"`removal_share` must be less than 1/{self.n_panels}, the share of each of "
                f"{self.n_panels} equal panels, got {self.removal_share:g}"
            )
        if WORTHWHILE * self.panel_base_price > self.budget / self.n_panels:
            raise ValueError(
                f"`panel_base_price` {self.panel_base_price:g} leaves nothing for area where a "
                f"`budget` of {self.budget:g} is shared by {self.n_panels} panels: it must be at "
                f"most {self.budget / self.n_panels / WORTHWHILE:.3g}"
            )
        if self.budget_mode == "soft" and (self.n_behind or self.side_panels):
            raise ValueError("`n_behind` and `side_panels` need `budget_mode: fixed`")
        if self.task == "ladle" and self.n_scans < 3:
            raise ValueError(
                f"`n_scans` must be >= 3 for the task `ladle`, whose two numbers of calibration "
                f"come from the scans, got {self.n_scans}"
            )
        return self

    @property
    def n_horizontal(self) -> int:
        """Panels above, below and behind the slab."""
        return self.n_above + self.n_below + self.n_behind

    @property
    def n_panels(self) -> int:
        """All panels: the horizontal ones, then those beside the volume."""
        return self.n_horizontal + len(self.side_panels)

    @property
    def loses_energy(self) -> bool:
        """Whether energy loss is switched on."""
        return self.task != "ladle" if self.energy_loss is None else self.energy_loss
