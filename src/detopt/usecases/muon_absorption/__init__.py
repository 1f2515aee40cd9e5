r"""Absorption muography: where to put telescopes to find a cavity in a hill, and how to build them.

Cosmic-ray muons that come through a hill, a volcano or a building are counted by direction; where a
cavity is, more of them come through. The terrain is generated or the user's own. Design
parameters of each telescope: `bearing` and `distance` [m] from the target, `turn` and
`elevation` of its axis [rad], `spacing` [m] of its outer planes, `pitch` [m] of the strips, and
`money`: the shares of a fixed budget for planes, running time and an absorber wall. Objective:
probability that a cavity of unknown place and size is missed, at a fixed rate of false
positives anywhere in the target (task `cavity`), or the error of the density of sectors (task
`density`); judged with random counts and sharp edges.

References:
    T. Dorigo et al., arXiv:2203.13818, section 4.3; S. Procureur, Nucl. Instrum. Meth. A 878 (2018)
    169, on the method.
"""

__all__ = ["CHECK_EVENTS", "RECOMMENDED", "Config", "build"]

import functools
import math
from typing import Any

import torch

from detopt.pipeline import Analysis, Objective, Pipeline, Reconstruction, Simulator
from detopt.random import Seed
from detopt.usecases.muon_absorption.cavities import Cavities, CavityPrior
from detopt.usecases.muon_absorption.cavity_task import (
    ExpectedSearch,
    KeepSignificances,
    MissedShare,
    MissProbability,
    OwnTemplate,
    PoissonSearch,
    WholeScan,
)
from detopt.usecases.muon_absorption.config import Config
from detopt.usecases.muon_absorption.density_task import (
    CountSectors,
    DensityError,
    ExpectedDensities,
    FittedDensities,
    KeepErrors,
)
from detopt.usecases.muon_absorption.space import baselines, design_space, view
from detopt.usecases.muon_absorption.targets import Target, make_target
from detopt.usecases.muon_absorption.telescope import cost

RECOMMENDED = {
    "rounds": 150,
    "method_options": {"learning_rate": 0.1},
    "evaluation_events": 4_000,
}
CHECK_EVENTS = 64
NAMES = {
    "cavity": "probability to miss a cavity",
    "density": "error of a sector's density, relative",
}
Stages = tuple[
    Simulator[Cavities, Any], Reconstruction[Any, Any], Analysis[Any, Cavities, Any], Objective[Any]
]
CHUNK_RAYS = 1_000_000  # rays through cavities that are simulated at once


def build(config: Config) -> Pipeline:
    """The design problem that `config` describes.

    Raises:
        ConfigError: The terrain is unusable, or cavities do not fit into it.
        NotFoundError: A material does not exist.
    """
    target = make_target(config)
    space = design_space(config, target)
    needed = config.task == "cavity"
    source = CavityPrior(target, config.cover, math.prod(config.sectors), needed=needed)
    rays = config.n_telescopes * math.prod(config.n_bins) * config.n_draws
    humans = baselines(config, target, space)

    def pipeline(stages: Stages, hard: Pipeline | None) -> Pipeline:
        simulator, reconstruction, analysis, objective = stages
        return Pipeline(
            space,
            source,
            simulator,
            reconstruction,
            analysis,
            objective,
            hard=hard,
            n_events=config.n_events,
            chunk_size=max(config.n_events, CHUNK_RAYS // rays),
            baselines=humans,
            price=cost,
            objective_name=NAMES[config.task],
            view=functools.partial(view, config, target),
        )

    if config.task == "density":
        soft, hard = _density_stages(config, target)
    else:
        library = source(config.n_templates, Seed("templates").generator(), torch.float64)
        soft, hard = _cavity_stages(config, target, library)
    return pipeline(soft, pipeline(hard, None))


def _cavity_stages(config: Config, target: Target, library: Cavities) -> tuple[Stages, Stages]:
    """Stages with expected and with random counts."""
    return (
        (
            ExpectedSearch(config, target, library),
            OwnTemplate(config),
            KeepSignificances(),
            MissProbability(),
        ),
        (
            PoissonSearch(config, target, library),
            WholeScan(config),
            KeepSignificances(),
            MissedShare(config.false_positive_rate),
        ),
    )


def _density_stages(config: Config, target: Target) -> tuple[Stages, Stages]:
    """Stages with expected and with random counts."""
    expected, random = (CountSectors(config, target, random=random) for random in (False, True))
    return (
        (expected, ExpectedDensities(config), KeepErrors(), DensityError()),
        (random, FittedDensities(config), KeepErrors(), DensityError()),
    )
