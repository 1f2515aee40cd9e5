"""Summary, objectives and the design problem of the tau-pair analysis."""

__all__ = ["Config", "CrossEntropy", "build"]

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Ordered
from detopt.pipeline import (
    Analysis,
    DesignNetwork,
    Objective,
    Outcome,
    Pipeline,
    Reconstruction,
    Summary,
)
from detopt.usecases._templates import (
    ProfiledStrength,
    TemplateRows,
    bin_shares,
    hard_bin_shares,
)
from detopt.usecases.tau_pairs.events import Features, Pairs, TauPairs
from detopt.usecases.tau_pairs.systematics import Detector, nuisances

N_FEATURES = 6
N_SIGNALS = 2  # the first processes
SCORE_RANGE = (-10.0, 10.0)  # where edges may lie; the outer bins are open
START_RANGE = (-3.0, 3.0)


class Config(BaseModel):
    """Options of the use case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: Literal["uncertainty", "cross_entropy"] = Field(
        "uncertainty", description="Objective: of the signal strength, or of the classes"
    )
    n_bins: int = Field(10, ge=2, le=100, description="Bins of the summary")
    n_hidden: int = Field(16, ge=1, le=500, description="Units of each of two hidden layers")
    softness: float = Field(0.2, gt=0, description="Width of the soft edges of bins, in score")
    n_events: int = Field(500, ge=10, description="Rows an evaluation: an event of each process")
    seed: int = Field(0, ge=0, description="Seed of the network's start")


@dataclass(frozen=True)
class Scored:
    """Score and weight of each event; cross entropy makes the score a log-odds."""

    score: Float[Tensor, "n 5"]
    weights: Float[Tensor, "n 5"]
    edges: Float[Tensor, " n_inner"]


@dataclass(frozen=True)
class EntropyRows(Summary):
    """Weighted cross entropy of each row: of its signal and of its background."""

    signal: Float[Tensor, " n"]
    background: Float[Tensor, " n"]
    signal_weight: Float[Tensor, " n"]
    background_weight: Float[Tensor, " n"]


class Score(Reconstruction[Features, Scored]):
    """The network's score of each event."""

    def __init__(self, network: DesignNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, readout: Features, design: Design) -> Scored:
        """Scores; weights and edges are handed on."""
        score = self.network(readout.columns(), design).squeeze(-1)
        return Scored(score, readout.weights, design["edges"])


class Shares(Analysis[Scored, Pairs, TemplateRows]):
    """Weighted shares of the bins; hard ones where `softness` is None."""

    def __init__(self, softness: float | None) -> None:
        super().__init__()
        self.softness = softness

    def forward(self, estimate: Scored, events: Pairs) -> TemplateRows:  # noqa: ARG002
        """Rows of signal and background."""
        if self.softness is None:
            shares = hard_bin_shares(estimate.score, estimate.edges)
        else:
            shares = bin_shares(estimate.score, estimate.edges, self.softness)
        weighted = estimate.weights.unsqueeze(-1) * shares
        return TemplateRows(weighted[:, :N_SIGNALS].sum(dim=1), weighted[:, N_SIGNALS:].sum(dim=1))


class Entropies(Analysis[Scored, Pairs, EntropyRows]):
    """Cross entropy of each event with its class."""

    def forward(self, estimate: Scored, events: Pairs) -> EntropyRows:  # noqa: ARG002
        """Rows of signal and background."""
        softplus = torch.nn.functional.softplus
        signal, background = estimate.score[:, :N_SIGNALS], estimate.score[:, N_SIGNALS:]
        heavy, light = estimate.weights[:, :N_SIGNALS], estimate.weights[:, N_SIGNALS:]
        return EntropyRows(
            (heavy * softplus(-signal)).sum(dim=1),
            (light * softplus(background)).sum(dim=1),
            heavy.sum(dim=1),
            light.sum(dim=1),
        )


class CrossEntropy(Objective[EntropyRows]):
    """Binary cross entropy of signal and background with equal weight of both classes."""

    def forward(self, summary: EntropyRows, design: Design) -> Outcome:  # noqa: ARG002
        """Mean over the classes."""
        signal = summary.signal.mean() / summary.signal_weight.mean()
        background = summary.background.mean() / summary.background_weight.mean()
        return Outcome((signal + background) / 2)


def build(config: Config) -> Pipeline:
    """The design problem that `config` describes; designs are judged with hard bins."""
    network = DesignNetwork((N_FEATURES, config.n_hidden, config.n_hidden, 1))
    edges = torch.linspace(*START_RANGE, config.n_bins - 1).tolist()
    space = DesignSpace(
        [
            *network.parameters_of_design(config.seed),
            Continuous(
                "edges",
                edges,
                Ordered(*SCORE_RANGE, gap=0.02 / config.n_bins),
                group="summary",
                description="Edges between the bins of the score",
            ),
        ]
    )
    unknown = nuisances()

    def profiled(softness: float | None, hard: Pipeline | None) -> Pipeline:
        return Pipeline(
            space,
            TauPairs(),
            Detector(),
            Score(network),
            Shares(softness),
            ProfiledStrength(unknown, simulation_errors=softness is not None),
            hard=hard,
            n_events=config.n_events,
            chunk_size=max(config.n_events, 4_000),
            objective_name="expected uncertainty of the signal strength",
            nuisances=unknown,
            treatment="profiled",
            slopes="differences" if softness is None else "forward",
        )

    judge = profiled(None, None)
    if config.training == "uncertainty":
        return profiled(config.softness, judge)
    return Pipeline(
        space.freeze("edges"),
        TauPairs(),
        Detector(),
        Score(network),
        Entropies(),
        CrossEntropy(),
        n_events=config.n_events,
        chunk_size=max(config.n_events, 4_000),
        objective_name="cross entropy of signal and background",
        nuisances=unknown,
    )
