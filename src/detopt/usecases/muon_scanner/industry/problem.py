"""Tasks `pipe` and `furnace`: a few numbers of a geometry that is known otherwise."""

__all__ = ["GEOMETRIES", "industry_problem"]

import functools
from collections.abc import Callable, Sequence
from typing import Any

from detopt.errors import ConfigError
from detopt.pipeline import Analysis, Objective, Pipeline, Scatter, Simulator, Summary
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.config import Config
from detopt.usecases.muon_scanner.flow import Readout, Scans
from detopt.usecases.muon_scanner.industry.deviations import (
    DeviationReconstruction,
    Deviations,
)
from detopt.usecases.muon_scanner.industry.furnace import furnace
from detopt.usecases.muon_scanner.industry.known_scattering import KnownScattering
from detopt.usecases.muon_scanner.industry.line_source import LineSource
from detopt.usecases.muon_scanner.industry.momenta import MomentumClasses
from detopt.usecases.muon_scanner.industry.parameters import (
    InformationAnalysis,
    ParameterError,
    expected_errors,
)
from detopt.usecases.muon_scanner.industry.pipe import pipe
from detopt.usecases.muon_scanner.industry.posterior import (
    CurveAnalysis,
    PosteriorError,
    posterior_errors,
)
from detopt.usecases.muon_scanner.panels import ScannerCost
from detopt.usecases.muon_scanner.realism.detectors import ideal_panels
from detopt.usecases.muon_scanner.sources import MuonBeam, MuonSource
from detopt.usecases.muon_scanner.space import baselines, design_space, view

GEOMETRIES = {"pipe": pipe, "furnace": furnace}
HOUR = 3600.0  # s; exposure where none is given
CHUNK_MUONS = 16_000  # muons simulated at once: the working set stays in cache


def industry_problem(config: Config) -> Pipeline:
    """The design problem of a task of `GEOMETRIES`.

    Raises:
        ConfigError: An option does not go with these tasks, or the start is unusable.
    """
    _check(config)
    geometry = GEOMETRIES[config.task]()
    space = design_space(config, geometry.grid)
    beam = MuonBeam(
        flux=config.flux,
        momentum=config.momentum,
        max_zenith=config.max_zenith,
        height=geometry.reference,
        crossing=False,
    )
    muons = MuonSource(beam, geometry.beam_grid)
    is_known = config.known_momentum is True
    likelihood = KnownScattering(
        geometry, None if is_known else MomentumClasses.of(beam.model), config.loses_energy
    )
    cost = ScannerCost(config.n_above)
    soft_budget = config.budget if config.budget_mode == "soft" else None
    exposure = HOUR if config.exposure is None else config.exposure
    n_muons = muons.rate * exposure
    panels = ideal_panels(config)
    budget = Budget(cost, soft_budget, panels.n_panels)
    analysis: Analysis[Deviations, Scans, Any]
    objective: Objective[Any]
    diagnostics: Callable[[Summary], Sequence[Scatter]]
    if geometry.n_knots is None:
        analysis, objective = InformationAnalysis(likelihood), ParameterError(budget, n_muons)
        diagnostics = functools.partial(expected_errors, n_muons=n_muons, name=geometry.name)
    else:
        analysis = CurveAnalysis(likelihood)
        objective = PosteriorError(budget, n_muons, geometry)
        diagnostics = functools.partial(posterior_errors, n_muons=n_muons, geometry=geometry)
    source = LineSource(geometry, muons, config.n_muons, config.loses_energy)
    nominal = geometry.rasterize(geometry.nominal[None])

    def pipeline(simulator: Simulator[Scans, Readout], hard: Pipeline | None) -> Pipeline:
        return Pipeline(
            space=space,
            source=source,
            simulator=simulator,
            reconstruction=DeviationReconstruction(geometry.reference),
            analysis=analysis,
            objective=objective,
            hard=hard,
            n_events=config.n_scans,
            chunk_size=max(1, CHUNK_MUONS // config.n_muons),
            baselines=baselines(config, space, geometry.grid),
            price=cost,
            objective_name=f"error of the {geometry.name} [mm]",
            view=functools.partial(view, config, nominal),
            diagnostics=diagnostics,
        )

    return pipeline(panels.soft, pipeline(panels.hard, None))


def _check(config: Config) -> None:
    """Refuse what these tasks do not model, rather than leave it out silently."""
    if config.volume is not None:
        raise ConfigError(
            f"The task `{config.task}` has its own geometry: leave `volume` out, or use `image`."
        )
    if config.is_realistic or config.known_momentum == "estimated":
        raise ConfigError(
            f"The task `{config.task}` models ideal panels and a momentum that is known or not: "
            "leave the options of real panels and `known_momentum: estimated` out."
        )
