"""Discrete distributions: outcomes, probabilities and pairs against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.gradients import Bernoulli, Categorical, Poisson

N = 40_000
P = (0.2, 0.5, 0.3)


def constant(value, n=N):
    return torch.tensor(value, dtype=torch.float64).expand(n, *torch.tensor(value).shape)


DISTRIBUTIONS = {
    "bernoulli": Bernoulli(constant(0.3)),
    "categorical": Categorical(constant(P)),
    "poisson": Poisson(constant(1.7)),
}
MEANS = {"bernoulli": [0.3], "categorical": list(P), "poisson": [1.7]}


def square(outcome):
    """A function that no outcome is linear in."""
    columns = outcome.reshape(len(outcome), -1)
    weights = torch.arange(1, columns.shape[1] + 1).to(columns)
    return (columns * weights).sum(1) ** 2 + 1


def expected_square(kind, parameter):
    """Expectation of `square` from the closed form."""
    if kind == "bernoulli":
        return 1 + parameter[0]
    if kind == "poisson":
        return parameter[0] + parameter[0] ** 2 + 1
    return 1 + (torch.tensor([1.0, 4.0, 9.0]).to(parameter) * parameter).sum()


def made(kind, parameter, n=N):
    rows = parameter.expand(n, len(parameter))
    if kind == "categorical":
        return Categorical(rows)
    return {"bernoulli": Bernoulli, "poisson": Poisson}[kind](rows[:, 0])


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_outcomes_have_the_known_mean(kind, rng):
    outcome = DISTRIBUTIONS[kind].sample(rng).reshape(N, -1)
    assert outcome.mean(0).tolist() == pytest.approx(MEANS[kind], abs=0.02)
    assert DISTRIBUTIONS[kind].n_rows == N


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_outcomes_follow_from_the_seed(kind):
    first, again = (DISTRIBUTIONS[kind].sample(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("distribution", "outcome", "probability"),
    [
        (Bernoulli(constant(0.3, 1)), [1.0], 0.3),
        (Bernoulli(constant(0.3, 1)), [0.0], 0.7),
        (Categorical(constant(P, 1)), [[0.0, 1.0, 0.0]], 0.5),
        (Poisson(constant(1.7, 1)), [3.0], 1.7**3 * math.exp(-1.7) / 6),
        (Poisson(constant(0.0, 1)), [0.0], 1.0),
    ],
)
def test_log_probability_has_the_known_value(distribution, outcome, probability):
    found = distribution.log_probability(torch.tensor(outcome, dtype=torch.float64))
    assert found.exp().item() == pytest.approx(probability)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_all_outcomes_have_probabilities_of_sum_one(kind):
    outcomes = DISTRIBUTIONS[kind].outcomes()
    total = sum(probability for _, probability in outcomes)
    assert torch.allclose(total, torch.ones_like(total))
    distinct = {tuple(outcome[0].reshape(-1).tolist()) for outcome, _ in outcomes}
    assert len(distinct) == len(outcomes)
    for outcome, probability in outcomes:
        found = DISTRIBUTIONS[kind].log_probability(outcome.clone())
        assert torch.allclose(found.exp(), probability)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_weighted_difference_of_the_pair_is_the_derivative_of_the_mean(kind, rng):
    parameter = torch.tensor(MEANS[kind], dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad(expected_square(kind, parameter), parameter)
    distribution = made(kind, parameter)
    outcome = distribution.sample(rng)
    partner, weight = distribution.partner(outcome, rng)
    difference = (square(partner) - square(outcome)).detach()
    (found,) = torch.autograd.grad((weight * difference).mean(), parameter)
    # probabilities that move along their sum only: compare along directions that keep it
    found, exact = (g - g.mean() if kind == "categorical" else g for g in (found, exact))
    assert found.tolist() == pytest.approx(exact.tolist(), abs=0.12)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_partner_is_another_outcome(kind, rng):
    outcome = DISTRIBUTIONS[kind].sample(rng)
    partner, weight = DISTRIBUTIONS[kind].partner(outcome, rng)
    assert bool((partner != outcome).reshape(N, -1).any(1).all())
    assert bool((weight > 0).all())
    assert partner.shape == outcome.shape


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=6))
def test_every_partner_of_a_choice_is_a_single_one(weights):
    chances = torch.tensor(weights, dtype=torch.float64)
    distribution = Categorical((chances / chances.sum()).expand(50, -1))
    rng = torch.Generator().manual_seed(1)
    outcome = distribution.sample(rng)
    partner, _ = distribution.partner(outcome, rng)
    assert torch.equal(partner.sum(1), torch.ones(50, dtype=torch.float64))
    assert bool(((partner == 0) | (partner == 1)).all())
    assert not bool((partner * outcome).any())


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_relaxed_outcome_keeps_its_value_and_has_the_derivative_of_the_mean(kind, rng):
    parameter = torch.tensor(MEANS[kind], dtype=torch.float64, requires_grad=True)
    distribution = made(kind, parameter, 10)
    outcome = distribution.sample(rng)
    relaxed = distribution.relax(outcome)
    assert torch.equal(relaxed.detach(), outcome)
    (found,) = torch.autograd.grad(relaxed.reshape(10, -1)[:, 0].sum(), parameter)
    assert found[0].item() == pytest.approx(10.0)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_derivative_of_the_log_probability_is_that_of_differences(kind, rng):
    parameter = torch.tensor(MEANS[kind], dtype=torch.float64, requires_grad=True)
    outcome = made(kind, parameter, 6).sample(rng)

    def logarithm(p):
        return made(kind, p / p.sum() if kind == "categorical" else p, 6).log_probability(outcome)

    assert torch.autograd.gradcheck(logarithm, parameter)


def test_probability_zero_and_one_have_finite_derivatives(rng):
    p = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    coin, count = Bernoulli(p), Poisson(p * torch.tensor([1.0, 0.0]))
    total = coin.log_probability(coin.sample(rng)) + count.log_probability(count.sample(rng))
    (found,) = torch.autograd.grad(total.sum(), p)
    assert found.tolist() == [-2.0, 1.0]  # -1 for the coin and -1 for the rate; 1 / p


def test_choices_that_do_not_add_up_are_refused():
    with pytest.raises(DomainError, match="must add up to 1"):
        Categorical(torch.tensor([[0.4, 0.4]]))
    with pytest.raises(DomainError, match="must add up to 1"):
        Categorical(torch.tensor([[float("nan"), 0.4]]))


def test_single_choice_is_refused():
    with pytest.raises(DomainError, match=">= 2 choices, got 1"):
        Categorical(torch.ones(3, 1))


def test_sum_over_counts_is_refused():
    with pytest.raises(DomainError, match="measure_valued"):
        DISTRIBUTIONS["poisson"].outcomes()
