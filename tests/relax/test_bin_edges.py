"""Edges that stay ordered, their inverses, quantiles and the reference bandwidth."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from detopt.errors import ConfigError, DomainError
from detopt.relax import (
    hard_histogram,
    quantile_edges,
    reference_bandwidth,
    softmax_edges,
    softmax_spacings,
    softplus_edges,
    softplus_spacings,
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=12))
def test_softmax_edges_increase_and_keep_their_ends(numbers):
    edges = softmax_edges(tensor(*numbers), -1.0, 3.0, minimum_share=0.01)
    assert edges[0] == -1
    assert edges[-1] == 3
    assert edges.diff().min() > 0.04 * (1 - 1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-20, 50), min_size=1, max_size=12), st.floats(-5, 5))
def test_softplus_edges_increase_and_come_back(numbers, first):
    spacings = tensor(*numbers)
    edges = softplus_edges(tensor(first)[0], spacings)
    assert (edges.diff() > 0).all()
    torch.testing.assert_close(softplus_spacings(edges), spacings, rtol=1e-5, atol=1e-5)


def test_equal_spacings_make_equal_bins():
    torch.testing.assert_close(
        softmax_edges(tensor(0, 0, 0, 0), 0.0, 2.0), tensor(0, 0.5, 1, 1.5, 2)
    )
    widths = softplus_edges(torch.tensor(1.0), torch.zeros(2)).diff()
    torch.testing.assert_close(widths, torch.full((2,), math.log(2)))  # ln(1 + e^0)


@pytest.mark.parametrize("minimum_share", [0.0, 0.1])
def test_softmax_spacings_are_the_inverse(minimum_share):
    edges = torch.stack([tensor(0, 1, 3, 4.5), tensor(-1, 0, 2, 3)])
    spacings = softmax_spacings(edges, minimum_share)
    torch.testing.assert_close(spacings.mean(-1), torch.zeros(2, dtype=torch.float64))
    back = softmax_edges(spacings, edges[:, 0], edges[:, -1], minimum_share)
    torch.testing.assert_close(back, edges)


def test_gradients_match_finite_differences(rng):
    spacings = torch.randn(2, 4, dtype=torch.float64, generator=rng, requires_grad=True)
    ends = tensor(-1, 0).requires_grad_(), tensor(3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, a, b: softmax_edges(s, a, b, 0.1), (spacings, *ends))
    assert torch.autograd.gradcheck(softplus_edges, (ends[0], spacings))
    edges = softplus_edges(*(t.detach() for t in (ends[0], spacings))).requires_grad_()
    assert torch.autograd.gradcheck(softplus_spacings, edges)
    assert torch.autograd.gradcheck(softmax_spacings, edges)


def test_quantile_edges_fill_bins_equally(rng):
    x = torch.randn(3, 1000, dtype=torch.float64, generator=rng)
    counts = hard_histogram(x, quantile_edges(x, 8)).counts
    assert (counts - 125).abs().max() <= 1


def test_weighted_quantile_edges_share_the_weight(rng):
    x = torch.rand(5000, dtype=torch.float64, generator=rng)
    edges = quantile_edges(x, 4, weights=2 * x)  # the density 2 x has the quantiles sqrt(q)
    torch.testing.assert_close(edges[1:4], tensor(0.25, 0.5, 0.75).sqrt(), rtol=0, atol=0.02)
    counts = hard_histogram(x, edges, 2 * x).counts
    torch.testing.assert_close(counts, counts.mean().expand(4), rtol=0, atol=2.0)


def test_median_of_three_is_the_middle_one():
    torch.testing.assert_close(quantile_edges(tensor(3, 1, 2), 2), tensor(1, 2, 3))


def test_one_bin_spans_the_sample():
    torch.testing.assert_close(quantile_edges(tensor(3, 1, 2), 1), tensor(1, 3))


@pytest.mark.parametrize(("order", "factor"), [(2, 1.06), (4, 1.08), (6, 1.08)])
def test_reference_bandwidth_has_the_tabulated_factor(order, factor, rng):
    """Silverman's 1.06 and the factors of Hansen's lecture notes for Gaussian kernels."""
    x = torch.randn(4000, dtype=torch.float64, generator=rng)
    scale = x.std(correction=0) * 4000 ** (-1 / (2 * order + 1))
    assert (reference_bandwidth(x, order=order) / scale).item() == pytest.approx(factor, abs=0.006)


def test_reference_bandwidth_has_the_least_error_of_the_slope():
    """Exact integrated squared error of a density of the order 2, standard normal sample."""
    n = 1000
    x = torch.linspace(-1, 1, n, dtype=torch.float64)
    x = x / x.std(correction=0)

    def error(h):  # Silverman, section 3.4, closed form for a normal density
        variance = 1 / (n * h) + (1 - 1 / n) / math.sqrt(1 + h**2)
        return variance + 1 - 2 * math.sqrt(2 / (2 + h**2))

    best = optimize.minimize_scalar(error, bounds=(0.05, 1.0), method="bounded").x
    assert reference_bandwidth(x).item() == pytest.approx(best, rel=0.1)


def test_reference_bandwidth_counts_weighted_events_by_their_effective_number():
    x = tensor(*range(20))
    twice = reference_bandwidth(torch.cat([x, x]))
    heavy = reference_bandwidth(x, weights=torch.full((20,), 3.0, dtype=torch.float64))
    torch.testing.assert_close(heavy, reference_bandwidth(x))
    torch.testing.assert_close(twice, heavy * 2 ** (-1 / 5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: softmax_edges(tensor(), 0.0, 1.0), DomainError, "holds no events"),
        (lambda: softmax_edges(tensor(math.nan), 0.0, 1.0), DomainError, "`spacings` has 1"),
        (lambda: softmax_edges(tensor(1, 2), 1.0, 1.0), DomainError, r"`\(low, high\)` must incr"),
        (lambda: softmax_edges(tensor(1, 2), 0.0, 1.0, 0.5), ConfigError, "below 1/2 for 2 bins"),
        (lambda: softmax_spacings(tensor(0, 1, 10), 0.2), DomainError, "share of 0.1 of the range"),
        (lambda: softmax_spacings(tensor(0, 1, 1)), DomainError, "`edges` must increase"),
        (lambda: softplus_spacings(tensor(2, 1)), DomainError, "`edges` must increase"),
        (lambda: softplus_edges(tensor(math.inf), tensor(1)[None]), DomainError, "`first` has 1"),
        (lambda: quantile_edges(tensor(1, 2), 0), ConfigError, "at least 1, got 0"),
        (lambda: quantile_edges(tensor(), 2), DomainError, "holds no events"),
        (lambda: quantile_edges(tensor(1, 1, 1, 2), 3), DomainError, "too many equal values"),
        (lambda: quantile_edges(tensor(1, 2), 2, tensor(1, -1)), DomainError, "got a least one of"),
        (lambda: reference_bandwidth(tensor(1, 1)), DomainError, "positive weighted variance"),
        (lambda: reference_bandwidth(tensor(1, math.nan)), DomainError, "`values` has 1"),
        (lambda: reference_bandwidth(tensor(1, 2), order=5), ConfigError, "must be one of 2, 4, 6"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("call", [lambda *one: quantile_edges.__wrapped__(one[0], 2, one[1]),
                                  lambda *one: reference_bandwidth.__wrapped__(*one)])  # fmt: skip
def test_weights_of_another_shape_are_refused(call):  # where no checker of types is before
    with pytest.raises(DomainError, match=r"`weights` of the shape \(3,\) does not fit `values`"):
        call(tensor(1, 2), tensor(1, 1, 1))
