"""Momenta that nobody measured: against quadrature by brute force, and against the truth."""

import math

import pytest
import torch

from detopt.design import Design
from detopt.errors import DetoptError
from detopt.physics.energy_loss import residual_energy
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.reconstruction import ClosestApproach
from detopt.usecases import load
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.realism.momentum import MomentumPrior, estimate_momentum
from detopt.usecases.muon_scanner.realism.slab import Slab, pass_slab

MASS = 0.1056583755  # GeV
LEAD = 0.0056120704845813984  # m


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


ONE = tensor(1.0)


def inverse_square(p):
    return (p**2 + MASS**2) / p**4


def spectrum(n=40):
    """A prior of one muon in each of n equal steps of ln p from 0.5 to 20 GeV/c."""
    edges = torch.linspace(math.log(0.5), math.log(20.0), n + 1, dtype=torch.float64)
    p = ((edges[1:] + edges[:-1]) / 2).exp()
    q = inverse_square(p)
    return MomentumPrior(q, q.square(), p)


def kink(squared, noise=0.0):
    zero = torch.zeros_like(squared)
    return ClosestApproach(
        torch.stack([zero, zero]),
        zero,
        torch.stack([zero, zero]),
        zero,
        squared,
        torch.full_like(squared, noise),
    )


def thin():
    """A slab in which no muon of the spectrum loses much."""
    return Slab(tensor(0.0).squeeze(), tensor(0.005).squeeze(), "Pb")


@pytest.mark.parametrize("angle", [0.001, 0.01, 0.05])
def test_the_posterior_mean_is_that_of_a_fine_quadrature(angle):
    found = estimate_momentum(spectrum(), thin(), kink(tensor(angle**2), 1e-7), ONE, ONE)
    log_p = torch.linspace(math.log(0.5), math.log(20.0), 20_001, dtype=torch.float64)
    p = log_p.exp()
    energy = (p.square() + MASS**2).sqrt()
    middle = MASS + residual_energy("muon", "Pb", energy - MASS, 0.0025)
    at = (middle.square() - MASS**2).sqrt()
    beta = at / middle
    thickness = 0.005 / LEAD
    bracket = 1 + 0.038 * (thickness / beta.square()).log()
    variance = (0.0136 / (beta * at) * bracket).square() * thickness + 0.5e-7
    weight = (-(angle**2) / (2 * variance)).exp() / variance
    mean = (weight * inverse_square(p)).sum() / weight.sum()
    square = (weight * inverse_square(p).square()).sum() / weight.sum()
    assert inverse_square(found.momentum).item() == pytest.approx(mean.item(), rel=0.02)
    expected = 1 / (2 * square / mean.square() - 1)
    assert found.weight.item() == pytest.approx(expected.item(), rel=0.04)


def test_larger_angles_mean_slower_muons():
    angles = torch.linspace(0.0, 0.1, 30, dtype=torch.float64)
    ones = torch.ones_like(angles)
    found = estimate_momentum(spectrum(), thin(), kink(angles.square()), ones, ones)
    assert (found.momentum.diff() < 0).all()


def test_a_track_that_was_not_measured_leaves_the_mean_of_the_spectrum():
    found = estimate_momentum(spectrum(), thin(), kink(tensor(1e-4), 1e4), ONE, ONE)
    assert found.momentum.item() == pytest.approx(spectrum().momentum, rel=1e-4)


def test_a_track_that_may_be_there_is_a_mixture_of_both_cases():
    approach = kink(tensor(1e-4, 1e-4, 1e-4), 1e-7)
    found = estimate_momentum(
        spectrum(), thin(), approach, tensor(1.0, 1.0, 1.0), tensor(0.0, 0.3, 1.0)
    )
    none, some, one = inverse_square(found.momentum).tolist()
    assert none == pytest.approx(inverse_square(spectrum().momentum))
    assert some == pytest.approx(0.7 * none + 0.3 * one)
    assert abs(one / none - 1) > 0.2


def test_a_prior_of_one_momentum_is_not_moved_by_any_angle():
    q = inverse_square(3.0)
    prior = MomentumPrior(tensor(q), tensor(q**2), tensor(3.0))
    found = estimate_momentum(
        prior, thin(), kink(tensor(0.0, 0.2)), tensor(1.0, 1.0), tensor(1.0, 1.0)
    )
    assert found.momentum.tolist() == pytest.approx([3.0, 3.0])
    assert found.weight.tolist() == pytest.approx([1.0, 1.0])


def test_the_posterior_mean_is_right_on_average(rng):
    """Muons of the prior itself: the mean of q is kept, and angles are told apart by it."""
    prior, slab = spectrum(), thin()
    index = torch.randint(len(prior.behind), (40_000,), generator=rng)
    width = slab.width((prior.behind[index].square() + MASS**2).sqrt(), tensor(1.0))
    angle = torch.randn(2, 40_000, generator=rng, dtype=torch.float64) * width
    ones = torch.ones_like(width)
    found = estimate_momentum(prior, slab, kink(angle.square().sum(0)), ones, ones)
    mean, true = inverse_square(found.momentum), prior.inverse_square[index]
    assert mean.mean().item() == pytest.approx(true.mean().item(), rel=0.03)
    slow = mean > mean.median()
    assert true[slow].mean().item() == pytest.approx(mean[slow].mean().item(), rel=0.05)


def test_the_estimate_has_the_right_gradient():
    def estimated(squared, noise, thickness, seen):
        slab = Slab(torch.zeros_like(thickness), thickness, "Pb")
        approach = kink(squared)
        approach = ClosestApproach(
            approach.position,
            approach.height,
            approach.position_variance,
            approach.height_variance,
            squared,
            noise,
        )
        found = estimate_momentum(spectrum(8), slab, approach, tensor(1.1, 1.2), seen)
        return found.momentum, found.weight

    inputs = (
        tensor(1e-4, 4e-4),
        tensor(1e-5, 2e-5),
        torch.tensor(0.01, dtype=torch.float64),
        tensor(0.4, 0.9),
    )
    assert torch.autograd.gradcheck(
        estimated, tuple(i.requires_grad_() for i in inputs), eps=1e-9, atol=1e-3
    )


@pytest.mark.parametrize("momentum", [1.0, 5.0])
def test_a_slab_scatters_like_one_of_its_thickness(momentum, rng):
    slab = Slab(tensor(-0.5).squeeze(), tensor(0.05).squeeze(), "Fe")
    zero = torch.zeros(2, 1, 40_000, dtype=torch.float64)
    tracks = Muons(zero, zero, torch.full((1, 40_000), momentum, dtype=torch.float64), 0.0)
    leaving, through = pass_slab(tracks, slab, rng, soft=False)
    assert through.all()
    after = leaving.position + leaving.slope * -0.55  # at the lower face
    angle = leaving.slope[0, 0].std().item()
    offset = after[0, 0].std().item()
    assert offset == pytest.approx(0.05 * angle / math.sqrt(3), rel=0.02)
    correlation = (after[0, 0] * leaving.slope[0, 0]).mean().item() / offset / angle
    assert correlation == pytest.approx(-math.sqrt(3) / 2, abs=0.01)  # z points up
    loss = math.hypot(momentum, MASS) - math.hypot(leaving.momentum[0, 0].item(), MASS)
    kinetic = tensor(math.hypot(momentum, MASS) - MASS)
    expected = kinetic - residual_energy("muon", "Fe", kinetic, 0.05)
    assert loss == pytest.approx(expected.item(), rel=0.01)


def test_a_muon_that_stops_in_the_slab_does_not_come_through(rng):
    slab = Slab(tensor(-0.5).squeeze(), tensor(0.1).squeeze(), "Pb")
    zero = torch.zeros(2, 1, 1, dtype=torch.float64)
    tracks = Muons(zero, zero, tensor(0.2)[None], 0.0)
    _, through = pass_slab(tracks, slab, rng, soft=False)
    assert not through.any()


def test_muons_fade_out_smoothly_about_the_thickness_that_stops_them(rng):
    momentum = torch.linspace(0.2, 0.5, 301, dtype=torch.float64)
    zero = torch.zeros(2, 1, 301, dtype=torch.float64)
    tracks = Muons(zero, zero, momentum[None], 0.0)
    thickness = tensor(0.1).squeeze().requires_grad_()
    slab = Slab(tensor(-0.5).squeeze(), thickness, "Pb")
    _, sharp = pass_slab(tracks, slab, rng, soft=False)
    _, soft = pass_slab(tracks, slab, rng, soft=True)
    assert set(sharp.flatten().tolist()) == {0.0, 1.0}
    assert soft.sum().item() == pytest.approx(sharp.sum().item(), abs=1.5)
    assert (soft[0].diff() >= 0).all()
    assert ((soft > 0.01) & (soft < 0.99)).sum() > 10
    (slope,) = torch.autograd.grad(soft.sum(), thickness)
    step = 1e-4
    high, low = (
        pass_slab(tracks, Slab(slab.top, thickness.detach() + h, "Pb"), rng, soft=True)[1].sum()
        for h in (step, -step)
    )
    assert slope.item() == pytest.approx(((high - low) / (2 * step)).item(), rel=1e-3)
    assert slope < 0


def error(knowledge, seed, area=2.0):
    """Image error with panels of 1 m2 around the volume, and 3 behind it that measure momenta."""
    n_behind = 3 if knowledge == "estimated" else 0
    config = Config(
        task="image",
        n_muons=1_500,
        momentum=None,
        known_momentum=knowledge,
        n_behind=n_behind,
        budget=8.0 + n_behind * area,
    )
    problem = build(config)
    values = dict(problem.baselines["even"])
    values["panel_cost"] = tensor(*[1.0] * 8, *[area] * n_behind)
    _, outcome = summarize_design(problem.reference, Design(values), seed, 24)
    return outcome.objective.item()


def test_an_estimated_momentum_lies_between_the_true_and_the_marginalised_one():
    seed = Seed("momenta")
    true, estimated, marginalised = (
        error(knowledge, seed) for knowledge in (True, "estimated", "marginalised")
    )
    assert true < estimated < marginalised


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"known_momentum": "marginalised"}, "set `momentum` to null"),
        ({"known_momentum": "estimated", "momentum": None}, "needs `n_behind` >= 2"),
        ({"known_momentum": "guessed", "momentum": None}, "known_momentum"),
        ({"slab_thickness": "0 m"}, "slab_thickness"),
    ],
)
def test_knowledge_that_does_not_fit_is_refused(options, message):
    with pytest.raises(DetoptError, match=message):
        load("muon_scanner").build(options)
