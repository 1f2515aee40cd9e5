"""Energies of layers as their sum and its shares."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError, MethodError
from detopt.surrogates import ConditionalFlow, EnergyShares, Training

SHORT = Training(n_steps=20, n_warm_steps=5, batch=64)


def rng_of(seed=1):
    return torch.Generator().manual_seed(seed)


def showers(n=100, seed=1):
    """Logarithm of an energy, and five layers that hold a part of it."""
    rng = rng_of(seed)
    log_energy = torch.rand(n, 1, generator=rng, dtype=torch.float64)
    shares = torch.rand(n, 6, generator=rng, dtype=torch.float64) + 0.05
    return log_energy, (log_energy.exp() * shares / shares.sum(1, keepdim=True))[:, :5]


def test_columns_have_the_values_of_the_formula():
    given_, rows = torch.tensor([[10.0]]).double(), torch.tensor([[1.0, 3.0, 1.0]]).double()
    found = EnergyShares(0, logarithmic=False).columns(given_, rows, rng_of())
    expected = [math.log(0.5 / 0.5), math.log(1 / 4), math.log(3 / 1)]  # by hand
    assert found[0].tolist() == pytest.approx(expected)


@given(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=12), st.floats(0.1, 2.0))
@settings(deadline=None)
def test_rows_come_back(energies, spare):
    rows = torch.tensor([energies], dtype=torch.float64)
    energy = rows.sum(1, keepdim=True) * (1 + spare)
    kind = EnergyShares(0, logarithmic=False)
    torch.testing.assert_close(kind.rows(energy, kind.columns(energy, rows, rng_of())), rows)


@given(st.lists(st.floats(-30.0, 30.0), min_size=2, max_size=12), st.floats(-3.0, 3.0))
@settings(deadline=None)
def test_whatever_is_drawn_the_energy_suffices(columns, log_energy):
    conditions = torch.tensor([[log_energy]], dtype=torch.float64)
    rows = EnergyShares(0, limit=0.5).rows(conditions, torch.tensor([columns], dtype=torch.float64))
    most = 0.5 * math.exp(log_energy)
    assert float(rows.sum()) <= most * (1 + 1e-12)
    assert float(rows.sum()) == pytest.approx(most / (1 + math.exp(-columns[0])), rel=1e-9)


def test_energies_below_the_threshold_are_zero_again():
    log_energy, rows = showers()
    rows = torch.where(rows < 0.2, 0.0, rows)
    kind = EnergyShares(0, limit=3.0, threshold=0.2)
    columns = kind.columns(log_energy, rows, rng_of())
    assert bool(columns.isfinite().all())
    torch.testing.assert_close(kind.rows(log_energy, columns), rows)


@pytest.mark.parametrize("kind", [EnergyShares(0), EnergyShares(0, limit=1.3)])
def test_volume_is_the_determinant_of_the_derivative(kind):
    log_energy, rows = showers(3)
    for c, row in zip(log_energy.split(1), rows.split(1), strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda one, c=c: kind.columns(c, one, rng_of())[0], row
        )
        expected = torch.linalg.slogdet(jacobian[:, 0]).logabsdet
        torch.testing.assert_close(kind.log_volume(c, row)[0], expected)


def test_rows_have_the_derivative_of_finite_differences():
    log_energy, rows = showers(3)
    kind = EnergyShares(0)
    columns = kind.columns(log_energy, rows, rng_of())
    at = (log_energy.requires_grad_(), columns.requires_grad_())
    assert torch.autograd.gradcheck(kind.rows, at)


def test_flow_with_shares_conserves_energy_and_is_normalized():
    log_energy, rows = showers(500)
    flow = ConditionalFlow(1, 5, SHORT, row_map=EnergyShares(0))
    flow.fit(log_energy, rows, rng_of())
    drawn = flow.sample(log_energy, rng_of(2))
    assert bool((drawn.sum(1) < log_energy[:, 0].exp()).all())
    assert bool((drawn > 0).all())
    two = ConditionalFlow(1, 2, SHORT, row_map=EnergyShares(0))
    two.fit(log_energy, rows[:, :2], rng_of())
    edges = torch.linspace(0, 1, 301, dtype=torch.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    grid = torch.cartesian_prod(middle, middle)
    grid = grid[grid.sum(1) < 0.999]
    density = two.log_prob(torch.zeros(len(grid), 1).double(), grid).exp()
    assert float(density.sum()) / 300**2 == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EnergyShares(0, limit=0.0), "`limit` must be > 0"),
        (lambda: EnergyShares(0, threshold=-1.0), "`threshold` must be >= 0"),
    ],
)
def test_number_out_of_range_is_refused(make, message):
    with pytest.raises(DomainError, match=message):
        make()


def test_rows_that_break_the_law_are_refused():
    one = torch.ones(1, 1).double()
    with pytest.raises(MethodError, match="of the largest energy"):
        EnergyShares(0, logarithmic=False).columns(one, torch.ones(1, 2).double(), rng_of())
    with pytest.raises(MethodError, match="Give a `threshold`"):
        EnergyShares(0).columns(one, torch.zeros(1, 2).double(), rng_of())
    with pytest.raises(MethodError, match="two or more layers"):
        EnergyShares(0).columns(one, one / 2, rng_of())
    with pytest.raises(MethodError, match="have no density"):
        EnergyShares(0, threshold=0.1).log_volume(one, torch.tensor([[0.05, 0.3]]).double())
