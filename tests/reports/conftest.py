"""Small studies whose reports are looked at: one with everything, one with nothing optional."""

from pathlib import Path

import pytest

from detopt.runtime import Study, StudyConfig

FULL = '''"""Two plates: how far apart, and which shares of the money <each & both>?"""

import torch
from pydantic import BaseModel, ConfigDict

from detopt.design import Continuous, DesignSpace, FixedSum, Interval
from detopt.pipeline import Box, FunctionProblem, Scatter, Scene


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    budget: float = 3.0
    seen: bool = True


class Plates(FunctionProblem):
    def diagnose(self, summary):
        values = summary.value.tolist()
        return [Scatter(values, values, "truth [m]", "answer [m]", "Answers", diagonal=True)]


def view(design):
    gap = float(design["gap"])
    half = 0.5
    plates = [Box((0.0, 0.0, z), (1.0, 1.0, 0.01), "plate", 0.6) for z in (-gap / 2, gap / 2)]
    return Scene([*plates, Box((0.0, 0.0, 0.0), (half, half, half), "target", 0.1)])


def loss(design, n_events, rng):
    noise = 0.1 * torch.randn(n_events, generator=rng, dtype=design["gap"].dtype)
    shares = (design["share"] - 1.5).square().sum()
    return 1 + (design["gap"] - 0.7).square() + 0.2 * shares + noise


def build(config):
    space = DesignSpace(
        [
            Continuous("gap", 0.3, Interval(0.1, 2.0), "m", description="Distance"),
            Continuous("share", [0.5, 2.5], FixedSum(config.budget, 0.1), "currency"),
        ]
    )
    start = space.start
    baselines = {"wide": {**start, "gap": torch.tensor(1.5, dtype=torch.float64)}}
    if not config.seen:
        return FunctionProblem(space, loss, n_events=200, chunk_size=50)
    return Plates(
        space,
        loss,
        price=lambda design: design["share"].sum(),
        n_events=200,
        chunk_size=50,
        baselines={name: type(start)(values) for name, values in baselines.items()},
        objective_name="error [m]",
        view=view,
    )
'''


def make_study(folder: Path, **settings) -> Study:
    source = folder.parent / "plates.py"
    source.write_text(FULL)
    given = {"rounds": 6, "seed": 1, "evaluation_events": 300, **settings}
    return Study.create(StudyConfig.make(str(source), **given), folder)


@pytest.fixture(scope="session")
def new_study():
    """Makes a study in a folder."""
    return make_study


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    """A finished study with scene, cost, baseline and diagnostics."""
    made = make_study(tmp_path_factory.mktemp("full") / "run")
    made.run()
    return made


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> Study:
    """A finished study without scene, cost, baseline, diagnostics and gradient."""
    made = make_study(
        tmp_path_factory.mktemp("bare") / "run", options={"seen": False}, method="cma", rounds=3
    )
    made.run()
    return made
