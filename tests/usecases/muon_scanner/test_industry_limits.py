"""Tasks `pipe` and `furnace` at their limits: years of exposure, no muons, removed panels."""

import dataclasses

import pytest
import torch

from detopt.design import Design
from detopt.pipeline.evaluation import Request, evaluate, summarize_design
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.industry.known_scattering import KnownScattering
from detopt.usecases.muon_scanner.industry.pipe import pipe
from detopt.usecases.muon_scanner.industry.posterior import (
    CurveRows,
    PosteriorError,
    fit_posterior,
    posterior_errors,
)
from detopt.usecases.muon_scanner.realism.pruning import prune

DESIGN = Design({"cost": torch.ones((), dtype=torch.float64)})
FREE = Budget(lambda design: design["cost"], None)
HOURS = (1.0, 24.0, 168.0, 720.0, 2_160.0, 8_760.0)


def bent():
    """Curves of one parameter that is told twice as well at one end of its range as at the other.

    Also the root mean square error of many hours, times the root of their number [mm].
    """
    geometry = dataclasses.replace(pipe(), n_knots=7)
    width = geometry.high[0] - geometry.low[0]
    part = (geometry.knot_values - geometry.low[0]) / width
    place = 5 * (part + part.square() / 2)  # standard deviations for an hour; the slope grows
    rows = CurveRows(
        (place[:, :, None] * place[:, None])[None], torch.zeros(1, 1, dtype=torch.float64)
    )
    asymptote = 1e3 * width / 5 * 0.5**0.5  # the mean of 1/(1 + x)^2 is 1/2
    return geometry, rows, asymptote


def test_errors_of_long_exposures_fall_as_the_root_of_time():
    geometry, rows, asymptote = bent()
    scaled = [
        PosteriorError(FREE, hours, geometry)(rows, DESIGN).objective.item() * hours**0.5
        for hours in HOURS
    ]
    assert scaled == sorted(scaled)  # the ends of the range help less and less
    assert scaled[2] == pytest.approx(asymptote, rel=0.03)
    assert scaled[3:] == pytest.approx([asymptote] * 3, rel=0.005)


def test_the_error_of_a_furnace_falls_as_the_root_of_time():
    problem = build(Config(task="furnace", n_muons=500))
    rng = Seed("furnace").generator()
    design = problem.baselines["even"].to(torch.float32)
    summary = problem.reference.summarize(design, 4, rng)
    error = problem.reference.objective
    scaled = []
    for hours in HOURS[1:]:
        one = PosteriorError(error.budget, error.n_muons * hours, error.geometry)
        scaled.append(one(summary, problem.baselines["even"]).objective.item() * hours**0.5)
    assert scaled == pytest.approx([scaled[-1]] * 5, rel=0.05)


@pytest.mark.parametrize("hours", [1.0, 50.0, 150.0, 250.0, 1_000.0])
def test_errors_have_the_right_gradient_where_posteriors_become_narrow(hours):
    geometry, rows, _ = bent()

    def error(products):
        one = CurveRows(products, rows.parameters)
        return PosteriorError(FREE, hours, geometry)(one, DESIGN).objective

    step = 1e-5 * rows.products
    products = rows.products.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(error(products), products)
    with torch.no_grad():
        slope = (error(rows.products + step) - error(rows.products - step)).item() / 2
    assert (gradient * step).sum().item() == pytest.approx(slope, rel=1e-4)


def test_the_picture_of_a_year_shows_the_errors_of_a_year():
    geometry, rows, _ = bent()
    hour, year = (posterior_errors(rows, hours, geometry)[0].y for hours in (1_000.0, 1e5))
    assert [10 * error for error in year] == pytest.approx(hour, rel=1e-3)


class Repeated(KnownScattering):
    """Likelihood of so many copies of each muon."""

    copies = 1.0

    def curves(self, parameters, data, knots):
        return self.copies * super().curves(parameters, data, knots)


def test_fits_of_long_exposures_keep_their_errors(rng):
    problem = build(Config(task="furnace", n_muons=2_000, momentum=1.0))
    design = problem.baselines["pairs"].to(torch.float32)
    parameters = problem.source.geometry.draw(3, rng, torch.float32)
    scans = problem.source.scans(parameters, rng)
    data = problem.reconstruction(problem.hard.simulator(scans, design, rng), design)
    likelihood = Repeated(problem.source.geometry, None)
    fits = []
    for copies in (1e4, 1e6):
        likelihood.copies = copies
        fits.append(fit_posterior(likelihood, [data]))
    variances = [fit.covariance.diagonal(dim1=1, dim2=2) for fit in fits]
    inside = fits[1].parameters.sub(0.3).abs() < 0.09  # estimates at an end have other errors
    assert inside.sum() >= 4
    ratio = (variances[0] / variances[1])[inside]
    assert ratio.tolist() == pytest.approx([100.0] * len(ratio), rel=0.1)
    away = (fits[0].parameters - fits[1].parameters)[inside].abs()
    assert (away < 0.5 * variances[0].sqrt()[inside]).all()


@pytest.mark.parametrize(
    "options", [{"n_muons": 20, "n_scans": 2}, {"n_muons": 20, "n_scans": 2, "exposure": 3e7}]
)
def test_few_muons_tell_a_furnace_badly_but_do_not_fail(options):
    problem = build(Config(task="furnace", **options))
    for seed in range(4):
        theta = problem.space.theta(problem.space.start)
        found = evaluate(problem, Request(theta, ("few",), gradient=True), Seed(seed))
        assert 0 < found.value < 58  # mm; that of the range
        assert torch.isfinite(found.gradient).all()


@pytest.mark.parametrize("task", ["pipe", "furnace"])
@pytest.mark.parametrize(
    "options", [{"known_momentum": True, "budget": 0.01}, {"momentum": 0.02}, {"momentum": 3.0}]
)
def test_scanners_that_measure_next_to_nothing_have_a_large_error(task, options):
    problem = build(Config(task=task, n_muons=5, n_scans=2, **options))
    for one in (problem, problem.reference):
        theta = one.space.theta(one.space.start)
        found = evaluate(one, Request(theta, ("nothing",), gradient=True), Seed(0))
        assert found.value > 1e-3
        assert torch.isfinite(torch.tensor(found.value))


@pytest.mark.parametrize("option", [{"removal_share": 0.02}, {"panel_base_price": 0.5}])
def test_the_verdict_on_removed_panels_is_that_on_the_pruned_scanner(option):
    config = Config(task="pipe", n_scans=8, n_muons=500, **option)
    problem = build(config)
    shares = torch.tensor([1.9, 0.1, 0.1, 1.9] * 2, dtype=torch.float64)
    design = Design({**problem.baselines["even"], "panel_cost": shares})
    pruned = prune(config, design)
    assert len(pruned.removed) == 4
    found = []
    for one, at in ((problem, design), (build(pruned.config), pruned.design)):
        _, outcome = summarize_design(one.reference, at, Seed("pruned"), 64)
        assert outcome.metrics["panels"].item() == 4
        found.append(outcome.objective.item())
    assert found[0] == pytest.approx(found[1], rel=0.08)  # other random numbers


def test_a_price_of_each_panel_costs_precision():
    errors = []
    for price in (0.0, 0.6):
        problem = build(Config(task="pipe", n_scans=8, n_muons=500, panel_base_price=price))
        design = problem.baselines["even"]
        _, outcome = summarize_design(problem.reference, design, Seed("price"), 32)
        errors.append(outcome.objective.item())
    assert errors[1] > 1.1 * errors[0]
