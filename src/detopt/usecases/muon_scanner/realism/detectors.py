"""Which simulation and reconstruction a configuration asks for: ideal panels, or real ones."""

__all__ = ["Detector", "IdealPanels", "detectors", "ideal_panels"]

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Nuisances, Reconstruction, Simulator
from detopt.usecases.muon_scanner.config import Config
from detopt.usecases.muon_scanner.flow import Estimates, Scans
from detopt.usecases.muon_scanner.realism.instrument import Instrument
from detopt.usecases.muon_scanner.realism.momentum import MomentumPrior, momentum_prior
from detopt.usecases.muon_scanner.realism.plane_hits import Response
from detopt.usecases.muon_scanner.realism.pruning import Sizing, final_sizing
from detopt.usecases.muon_scanner.realism.scanner import RealReconstruction, RealSimulator
from detopt.usecases.muon_scanner.realism.space import real_nuisances
from detopt.usecases.muon_scanner.simulators import HardSimulator, SoftSimulator
from detopt.usecases.muon_scanner.sources import MuonSource
from detopt.usecases.muon_scanner.tracking import TrackReconstruction
from detopt.usecases.muon_scanner.transport import Medium
from detopt.usecases.muon_scanner.volumes import Volumes


@dataclass(frozen=True)
class Detector:
    """The stages between muons and estimates.

    Args:
        simulator: With soft or sharp edges.
        reconstruction: From its readout.
        nuisances: What is unknown of the panels, or None.
        n_panels: Counts the panels of a design that are built, or None where all are.
    """

    simulator: Simulator[Scans, Any]
    reconstruction: Reconstruction[Any, Estimates]
    nuisances: Nuisances | None
    n_panels: Callable[[Design], Float[Tensor, ""]] | None


@dataclass(frozen=True)
class IdealPanels:
    """Simulations of ideal panels.

    Args:
        soft: With soft edges.
        hard: With sharp edges, without panels that are removed.
        n_panels: Counts the panels of a design that are built, or None where all are.
    """

    soft: SoftSimulator
    hard: HardSimulator
    n_panels: Callable[[Design], Float[Tensor, ""]] | None


def ideal_panels(config: Config) -> IdealPanels:
    """Ideal panels as large as their shares of the budget allow."""
    final = final_sizing(config)
    return IdealPanels(
        SoftSimulator(config.n_above, config.smoothness, replace(final, is_final=False)),
        HardSimulator(config.n_above, final),
        _count(config),
    )


def detectors(
    config: Config, volumes: Volumes, medium: Medium, muons: MuonSource
) -> tuple[Detector, Detector]:
    """The detector of `config` with soft edges, and the one with sharp edges that judges.

    Args:
        config: Options of the scanner.
        volumes: Examples of what is scanned.
        medium: How muons pass through it.
        muons: What it is scanned with.
    """
    grid = volumes.grid
    reference = (grid.low[2] + grid.high[2]) / 2
    known = config.known_momentum is True
    prior = None if known else momentum_prior(muons, medium, volumes.voxels)
    if not config.is_realistic:
        track = TrackReconstruction(reference, None if prior is None else prior.momentum)
        panels = ideal_panels(config)
        soft, hard = (
            Detector(simulator, track, None, panels.n_panels)
            for simulator in (panels.soft, panels.hard)
        )
        return soft, hard
    final = final_sizing(config)
    soft, hard = (
        _real(config, Instrument(config, grid, sizing), reference, prior)
        for sizing in (replace(final, is_final=False), final)
    )
    return soft, hard


def _real(
    config: Config,
    instrument: Instrument,
    reference: float,
    prior: MomentumPrior | None,
) -> Detector:
    faces = (instrument.grid.low[2], instrument.grid.high[2])
    response = Response(
        None if instrument.sizing.is_final else config.smoothness,
        config.noise_density,
        faces if config.tilted and instrument.sizing.is_final else None,
    )
    reconstruction = RealReconstruction(
        instrument, reference, config.known_momentum, prior, config.misalignment**2
    )
    return Detector(
        RealSimulator(instrument, response),
        reconstruction,
        real_nuisances(config),
        _count(config),
    )


def _count(config: Config) -> "_Count | None":
    may_remove = config.panel_base_price > 0 or config.removal_share > 0
    return _Count(final_sizing(config)) if may_remove else None


class _Count:
    """Number of panels of a design that are worth their price."""

    def __init__(self, sizing: Sizing) -> None:
        self.sizing = sizing

    def __call__(self, design: Design) -> Float[Tensor, ""]:
        cost = design["panel_cost"]
        return self.sizing.kept(cost).sum().to(cost.dtype)
