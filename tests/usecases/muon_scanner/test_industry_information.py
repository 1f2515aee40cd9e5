"""Tasks `pipe` and `furnace`: what the information promises is what fits keep."""

import dataclasses

import pytest
import torch

from detopt.design import Design
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.industry.deviations import LARGEST_ANGLE
from detopt.usecases.muon_scanner.industry.known_scattering import KnownScattering
from detopt.usecases.muon_scanner.industry.momenta import MomentumClasses
from detopt.usecases.muon_scanner.industry.parameters import (
    InformationRows,
    ParameterError,
    fit_parameters,
)
from detopt.usecases.muon_scanner.industry.solids import Lines

STEP = {"pipe": 1e-3, "furnace": 2e-2}  # m
CLOSE = {  # panels near the object, those of one height side by side, as a search finds them
    "panel_y": [-0.4, 0.4, -0.3, 0.3, -0.3, 0.3, -0.4, 0.4],
    "heights": [0.12, 0.08, 0.015, 0.005],
}


def close(problem):
    grid = problem.source.geometry.grid
    heights = torch.tensor(CLOSE["heights"], dtype=torch.float64)
    return Design(
        {
            **problem.baselines["even"],
            "panel_y": torch.tensor(CLOSE["panel_y"], dtype=torch.float64),
            "upper_z": grid.high[2] + heights,
            "lower_z": grid.low[2] - heights.flip(0),
        }
    )


def deviations(problem, design, parameters, rng):
    chosen = design.to(torch.float32)
    scans = problem.source.scans(parameters, rng)
    return problem.reconstruction(problem.hard.simulator(scans, chosen, rng), chosen)


def case(task, arrangement, n_muons):
    problem = build(Config(task=task, n_muons=n_muons))
    design = close(problem) if arrangement == "close" else problem.baselines[arrangement]
    return problem, design


@pytest.mark.parametrize("arrangement", ["pairs", "close"])
@pytest.mark.parametrize("task", STEP)
def test_scores_obey_the_identities_of_bartlett(task, arrangement):
    # mean zero at the truth; and as the truth moves, the mean moves by the variance of the score
    problem, design = case(task, arrangement, 60_000)
    likelihood = problem.analysis.likelihood
    start = problem.source.geometry.nominal.float()[None]

    def scores(parameters):
        data = deviations(problem, design, parameters, Seed("same muons").generator())
        return likelihood.score(start, data)[:, 0].double()

    score = scores(start)
    variance = score.square().mean(1)
    error = (variance / score.shape[1]).sqrt()
    assert (score.mean(1).abs() < 4 * error).all()
    step = STEP[task]  # all parameters at once; the scores of two electrodes hardly overlap
    moved = (scores(start + step).mean(1) - scores(start - step).mean(1)) / (2 * step)
    told = (score @ score.T / score.shape[1]).sum(1)
    assert (moved.sum() / told.sum()).item() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("task", STEP)
def test_the_score_at_the_truth_has_no_mean_from_lines_or_momenta(task):
    # the same 60 000 muons with exact lines and with six times as many momenta: what the mean of
    # the score changes by shifts a fit of an hour; statistical errors are 0.02 and 0.1 of its error
    problem, design = case(task, "pairs", 20_000)
    likelihood, source = problem.analysis.likelihood, problem.source
    start = source.geometry.nominal.float().repeat(3, 1)
    rng = Seed("mean of the score").generator()
    scans = source.scans(start, rng)
    chosen = design.to(torch.float32)
    data = problem.reconstruction(problem.hard.simulator(scans, chosen, rng), chosen)
    before, after, seen = scans.before, scans.after, data.weight > 0
    exact = Lines(
        torch.where(seen, (before.position + after.position) / 2, 0),
        torch.where(seen, (before.slope + after.slope) / 2, 0),
        before.height,
    )
    many = KnownScattering(source.geometry, MomentumClasses.of(source.muons.beam.model, 72))

    def mean(likelihood, data):
        return likelihood.score(start, data).double().flatten(1)

    here = mean(likelihood, data)
    hour = (problem.objective.n_muons / here.square().mean(1)).sqrt()  # shift in errors, per score
    for other, largest in (
        (mean(likelihood, dataclasses.replace(data, lines=exact)), 0.1),
        (mean(many, data), 0.3),
    ):
        assert ((here - other).mean(1) * hour).abs().max().item() < largest


@pytest.mark.parametrize("task", STEP)
def test_no_single_muon_holds_the_information(task):
    problem, design = case(task, "close", 60_000)
    start = problem.source.geometry.nominal.float()[None]
    data = deviations(problem, design, start, Seed("many muons").generator())
    told = problem.analysis.likelihood.score(start, data)[:, 0].double().square()
    assert (told.amax(1) / told.sum(1)).max().item() < 0.05


@pytest.mark.parametrize("task", STEP)
def test_muons_that_turn_by_more_than_the_largest_angle_do_not_count(task, rng):
    problem, design = case(task, "pairs", 20_000)
    start = problem.source.geometry.nominal.float()[None]
    data = deviations(problem, design, start, rng)
    across, along = data.deviation[0]
    spread = data.lines.secant
    angle = torch.hypot(across / spread, along / spread.square())
    kept = data.weight > 0
    assert angle[kept].max() <= LARGEST_ANGLE
    assert angle[kept].max() > 0.9 * LARGEST_ANGLE  # the limit is in use
    assert (problem.analysis.likelihood.score(start, data)[:, ~kept] == 0).all()


@pytest.mark.parametrize("arrangement", ["pairs", "close"])
def test_fits_err_by_what_the_objective_says(arrangement):
    problem, design = case("pipe", arrangement, 12_000)
    geometry, likelihood = problem.source.geometry, problem.analysis.likelihood
    rng = Seed("fits").generator()
    truth = geometry.draw(24, rng, torch.float32)
    data = deviations(problem, design, truth, rng)
    start = geometry.nominal.float().expand(24, 1)
    fit = fit_parameters(likelihood, [data], start)
    assert fit.converged.all()
    score = likelihood.score(truth, data).double()
    rows = InformationRows(
        torch.einsum("pvn,qvn->vpq", score, score) / score.shape[-1], truth.double()
    )
    objective = ParameterError(Budget(lambda design: design["cost"], None), 12_000.0)
    expected = objective(rows, Design({"cost": torch.ones((), dtype=torch.float64)})).objective
    error = (fit.parameters - truth).square().mean().sqrt() * 1e3
    assert 0.6 < error.item() / expected.item() < 1.45  # 24 errors tell their size to 15 %


@pytest.mark.parametrize("task", STEP)
def test_a_fit_ends_at_the_same_place_from_both_ends_of_the_range(task, rng):
    problem, design = case(task, "close", 60_000)
    geometry = problem.source.geometry
    truth = torch.tensor([geometry.low])
    data = [deviations(problem, design, truth, rng)]
    starts = [torch.tensor([end]) for end in (geometry.low, geometry.high)]
    fits = [fit_parameters(problem.analysis.likelihood, data, start) for start in starts]
    width = fits[0].covariance[0].diagonal().sqrt()
    assert all(fit.converged.all() for fit in fits)
    assert ((fits[0].parameters - fits[1].parameters)[0].abs() < 0.2 * width).all()
    assert ((fits[0].parameters - truth)[0].abs() < 4 * width).all()


def test_a_fit_that_was_cut_short_says_so(rng):
    problem, design = case("pipe", "pairs", 20_000)
    data = deviations(problem, design, torch.tensor([[0.130]]), rng)
    fit = fit_parameters(problem.analysis.likelihood, [data], torch.tensor([[0.142]]), 1)
    assert not fit.converged.any()


def test_the_error_is_the_mean_over_the_range_not_that_of_the_mean_information():
    radius = torch.linspace(0.130, 0.142, 200, dtype=torch.float64)[:, None]
    told = (120 * (radius - 0.136)).exp() * 100
    rows = InformationRows(told[..., None], radius)
    objective = ParameterError(Budget(lambda design: design["cost"], None), 10.0)
    found = objective(rows, Design({"cost": torch.ones((), dtype=torch.float64)})).objective
    expected = 1e3 * (1 / told / 10).mean().sqrt()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.item() > 1.05 * 1e3 * (1 / told.mean() / 10).sqrt().item()


def test_the_error_has_the_gradient_of_differences(rng):
    root = torch.randn(6, 3, 3, generator=rng, dtype=torch.float64)
    information = (root @ root.mT + torch.eye(3)).requires_grad_()
    parameters = torch.rand(6, 3, generator=rng, dtype=torch.float64)
    objective = ParameterError(Budget(lambda design: design["cost"], None), 1e6)
    design = Design({"cost": torch.ones((), dtype=torch.float64)})

    def error(values):
        return objective(InformationRows(values, parameters), design).objective

    assert torch.autograd.gradcheck(error, (information,))


def test_pieces_give_the_start_and_the_same_fit(rng):
    problem, design = case("pipe", "pairs", 20_000)
    truth = torch.tensor([[0.133]])
    data = deviations(problem, design, truth, rng)

    def part(some):
        lines = dataclasses.replace(
            data.lines, position=data.lines.position[..., some], slope=data.lines.slope[..., some]
        )
        names = ("deviation", "error", "weight", "momentum")
        return dataclasses.replace(
            data, lines=lines, **{name: getattr(data, name)[..., some] for name in names}
        )

    pieces = [part(slice(0, 4_000)), part(slice(4_000, None))]
    start = problem.source.geometry.nominal.float()[None]
    whole, parts = (
        fit_parameters(problem.analysis.likelihood, some, start) for some in ([data], pieces)
    )
    width = whole.covariance.sqrt()[0, 0]
    assert (whole.parameters - parts.parameters).abs().item() < 0.05 * width.item()
