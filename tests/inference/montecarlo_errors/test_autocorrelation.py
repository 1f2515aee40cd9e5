"""Sums over lags beside direct sums."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.inference.montecarlo_errors import ExponentialTail, Observables, gamma_method
from detopt.inference.montecarlo_errors.autocorrelation import lag_sums, pair_counts


def direct(series, n_lags):
    n = series.shape[-1]
    sums = [(series[..., : max(n - t, 0)] * series[..., t:]).sum(-1) for t in range(n_lags + 1)]
    return torch.stack(sums, dim=-1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(0, 130), st.integers(1, 3))
def test_blocks_give_the_direct_sums(n, n_lags, rows):
    rng = torch.Generator().manual_seed(n)
    series = torch.randn(rows, n, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(lag_sums(series, n_lags), direct(series, n_lags), rtol=0, atol=1e-11)


def test_long_series_of_many_observables_are_chunked_alike(rng):
    series = torch.randn(3, 2, 60_000, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(lag_sums(series, 40), direct(series, 40), rtol=0, atol=1e-9)


def test_sums_have_the_right_derivative(rng):
    series = torch.randn(2, 25, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: lag_sums(x, 6), series)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=40, unique=True))
def test_pairs_are_counted_one_by_one(positions):
    positions = torch.tensor(sorted({0, *positions}))
    distances = positions[None, :] - positions[:, None]
    expected = torch.stack([(distances == t).sum() for t in range(21)]).double()
    torch.testing.assert_close(pair_counts(positions, 20), expected)


def test_a_chain_that_is_too_short_for_a_tail_is_refused(rng):
    observables = Observables.from_samples(torch.randn(6, generator=rng), "A")
    with pytest.raises(DomainError, match=r"Ensemble `A`: .* too short for a tail"):
        gamma_method(observables, ExponentialTail(1.0))
