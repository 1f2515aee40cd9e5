"""Parameters told to a large part of their range: curves, posteriors, and their objective."""

import dataclasses
import math

import pytest
import torch

from detopt.design import Design
from detopt.errors import DomainError
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.industry.parameters import InformationRows, ParameterError
from detopt.usecases.muon_scanner.industry.pipe import pipe
from detopt.usecases.muon_scanner.industry.posterior import (
    CurveRows,
    PosteriorError,
    fit_posterior,
    posterior_errors,
)

DESIGN = Design({"cost": torch.ones((), dtype=torch.float64)})
FREE = Budget(lambda design: design["cost"], None)
RANGE = pipe().high[0] - pipe().low[0]


def case(n_muons, **settings):
    """A furnace whose heights few muons tell, for they are slow and their momentum is known."""
    problem = build(Config(task="furnace", n_muons=n_muons, momentum=1.0, **settings))
    return problem, problem.baselines["pairs"].to(torch.float32)


def deviations(problem, design, parameters, rng):
    scans = problem.source.scans(parameters, rng)
    return scans, problem.reconstruction(problem.hard.simulator(scans, design, rng), design)


def straight(information, n_knots=7, n_rows=3):
    """Rows of one parameter that all its range is told equally well."""
    geometry = dataclasses.replace(pipe(), n_knots=n_knots)
    distance = geometry.knot_values - geometry.low[0]
    products = information * distance[:, :, None] * distance[:, None]
    rows = CurveRows(products.repeat(n_rows, 1, 1, 1), torch.zeros(n_rows, 1, dtype=torch.float64))
    return geometry, rows


def error(geometry, rows, n_muons):
    return PosteriorError(FREE, n_muons, geometry)(rows, DESIGN).objective


def test_without_information_the_error_is_that_of_the_range():
    geometry, rows = straight(0.0)
    assert error(geometry, rows, 1.0).item() == pytest.approx(1e3 * RANGE / 12**0.5, rel=0.01)


@pytest.mark.parametrize("n_muons", [40.0, 400.0])
def test_with_much_information_the_error_is_that_of_its_inverse(n_muons):
    information = 20 / RANGE**2
    geometry, rows = straight(information)
    told = InformationRows(torch.full((3, 1, 1), information, dtype=torch.float64), rows.parameters)
    limit = ParameterError(FREE, n_muons)(told, DESIGN).objective.item()
    found = error(geometry, rows, n_muons).item()
    width = limit / 1e3 / RANGE
    assert found < limit  # the ends of the range help
    assert found == pytest.approx(limit, rel=1.2 * width + 0.01)


def test_more_muons_make_a_smaller_error_and_halve_it_at_last():
    geometry, rows = straight(20 / RANGE**2)
    errors = [error(geometry, rows, n).item() for n in (0.1, 1.0, 10.0, 100.0, 400.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[4] / errors[3] == pytest.approx(0.5, abs=0.03)


def test_the_error_has_the_gradient_of_differences(rng):
    geometry, rows = straight(1.0)
    root = torch.randn(7, 9, generator=rng, dtype=torch.float64) * 3
    root[0] = 0
    products = (root @ root.T).expand(2, 1, 7, 7).clone().requires_grad_()

    def objective(values):
        return error(geometry, CurveRows((values + values.mT) / 2, rows.parameters[:2]), 1.0)

    assert torch.autograd.gradcheck(objective, (products,))


def test_curves_are_differences_of_the_density(rng):
    problem, design = case(300, energy_loss=False)
    likelihood, geometry = problem.analysis.likelihood, problem.source.geometry
    parameters = geometry.draw(2, rng, torch.float32)
    _, data = deviations(problem, design, parameters, rng)
    knots = geometry.knot_values.float()
    curves = likelihood.curves(parameters, data, knots)
    assert curves.shape == (3, 7, 2, 300)
    assert (curves[:, 0] == 0).all()
    for index in range(3):
        for knot in (3, 6):
            values = []
            for place in (0, knot):
                moved = parameters.clone()
                moved[:, index] = knots[index, place]
                values.append(likelihood.log_density(moved, data))
            expected = (values[1] - values[0]) * data.weight
            torch.testing.assert_close(curves[index, knot], expected, rtol=1e-3, atol=2e-5)
            assert (expected.abs() > 1e-3).any()


def test_curves_carry_the_gradient_of_the_deviations(rng):
    problem, design = case(200)
    parameters = problem.source.geometry.nominal.float()[None]
    _, data = deviations(problem, design, parameters, rng)
    deviation = data.deviation.double().requires_grad_()
    knots = problem.source.geometry.knot_values.float()

    def total(values):
        some = dataclasses.replace(data, deviation=values.float())
        return problem.analysis.likelihood.curves(parameters, some, knots).double().sum()

    (gradient,) = torch.autograd.grad(total(deviation), deviation)
    muon = int(gradient.abs().sum((0, 1, 2)).argmax())
    shift = torch.zeros_like(gradient)
    shift[0, 0, 0, muon] = 1e-3
    with torch.no_grad():
        slope = (total(deviation + shift) - total(deviation - shift)) / 2e-3
    assert gradient[0, 0, 0, muon].item() == pytest.approx(slope.item(), rel=0.02)


def test_posterior_means_err_by_what_the_objective_says():
    n_muons = 20_000
    problem, design = case(n_muons)
    geometry = problem.source.geometry
    rng = Seed("heights").generator()
    truth = geometry.draw(16, rng, torch.float32)
    scans, data = deviations(problem, design, truth, rng)
    rows = problem.analysis(data, scans)
    objective = PosteriorError(problem.objective.budget, float(n_muons), geometry)
    expected = objective(rows, design).terms["error"].item()
    fit = fit_posterior(problem.analysis.likelihood, [data])
    assert fit.converged.all()
    rms = 1e3 * (fit.parameters - truth).square().mean().sqrt().item()
    own = 1e3 * fit.covariance.diagonal(dim1=1, dim2=2).mean().sqrt().item()
    assert expected < 0.9 * 200 / 12**0.5  # the scan tells something
    assert rms == pytest.approx(expected, rel=0.3)  # 48 heights tell their error to 10 %
    assert own == pytest.approx(expected, rel=0.15)


def test_the_expected_error_is_shown_over_the_range():
    geometry, rows = straight(400 / RANGE**2)
    (picture,) = posterior_errors(rows, 1.0, geometry)
    assert min(picture.x) == pytest.approx(geometry.low[0])
    assert max(picture.x) == pytest.approx(geometry.high[0])
    assert picture.y[0] < picture.y[len(picture.y) // 2]  # an end of the range tells something
    assert max(picture.y) == pytest.approx(1e3 * RANGE / math.sqrt(400), rel=0.02)


def test_too_few_knots_are_refused():
    with pytest.raises(DomainError, match="n_knots"):
        dataclasses.replace(pipe(), n_knots=2)


def test_a_posterior_needs_knots(rng):
    problem = build(Config(task="pipe", n_muons=50))
    design = problem.baselines["pairs"].to(torch.float32)
    _, data = deviations(problem, design, torch.tensor([[0.135]]), rng)
    with pytest.raises(DomainError, match="no knots"):
        fit_posterior(problem.analysis.likelihood, [data])
