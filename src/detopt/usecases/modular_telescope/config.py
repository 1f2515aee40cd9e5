"""Options of the modular telescope."""

__all__ = ["ARRANGEMENTS", "Config"]

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from detopt.units import Duration, Length, Number

ARRANGEMENTS = ("tower", "wide", "sandwich", "two_views")  # A, B, C and D of the figure


class Config(BaseModel):
    """Options of the use case; lengths in metres or with units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Literal["cavity", "void", "cargo", "block"] = Field(
        "cavity", description="What is measured, and where"
    )
    arrangement: Literal["tower", "wide", "sandwich", "two_views"] = Field(
        "sandwich", description="Arrangement to start from"
    )
    side: Length = Field(1.0, gt=0, description="Edge of a plane [m]")
    pitch: Length = Field(0.01, gt=0.0005, lt=0.1, description="Pitch of the strips [m]")
    efficiency: Number = Field(
        0.92, gt=0.5, lt=0.999, description="Probability of a hit in a plane"
    )
    systematic: Number = Field(
        0.01, ge=0, description="Relative uncertainty of the muons expected behind the target"
    )
    exposure: Duration | None = Field(
        None, gt=0, description="Time of a measurement [s]; null for the target's own"
    )
    free: tuple[Literal["pitch", "efficiency"], ...] = Field(
        (), description="Properties of a plane to free; others stay as built"
    )
    n_events: int = Field(128, ge=2, description="Targets in an evaluation")
