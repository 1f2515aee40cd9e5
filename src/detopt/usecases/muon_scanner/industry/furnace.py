"""Task `furnace`: the heights of the three electrodes of an electric furnace."""

__all__ = ["furnace"]

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from detopt.physics import materials
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.industry.known_geometry import KnownGeometry
from detopt.usecases.muon_scanner.industry.solids import Body, Cylinder
from detopt.usecases.muon_scanner.volumes import loose

# A pilot furnace; radii and heights above its bottom [m].
SHELL_RADIUS, SHELL = 0.45, 0.015
LINING = 0.08
RIM = 0.8
BURDEN = 0.6  # surface of the mineral mixture
ELECTRODE_RADIUS, ELECTRODE_CIRCLE = 0.07, 0.18
TOP = 1.0  # electrodes reach beyond the rim
TIPS = (0.2, 0.4)  # lowest and highest tip
REACH = 0.4  # muons further off in the middle hardly meet an electrode
PATH = 5e-3  # a muon of 3 GeV is about that far off its chord
KNOTS = 7  # 33 mm apart: the spline between them errs by 0.7 mm, an hour by some 27 mm
BURDEN_DENSITY = 2.0  # g/cm3; 80 % manganese ore and 20 % coke by mass
ELECTRODE_DENSITY = 1.7  # g/cm3


def furnace() -> KnownGeometry:
    """A pilot furnace of 0.9 m with three graphite electrodes in manganese ore and coke.

    A steel shell of 15 mm with 8 cm of alumina brick; the burden reaches to a height of 0.6 m. The
    electrodes, 14 cm thick, stand on a circle of 18 cm radius; the height of the tip of each above
    the bottom of the furnace lies between 0.2 and 0.4 m, and the three are independent.
    """
    ore = materials.Material.from_composition("manganese ore", {"Mn": 1, "O": 2}, 5.0)
    burden = materials.mixture({ore: 0.8, "graphite": 0.2}, BURDEN_DENSITY, "burden")
    graphite = materials.mixture({"graphite": 1}, ELECTRODE_DENSITY, "electrode")
    brick = loose("Al2O3", 0.75)
    floor = SHELL + LINING
    inner = SHELL_RADIUS - floor

    def bodies(parameters: Float[Tensor, "n_volumes 3"]) -> Sequence[Body]:
        axis = (0.0, 0.0)
        found = [
            Body(Cylinder("z", axis, SHELL_RADIUS, 0.0, RIM), "steel"),
            Body(Cylinder("z", axis, SHELL_RADIUS - SHELL, SHELL, RIM), brick, "steel"),
            Body(Cylinder("z", axis, inner, floor, RIM), None, brick),
            Body(Cylinder("z", axis, inner, floor, BURDEN), burden),
        ]
        for index in range(3):
            angle = 2 * math.pi * index / 3
            place = (ELECTRODE_CIRCLE * math.cos(angle), ELECTRODE_CIRCLE * math.sin(angle))
            tip = parameters[:, index : index + 1]
            found += [
                Body(Cylinder("z", place, ELECTRODE_RADIUS, tip, BURDEN, PATH), graphite, burden),
                Body(Cylinder("z", place, ELECTRODE_RADIUS, BURDEN, TOP, PATH), graphite),
            ]
        return found

    return KnownGeometry(
        grid=Grid((-0.5, -0.5, 0.0), (0.02, 0.02, 0.02), (50, 50, 50)),
        section=((-REACH, REACH), (-REACH, REACH)),
        low=(TIPS[0],) * 3,
        high=(TIPS[1],) * 3,
        bodies=bodies,
        name="electrode heights",
        n_knots=KNOTS,
    )
