"""Soft assignment by scores against the step of two bins, the hard limit and differences."""

import math

import pytest
import torch

from detopt.errors import ConfigError, DomainError
from detopt.relax import (
    argmax_histogram,
    shares_histogram,
    soft_step,
    softmax_histogram,
    softmax_shares,
    straight_through_softmax_histogram,
)

ORDERS = [2, 4, 6]


def normal(*shape, rng):
    return torch.randn(*shape, dtype=torch.float64, generator=rng)


def both(histogram):
    return histogram.counts, histogram.squares


@pytest.mark.parametrize("order", ORDERS)
def test_two_bins_are_a_logistic_step_of_the_score_difference(order, rng):
    scores = normal(50, 2, rng=rng)
    shares = softmax_shares(scores, 0.3, order)
    step = soft_step(scores[:, 1] - scores[:, 0], 0.0, 0.3, "logistic", order)
    torch.testing.assert_close(shares[:, 1], step)


@pytest.mark.parametrize("order", ORDERS)
def test_shares_add_up_to_one_and_ignore_a_common_shift(order, rng):
    scores = normal(3, 20, 7, rng=rng)
    shares = softmax_shares(scores, 0.2, order)
    torch.testing.assert_close(shares.sum(-1), torch.ones(3, 20, dtype=torch.float64))
    torch.testing.assert_close(
        softmax_shares(scores + 1e4, 0.2, order), shares, rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize(("order", "before"), [(4, 2), (6, 4)])
def test_higher_orders_extrapolate_to_zero_temperature(order, before, rng):
    scores = normal(10, 4, rng=rng)
    temperature = torch.tensor(0.7, dtype=torch.float64)
    slope = torch.func.jacrev(lambda t: softmax_shares(scores, t, before))(temperature)
    extrapolated = softmax_shares(scores, 0.7, before) - 0.7 / before * slope
    torch.testing.assert_close(softmax_shares(scores, 0.7, order), extrapolated)


@pytest.mark.parametrize("order", ORDERS)
def test_soft_tends_to_argmax(order, rng):
    scores, w = normal(100, 5, rng=rng), normal(100, rng=rng).exp()
    soft = softmax_histogram(scores, 1e-5, w, order)
    torch.testing.assert_close(both(soft), both(argmax_histogram(scores, w)), rtol=0, atol=1e-3)
    bins = scores.argmax(-1)
    expected = torch.zeros(5, dtype=torch.float64).index_add(0, bins, w)
    torch.testing.assert_close(argmax_histogram(scores, w).counts, expected)


@pytest.mark.parametrize(("order", "power"), [(2, 2), (4, 4), (6, 6)])
def test_bias_falls_with_the_power_of_the_temperature(order, power):
    """Three bins with linear scores of a normal variable: borders at -0.5 and 1."""
    x = torch.linspace(-10, 10, 40001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    scores = torch.stack([0 * x, 2 * (x + 0.5), 2 * (x + 0.5) + 2 * (x - 1)], -1)

    def mean_share(temperature):
        shares = softmax_shares(scores, temperature, order)[:, 2]
        return torch.trapezoid(density * shares, x).item()

    exact = 0.15865525393145707  # normal tail above 1
    coarse, fine = (abs(mean_share(t) - exact) for t in (0.24, 0.12))
    assert math.log2(coarse / fine) == pytest.approx(power, abs=0.35)


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_match_finite_differences(order, rng):
    inputs = (
        normal(2, 4, 3, rng=rng).requires_grad_(),
        torch.tensor(0.6, dtype=torch.float64, requires_grad=True),
        normal(4, rng=rng).exp().requires_grad_(),
    )

    def fill(scores, temperature, weights):
        return both(softmax_histogram(scores, temperature, weights, order))

    assert torch.autograd.gradcheck(fill, inputs)
    assert torch.autograd.gradgradcheck(fill, inputs)


def test_straight_through_has_hard_values_and_smooth_gradients(rng):
    scores, w = normal(2, 30, 4, rng=rng).requires_grad_(), normal(30, rng=rng).exp()
    w.requires_grad_()
    mixed = straight_through_softmax_histogram(scores, 0.3, w)
    hard, soft = argmax_histogram(scores, w), softmax_histogram(scores, 0.3, w, 4)
    torch.testing.assert_close(both(mixed), both(hard))
    slopes = torch.arange(4, dtype=torch.float64)
    for name in ("counts", "squares"):
        totals = [(getattr(h, name) * slopes).sum() for h in (mixed, soft, hard)]
        got, smooth = (torch.autograd.grad(t, scores, retain_graph=True)[0] for t in totals[:2])
        torch.testing.assert_close(got, smooth)
        got, exact = (torch.autograd.grad(t, w)[0] for t in (totals[0], totals[2]))
        torch.testing.assert_close(got, exact)


def test_scores_far_apart_have_finite_gradients():
    scores = torch.tensor([[1e6, -1e6, 0.0]], dtype=torch.float64, requires_grad=True)
    for order in ORDERS:
        counts = softmax_histogram(scores, 1e-3, None, order).counts
        (gradient,) = torch.autograd.grad(counts[0], scores)
        assert counts.tolist() == [1, 0, 0]
        assert gradient.isfinite().all()


def test_shares_without_weights_are_summed(rng):
    shares = softmax_shares(normal(9, 3, rng=rng), 1.0)
    torch.testing.assert_close(
        both(shares_histogram(shares)),
        both(shares_histogram(shares, torch.ones(9, dtype=torch.float64))),
    )


@pytest.mark.parametrize(
    ("scores", "temperature", "order", "error", "message"),
    [
        (torch.zeros(0, 3), 1.0, 2, DomainError, "holds no events"),
        (torch.full((2, 3), math.nan), 1.0, 2, DomainError, "`scores` has 6 entries"),
        (torch.zeros(2, 3), 0.0, 2, DomainError, "`temperature` must be positive"),
        (torch.zeros(2, 3), 1.0, 1, ConfigError, "`order` must be one of"),
    ],
)
def test_bad_input_is_refused(scores, temperature, order, error, message):
    with pytest.raises(error, match=message):
        softmax_histogram(scores, temperature, order=order)


def test_bad_input_of_hard_bins_is_refused():
    with pytest.raises(DomainError, match="holds no events"):
        argmax_histogram(torch.zeros(0, 3))
    with pytest.raises(DomainError, match="`weights` has 1 entries"):
        argmax_histogram(torch.zeros(1, 3), torch.tensor([math.nan]))
