"""Options of border control, and of the technologies of panels."""

__all__ = ["PORTAL", "PortalOptions"]

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detopt.units import Length, Number

PORTAL: Mapping[str, Any] = {  # defaults of the task `portal`
    "momentum": None,
    "known_momentum": "marginalised",
    "exposure": 60.0,
    "voxel_size": 0.05,
    "material_samples": 1,
    "margin": 0.2,
    "n_above": 3,
    "n_below": 3,
    "reach": 0.5,
    "smoothness": 0.3,
    "technologies": ("rpc", "scintillator", "silicon"),
    "budget": 20.0,
    "removal_share": 0.02,
    "n_scans": 36,
}
EDGE = 1.2  # m


class PortalOptions(BaseModel):
    """What is hidden in which cargo, and what the portal is judged by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    technologies: tuple[str, ...] = Field(
        (),
        description="Technologies to choose from for each panel: rpc, scintillator, silicon; prices"
        " are then in thousand euros",
    )
    dead_material: bool = Field(
        False, description="Panels scatter muons by the thickness of their technology"
    )
    cargo_edge: Annotated[Length, Field(gt=0)] = Field(
        EDGE, description="Edge of the cubic piece of a container that is scanned at once [m]"
    )
    n_items: int = Field(6, ge=0, description="Boxes of goods in a container")
    goods: Literal["light", "any"] = Field(
        "light",
        description="Goods of a container: paper, drinks, aluminium profiles and machines, or also"
        " steel parts and concrete, which look like a block to any portal",
    )
    hidden: tuple[str, ...] = Field(
        ("U", "Pb", "W"), min_length=1, description="Materials that may be hidden (task `portal`)"
    )
    hidden_weights: tuple[Number, ...] | None = Field(
        None, description="Importance of each hidden material; equal by default"
    )
    false_positive_rate: Number = Field(
        0.05, gt=0, lt=0.5, description="Share of harmless cargo that may raise an alarm"
    )
    goal: Literal["false_negatives", "w50"] = Field(
        "false_negatives",
        description="Rate of missed blocks, or the mass that is found half the time [kg]",
    )

    @model_validator(mode="after")
    def _different(self) -> "PortalOptions":
        if len(set(self.hidden)) < len(self.hidden):
            raise ValueError(
                f"`hidden` must hold different materials, got {', '.join(self.hidden)}"
            )
        return self

    @model_validator(mode="after")
    def _weighted(self) -> "PortalOptions":
        weights = self.hidden_weights
        if weights is not None and (
            len(weights) != len(self.hidden) or min(weights) < 0 or sum(weights) <= 0
        ):
            raise ValueError(
                f"`hidden_weights` must hold a weight >= 0 for each of {', '.join(self.hidden)}"
            )
        return self
