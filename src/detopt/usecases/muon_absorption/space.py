"""Design space of the telescopes, and the design of a human to compare with."""

__all__ = ["baselines", "design_space", "view"]

import math
from collections.abc import Mapping

import torch

from detopt.design import Continuous, Design, DesignSpace, FixedSum, Interval, Real
from detopt.pipeline import Box, Scene
from detopt.usecases.muon_absorption.config import Config
from detopt.usecases.muon_absorption.targets import Target
from detopt.usecases.muon_absorption.telescope import money, place_telescopes

BEARING_STEP = 0.25  # rad: the ground in front of a target changes within some metres
TURNS = (-0.6, 0.6)  # rad
ELEVATIONS = (0.03, 1.0)  # rad
SPACINGS = (0.3, 4.0)  # m
PITCHES = (0.002, 0.05)  # m
SMALLEST_SHARE = 0.002  # of the budget, of each thing that a telescope needs
USUAL_DAYS, USUAL_WALL, USUAL_SPACING = 60.0, 0.1, 1.0  # of a human; d, m and m
N_COLUMNS = 24  # boxes along each side of the picture of a terrain


def design_space(config: Config, target: Target) -> DesignSpace:
    """Places, directions, sizes and shares of the budget of all telescopes."""
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
            [_sight(config, target, near + 0.6 * (far - near)) + 0.1] * n,
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


def _sight(config: Config, target: Target, distance: float) -> float:  # noqa: ARG001
    """Elevation of the middle of the target's height, from a distance [rad]."""
    low, high = target.terrain.target
    return math.atan2((high[2] - low[2]) / 2, distance)


def baselines(config: Config, target: Target, space: DesignSpace) -> Mapping[str, Design]:
    """The telescopes of humans, at the same price.

    They stand on the broad side of the target, evenly around it if there are several, and look at
    its middle; planes are a metre apart and run for 60 days with a wall of 10 cm, and their
    area is what the budget leaves. One is as near as can be, the other in the middle of the
    accessible ground.
    """
    n, (near, far) = config.n_telescopes, target.distance
    low, high = target.terrain.target
    broad = -math.pi / 2 if high[0] - low[0] > high[1] - low[1] else 0.0
    bearing = [broad + 2 * math.pi * i / n for i in range(n)]

    def design(distance: float) -> Design:
        values = {
            "bearing": bearing,
            "distance": [distance] * n,
            "turn": [0.0] * n,
            "elevation": [_sight(config, target, distance)] * n,
            "spacing": [USUAL_SPACING] * n,
            "pitch": [config.pitch] * n,
            "money": [_usual_money(config, target.budget / n)] * n,
        }
        tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
        return Design({**space.start, **tensors})

    return {
        "near": design(near + 0.02 * (far - near)),
        "middle": design((near * far) ** 0.5),
    }


def _usual_money(config: Config, budget: float) -> list[float]:
    """60 days and a wall of 10 cm, if that leaves half of the money for the planes."""
    unit = money(config, 1.0, 0.0, USUAL_WALL, config.pitch)
    running = min(USUAL_DAYS * config.day_price, budget / 3)
    planes = (budget - running) * unit[0] / (unit[0] + unit[2])
    return [planes, running, budget - running - planes]


def view(config: Config, target: Target, design: Design) -> Scene:
    """The terrain in columns, and the telescopes, ten times larger than they are.

    Positions are those of the user's map.
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
    scale = 10.0 if config.target != "building" else 1.0
    for place, side in zip(telescopes.place.tolist(), telescopes.side.tolist(), strict=True):
        middle = terrain.on_map(place[0], place[1], place[2])
        boxes.append(Box(middle, (scale * side,) * 3, "telescopes", 0.9))
    return Scene(boxes)
