"""The budget term: nothing below the budget, linear above it."""

import math

import pytest
import torch

from detopt.design import budget_term
from detopt.errors import DesignError


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def test_term_at_the_budget_has_the_reference_value():  # s w ln 2, by hand
    assert budget_term(f64(10.0), 10.0, width=0.05, slope=2.0).item() == pytest.approx(
        0.1 * math.log(2)
    )


def test_term_vanishes_far_below_the_budget():
    assert 0 <= budget_term(f64(2.0), 10.0).item() < 1e-6


@pytest.mark.parametrize("excess", [1.0, 2.0, 10.0])
def test_term_is_the_relative_excess_far_above_the_budget(excess):
    found = budget_term(f64(10.0 * (1 + excess)), 10.0, slope=3.0)
    assert found.item() == pytest.approx(3.0 * excess, rel=1e-6)


def test_term_does_not_depend_on_the_currency():
    cost = torch.linspace(1.0, 30.0, 20, dtype=torch.float64)
    torch.testing.assert_close(budget_term(cost, 10.0), budget_term(1e6 * cost, 1e7))


def test_gradient_matches_finite_differences():
    cost = f64([1.0, 9.9, 10.1, 30.0]).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: budget_term(c, 10.0), cost)


@pytest.mark.parametrize(
    ("budget", "width", "message"),
    [
        (0.0, 0.05, "`budget`"),
        (-1.0, 0.05, "`budget`"),
        (math.nan, 0.05, "`budget`"),
        (1.0, 0.0, "`width`"),
    ],
)
def test_impossible_budget_is_refused(budget, width, message):
    with pytest.raises(DesignError, match=f"{message} must be > 0"):
        budget_term(f64(1.0), budget, width)
