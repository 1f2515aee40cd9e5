"""Domains: bijections that keep their constraint for every theta."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.design import FixedSum, Interval, Ordered, Real
from detopt.errors import DesignError

DOMAINS = {
    "real": Real(scale=0.3),
    "interval": Interval(-0.2, 0.5),
    "wide interval": Interval(0.0, 1e6),
    "narrow interval": Interval(10.0, 10.0 + 1e-4),
    "ordered": Ordered(0.5, 0.9, gap=0.005),
    "ordered without gap": Ordered(-1.0, 1.0),
    "descending": Ordered(0.5, 0.9, gap=0.01, descending=True),
    "fixed sum": FixedSum(6.0),
    "fixed sum with a floor": FixedSum(6.0, low=0.3),
}
BOUNDED = [name for name in DOMAINS if name != "real"]

every_domain = pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)


def vectors(limit, max_size=6):
    return st.lists(st.floats(-limit, limit), min_size=1, max_size=max_size)


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


@every_domain
@settings(max_examples=30)
@given(theta=vectors(6.0))
def test_theta_survives_the_round_trip(domain, theta):
    theta = f64(theta)
    expected = theta - theta.mean() if isinstance(domain, FixedSum) else theta
    found = domain.theta(domain.values(theta))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@every_domain
@settings(max_examples=30)
@given(theta=vectors(6.0))
def test_values_survive_the_round_trip(domain, theta):
    values = domain.values(f64(theta))
    torch.testing.assert_close(domain.values(domain.theta(values)), values, rtol=1e-10, atol=1e-12)


@every_domain
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=30)
@given(theta=vectors(1e30))
def test_constraint_holds_for_every_theta(domain, dtype, theta):
    values = domain.values(torch.tensor(theta, dtype=dtype))
    assert domain.violation(values.to(torch.float64)) is None


@every_domain
@settings(max_examples=30)
@given(theta=vectors(20.0))
def test_batch_is_the_stack_of_its_rows(domain, theta):
    rows = torch.stack([f64(theta), -f64(theta), 0.5 * f64(theta)])
    stacked = torch.stack([domain.values(row) for row in rows])
    torch.testing.assert_close(domain.values(rows), stacked, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(domain.values(rows[None])[0], stacked, rtol=1e-14, atol=1e-14)


@every_domain
def test_gradient_of_values_matches_finite_differences(domain, rng):
    theta = torch.randn(3, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(domain.values, theta)


@every_domain
def test_gradient_of_theta_matches_finite_differences(domain, rng):
    theta = torch.randn(4, generator=rng, dtype=torch.float64)
    values = domain.values(theta).requires_grad_()
    scale = float(values.detach().abs().max())
    assert torch.autograd.gradcheck(domain.theta, values, eps=1e-7 * min(scale, 1e-1), rtol=1e-2)


@settings(max_examples=30)
@given(theta=vectors(1e3))
def test_values_keep_their_order_and_gap(theta):
    domain = Ordered(0.5, 0.9, gap=0.01)
    values = domain.values(f64(theta))
    assert bool((values.diff() >= 0.01 - 1e-12).all())
    assert float(values[0]) >= 0.5
    assert float(values[-1]) <= 0.9 + 1e-12


@settings(max_examples=30)
@given(theta=vectors(1e3))
def test_falling_values_mirror_rising_ones(theta):
    rising = Ordered(0.0, 1.0, gap=0.02).values(f64(theta))
    falling = Ordered(-1.0, 0.0, gap=0.02, descending=True).values(f64(theta))
    torch.testing.assert_close(falling, -rising, rtol=0, atol=1e-15)


@settings(max_examples=30)
@given(theta=vectors(1e3))
def test_shares_add_up_to_the_total(theta):
    shares = FixedSum(6.0, low=0.2).values(f64(theta))
    assert float(shares.sum()) == pytest.approx(6.0, rel=1e-14)
    assert float(shares.min()) >= 0.2


def test_equal_logits_share_equally():  # by symmetry
    assert FixedSum(6.0).values(f64([3.0, 3.0, 3.0])).tolist() == pytest.approx([2.0, 2.0, 2.0])


def test_interval_has_the_reference_values():  # sigmoid(ln 3) = 3/4
    domain = Interval(2.0, 6.0)
    assert domain.values(f64([0.0, math.log(3)])).tolist() == pytest.approx([4.0, 5.0])


def test_zero_spreads_ordered_values_evenly():  # softmax of zeros
    assert Ordered(0.0, 1.0).values(f64([0.0, 0.0, 0.0])).tolist() == pytest.approx(
        [0.25, 0.5, 0.75]
    )


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (Interval(0.0, 1.0), [0.0, 1.0]),
        (Ordered(0.0, 1.0, gap=0.5), [0.0, 0.5]),
        (Ordered(0.0, 1.0, gap=0.1), [0.9, 1.0]),
        (Ordered(0.0, 1.0), [0.3, 0.3]),
        (Ordered(0.0, 1.0, descending=True), [1.0, 0.0]),
        (FixedSum(6.0), [6.0, 0.0]),
        (FixedSum(6.0, low=1.0), [5.0, 1.0]),
    ],
)
def test_closed_bound_belongs_to_the_domain(domain, values):
    assert domain.violation(f64(values)) is None
    assert not bool(torch.isfinite(domain.theta(f64(values))).all())


@pytest.mark.parametrize(
    ("domain", "values", "complaint"),
    [
        (Interval(0.0, 1.0), [0.5, 1.1], "must be <= 1, got 1.1"),
        (Interval(0.0, 1.0), [-0.1], "must be >= 0, got -0.1"),
        (Interval(0.0, 1.0), [math.nan], "must be >= 0, got nan"),
        (Ordered(0.0, 1.0, gap=0.1), [0.2, 0.25], "must rise by at least 0.1"),
        (Ordered(0.0, 1.0), [0.6, 0.5], "must rise"),
        (Ordered(0.0, 1.0, descending=True), [0.5, 0.6], "must fall"),
        (Ordered(0.0, 1.0), [0.5, 1.2], "must be <= 1"),
        (FixedSum(6.0), [2.0, 3.0], "must add up to 6, got 5"),
        (FixedSum(6.0, low=1.0), [5.5, 0.5], "must be >= 1"),
        (FixedSum(6.0), [7.0, -1.0], "must be >= 0"),
        (FixedSum(6.0), [math.nan, 6.0], "must add up to 6, got nan"),
        (Real(), [math.inf], "is not finite"),
    ],
)
def test_violation_says_what_is_wrong(domain, values, complaint):
    assert complaint in domain.violation(f64(values))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interval(1.0, 1.0), "`low` < `high`, got 1.0 and 1.0"),
        (lambda: Interval(1.0, 0.0), "`low` < `high`"),
        (lambda: Interval(0.0, math.inf), "Bounds must be finite"),
        (lambda: Interval(math.nan, 1.0), "Bounds must be finite"),
        (lambda: Ordered(1.0, 0.0), "`low` < `high`"),
        (lambda: Ordered(0.0, 1.0, gap=-0.1), "`gap` must be >= 0, got -0.1"),
        (lambda: Ordered(0.0, 1.0, gap=math.nan), "`gap` must be >= 0, got nan"),
        (lambda: Ordered(0.0, 1.0, gap=0.6).values(torch.zeros(3)), "do not fit"),
        (lambda: FixedSum(0.0), "`total` must be > 0"),
        (lambda: FixedSum(math.nan), "`total` must be > 0"),
        (lambda: FixedSum(1.0, low=-0.1), "`low` must be >= 0"),
        (lambda: FixedSum(1.0, low=math.nan), "`low` must be >= 0, got nan"),
        (lambda: FixedSum(1.0, low=0.5).values(torch.zeros(3)), "exceed the total"),
        (lambda: Real(scale=0.0), "`scale` must be > 0"),
        (lambda: Real(scale=math.inf), "`scale` must be > 0"),
    ],
)
def test_impossible_domain_is_refused(make, message):
    with pytest.raises(DesignError, match=message):
        make()
