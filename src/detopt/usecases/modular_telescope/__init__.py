r"""Modular telescope: how should the same six planes be arranged for the next target?

Six equal portable planes are one tall tracker, two short ones side by side, a sandwich around the
object, or two views from different places. Design parameters: `arrangement`, the `spacing` of
neighbouring planes [m], the angle `aim` of the axis above the target's middle [rad] and
`view_angle` between two views [rad]; these are global. What a plane is made of, its `pitch` [m]
and `efficiency`, is local and stays frozen for a new target unless it is freed. Objective: the
relative error of the mass that is missing or added (targets `cavity`, `void`, `cargo`), or the
error of the place of an object [m] (target `block`), as the geometric mean over places and sizes,
after a fixed time.

References:
    T. Dorigo et al., arXiv:2203.13818, section 4.3.5 and figure 28; A. Giammanco et al.,
    arXiv:2202.07434, on portable planes.
"""

__all__ = ["CHECK_EVENTS", "RECOMMENDED", "Config", "build"]

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Categorical, Continuous, Design, DesignSpace, Interval
from detopt.pipeline import (
    Analysis,
    Box,
    Objective,
    Outcome,
    Pipeline,
    Reconstruction,
    Scene,
    Simulator,
    Summary,
)
from detopt.usecases.modular_telescope.config import ARRANGEMENTS, Config
from detopt.usecases.modular_telescope.information import (
    Readout,
    absorption,
    place_error,
    scattering,
)
from detopt.usecases.modular_telescope.targets import TARGETS, Objects, ObjectSource, Target
from detopt.usecases.modular_telescope.trackers import SANDWICH, arrange

RECOMMENDED = {
    "rounds": 120,
    "method": "enumeration",
    "method_options": {"method": "adam"},
    "evaluation_events": 4_000,
}
CHECK_EVENTS = 128
SPACINGS = (0.05, 0.8)  # m
AIMS = (-0.5, 0.5)  # rad
VIEW_ANGLES = (0.2, 1.6)  # rad; overhead the second is limited by the tunnel
OVERHEAD_ANGLES = (0.2, 1.0)
PITCHES, EFFICIENCIES = (0.001, 0.05), (0.6, 0.995)
FLAT = 0.05  # m, of a plane in the picture


class Measure(Simulator[Objects, Readout]):
    """Information about objects, from absorption and, in a sandwich, from scattering.

    Args:
        config: Options.
        target: What is measured.
        hard: Whether edges are sharp and numbers of muons are drawn.
    """

    def __init__(self, config: Config, target: Target, *, hard: bool) -> None:
        super().__init__()
        self.config = config
        self.target = target
        self.hard = hard

    def forward(self, events: Objects, design: Design, rng: torch.Generator) -> Readout:
        """Information about each object."""
        config, target = self.config, self.target
        trackers = arrange(target, design)
        time = config.exposure or target.exposure
        setting = (config.side, time, config.systematic)
        draw = rng if self.hard else None
        square, place = absorption(target, trackers, events, setting, soft=not self.hard, rng=draw)
        deflected = torch.zeros_like(square)
        if int(design["arrangement"]) == SANDWICH and target.gap > 0:
            deflected = scattering(target, trackers, events, setting, soft=not self.hard, rng=draw)
        return Readout(square, deflected, place)


@dataclass(frozen=True)
class Errors(Summary):
    """Logarithm of the error of each object."""

    logarithm: Float[Tensor, " n"]


class FromInformation(Reconstruction[Readout, Errors]):
    """Errors of an efficient estimate, with what is known before.

    Args:
        target: What is measured.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def forward(self, readout: Readout, design: Design) -> Errors:  # noqa: ARG002
        """Error of the place, or relative error of a mass that is known to 100 % before."""
        if self.target.measured == "place":
            return Errors(place_error(readout.place, self.target).log())
        return Errors(-torch.log1p(readout.absorption + readout.scattering) / 2)


class KeepErrors(Analysis[Errors, Objects, Errors]):
    """Hands the errors on."""

    def forward(self, estimate: Errors, events: Objects) -> Errors:  # noqa: ARG002
        """Rows of the summary."""
        return estimate


class GeometricMean(Objective[Errors]):
    """Geometric mean of the errors."""

    def forward(self, summary: Errors, design: Design) -> Outcome:  # noqa: ARG002
        """Over all objects."""
        return Outcome(summary.logarithm.mean().exp())


def build(config: Config) -> Pipeline:
    """The design problem that `config` describes."""
    target = TARGETS[config.target]
    space = _space(config, target)
    name = "error of the place [m]" if target.measured == "place" else "relative error of the mass"

    def pipeline(hard: Pipeline | None) -> Pipeline:
        return Pipeline(
            space,
            ObjectSource(target),
            Measure(config, target, hard=hard is None),
            FromInformation(target),
            KeepErrors(),
            GeometricMean(),
            hard=hard,
            n_events=config.n_events,
            baselines=_baselines(space),
            objective_name=name,
            view=functools.partial(_view, config, target),
        )

    return pipeline(pipeline(None))


def _space(config: Config, target: Target) -> DesignSpace:
    angles = OVERHEAD_ANGLES if target.is_overhead else VIEW_ANGLES
    space = DesignSpace(
        [
            Categorical(
                "arrangement", ARRANGEMENTS, config.arrangement, "global", "Of the six planes"
            ),
            Continuous(
                "spacing", 0.15, Interval(*SPACINGS), "m", "global", "Between neighbouring planes"
            ),
            Continuous(
                "aim",
                0.1,
                Interval(*AIMS),
                "rad",
                "global",
                "Of the axis above the target's middle",
            ),
            Continuous(
                "view_angle", 0.5, Interval(*angles), "rad", "global", "Between the two views"
            ),
            Continuous(
                "pitch", config.pitch, Interval(*PITCHES), "m", "local", "Pitch of the strips"
            ),
            Continuous(
                "efficiency",
                config.efficiency,
                Interval(*EFFICIENCIES),
                "",
                "local",
                "Probability of a hit in a plane",
            ),
        ]
    )
    frozen = [name for name in ("pitch", "efficiency") if name not in config.free]
    return space.freeze(*frozen) if frozen else space


def _baselines(space: DesignSpace) -> dict[str, Design]:
    """Each arrangement as one would set it up unasked: 25 cm apart, aimed at the middle."""
    designs = {}
    for index, name in enumerate(ARRANGEMENTS):
        values = {"arrangement": float(index), "spacing": 0.25, "aim": 0.0, "view_angle": 0.9}
        tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
        designs[name] = Design({**space.start, **tensors})
    return designs


def _view(config: Config, target: Target, design: Design) -> Scene:
    """The box of the target, and each tracker as a cube of its own size."""
    trackers = arrange(target, design.detach().to(torch.float64))
    size = (2 * target.half[0], 2 * target.half[1], 2 * target.half[2])
    boxes = [Box(target.center, size, "where the object may be", 0.15)]
    scale = max(config.side, 0.02 * target.distance)
    for place in trackers.place.tolist():
        for copy in range(int(trackers.copies)):
            middle = (place[0], place[1] + copy * 1.1 * scale, place[2])
            boxes.append(Box(middle, (scale, scale, scale), "trackers", 0.9))
    if int(design["arrangement"]) == SANDWICH and target.gap > 0:
        above = (0.0, 0.0, target.center[2] + target.gap / 2 + math.sqrt(FLAT))
        boxes.append(Box(above, (scale, scale, scale), "trackers", 0.9))
    return Scene(boxes)
