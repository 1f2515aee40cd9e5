"""Design space of the telescopes, and the design of a human to compare with."""

__all__ = ["baselines", "design_space", "view"]

import math
from collections.abc import Mapping

import torch

from detopt.design import Continuous, Design, DesignSpace, FixedSum, Interval, Real
from detopt.errors import ConfigError
from detopt.pipeline import Box, Scene
from detopt.usecases.muon_absorption.config import PITCHES, Config
from detopt.usecases.muon_absorption.counts import LOWEST, TOP
from detopt.usecases.muon_absorption.targets import Target
from detopt.usecases.muon_absorption.telescope import money, place_telescopes

BEARING_STEP = 0.25  # rad: the ground in front of a target changes within some metres
TURNS = (-0.6, 0.6)  # rad
ELEVATIONS = (0.03, 1.0)  # rad
SPACINGS = (0.3, 4.0)  # m
MARGIN = 0.02  # of the elevations' range, that start and humans keep from its ends
SMALLEST_SHARE = 0.002  # of the budget, of each thing that a telescope needs; humans give twice
USUAL_DAYS, USUAL_WALL, USUAL_SPACING = 60.0, 0.1, 1.0  # of a human; d, m and m
FAR = 100.0  # m, from the target: telescopes are drawn larger, to be seen
N_COLUMNS = 24  # boxes along each side of the picture of a terrain


def design_space(config: Config, target: Target) -> DesignSpace:
    """Places, directions, sizes and shares of the budget of all telescopes.

    Raises:
        ConfigError: From the farthest place the target is too low over the horizon.
    """
    _check_height(target)
    n, (near, far) = config.n_telescopes, target.distance
    bearing = [0.6 + 2 * math.pi * i / n for i in range(n)]
    parameters = [
        Continuous(
            "bearing",
            bearing,
            Real(BEARING_STEP),
            "rad",
            "place",
            "Direction of each telescope, seen from the target's middle",
        ),
        Continuous(
            "distance",
            [near + 0.6 * (far - near)] * n,
            Interval(near, far),
            "m",
            "place",
            "Horizontal distance of each telescope from the target's middle",
        ),
        Continuous(
            "turn",
            [0.1] * n,
            Interval(*TURNS),
            "rad",
            "direction",
            "Azimuth of the axis, seen from the direction to the target's middle",
        ),
        Continuous(
            "elevation",
            [_elevation(target, near + 0.6 * (far - near), above=0.1)] * n,
            Interval(*ELEVATIONS),
            "rad",
            "direction",
            "Elevation of the axis",
        ),
        Continuous(
            "spacing",
            [0.7] * n,
            Interval(*SPACINGS),
            "m",
            "size",
            "From the first to the last plane of each telescope",
        ),
        Continuous(
            "pitch",
            [config.pitch] * n,
            Interval(*PITCHES),
            "m",
            "technology",
            "Pitch of the strips",
        ),
        Continuous(
            "money",
            [[target.budget / (3 * n)] * 3] * n,
            FixedSum(target.budget, SMALLEST_SHARE * target.budget),
            "k",
            "size",
            "Money for planes, running time and absorber wall of each telescope",
        ),
    ]
    space = DesignSpace(parameters)
    return space if "pitch" in config.free else space.freeze("pitch")


def _check_height(target: Target) -> None:
    """Whether bins of some height are left between `LOWEST` and the top, from everywhere."""
    low, high = target.terrain.target
    farthest, far = (high[2] - low[2]) / (TOP * math.tan(2 * LOWEST)), target.distance[1]
    if far > farthest:
        raise ConfigError(
            f"From a distance of {far:g} m the target is too low over the horizon. `distance` "
            f"must end below {farthest:.4g} m."
        )


def _elevation(target: Target, distance: float, above: float = 0.0) -> float:
    """Elevation of the middle of the target's height, or more, as far as an axis is raised [rad].

    Args:
        target: What is looked at.
        distance: From where [m].
        above: What is added [rad].
    """
    (low, high), (least, most) = target.terrain.target, ELEVATIONS
    sight = math.atan2((high[2] - low[2]) / 2, distance) + above
    margin = MARGIN * (most - least)
    return min(max(sight, least + margin), most - margin)


def baselines(config: Config, target: Target, space: DesignSpace) -> Mapping[str, Design]:
    """The telescopes of humans, at the same price.

    They stand on the broad side of the target, evenly around it if there are several, and look at
    its middle; planes are a metre apart and run for 60 days with a wall of 10 cm, and their
    area is what the budget leaves, but nothing gets less than the smallest share of the budget.
    One is as near as can be, the other in the middle of the accessible ground.
    """
    n, (near, far) = config.n_telescopes, target.distance
    low, high = target.terrain.target
    broad = -math.pi / 2 if high[0] - low[0] > high[1] - low[1] else 0.0
    bearing = [broad + 2 * math.pi * i / n for i in range(n)]
    usual = _usual_money(config, target.budget / n, 2 * SMALLEST_SHARE * target.budget)

    def design(distance: float) -> Design:
        values = {
            "bearing": bearing,
            "distance": [distance] * n,
            "turn": [0.0] * n,
            "elevation": [_elevation(target, distance)] * n,
            "spacing": [USUAL_SPACING] * n,
            "pitch": [config.pitch] * n,
            "money": [usual] * n,
        }
        tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
        return Design({**space.start, **tensors})

    return {
        "near": design(near + 0.02 * (far - near)),
        "middle": design((near * far) ** 0.5),
    }


def _usual_money(config: Config, budget: float, least: float) -> list[float]:
    """60 days and a wall of 10 cm, as far as the money goes, and `least` for each thing [k]."""
    unit = money(config, 1.0, 0.0, USUAL_WALL, config.pitch)
    running = max(min(USUAL_DAYS * config.day_price, budget / 3), least)
    planes = (budget - running) * unit[0] / (unit[0] + unit[2])
    planes = min(max(planes, least), budget - running - least)
    return [planes, running, budget - running - planes]


def view(config: Config, target: Target, design: Design) -> Scene:
    """The terrain in columns, and the telescopes.

    Telescopes that stand more than 100 m away are drawn ten times larger than they are. Positions
    are those of the user's map.
    """
    terrain = target.terrain
    low, high = terrain.target
    edge = [(b - a) / N_COLUMNS for a, b in zip(low[:2], high[:2], strict=True)]
    boxes = []
    for i in range(N_COLUMNS):
        for j in range(N_COLUMNS):
            x, y = low[0] + (i + 0.5) * edge[0], low[1] + (j + 0.5) * edge[1]
            top = float(terrain.ground(torch.tensor(x), torch.tensor(y)))
            if top > low[2] + 0.02 * (high[2] - low[2]):
                middle = terrain.on_map(x, y, (top + low[2]) / 2)
                boxes.append(Box(middle, (edge[0], edge[1], top - low[2]), "ground", 0.15))
    telescopes = place_telescopes(config, terrain, design.detach().to(torch.float64))
    scale = 10.0 if target.distance[0] > FAR else 1.0
    for place, side in zip(telescopes.place.tolist(), telescopes.side.tolist(), strict=True):
        middle = terrain.on_map(place[0], place[1], place[2])
        boxes.append(Box(middle, (scale * side,) * 3, "telescopes", 0.9))
    return Scene(boxes)
