"""Task `density`: the fit of sectors against the error that it expects."""

import math

import pytest
import torch

from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.muon_absorption import Config, build
from detopt.usecases.muon_absorption.counts import angular_bins
from detopt.usecases.muon_absorption.density_fit import (
    SectorModel,
    expected_error,
    fitted_densities,
    prior_densities,
)
from detopt.usecases.muon_absorption.space import baselines, design_space
from detopt.usecases.muon_absorption.targets import make_target
from detopt.usecases.muon_absorption.telescope import place_telescopes

DOUBLE = torch.float64
SMALL = {"task": "density", "n_bins": (16, 8), "n_rays": 2}


def sector_model(config, **changes):
    """Smooth expected counts of the near design, or of one like it."""
    target = make_target(config)
    human = baselines(config, target, design_space(config, target))["near"]
    placed = place_telescopes(config, target.terrain, {**human, **changes})
    bins = angular_bins(config, target.terrain, placed, target.least_grammage)
    place, grammage = target.terrain.steps(placed.place[:, None, None], bins.rays, 64)
    weights = target.terrain.sector_weights(place, config.sectors)
    share = torch.einsum("tbrs,tbrsi,tbrsj,tbrsk->tbrijk", grammage, *weights).flatten(3)
    return SectorModel(bins, share)


def test_densities_have_the_mean_and_the_spread_of_the_prior(rng):
    normal = torch.randn(100_000, 2, generator=rng, dtype=DOUBLE)
    density = prior_densities(normal, 0.5)
    assert bool((density > 0).all())
    assert density.mean().item() == pytest.approx(1.0, abs=0.005)
    assert density.std().item() == pytest.approx(0.5, abs=0.01)


def test_slopes_are_those_of_the_counts(rng):
    model = sector_model(Config(**SMALL, sectors=(2, 2, 1)))
    density = prior_densities(torch.randn(2, 4, generator=rng, dtype=DOUBLE), 0.3)
    step = 1e-4 * torch.eye(4, dtype=DOUBLE)[:, None]
    pairs = zip(density * torch.exp(step), density * torch.exp(-step), strict=True)
    rise = torch.stack([model.expected(one) - model.expected(other) for one, other in pairs], -1)
    torch.testing.assert_close(model.slope(density), rise / 2e-4, rtol=2e-3, atol=1.0)


@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_counts_without_noise_give_their_densities_back(spread, rng):
    """Dense and thin sectors, far from the linear range, with many muons."""
    config = Config(**SMALL, sectors=(2, 1, 1), sector_spread=spread, systematic=0.0, budget=4000.0)
    model = sector_model(config)
    true = prior_densities(torch.randn(50, 2, generator=rng, dtype=DOUBLE), spread)
    found = fitted_densities(model, model.expected(true), config)
    error = expected_error(model, config).sqrt()
    assert float(((found - true) / true).abs().max()) < 3 * float(error.max())
    assert float(error.max()) < 0.01


@pytest.mark.parametrize("spread", [0.01, 0.5])
def test_without_muons_the_error_is_the_spread(spread):
    problem = build(Config(**SMALL, sector_spread=spread, budget=1e-6))
    for one in (problem, problem.reference):
        found = float(summarize_design(one, problem.space.start, Seed(0), 300)[1].objective)
        assert found == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize(
    ("sectors", "spread", "tolerance"),
    [((1, 1, 1), 0.1, 0.2), ((1, 1, 1), 0.3, 0.25), ((4, 4, 3), 0.3, 0.05), ((4, 4, 3), 0.5, 0.1)],
)
def test_judged_errors_are_the_expected_ones(sectors, spread, tolerance):
    problem = build(Config(task="density", sectors=sectors, sector_spread=spread))
    expected, judged = (
        float(summarize_design(one, problem.baselines["near"], Seed(1), n)[1].objective)
        for one, n in ((problem, 2), (problem.reference, 200))
    )
    assert judged == pytest.approx(expected, rel=tolerance)


def test_expected_errors_have_the_right_gradient():
    config = Config(**{**SMALL, "n_bins": (4, 3), "n_rays": 1, "sectors": (2, 1, 1)})
    start = (torch.tensor([value], dtype=DOUBLE) for value in ([10.0, 20.0, 10.0], 200.0))

    def error(money, distance):
        return expected_error(sector_model(config, money=money, distance=distance), config).sqrt()

    assert torch.autograd.gradcheck(
        error, [value.requires_grad_() for value in start], eps=1e-5, rtol=1e-3, atol=1e-6
    )


def test_densities_need_no_room_for_cavities():
    problem = build(Config(**SMALL, cover=20.0))
    outcome = summarize_design(problem, problem.space.start, Seed(0), 4)[1]
    assert math.isfinite(float(outcome.objective))


@pytest.mark.parametrize("spread", [0.0, 0.6])
def test_a_spread_without_a_meaning_is_refused(spread):
    with pytest.raises(Exception, match="sector_spread"):
        load("muon_absorption").configure({"sector_spread": spread})
