"""Tasks `pipe` and `furnace`: information, fits, networks, and what they refuse."""

import dataclasses
import math

import pytest
import torch

from detopt.design import Design
from detopt.errors import ConfigError, DomainError
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.industry.momenta import MomentumClasses
from detopt.usecases.muon_scanner.industry.parameters import (
    InformationRows,
    ParameterError,
    fit_parameters,
)
from detopt.usecases.muon_scanner.industry.quantile_network import (
    NetworkAnalysis,
    deviation_quantiles,
    train_network,
)
from detopt.usecases.muon_scanner.sources import MuonBeam

TASKS = ("pipe", "furnace")


def deviations(problem, parameters, rng):
    scans = problem.source.scans(parameters, rng)
    design = problem.baselines["even"].to(torch.float32)
    readout = problem.hard.simulator(scans, design, rng)
    return scans, problem.reconstruction(readout, design)


def test_an_hour_and_the_spectrum_are_the_default():
    config = Config(task="pipe")
    assert config.momentum is None
    assert config.known_momentum == "marginalised"
    assert Config(task="pipe", momentum=3.0).known_momentum is True
    assert Config().momentum == 5.0
    problem = build(config)
    assert problem.objective.n_muons == pytest.approx(3600 * problem.source.muons.rate)
    longer = build(Config(task="pipe", exposure="2 h"))
    assert longer.objective.n_muons == pytest.approx(2 * problem.objective.n_muons)


def test_the_error_is_that_of_the_inverse_information():
    information = torch.tensor([[4.0, 1.0], [1.0, 2.0]], dtype=torch.float64).repeat(3, 1, 1)
    rows = InformationRows(information, torch.zeros(3, 2, dtype=torch.float64))
    free = Budget(lambda design: design["cost"], None)
    outcome = ParameterError(free, 100.0)(
        rows, Design({"cost": torch.ones((), dtype=torch.float64)})
    )
    expected = 1e3 * ((2 / 7 + 4 / 7) / 2 / 100) ** 0.5  # inverse of the matrix by hand
    assert outcome.objective.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("momentum", [3.0, None])
def test_the_score_is_the_derivative_of_the_density(task, momentum, rng):
    problem = build(Config(task=task, momentum=momentum, n_muons=40, energy_loss=False))
    likelihood = problem.analysis.likelihood
    parameters = problem.source.geometry.nominal[None]
    _, data = deviations_in_double(problem, parameters, rng)
    score = likelihood.score(parameters, data)
    step = 1e-6
    for index in range(parameters.shape[1]):
        shift = torch.zeros_like(parameters)
        shift[:, index] = step
        up, down = (likelihood.log_density(parameters + s, data) for s in (shift, -shift))
        slope = (up - down) / (2 * step) * (data.weight > 0)
        torch.testing.assert_close(score[index], slope, rtol=1e-4, atol=1e-5)


def deviations_in_double(problem, parameters, rng):
    scans = problem.source.scans(parameters, rng)
    design = problem.baselines["even"]
    readout = problem.hard.simulator(scans, design, rng)
    return scans, problem.reconstruction(readout, design)


def test_scores_vanish_on_average_at_the_truth(rng):
    problem = build(Config(task="pipe", momentum=3.0, n_muons=20_000))
    parameters = problem.source.geometry.nominal.float()[None]
    _, data = deviations(problem, parameters, rng)
    score = problem.analysis.likelihood.score(parameters, data)[0] * data.weight
    error = score.std().item() / score.numel() ** 0.5
    assert abs(score.mean().item()) < 4 * error


@pytest.mark.parametrize("momentum", [3.0, None])
def test_a_fit_finds_the_radius_within_its_error(momentum, rng):
    problem = build(Config(task="pipe", momentum=momentum, n_muons=10_000))
    geometry = problem.source.geometry
    truth = geometry.draw(6, rng, torch.float32)
    _, data = deviations(problem, truth, rng)
    start = geometry.nominal.float()[None].expand(6, 1)
    fit = fit_parameters(problem.analysis.likelihood, [data], start)
    pulls = (fit.parameters - truth)[:, 0] / fit.covariance[:, 0, 0].sqrt()
    assert pulls.square().mean().item() < 3.0
    assert fit.covariance[:, 0, 0].sqrt().max().item() < 1.5e-3


def test_pieces_of_a_scan_fit_like_the_whole(rng):
    problem = build(Config(task="pipe", n_muons=2_000))
    start = problem.source.geometry.nominal.float()[None]
    _, data = deviations(problem, start, rng)
    half = [
        dataclasses.replace(
            data,
            lines=dataclasses.replace(
                data.lines, position=data.lines.position[..., s], slope=data.lines.slope[..., s]
            ),
            **{
                name: getattr(data, name)[..., s]
                for name in ("deviation", "error", "weight", "momentum")
            },
        )
        for s in (slice(0, 1_000), slice(1_000, None))
    ]
    likelihood = problem.analysis.likelihood
    whole, parts = (fit_parameters(likelihood, d, start, 3) for d in ([data], half))
    torch.testing.assert_close(whole.parameters, parts.parameters, rtol=1e-3, atol=1e-6)


def test_knowing_the_momentum_and_four_hours_help(rng):
    def error(**settings):
        problem = build(Config(task="pipe", n_muons=500, **settings)).hard
        design = problem.baselines["even"]
        return summarize_design(problem, design, Seed(3), 32)[1].objective.item()

    base = error()
    assert error(exposure="4 h") == pytest.approx(base / 2)
    assert error(known_momentum=True) < 0.7 * base
    assert error(budget=2.0) > 1.3 * base


@pytest.mark.parametrize("task", TASKS)
def test_the_gradient_of_the_error_is_that_of_differences(task):
    problem = build(Config(task=task, n_muons=60))
    problem.dtype = torch.float64
    space = problem.space
    theta = space.theta(problem.baselines["even"]).clone()
    theta += 0.02 * torch.randn(len(theta), generator=torch.Generator().manual_seed(0)).double()

    def objective(values):
        design = space.design(values)
        summary = problem.summarize(design, 3, torch.Generator().manual_seed(5))
        return problem.judge(summary, design).objective

    theta.requires_grad_()
    (gradient,) = torch.autograd.grad(objective(theta), theta)
    step = 1e-5
    for index in range(0, len(theta), 3):
        shift = torch.zeros(len(theta), dtype=torch.float64)
        shift[index] = step
        with torch.no_grad():
            slope = (objective(theta + shift) - objective(theta - shift)) / (2 * step)
        assert gradient[index].item() == pytest.approx(slope.item(), rel=0.02, abs=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_panels_that_see_nothing_have_a_finite_error_and_gradient(task):
    problem = build(Config(task=task, n_muons=50, budget=0.001, center=(0.9, 0.9)))
    theta = problem.space.theta(problem.space.start).requires_grad_()
    design = problem.space.design(theta)
    summary = problem.summarize(design, 2, torch.Generator().manual_seed(1))
    objective = problem.judge(summary, design).objective
    (gradient,) = torch.autograd.grad(objective, theta)
    assert objective.isfinite()
    assert gradient.isfinite().all()


def test_classes_of_momentum_have_harder_shares_at_larger_angles():
    classes = MomentumClasses.of(MuonBeam(momentum=None).model)
    assert classes.momenta.diff().min() > 0
    torch.testing.assert_close(classes.shares.sum(1), torch.ones(33, dtype=torch.float64))
    secant = torch.tensor([1.0, 2.5], dtype=torch.float64)
    shares = classes.log_shares(secant).exp()
    mean = (classes.momenta[:, None] * shares).sum(0)
    assert mean[1] > mean[0]  # inclined muons are harder


def test_classes_of_momentum_scatter_like_drawn_muons(rng):
    flux = MuonBeam(momentum=None).model
    classes = MomentumClasses.of(flux)
    energy, cosine = flux.sample(200_000, rng, torch.float64)
    strength = 1 / (energy - 0.1056583755**2 / energy).square()
    at_class = (classes.momenta.square() + 0.1056583755**2) / classes.momenta**4
    expected = (at_class[:, None] * classes.log_shares(1 / cosine).exp()).sum(0)
    assert expected.mean().item() == pytest.approx(strength.mean().item(), rel=0.015)


@pytest.mark.parametrize("kick", [0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0])  # GeV, angle over 13.6 MeV
def test_few_classes_give_the_density_of_the_spectrum(kick):
    flux = MuonBeam(momentum=None).model
    cosine = torch.tensor([0.36, 0.6, 1.0], dtype=torch.float64)

    def density(momenta, shares):
        inverse = (momenta.square() / (momenta.square() + 0.1056583755**2).sqrt()).square()
        planes = inverse.square() * (-inverse * kick**2 / 2).exp()  # slope and offset, two planes
        return (shares * planes).sum(1)

    energy = torch.logspace(*map(math.log10, flux.energy_range), 20_001, dtype=torch.float64)
    grid = torch.meshgrid(cosine, energy, indexing="ij")[::-1]
    spectrum = flux.model(*grid) * energy
    spectrum = spectrum / spectrum.sum(1, keepdim=True)
    expected = density((energy.square() - 0.1056583755**2).sqrt(), spectrum)
    classes = MomentumClasses.of(flux)
    found = density(classes.momenta, classes.log_shares(1 / cosine).exp().T)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.0)


def test_features_rise_with_the_wall_and_carry_gradients(rng):
    problem = build(Config(task="pipe", momentum=3.0, n_muons=4_000))
    geometry = problem.source.geometry
    parameters = torch.tensor([[0.130], [0.142]])
    _, data = deviations(problem, parameters, rng)
    features = deviation_quantiles(data, geometry)
    assert features.shape == (2, 20)
    assert features[0, 2] > features[1, 2]  # a thicker wall scatters more
    deviation = data.deviation.clone().requires_grad_()
    total = deviation_quantiles(dataclasses.replace(data, deviation=deviation), geometry).sum()
    (gradient,) = torch.autograd.grad(total, deviation)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


def test_a_network_learns_the_radius_and_stays_frozen(rng):
    problem = build(Config(task="pipe", momentum=3.0, n_muons=4_000))
    geometry = problem.source.geometry

    def scan(parameters, generator):
        return deviations(problem, parameters, generator)[1]

    network = train_network(geometry, scan, 80, seed=1)
    assert not any(p.requires_grad for p in network.parameters())
    truth = geometry.draw(40, rng, torch.float32)
    scans, data = deviations(problem, truth, rng)
    rows = NetworkAnalysis(network)(data, scans)
    residual = (rows.p - rows.t).square().mean().sqrt().item()
    spread = (geometry.high[0] - geometry.low[0]) / 12**0.5
    assert residual < 0.6 * spread


def test_few_training_scans_are_refused():
    geometry = build(Config(task="pipe")).source.geometry
    with pytest.raises(DomainError, match="n_scans"):
        train_network(geometry, lambda parameters, rng: None, 5, seed=0)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"volume": "some.npz"}, "own geometry"),
        ({"panel_thickness": 0.01}, "ideal panels"),
        ({"noise_density": 1.0}, "ideal panels"),
    ],
)
def test_options_that_these_tasks_do_not_model_are_refused(options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        build(Config(task="pipe", **options))
