"""Start and designs of humans, for options that are far from the usual ones."""

import numpy as np
import pytest
import torch

from detopt.errors import ConfigError
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.muon_absorption import Config, build

SMALL = {"n_bins": (8, 4), "n_rays": 1, "n_templates": 16, "n_draws": 2, "n_steps": 32}


def check(problem):
    """Start and baselines lie in the space, and are judged."""
    for design in (problem.space.start, *problem.baselines.values()):
        assert bool(torch.isfinite(problem.space.theta(design)).all())
        for one in (problem, problem.reference):
            missed = float(summarize_design(one, design, Seed(0), 40)[1].objective)
            assert 0 <= missed <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 5000.0},
        {"day_price": 1e-5},
        {"wall_price": 1e-4},
        {"wall": "air"},
        {"n_telescopes": 8, "day_price": 1e-5},
        {"target": "building", "distance": (2.0, 5.0)},
        {"distance": (2000.0, 3500.0)},
    ],
)
def test_start_and_humans_lie_in_the_space(options):
    check(build(Config(**SMALL, **options)))


def test_a_low_mound_is_a_target(tmp_path):
    axis = np.linspace(-200, 200, 41)
    height = 8 * np.exp(-((axis[:, None] / 36) ** 2) / 2 - (axis / 36) ** 2 / 2)
    np.savez(tmp_path / "mound.npz", elevation=height, low=[-200, -200], high=[200, 200])
    check(build(Config(**SMALL, terrain=tmp_path / "mound.npz", radius=(1.0, 2.0))))


def test_a_target_below_the_bins_is_refused():
    with pytest.raises(ConfigError, match=r"10000 m .* `distance` must end below"):
        build(Config(**SMALL, distance=(5000.0, 10000.0)))


@pytest.mark.parametrize("pitch", [0.002, 0.06])
def test_a_pitch_outside_of_its_range_is_refused(pitch):
    with pytest.raises(Exception, match="pitch"):
        load("muon_absorption").configure({"pitch": pitch})
