"""Mutual information as an objective: normal channels, laws, gradients, refusals."""

import math

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Real
from detopt.errors import ConfigError, DomainError
from detopt.objectives import MutualInformation, TruthAndReadout, information_bound
from detopt.pipeline import FunctionProblem, evaluate
from detopt.pipeline.evaluation import Request
from detopt.random import Seed

ENTROPY = 0.5 * math.log(2 * math.pi * math.e)  # of a standard normal truth


def channel(noise=1.0, n=4_000, columns=2, seed=1):
    """A standard normal truth, seen in columns with independent normal noise."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.randn(n, 1, generator=rng, dtype=torch.float64)
    error = torch.randn(n, columns, generator=rng, dtype=torch.float64)
    return TruthAndReadout(truth, truth + noise * error, torch.arange(n) % 2 == 0)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_information_of_a_normal_channel_is_that_of_the_formula(noise, degree):
    found = information_bound(channel(noise, n=20_000), ENTROPY, degree)
    expected = 0.5 * math.log(1 + 2 / noise**2)  # of two readings
    assert float(found) == pytest.approx(expected, abs=0.02)


def test_two_truths_add_up():
    one, two = channel(0.5, 20_000, 1), channel(2.0, 20_000, 1, seed=2)
    both = TruthAndReadout(
        torch.cat([one.truth, two.truth], 1), torch.cat([one.readout, two.readout], 1), one.first
    )
    apart = information_bound(one, ENTROPY) + information_bound(two, ENTROPY)
    assert float(information_bound(both, 2 * ENTROPY)) == pytest.approx(float(apart), abs=0.02)


def test_readout_in_other_units_holds_the_same_information():
    plain = channel()
    other = TruthAndReadout(plain.truth, 1e3 * plain.readout - 7, plain.first)
    torch.testing.assert_close(information_bound(other), information_bound(plain))


def test_nothing_is_learned_from_noise():
    plain = channel()
    noise = torch.randn(4_000, 2, generator=torch.Generator().manual_seed(9)).double()
    found = information_bound(TruthAndReadout(plain.truth, noise, plain.first), ENTROPY)
    assert float(found) == pytest.approx(0.0, abs=0.04)  # the sample's entropy is 0.011 uncertain


def test_squares_find_what_straight_lines_miss():
    plain = channel(n=2_000, columns=1)
    bent = TruthAndReadout(plain.truth.square(), plain.readout, plain.first)
    straight, curved = (float(information_bound(bent, degree=one)) for one in (1, 2))
    assert curved > straight + 0.1


@pytest.mark.parametrize("degree", [1, 2])
def test_gradient_matches_finite_differences(degree):
    plain = channel(n=40)

    def bound(readout):
        return information_bound(TruthAndReadout(plain.truth, readout, plain.first), degree=degree)

    assert torch.autograd.gradcheck(bound, plain.readout.clone().requires_grad_())


class Counter(FunctionProblem):
    """Noise that a longer exposure makes smaller."""

    def summarize(self, design, n_events, rng):
        truth = torch.randn(n_events, 1, generator=rng, dtype=torch.float64)
        noise = torch.randn(n_events, 1, generator=rng, dtype=torch.float64)
        marks = torch.arange(n_events) % 2 == 0
        return TruthAndReadout(truth, truth + noise * torch.exp(-design["a"]), marks)

    def judge(self, summary, design):
        return MutualInformation(ENTROPY, price=lambda one: one["a"])(summary, design)


def test_objective_of_a_problem_falls_with_the_noise():
    space = DesignSpace([Continuous("a", 0.0, Real())])
    problem = Counter(space, lambda d, n, rng: torch.zeros(n), n_events=2_000, dtype=torch.float64)
    found = evaluate(problem, Request(torch.zeros(1).double(), ("one",), gradient=True), Seed(1))
    assert found.value == pytest.approx(-0.5 * math.log(2), abs=0.05)
    assert 0 < found.std_error < 0.05
    assert float(found.gradient[0]) == pytest.approx(-0.5, abs=0.05)  # -1/(1 + exp(-2a))
    assert found.terms["cost"] == 0.0


def test_wrong_input_is_refused():
    plain = channel(n=8)
    with pytest.raises(DomainError, match="too few for a fit"):
        information_bound(plain)
    with pytest.raises(ConfigError, match="`degree` must be 1 or 2, got 3"):
        information_bound(plain, degree=3)
    with pytest.raises(ConfigError, match="`degree` must be 1 or 2, got 0"):
        MutualInformation(degree=0)
    broken = TruthAndReadout(torch.full((400, 1), math.nan), channel(n=400).readout.float(),
                             channel(n=400).first)  # fmt: skip
    with pytest.raises(DomainError, match="must be finite"):
        information_bound(broken)


@pytest.mark.parametrize("kind", ["copied", "constant"])
def test_truth_that_says_the_same_twice_is_refused(kind):
    rng = torch.Generator().manual_seed(3)
    truth = torch.randn(200, 1, generator=rng, dtype=torch.float64)
    other = 2 * truth + 1 if kind == "copied" else torch.ones_like(truth)
    noise = torch.randn(200, 1, generator=rng, dtype=torch.float64)
    both = torch.cat([truth, other], dim=1)
    with pytest.raises(DomainError, match="constant or follows"):
        information_bound(TruthAndReadout(both, truth + noise, torch.arange(200) < 100), 0.0, 1)
