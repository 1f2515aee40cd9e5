"""Options of what a real scanner adds to ideal panels; all of it is off by default."""

__all__ = ["WORTHWHILE", "RealismOptions", "SideFace"]

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from detopt.units import Angle, Length, Number

WORTHWHILE = 1.2  # base prices: a panel of less than a fifth of one in area is not built
SideFace = Literal["-x", "+x", "-y", "+y"]


class RealismOptions(BaseModel):
    """Dead material, tilts, side panels, noise, misalignment, unknown momentum, base prices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    panel_thickness: Number = Field(
        0.0, ge=0, lt=0.5, description="Thickness of a panel in radiation lengths; > 0 scatters"
    )
    panel_areal_density: Number = Field(
        0.0, ge=0, lt=100, description="Areal density of a panel [g/cm2]; > 0 slows muons down"
    )
    tilted: bool = Field(False, description="Panels may be tilted about x and y")
    side_panels: tuple[SideFace, ...] = Field(
        (), description="A face of the volume for each vertical panel beside it: -x, +x, -y, +y"
    )
    noise_density: Number = Field(
        0.0, ge=0, lt=10, description="Mean number of noise hits per m2 of panel beside a muon"
    )
    misalignment: Length = Field(
        0.0, ge=0, description="Unknown offset of a panel along each axis, standard deviation [m]"
    )
    misrotation: Angle = Field(
        0.0, ge=0, lt=0.1, description="Unknown rotation of a panel about each axis, idem [rad]"
    )
    efficiency_spread: Number = Field(
        0.0, ge=0, description="Unknown shift of the log odds of a panel's efficiency, idem"
    )

    known_momentum: Literal[True, "marginalised", "estimated"] = Field(
        True,
        description="Momentum in the reconstruction: true, the mean over the spectrum, or estimated"
        " from scattering in a slab below",
    )
    n_behind: int = Field(
        0, ge=0, description="Panels below a slab of known material that measures momenta"
    )
    slab_thickness: Annotated[Length, Field(gt=0)] = Field(
        0.1, description="Start thickness of the slab [m]"
    )
    slab_material: Literal["Fe", "Pb"] = Field("Pb", description="Start material of the slab")
    slab_reach: Annotated[Length, Field(gt=0)] = Field(
        0.6, description="Room for slab and panels behind it, below all other panels [m]"
    )

    panel_base_price: Number = Field(
        0.0, ge=0, description="Price of a panel besides its area [standard m2]"
    )
    removal_share: Number = Field(
        0.0, ge=0, lt=0.5, description="Share of the budget below which a panel is removed at last"
    )

    @property
    def is_realistic(self) -> bool:
        """Whether anything needs the simulation of real panels."""
        return bool(
            self.panel_thickness
            or self.panel_areal_density
            or self.tilted
            or self.side_panels
            or self.noise_density
            or self.misalignment
            or self.misrotation
            or self.efficiency_spread
            or self.n_behind
        )
