"""Hard and smoothed histograms against NumPy, quadrature, and laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detopt.errors import ConfigError, DomainError
from detopt.relax import (
    Histogram,
    _windows,
    hard_histogram,
    kernel_histogram,
    straight_through_histogram,
)

EDGES = torch.tensor([-1.5, -0.4, 0.1, 0.9, 2.0], dtype=torch.float64)
KERNELS = ["normal", "logistic"]
ORDERS = [2, 4, 6]


def normal(*shape, rng):
    return torch.randn(*shape, dtype=torch.float64, generator=rng)


def both(histogram):
    return histogram.counts, histogram.squares


def test_hard_histogram_is_numpys(rng):
    x, w = normal(500, rng=rng), normal(500, rng=rng)
    x[:5] = EDGES  # values at the edges, the last one included
    histogram = hard_histogram(x, EDGES, w)
    counts = np.histogram(x.numpy(), EDGES.numpy(), weights=w.numpy())[0]
    squares = np.histogram(x.numpy(), EDGES.numpy(), weights=w.numpy() ** 2)[0]
    np.testing.assert_allclose(histogram.counts.numpy(), counts, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(histogram.squares.numpy(), squares, rtol=1e-12)


@pytest.mark.parametrize(("kernel", "law"), [("normal", stats.norm), ("logistic", stats.logistic)])
def test_kernel_histogram_has_the_sum_of_distribution_functions(kernel, law, rng):
    x, w = normal(50, rng=rng), normal(50, rng=rng).exp()
    below = law.cdf((EDGES.numpy()[:, None] - x.numpy()) / 0.3)
    shares = np.diff(below, axis=0)
    histogram = kernel_histogram(x, EDGES, 0.3, w, kernel)
    np.testing.assert_allclose(histogram.counts.numpy(), shares @ w.numpy(), rtol=1e-11)
    np.testing.assert_allclose(histogram.squares.numpy(), shares**2 @ w.numpy() ** 2, rtol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("open_ends", [False, True])
def test_soft_tends_to_hard(kernel, order, open_ends, rng):
    x = normal(300, rng=rng)
    soft = kernel_histogram(x, EDGES, 1e-7, None, kernel, order, open_ends)
    hard = hard_histogram(x, EDGES, open_ends=open_ends)
    torch.testing.assert_close(soft.counts, hard.counts, rtol=0, atol=1e-9)
    torch.testing.assert_close(soft.squares, hard.squares, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", ORDERS)
@settings(deadline=None, max_examples=25)
@given(
    values=st.lists(st.floats(-50, 50), min_size=1, max_size=20),
    bandwidth=st.floats(1e-3, 10),
    kernel=st.sampled_from(KERNELS),
)
def test_open_ends_keep_the_weight_of_every_event(order, values, bandwidth, kernel):
    x = torch.tensor(values, dtype=torch.float64)
    histogram = kernel_histogram(x, EDGES, bandwidth, None, kernel, order, True)
    assert histogram.counts.sum().item() == pytest.approx(len(values))
    assert hard_histogram(x, EDGES, None, True).counts.sum().item() == len(values)


def test_shift_of_values_and_edges_changes_nothing(rng):
    x = normal(100, rng=rng)
    here, there = kernel_histogram(x, EDGES, 0.2), kernel_histogram(x + 7, EDGES + 7, 0.2)
    torch.testing.assert_close(both(here), both(there))


def test_merged_bins_hold_the_sum_of_counts(rng):
    x = normal(100, rng=rng)
    fine = kernel_histogram(x, EDGES, 0.2).counts
    coarse = kernel_histogram(x, EDGES[[0, 2, 4]], 0.2).counts
    torch.testing.assert_close(coarse, fine.reshape(2, 2).sum(-1))


def test_batch_is_the_stack_of_its_entries(rng):
    x, w = normal(2, 3, 40, rng=rng), normal(40, rng=rng).exp()
    edges = EDGES + torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)[:, None]
    h = torch.tensor([[0.2], [0.3], [0.4]], dtype=torch.float64)
    for fill in (kernel_histogram, straight_through_histogram):
        batch = fill(x, edges, h, w)
        single = [[fill(x[i, j], edges[j], h[j], w) for j in range(3)] for i in range(2)]
        expected = torch.stack([torch.stack([s.counts for s in row]) for row in single])
        torch.testing.assert_close(batch.counts, expected)


def test_one_sample_fills_a_batch_of_edges(rng):
    x = normal(40, rng=rng)
    edges = torch.stack([EDGES, EDGES + 0.3])
    assert hard_histogram(x, edges).counts.shape == (2, 4)
    torch.testing.assert_close(
        kernel_histogram(x, edges, 0.1).counts[1], kernel_histogram(x, edges[1], 0.1).counts
    )


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("open_ends", [False, True])
def test_narrow_kernels_skip_far_edges_without_a_change(batched, open_ends, rng, monkeypatch):
    edges = torch.linspace(-2, 2, 61, dtype=torch.float64)
    edges = torch.stack([edges, edges * 1.1]) if batched else edges
    inputs = [normal(2, 200, rng=rng), edges, torch.tensor(0.02, dtype=torch.float64)]
    inputs = [t.requires_grad_() for t in inputs]
    assert _windows._edges_within_reach(edges, inputs[2], "normal") < 30

    def value_and_gradients():
        histogram = kernel_histogram(*inputs, open_ends=open_ends)
        total = histogram.counts.square().sum() + histogram.squares.pow(1.5).sum()
        return both(histogram), torch.autograd.grad(total, inputs)

    near = value_and_gradients()
    monkeypatch.setattr(_windows, "_edges_within_reach", lambda steps, *_: steps.shape[-1])
    torch.testing.assert_close(near, value_and_gradients(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("per_event", [False, True])
def test_chunks_change_nothing(per_event, rng, monkeypatch):
    h = torch.full((2, 101) if per_event else (), 0.3, dtype=torch.float64)
    inputs = [normal(2, 101, rng=rng), EDGES.clone(), h, normal(101, rng=rng).exp()]
    inputs = [t.requires_grad_() for t in inputs]

    def value_and_gradients():
        histogram = kernel_histogram(*inputs)
        total = (histogram.counts * histogram.squares).sum()
        first = torch.autograd.grad(total, inputs, create_graph=True)
        second = torch.autograd.grad(first[1].square().sum(), inputs)
        return both(histogram), first, second

    whole = value_and_gradients()
    monkeypatch.setattr(_windows, "CHUNK", 200)
    torch.testing.assert_close(value_and_gradients(), whole)
    with torch.no_grad():
        monkeypatch.setattr(_windows, "CACHED_CHUNK", 170)
        torch.testing.assert_close(both(kernel_histogram(*inputs)), whole[0])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("open_ends", [False, True])
def test_gradients_match_finite_differences(kernel, order, open_ends, rng):
    inputs = (
        normal(2, 5, rng=rng).requires_grad_(),
        EDGES.clone().requires_grad_(),
        torch.tensor(0.4, dtype=torch.float64, requires_grad=True),
        normal(5, rng=rng).exp().requires_grad_(),
    )

    def fill(x, e, h, w):
        return both(kernel_histogram(x, e, h, w, kernel, order, open_ends))

    assert torch.autograd.gradcheck(fill, inputs)
    if order == 4:
        assert torch.autograd.gradgradcheck(fill, inputs)


def test_weight_gradient_of_hard_bins_matches_finite_differences(rng):
    x, w = normal(9, rng=rng), normal(9, rng=rng).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: both(hard_histogram(x, EDGES, w)), w)
    assert torch.autograd.gradcheck(lambda w: both(straight_through_histogram(x, EDGES, 0.2, w)), w)


def test_straight_through_has_hard_values_and_smooth_gradients(rng):
    x, edges = normal(2, 80, rng=rng).requires_grad_(), EDGES.clone().requires_grad_()
    w = normal(80, rng=rng).exp()
    mixed, hard = straight_through_histogram(x, edges, 0.3, w), hard_histogram(x, edges, w)
    soft = kernel_histogram(x, edges, 0.3, w, order=4)
    assert torch.equal(mixed.counts, hard.counts)
    assert torch.equal(mixed.squares, hard.squares)
    for name in ("counts", "squares"):
        weighted = [(getattr(h, name) * EDGES[:4]).sum() for h in (mixed, soft)]
        got, expected = (torch.autograd.grad(s, (x, edges), retain_graph=True) for s in weighted)
        torch.testing.assert_close(got, expected)


def test_straight_through_keeps_the_mixed_derivative_of_weights_and_values(rng):
    x, w = normal(30, rng=rng).requires_grad_(), normal(30, rng=rng).exp().requires_grad_()

    def mixed_derivative(fill):
        counts = fill(x, EDGES, 0.3, w, order=4).counts
        (slope,) = torch.autograd.grad(counts[1], x, create_graph=True)
        return torch.autograd.grad(slope.sum(), w)[0]

    torch.testing.assert_close(
        mixed_derivative(straight_through_histogram), mixed_derivative(kernel_histogram)
    )


def test_histograms_run_inside_vmap_and_grad(rng):
    x = normal(3, 20, rng=rng)
    for fill in (kernel_histogram, straight_through_histogram):

        def energy(x, fill=fill):
            return fill(x, EDGES, 0.3).counts.square().sum()

        mapped = torch.vmap(torch.func.grad(energy))(x)
        expected = torch.stack([torch.func.grad(energy)(row) for row in x])
        torch.testing.assert_close(mapped, expected)


def test_sum_and_scale_are_those_of_the_events(rng):
    x = normal(100, rng=rng)
    parts = hard_histogram(x[:30], EDGES) + hard_histogram(x[30:], EDGES)
    torch.testing.assert_close(both(parts), both(hard_histogram(x, EDGES)))
    w = torch.full((100,), 2.5, dtype=torch.float64)
    torch.testing.assert_close(both(parts.scaled(2.5)), both(hard_histogram(x, EDGES, w)))


def test_relative_error_is_one_over_root_n_and_infinite_without_events():
    squares = torch.tensor([100.0, 0.0], dtype=torch.float64, requires_grad=True)
    errors = Histogram(squares, squares).relative_errors()
    assert errors.tolist() == [0.1, math.inf]
    errors[0].backward()
    assert squares.grad.isfinite().all()


GOOD = {"values": torch.zeros(3), "edges": torch.tensor([0.0, 1.0, 2.0]), "bandwidth": 0.1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": torch.zeros(0)}, "`values` holds no events"),
        ({"values": torch.tensor([0.0, math.nan])}, r"`values` has 1 entries .* index \(1,\): nan"),
        ({"values": torch.tensor([math.inf])}, "`values` has 1 entries"),
        ({"edges": torch.tensor([0.0, 2.0, 1.0])}, r"`edges` must increase, but 2 at index \(1,\)"),
        ({"edges": torch.tensor([0.0, 0.0])}, "followed by 0"),
        ({"edges": torch.tensor([0.0])}, "at least 2 edges"),
        ({"edges": torch.tensor([0.0, math.nan])}, "`edges` has 1 entries"),
        ({"bandwidth": 0.0}, "`bandwidth` must be positive and finite, got 0"),
        ({"bandwidth": -0.5}, "got -0.5"),
        ({"bandwidth": torch.tensor(math.nan)}, "got nan"),
        ({"weights": torch.tensor([1.0, math.nan, 1.0])}, "`weights` has 1 entries"),
        ({"bandwidth": torch.ones(2)}, r"`bandwidth` of the shape \(2,\) does not fit"),
    ],
)
def test_bad_input_is_refused(change, message):
    for fill in (kernel_histogram, straight_through_histogram):
        with pytest.raises(DomainError, match=message):
            fill(**{**GOOD, **change})


def test_unknown_kernel_and_order_are_refused():
    with pytest.raises(ConfigError, match="`kernel` must be one of 'normal', 'logistic'"):
        kernel_histogram(**GOOD, kernel="box")
    with pytest.raises(ConfigError, match="`order` must be one of 2, 4, 6, got 3"):
        kernel_histogram(**GOOD, order=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.ones(2)}, r"`weights` of the shape \(2,\) does not fit `values`"),
        (
            {"values": torch.zeros(4, 3), "edges": torch.tensor([[0.0, 1.0], [0.0, 2.0]])},
            r"batch axes of `values` \(4, 3\), `edges` \(2, 2\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, message):  # where no checker of types is before
    with pytest.raises(DomainError, match=message):
        kernel_histogram.__wrapped__(**{**GOOD, **change})
