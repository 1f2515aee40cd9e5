"""Task `pipe`: the inner radius of an insulated steel pipe whose wall is worn."""

__all__ = ["pipe"]

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from detopt.physics import materials
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.industry.known_geometry import KnownGeometry
from detopt.usecases.muon_scanner.industry.solids import Body, Cylinder

AXIS = (0.0, 0.25)  # m; x and z of the axis, which lies along y
OUTER_RADIUS = 0.15  # m
INSULATION = 0.05  # m
WALLS = (0.008, 0.020)  # m; thinnest and thickest wall
REACH = 0.22  # m; muons further off meet steel only if inclined by more than 47 degrees
WOOL_DENSITY = 0.1  # g/cm3; mineral wool, taken for silica


def pipe() -> KnownGeometry:
    """A steel pipe of 15 cm outer radius in 5 cm of mineral wool, full of gas.

    The wall is 8 to 20 mm thick, so the inner radius lies between 130 and 142 mm. The pipe runs
    along y through the scanner and beyond it.
    """
    wool = materials.mixture({"SiO2": 1}, WOOL_DENSITY, "mineral wool")

    def bodies(parameters: Float[Tensor, "n_volumes 1"]) -> Sequence[Body]:
        return (
            Body(Cylinder("y", AXIS, OUTER_RADIUS + INSULATION), wool),
            Body(Cylinder("y", AXIS, OUTER_RADIUS), "steel", wool),
            Body(Cylinder("y", AXIS, parameters[:, 0:1]), None, "steel"),
        )

    return KnownGeometry(
        grid=Grid((-0.35, -0.75, 0.0), (0.01, 1.5, 0.01), (70, 1, 50)),
        section=((-REACH, REACH), (-0.75, 0.75)),
        low=(OUTER_RADIUS - WALLS[1],),
        high=(OUTER_RADIUS - WALLS[0],),
        bodies=bodies,
        name="inner radius",
    )
