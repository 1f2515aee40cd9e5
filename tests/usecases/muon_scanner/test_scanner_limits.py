"""Options without effect or beyond the model, and verdicts on too few scans."""

import math

import pytest
import torch

from detopt.design import Design
from detopt.errors import ConfigError, DomainError
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.calibration import (
    Budget,
    CalibratedError,
    PredictedError,
    calibration_rows,
)
from detopt.usecases.muon_scanner.sources import MuonBeam, MuonSource

DESIGN = Design({"cost": torch.ones((), dtype=torch.float64)})
FREE = Budget(lambda design: design["cost"], None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dead_material": True}, "`dead_material` has no effect without `task: portal`"),
        ({"task": "pipe", "goal": "w50"}, "`goal` has no effect"),
        ({"task": "image", "hidden": ("U",)}, "`hidden` has no effect"),
        ({"slab_thickness": 0.2}, "`slab_thickness` has no effect without `n_behind`"),
        ({"slab_material": "Fe"}, "`slab_material` has no effect"),
        ({"n_behind": 2}, "measure nothing but momenta"),
        ({"n_behind": 2, "momentum": None, "known_momentum": "marginalised"}, "measure nothing"),
        ({"n_scans": 2}, "`n_scans` must be >= 3"),
        ({"momentum": 1e-9}, "momentum"),
        ({"momentum": 1e9}, "momentum"),
        ({"panel_base_price": 0.7}, "at most 0.625"),  # 6/8/1.2
    ],
)
def test_options_that_cannot_matter_or_hold_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_defaults_may_be_given_where_they_do_not_matter():
    config = Config()
    assert Config(**config.model_dump()) == config


def test_the_dearest_panels_that_are_allowed_are_built():
    problem = build(Config(task="image", panel_base_price=0.62, n_muons=100, n_scans=4))
    _, outcome = summarize_design(problem.reference, problem.baselines["even"], Seed("dear"), 4)
    assert outcome.metrics["panels"].item() == 8


@pytest.mark.parametrize("momentum", [1e-3, 1e6])
def test_the_slowest_and_the_fastest_muons_are_carried_through(momentum):
    problem = build(Config(task="image", momentum=momentum, n_muons=100, n_scans=4))
    _, outcome = summarize_design(problem.reference, problem.baselines["even"], Seed("p"), 4)
    assert math.isfinite(outcome.objective.item())


def test_a_starting_area_from_which_no_muon_arrives_is_refused():
    grid = Grid((0.0, 0.0, 0.4), (0.1, 0.1, 0.1), (10, 10, 6))
    source = MuonSource(MuonBeam(margin=1e4), grid)
    with pytest.raises(ConfigError, match=r"within 10000 m .* Lower `margin`"):
        source.draw(1, 10, Seed("far").generator(), torch.float32)
    wide = MuonSource(MuonBeam(margin=1e4, crossing=False), grid)
    assert wide.draw(1, 10, Seed("far").generator(), torch.float32).momentum.shape == (1, 10)


@pytest.mark.parametrize("n_scans", [1, 2])
def test_two_scans_do_not_calibrate(n_scans):
    truth = torch.linspace(0, 1, n_scans, dtype=torch.float64)[:, None]
    with pytest.raises(DomainError, match=f"at least 3 values, .* got {n_scans}"):
        CalibratedError(FREE)(calibration_rows(truth.sin(), truth), DESIGN)
    image = calibration_rows(*(torch.rand(n_scans, 4, dtype=torch.float64) for _ in range(2)))
    assert CalibratedError(FREE, 4)(image, DESIGN).objective > 0


def test_an_image_of_nothing_is_not_perfect(rng):
    predicted = torch.rand(4, 5, generator=rng, dtype=torch.float64)
    same = calibration_rows(predicted, torch.full_like(predicted, 0.36))
    outcome = CalibratedError(FREE, 5)(same, DESIGN)
    assert outcome.objective.item() == math.inf
    assert all(math.isfinite(value.item()) for value in outcome.metrics.values())


def test_equal_fill_heights_leave_a_finite_prediction(rng):
    height = torch.full((4, 1), 0.5, dtype=torch.float64)
    noise = torch.rand(4, 1, generator=rng, dtype=torch.float64).requires_grad_()
    rows = calibration_rows(height + noise, height, torch.full((4,), 0.01, dtype=torch.float64))
    outcome = PredictedError(FREE)(rows, DESIGN)
    assert outcome.objective.item() == pytest.approx(0, abs=1e-8)  # their spread
    assert torch.isfinite(torch.autograd.grad(outcome.objective, noise)[0]).all()
    assert all(math.isfinite(value.item()) for value in outcome.metrics.values())
