"""Training scans of the imaging network, its training, and a study that uses it."""

import pytest
import torch

from detopt.errors import ConfigError, DomainError
from detopt.gradients import check_gradients
from detopt.optimizers import ESTIMATORS
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.reconstruction import Grid, ImagingNetwork, save_network
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.imaging import training
from detopt.usecases.muon_scanner.imaging.scans import random_scans
from detopt.usecases.muon_scanner.imaging.scenes import (
    random_scenes,
    scattering_densities,
    training_materials,
)
from detopt.usecases.muon_scanner.imaging.training import train_imager

SMALL = {"task": "image", "reconstruction": "learned", "n_muons": 200, "n_scans": 2}


def test_densities_are_those_of_the_radiation_lengths():
    found = dict(zip(training_materials(), scattering_densities().tolist(), strict=True))
    # (13.6 MeV / 3 GeV)^2 over 1.757 cm and 0.5612 cm, Particle Data Group 2022
    assert found["Fe"] == pytest.approx(1.1697e-3, rel=2e-3)
    assert found["Pb"] == pytest.approx(3.6620e-3, rel=2e-3)


def test_scenes_hold_everything_between_air_and_uranium(rng):
    grid = Grid((0.0, 0.0, 0.0), (0.05, 0.05, 0.05), (12, 9, 7))
    voxels = random_scenes(grid, 400, rng)
    assert voxels.shape == (400, 12, 9, 7)
    assert voxels.unique().tolist() == list(range(len(training_materials())))
    rims = voxels[:, 0, 0, 0]
    assert 0.35 < (rims == 0).double().mean() < 0.75


def test_scans_follow_from_the_generator():
    first, second = (random_scans(2, Seed("scans", 1).generator()) for _ in range(2))
    other = random_scans(2, Seed("scans", 2).generator())
    assert first.grid == second.grid != other.grid
    assert torch.equal(first.tracks.above.slope, second.tracks.above.slope)
    assert first.density.shape == (2, *first.grid.shape)
    assert first.weight.shape == first.tracks.momentum.shape


def test_momenta_are_known_or_not():
    known = [random_scans(1, Seed("scans", i).generator()).tracks for i in range(12)]
    assert {tracks.momentum_known for tracks in known} == {True, False}
    for tracks in known:
        if not tracks.momentum_known:
            assert (tracks.momentum == 3.0).all()


@pytest.fixture
def few_held_out(monkeypatch):
    monkeypatch.setattr(training, "HELD_OUT", 2)


def test_training_lowers_the_error_and_tells_progress(few_held_out):
    told = []
    start = train_imager(1, 5)
    trained = train_imager(8, 5, progress=lambda *counts: told.append(counts))
    assert trained.error < start.error
    assert trained.spread == start.spread
    assert told[-1] == (8, 8)
    assert trained.recipe["volumes"] == 32
    assert not any(p.requires_grad for p in trained.network.parameters())


def test_training_repeats_its_bits(few_held_out):
    first, second = (train_imager(2, 3).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("arguments", "message"), [((0, 0, 1e-3), "n_steps"), ((1, 0, 0.0), "learning_rate")]
)
def test_wrong_trainings_are_refused(arguments, message):
    with pytest.raises(DomainError, match=message):
        train_imager(*arguments)


def test_network_sees_more_than_scattering_points_do():
    found = {}
    for name in ("poca", "learned"):
        options = {**SMALL, "n_muons": 1_000, "reconstruction": name}
        problem = build(Config.model_validate(options))
        _, outcome = summarize_design(problem.reference, problem.baselines["even"], Seed(4), 8)
        found[name] = outcome.objective.item()
    assert found["learned"] < 0.9 * found["poca"]


@pytest.mark.slow
def test_gradients_of_heights_match_differences():
    options = {**SMALL, "n_above": 2, "n_below": 2, "center": (0.5, 0.5)}
    problem = build(Config.model_validate(options))
    checks = check_gradients(
        problem.with_space(problem.space.free_only("upper_z", "lower_z")),
        ESTIMATORS["pathwise"](),
        seed=0,
        n_repeats=8,
        n_events=2,
    )
    # both share their noise, so they are compared with each other, not with it
    for check in checks:
        assert check.estimate == pytest.approx(check.reference, rel=0.05)


def test_study_takes_a_network_of_ones_own(tmp_path):
    path = tmp_path / "imager.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_network(path, ImagingNetwork((4, 4)), {})
    problem = build(Config.model_validate({**SMALL, "imager": path}))
    assert problem.analysis.network.options["widths"] == (4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reconstruction": "learned"}, "belongs to the task `image`"),
        ({"task": "image", "imager": "x.safetensors"}, "needs `reconstruction: learned`"),
    ],
)
def test_contradictory_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config.model_validate(options)


def test_missing_network_is_refused():
    with pytest.raises(ConfigError, match="Cannot read the network"):
        build(Config.model_validate({**SMALL, "imager": "nowhere.safetensors"}))
