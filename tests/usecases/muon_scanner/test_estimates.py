"""Quantiles, weights, calibration and images of the scanner."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detopt.design import Design
from detopt.pipeline import Request, evaluate
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.calibration import (
    Budget,
    CalibratedError,
    PredictedError,
    calibration_rows,
)
from detopt.usecases.muon_scanner.image_task import predicted_log_length
from detopt.usecases.muon_scanner.ladle_task import central_weight
from detopt.usecases.muon_scanner.quantiles import smooth_quantiles, weighted_quantiles
from detopt.usecases.muon_scanner.volumes import ladle

FREE = Budget(lambda design: design["cost"], None)
DESIGN = Design({"cost": torch.tensor(6.0, dtype=torch.float64)})


@given(st.integers(3, 40), st.floats(0.05, 0.95), st.integers(0, 1_000))
def test_equal_weights_give_the_plain_quantile(n, level, seed):
    values = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    (found,) = weighted_quantiles(values, torch.ones(n, dtype=torch.float64), (level,))
    assert found.item() == pytest.approx(np.quantile(values.numpy(), level, method="hazen"))


def test_samples_without_weight_do_not_count(rng):
    values = torch.randn(50, generator=rng, dtype=torch.float64)
    weights = (torch.arange(50) % 3 == 0).double()
    kept = values[weights > 0]
    for level in (0.16, 0.84):
        (all_,) = weighted_quantiles(values, weights, (level,))
        (few,) = weighted_quantiles(kept, torch.ones_like(kept), (level,))
        torch.testing.assert_close(all_, few)


def test_smooth_quantiles_tend_to_the_exact_ones(rng):
    values = torch.randn(20_000, generator=rng, dtype=torch.float64)
    weights = torch.rand(20_000, generator=rng, dtype=torch.float64)
    exact = torch.cat(weighted_quantiles(values, weights, (0.16, 0.84)))
    smooth = torch.cat(smooth_quantiles(values, weights, (0.16, 0.84), 0.002))
    torch.testing.assert_close(smooth, exact, atol=2e-3, rtol=0)


def test_smooth_quantiles_have_the_right_gradient(rng):
    values = torch.randn(30, generator=rng, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(30, generator=rng, dtype=torch.float64, requires_grad=True)

    def quantile(v, w):
        return smooth_quantiles(v, w, (0.3,), 0.2)[0]

    assert torch.autograd.gradcheck(quantile, (values, weights))


def test_the_gradient_of_a_smooth_quantile_is_less_noisy(rng):
    def derivatives(quantile):
        found = []
        for _ in range(200):
            scale = torch.ones((), dtype=torch.float64, requires_grad=True)
            noise = torch.randn(2, 1_000, generator=rng, dtype=torch.float64)
            values = (noise[0] + scale * noise[1]).abs()
            (gradient,) = torch.autograd.grad(quantile(values, torch.ones_like(values)), scale)
            found.append(gradient)
        return torch.stack(found)

    exact = derivatives(lambda v, w: weighted_quantiles(v, w, (0.5,))[0].sum())
    smooth = derivatives(lambda v, w: smooth_quantiles(v, w, (0.5,), 0.08)[0].sum())
    error = exact.std().item() / math.sqrt(len(exact))
    assert smooth.mean().item() == pytest.approx(exact.mean().item(), abs=4 * error)
    assert smooth.std() < exact.std() / 4


@pytest.mark.parametrize("n_kept", [0, 1, 2, 5])
def test_few_samples_or_none_have_finite_quantiles(n_kept, rng):
    values = torch.randn(20, generator=rng, dtype=torch.float64)
    weights = (torch.arange(20) < n_kept).double().requires_grad_()
    low, high = smooth_quantiles(values, weights, (0.16, 0.84), 0.08)
    assert low.isfinite()
    assert low <= high
    (gradient,) = torch.autograd.grad((low + high).sum(), weights)
    assert gradient.isfinite().all()


def test_a_scanner_that_sees_nothing_knows_nothing():
    problem = build(Config(center=("90 cm", "90 cm"), n_muons=50, budget=0.01))
    from detopt.pipeline.evaluation import summarize_design
    from detopt.random import Seed

    _, outcome = summarize_design(problem.reference, problem.space.start, Seed(1), 80)
    assert outcome.objective.item() == pytest.approx(0.23, abs=0.03)  # spread of the heights


def test_the_central_weight_is_one_on_the_axis_and_zero_outside():
    grid = ladle().grid
    points = torch.tensor([[0.5, 0.05, 2.0], [0.5, 0.5, 0.5]], dtype=torch.float64)
    narrow = torch.full((2, 3), 1e-10, dtype=torch.float64)
    weights = central_weight(points, narrow, grid)
    sigmoid = [1 / (1 + math.exp(-t)) for t in (0.9, 0.1, 1.0)]  # d = 0.1, d = 0.9, d = 0
    near, far = (2 * (s / sigmoid[2] - 0.5) for s in sigmoid[:2])
    assert weights.tolist() == pytest.approx([near**2, near * far, 0.0], abs=1e-9)


def test_the_calibrated_error_is_that_of_a_linear_regression(rng):
    truth = torch.rand(100, generator=rng, dtype=torch.float64)
    prediction = 0.3 + 0.5 * truth + 0.05 * torch.randn(100, generator=rng, dtype=torch.float64)
    rows = calibration_rows(prediction[:, None], truth[:, None])
    slope, intercept = np.polyfit(prediction.numpy(), truth.numpy(), 1)
    residual = truth.numpy() - intercept - slope * prediction.numpy()
    expected = math.sqrt((residual**2).sum() / 98)
    found = CalibratedError(FREE)(rows, DESIGN).objective.item()
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_linear_response_does_not_change_the_error(rng):
    truth = torch.rand(50, 1, generator=rng, dtype=torch.float64)
    prediction = truth + 0.1 * torch.randn(50, 1, generator=rng, dtype=torch.float64)
    errors = [
        CalibratedError(FREE)(calibration_rows(p, truth), DESIGN).objective.item()
        for p in (prediction, 7 - 3 * prediction)
    ]
    assert errors[0] == pytest.approx(errors[1])


def test_the_predicted_error_foretells_the_calibrated_one(rng):
    truth = torch.rand(20_000, generator=rng, dtype=torch.float64)
    spread = 0.03
    noise = spread * torch.randn(20_000, generator=rng, dtype=torch.float64)
    rows = calibration_rows(
        (0.2 + 0.5 * truth + noise)[:, None], truth[:, None], torch.full_like(truth, spread**2)
    )
    judged = CalibratedError(FREE)(rows, DESIGN).objective.item()
    foretold = PredictedError(FREE)(rows, DESIGN).objective.item()
    assert foretold == pytest.approx(judged, rel=0.02)


def test_a_soft_budget_punishes_excess_only():
    truth = torch.linspace(0, 1, 20, dtype=torch.float64)[:, None]
    rows = calibration_rows(truth + 0.1 * truth.sin(), truth)
    costs = (3.0, 12.0)
    objective = CalibratedError(Budget(lambda design: design["cost"], 6.0))
    cheap, dear = (
        objective(rows, Design({"cost": torch.tensor(c, dtype=torch.float64)})) for c in costs
    )
    assert cheap.terms["budget"].item() == pytest.approx(0, abs=1e-3)
    assert dear.terms["budget"].item() == pytest.approx(2.0, rel=1e-3)
    assert dear.objective > cheap.objective


def test_the_predicted_error_of_the_soft_ladle_matches_the_hard_verdict():
    problem = build(Config(n_scans=160))
    from detopt.pipeline.evaluation import summarize_design
    from detopt.random import Seed

    design = problem.baselines["even"]
    _, soft = summarize_design(problem, design, Seed(1), 160)
    _, hard = summarize_design(problem.reference, design, Seed(1), 480)
    assert soft.objective.item() == pytest.approx(hard.objective.item(), rel=0.15)


def test_the_published_baselines_have_the_published_heights():
    designs = build(Config()).baselines
    assert designs["pairs"]["upper_z"].tolist() == pytest.approx([1.80, 1.75, 1.50, 1.45])
    assert designs["pairs"]["lower_z"].tolist() == pytest.approx([0.35, 0.30, 0.05, 0.00], abs=1e-9)
    assert designs["even"]["upper_z"].tolist() == pytest.approx([1.75, 1.65, 1.55, 1.45])
    assert designs["even"]["lower_z"].tolist() == pytest.approx([0.35, 0.25, 0.15, 0.05])


@pytest.mark.parametrize("is_hard", [False, True])
def test_an_image_of_nothing_is_constant_and_keeps_the_objective_finite(rng, is_hard):
    problem = build(Config(task="image", n_muons=20, budget=1.0))
    problem = problem.hard if is_hard else problem
    design = problem.space.start.to(torch.float32)
    scans = problem.source(64, rng, torch.float32)
    found = problem.reconstruction(problem.simulator(scans, design, rng), design)
    unseen = found.weight.sum(-1) == 0
    assert 0 < unseen.sum() < 64
    image = predicted_log_length(found, problem.source.medium.grid)
    assert image.isfinite().all()
    water = torch.full_like(image[unseen], math.log(0.361))
    torch.testing.assert_close(image[unseen], water)
    outcome = problem.judge(problem.analysis(found, scans), design)
    assert outcome.objective.isfinite()


@pytest.mark.parametrize("is_hard", [False, True])
def test_an_image_of_nothing_has_a_finite_gradient(is_hard):
    problem = build(Config(task="image", n_muons=20, budget=1.0))
    theta = problem.space.theta(problem.space.start)
    used = problem.hard if is_hard else problem
    found = evaluate(used, Request(theta, (0,), gradient=True, n_events=32), Seed(1))
    assert math.isfinite(found.value)
    assert found.gradient.isfinite().all()


def test_muons_that_nothing_measured_do_not_weigh_those_that_something_did(rng):
    # a track that is missing has no slope: what looks like its angle is the muon's inclination
    options = {"task": "image", "n_muons": 400, "n_scans": 2, "resolution": 2e-3, "momentum": None}
    problem = build(Config(**options)).reference
    design = problem.baselines["pairs"].to(torch.float32)
    events = problem.source(2, rng, torch.float32)
    estimate = problem.reconstruction(problem.simulator(events, design, rng), design)
    grid = problem.analysis.grid
    lost = estimate.weight == 0
    assert 0.01 < float(lost.double().mean()) < 0.9
    poca = estimate.poca
    straight = torch.where(lost, torch.zeros_like(poca.angle_squared), poca.angle_squared)
    other = replace(estimate, poca=replace(poca, angle_squared=straight))
    found, expected = (predicted_log_length(one, grid) for one in (estimate, other))
    torch.testing.assert_close(found, expected)


def test_lead_scatters_more_than_water_in_the_image(rng):
    problem = build(Config(task="image", n_muons=20_000, energy_loss=False))
    design = problem.baselines["even"].to(torch.float32)
    scans = problem.source(1, rng, torch.float32)
    readout = problem.hard.simulator(scans, design, rng)
    image = predicted_log_length(
        problem.reconstruction(readout, design), problem.source.medium.grid
    )
    lead = scans.voxels == 1
    assert image[lead].mean() < image[~lead].mean() - 0.5
