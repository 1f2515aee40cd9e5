"""A light use case in a file, and studies of it."""

import textwrap

import pytest

from detopt.runtime import Study, StudyConfig
from detopt.runtime import result as result_module

CASE = '''
"""A vector to be found in noise."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Integer, Interval, Real
from detopt.pipeline import (
    Analysis, Objective, Outcome, Pipeline, Reconstruction, Simulator, Source, Summary
)
from detopt.units import Length

RECOMMENDED = {
    "rounds": 6,
    "events": 60,
    "evaluation_events": 90,
    "method_options": {"learning_rate": 0.2, "max_norm": 4.0},
}


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    gap: Length = Field(0.3, gt=0, lt=1)
    chunk: int = 25
    target: Path | None = None
    discrete: bool = False
    broken: bool = False
    checks_type: bool = False


@dataclass(frozen=True)
class Rows(Summary):
    square: Float[Tensor, " n"]


class Noise(Source):
    def forward(self, n_events, rng, dtype):
        return torch.randn(n_events, 3, generator=rng, dtype=dtype)


class Response(Simulator):
    def forward(self, events, design, rng):
        theta = torch.cat([design["gap"].reshape(1), design["shift"]])
        return theta + 0.3 * events + 0.01 * torch.rand(events.shape, generator=rng)


class Nothing(Reconstruction):
    def forward(self, readout, design):
        return readout


class Squares(Analysis):
    def __init__(self, target):
        super().__init__()
        self.target = target

    def forward(self, estimate, events):
        return Rows((estimate - torch.tensor(self.target)).square().sum(1))


class Root(Objective):
    def __init__(self, broken, checks_type):
        super().__init__()
        self.broken, self.checks_type = broken, checks_type

    def forward(self, summary, design):
        assert not self.checks_type or isinstance(summary, Rows)
        value = summary.square.mean().sqrt()
        return Outcome(value * float("nan") if self.broken else value, terms={"root": value})


def build(config):
    target = [0.6, 0.5, -0.5]
    if config.target is not None:
        target = [float(word) for word in config.target.read_text().split()]
    parameters = [
        Continuous("gap", config.gap, Interval(0.0, 1.0), unit="m"),
        Continuous("shift", [0.1, 0.2], Real(), group="shifts"),
    ]
    if config.discrete:
        parameters.append(Integer("layers", 2, 1, 3))
    space = DesignSpace(parameters)
    human = {**space.start, "gap": torch.tensor(0.5), "shift": torch.tensor([0.4, -0.1])}
    return Pipeline(
        space, Noise(), Response(), Nothing(), Squares(target),
        Root(config.broken, config.checks_type),
        n_events=120, chunk_size=config.chunk, baselines={"human": Design(human)},
        price=lambda design: 2 * design["gap"],
    )
'''


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Intervals of the result need not be precise here."""
    monkeypatch.setattr(result_module, "N_RESAMPLES", 40)


@pytest.fixture(scope="session")
def case_text():
    """The use case's file."""
    return textwrap.dedent(CASE).lstrip()


@pytest.fixture
def case(tmp_path, case_text):
    """Path of the use case's file, as a text."""
    path = tmp_path / "case" / "vector.py"
    path.parent.mkdir()
    path.write_text(case_text)
    return str(path)


@pytest.fixture
def make(case, tmp_path):
    """Makes a study of the use case in the folder of that name."""

    def make(name="run", **settings):
        return Study.create(StudyConfig.make(case, **settings), tmp_path / name)

    return make
