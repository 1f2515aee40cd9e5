"""Counting experiment: instrument, first stage, templates and the profiled uncertainty."""

import math

import pytest
import torch

from detopt.design import Design
from detopt.errors import DomainError
from detopt.pipeline import Request, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases._templates import bin_shares, hard_bin_shares
from detopt.usecases.counting_experiment import Config, build, first_stage
from detopt.usecases.counting_experiment.config import Instrument
from detopt.usecases.counting_experiment.first_stage import counting_figure

CONFIG = Config(n_hidden=2, n_bins=6, softness=0.01)
PROBLEM = build(CONFIG)


def design(area, resolution, calibration):
    return Design({"shares": torch.tensor([area, resolution, calibration], dtype=torch.float64)})


# What the budget buys


def test_half_length_of_one_radius_covers_45_degrees():
    share = 1 / CONFIG.length
    covered = Instrument(CONFIG).coverage(design(share, 0.5, 0.1))
    assert covered.item() == pytest.approx(math.cos(math.pi / 4))


def test_full_coverage_sees_all_background():  # the integral of 3/8 (1 + x^2) from -1 to 1 is 1
    long = Instrument(Config(length=1e6))
    assert long.background_acceptance(design(0.5, 0.3, 0.2)).item() == pytest.approx(1.0)


def test_background_acceptance_is_the_integral_of_its_distribution():
    instrument = Instrument(CONFIG)
    edge = instrument.coverage(design(0.2, 0.5, 0.3))
    x = torch.linspace(-float(edge), float(edge), 2_001, dtype=torch.float64)
    integral = torch.trapezoid(3 / 8 * (1 + x.square()), x)
    torch.testing.assert_close(
        instrument.background_acceptance(design(0.2, 0.5, 0.3)), integral, rtol=1e-6, atol=0.0
    )


def test_four_times_the_money_halves_the_widths():
    one, four = (Instrument(CONFIG) for _ in range(2))
    for kind in ("scale_width", "efficiency_width"):
        ratio = getattr(one, kind)(design(0.5, 0.4, 0.1)) / getattr(four, kind)(
            design(0.3, 0.3, 0.4)
        )
        assert ratio.item() == pytest.approx(2.0)


def test_resolution_has_its_constant_term_in_quadrature():
    found = Instrument(CONFIG).resolution(design(0.2, 0.6, 0.2))
    assert found.item() == pytest.approx(math.hypot(0.1 * math.sqrt(3 * 0.2 / 0.6), 0.01))


# Bins


def test_each_event_is_shared_once():
    score = torch.rand(50, dtype=torch.float64, generator=Seed(0).generator())
    edges = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    for shares in (bin_shares(score, edges, 0.05), hard_bin_shares(score, edges)):
        torch.testing.assert_close(shares.sum(dim=-1), torch.ones_like(score))
    counts = hard_bin_shares(score, edges).sum(dim=0)
    assert torch.equal(counts, torch.bincount(torch.bucketize(score, edges), minlength=4).double())


def test_soft_bins_tend_to_hard_ones():
    score = torch.tensor([0.1, 0.3, 0.95], dtype=torch.float64)
    edges = torch.tensor([0.2, 0.5], dtype=torch.float64)
    torch.testing.assert_close(bin_shares(score, edges, 1e-4), hard_bin_shares(score, edges))


# The objective


def outcome(problem, n_events=2_000):
    return summarize_design(
        problem.with_dtype(torch.float64), problem.space.start, Seed(1), n_events
    )


def test_counts_add_up_to_the_yields():
    instrument = Instrument(CONFIG)
    start = PROBLEM.space.start
    _, found = outcome(PROBLEM)
    signal = CONFIG.signal * instrument.coverage(start)
    background = (CONFIG.peak + CONFIG.continuum) * instrument.background_acceptance(start)
    assert found.metrics["signal events"].item() == pytest.approx(signal.item())
    assert found.metrics["background events"].item() == pytest.approx(background.item())


def test_normalization_slopes_are_the_counts_themselves():
    summary, _ = outcome(PROBLEM)
    names = PROBLEM.nuisances.labels(PROBLEM.space.start)
    rows = summary.values
    torch.testing.assert_close(
        summary.slopes["signal"][..., names.index("efficiency")], rows.signal
    )
    both = [names.index(f"{kind}_normalization") for kind in ("continuum", "peak")]
    torch.testing.assert_close(summary.slopes["background"][..., both].sum(-1), rows.background)


def test_shapes_do_not_change_the_total():
    summary, _ = outcome(PROBLEM)
    names = PROBLEM.nuisances.labels(PROBLEM.space.start)
    for name in ("energy_scale", "continuum_slope"):
        slope = summary.slopes["background"].mean(0)[:, names.index(name)]
        assert slope.abs().max() > 1
        assert slope.sum().abs() < 1e-9 * slope.abs().sum()


def test_nuisance_parameters_only_add_uncertainty():
    _, found = outcome(PROBLEM)
    assert found.objective > found.metrics["uncertainty without nuisances"]


def test_hard_judgement_is_the_limit_of_soft_bins():
    fine = build(Config(n_hidden=2, n_bins=6, softness=2e-3))
    soft, hard = (outcome(p, 8_000)[1] for p in (fine, fine.reference))
    for metric in ("uncertainty without nuisances", "signal events"):
        assert float(soft.metrics[metric]) == pytest.approx(float(hard.metrics[metric]), rel=0.02)
    assert float(soft.objective) == pytest.approx(float(hard.objective), rel=0.1)


def test_gradient_in_the_shares_agrees_with_differences():
    problem = PROBLEM.with_dtype(torch.float64)
    theta = problem.space.theta(problem.space.start)

    def at(theta, gradient=False):
        request = Request(theta, (), gradient=gradient, n_events=200, std_error=False)
        return evaluate(problem, request, Seed(0))

    gradient = at(theta, gradient=True).gradient
    step = 1e-5
    for i in range(3):
        shift = torch.zeros_like(theta)
        shift[i] = step
        expected = (at(theta + shift).value - at(theta - shift).value) / (2 * step)
        assert gradient[i].item() == pytest.approx(expected, rel=1e-5)


# The first stage


def test_figure_is_that_of_the_events():  # Monte Carlo of the same window, 4 standard errors
    shares = torch.tensor([0.2, 0.6, 0.2], dtype=torch.float64)
    config = Config(peak=1e-9, continuum=1e-9)
    figure = counting_figure(shares, config, systematic=False)
    inside = math.erf(2.5 / math.sqrt(2))  # the widest window is best without background
    seen = config.signal * Instrument(config).coverage(design(0.2, 0.6, 0.2)) * inside
    assert figure.item() == pytest.approx(math.sqrt(float(seen)), rel=1e-6)


def test_systematics_lower_the_figure():
    shares = torch.tensor([0.2, 0.6, 0.2], dtype=torch.float64)
    bare, full = (counting_figure(shares, CONFIG, systematic) for systematic in (False, True))
    assert full < bare


def test_only_a_figure_with_systematics_buys_calibration():
    bare, full = (first_stage(CONFIG, systematic, n_steps=10) for systematic in (False, True))
    assert bare[2] == pytest.approx(0.01)
    assert full[2] > 0.05
    assert sum(bare) == pytest.approx(1.0)
    assert first_stage(CONFIG, False, calibration=0.1, n_steps=10)[2] == 0.1


@pytest.mark.parametrize("calibration", [0.0, 0.99])
def test_a_calibration_that_leaves_no_room_is_refused(calibration):
    with pytest.raises(DomainError, match=r"between 0\.01 and 0\.98"):
        first_stage(CONFIG, False, calibration=calibration, n_steps=10)
