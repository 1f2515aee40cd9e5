"""A vector to be found in noise; light, so that the machinery around it shows."""

import time
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Interval, Real
from detopt.pipeline import (
    Analysis,
    Objective,
    Outcome,
    Pipeline,
    Reconstruction,
    Simulator,
    Source,
    Summary,
)

RECOMMENDED = {
    "events": 60,
    "evaluation_events": 60,
    "method_options": {"learning_rate": 0.1, "max_norm": 4.0},
}


class Config(BaseModel):
    """Options of the use case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chunk: int = Field(20, gt=0, description="Events in a piece of work")
    pause: float = Field(0.0, ge=0, description="Time that a piece of work waits [s]")


@dataclass(frozen=True)
class Rows(Summary):
    """Squared distances."""

    square: Float[Tensor, " n"]


class Noise(Source):
    """Three numbers an event."""

    def forward(self, n_events, rng, dtype):  # noqa: D102
        return torch.randn(n_events, 3, generator=rng, dtype=dtype)


class Response(Simulator):
    """The vector in noise."""

    def __init__(self, pause):
        super().__init__()
        self.pause = pause

    def forward(self, events, design, rng):  # noqa: D102
        time.sleep(self.pause)
        theta = torch.cat([design["gap"].reshape(1), design["shift"]])
        return theta + 0.3 * events + 0.01 * torch.rand(events.shape, generator=rng)


class Nothing(Reconstruction):
    """What was measured."""

    def forward(self, readout, design):  # noqa: ARG002, D102
        return readout


class Squares(Analysis):
    """Distances from the target."""

    def forward(self, estimate, events):  # noqa: ARG002, D102
        return Rows((estimate - torch.tensor([0.6, 0.5, -0.5])).square().sum(1))


class Root(Objective):
    """Root of the mean squared distance."""

    def forward(self, summary, design):  # noqa: ARG002, D102
        value = summary.square.mean().sqrt()
        return Outcome(value, terms={"root": value})


def build(config):
    space = DesignSpace(
        [
            Continuous("gap", 0.3, Interval(0.0, 1.0), unit="m"),
            Continuous("shift", [0.1, 0.2], Real()),
        ]
    )
    human = {**space.start, "gap": torch.tensor(0.5), "shift": torch.tensor([0.4, -0.1])}
    return Pipeline(
        space,
        Noise(),
        Response(config.pause),
        Nothing(),
        Squares(),
        Root(),
        n_events=60,
        chunk_size=config.chunk,
        baselines={"human": Design(human)},
        price=lambda design: 2 * design["gap"],
    )
