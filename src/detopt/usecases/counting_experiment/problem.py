"""Stages of the counting experiment, and the problem that they make."""

__all__ = ["Collisions", "Detector", "build", "nuisances"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, FixedSum, Ordered
from detopt.pipeline import (
    Analysis,
    DesignNetwork,
    Nuisance,
    Nuisances,
    Pipeline,
    Reconstruction,
    Simulator,
    Source,
)
from detopt.usecases._templates import (
    ProfiledStrength,
    TemplateRows,
    bin_shares,
    hard_bin_shares,
)
from detopt.usecases.counting_experiment.config import Config, Instrument

SIGNAL_MASS = 125.0  # GeV
PEAK_MASS, PEAK_WIDTH = 91.19, 2.50  # GeV: mass and full width of the Z boson
PEAK_REACH = 0.99  # of the Breit-Wigner distribution is kept, central
CONTINUUM_START, CONTINUUM_MEAN = 60.0, 40.0  # GeV
MOMENTA = (55.0, 25.0, 35.0)  # GeV: mean transverse momenta of signal, peak, continuum
REFERENCE_MASS, REFERENCE_MOMENTUM = 100.0, 30.0  # GeV: where the network's inputs are zero
MASS_SPREAD = 0.35  # of the logarithm of the mass: one unit of the network's input
START_SHARES = (1 / 3, 1 / 3, 1 / 3)
LOWEST_SHARE = 0.01
SLOPE_STEP = 0.02  # of central differences, relative


@dataclass(frozen=True)
class Collisions:
    """One event of each process a row: signal, peak, continuum; all in GeV."""

    peak_mass: Float[Tensor, " n_rows"]
    continuum_excess: Float[Tensor, " n_rows"]
    momentum: Float[Tensor, "n_rows 3"]


@dataclass(frozen=True)
class Readout:
    """Measured mass and transverse momentum [GeV] of each process, and its yield."""

    mass: Float[Tensor, "n_rows 3"]
    momentum: Float[Tensor, "n_rows 3"]
    yields: Float[Tensor, " 3"]


class Beams(Source[Collisions]):
    """Draws true masses and transverse momenta."""

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Collisions:
        """Draw `n_events` rows."""
        uniform = torch.rand(n_events, 5, generator=rng, dtype=torch.float64)
        angle = math.pi * PEAK_REACH * (uniform[:, 0] - 0.5)
        exponential = -torch.log1p(-uniform[:, 1:])
        return Collisions(
            (PEAK_MASS + PEAK_WIDTH / 2 * torch.tan(angle)).to(dtype),
            (CONTINUUM_MEAN * exponential[:, 0]).to(dtype),
            (exponential[:, 1:] * torch.tensor(MOMENTA, dtype=torch.float64)).to(dtype),
        )


class Detector(Simulator[Collisions, Readout]):
    """Smears and scales masses and momenta; sees a part of the events."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.instrument = Instrument(config)

    def forward(self, events: Collisions, design: Design, rng: torch.Generator) -> Readout:
        """Log-normal response; yields with acceptance and nuisance parameters."""
        config, instrument = self.config, self.instrument
        like = events.momentum
        signal = torch.full_like(events.peak_mass, SIGNAL_MASS)
        continuum = CONTINUUM_START + design["continuum_slope"] * events.continuum_excess
        mass = torch.stack([signal, events.peak_mass, continuum], dim=1)
        noise = torch.randn(2, *like.shape, generator=rng, dtype=like.dtype)
        response = design["energy_scale"] * (instrument.resolution(design) * noise).exp()
        seen, background = instrument.coverage(design), instrument.background_acceptance(design)
        yields = torch.stack(
            [
                config.signal * seen * design["efficiency"],
                config.peak * background * design["peak_normalization"],
                config.continuum * background * design["continuum_normalization"],
            ]
        )
        return Readout(mass * response[0], like * response[1], yields)


class Score(Reconstruction[Readout, TemplateRows]):
    r"""Score of an event, a network around the mass, and its share of the bins.

    .. math:: s = \sigma\left(\ln(m/m_0)/0.35 + f(m, p_T)\right)

    The network starts near zero, so that the start is a histogram of the mass.

    Args:
        network: The network :math:`f`, with its weights in the design.
        softness: Width of the soft edges, or None for hard ones.
    """

    def __init__(self, network: DesignNetwork, softness: float | None) -> None:
        super().__init__()
        self.network = network
        self.softness = softness

    def forward(self, readout: Readout, design: Design) -> TemplateRows:
        """Weighted shares."""
        mass = (readout.mass / REFERENCE_MASS).log() / MASS_SPREAD
        momentum = ((readout.momentum + REFERENCE_MOMENTUM / 2) / REFERENCE_MOMENTUM).log()
        extra = self.network(torch.stack([mass, momentum], dim=-1), design).squeeze(-1)
        score = torch.sigmoid(mass + extra)
        edges = design["edges"]
        if self.softness is None:
            shares = hard_bin_shares(score, edges)
        else:
            shares = bin_shares(score, edges, self.softness)
        weighted = readout.yields.unsqueeze(-1) * shares
        return TemplateRows(weighted[:, 0], weighted[:, 1:].sum(dim=1))


class Rows(Analysis[TemplateRows, Collisions, TemplateRows]):
    """Hands the rows on: the objective needs all of them."""

    def forward(self, estimate: TemplateRows, events: Collisions) -> TemplateRows:  # noqa: ARG002
        """The rows as they are."""
        return estimate


def nuisances(config: Config) -> Nuisances:
    """What is not known: two normalizations, a slope, the energy scale and the efficiency."""
    instrument = Instrument(config)
    return Nuisances(
        [
            Nuisance("continuum_normalization", 1.0, None, step=0.1),
            Nuisance("continuum_slope", 1.0, None, step=SLOPE_STEP),
            Nuisance("peak_normalization", 1.0, config.peak_width),
            Nuisance("energy_scale", 1.0, instrument.scale_width),
            Nuisance("efficiency", 1.0, instrument.efficiency_width),
        ]
    )


def build(config: Config) -> Pipeline:
    """The design problem that `config` describes; designs are judged with hard bins."""
    network = DesignNetwork((2, config.n_hidden, 1))
    edges = torch.linspace(0, 1, config.n_bins + 1)[1:-1].tolist()
    space = DesignSpace(
        [
            Continuous(
                "shares",
                START_SHARES,
                FixedSum(1.0, LOWEST_SHARE),
                group="instrument",
                description="Shares of the budget: area, resolution, calibration",
            ),
            *network.parameters_of_design(config.seed, last=0.1),
            Continuous(
                "edges",
                edges,
                Ordered(0.0, 1.0, gap=min(0.01, 0.1 / config.n_bins)),
                group="summary",
                description="Edges between the bins of the score",
            ),
        ]
    )
    unknown = nuisances(config)

    def pipeline(softness: float | None, hard: Pipeline | None) -> Pipeline:
        return Pipeline(
            space,
            Beams(),
            Detector(config),
            Score(network, softness),
            Rows(),
            ProfiledStrength(unknown),
            hard=hard,
            n_events=config.n_events,
            chunk_size=max(config.n_events, 4_000),
            objective_name="expected uncertainty of the signal strength",
            nuisances=unknown,
            treatment="profiled",
            slopes="differences" if softness is None else "forward",
        )

    return pipeline(config.softness, pipeline(None, None))
