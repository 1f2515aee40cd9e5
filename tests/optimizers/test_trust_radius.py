"""The radius of a trust region, and options that are out of range."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detopt.errors import MethodError
from detopt.optimizers.option_checks import (
    refuse_not_positive,
    refuse_not_whole,
    refuse_unknown,
)
from detopt.optimizers.trust_radius import TrustRadius

RULE = TrustRadius(shortest=0.1, longest=3.0)


@pytest.mark.parametrize(
    ("moved", "reached", "expected"),
    [
        (1.0, -0.9, 1.6),  # as promised, and the radius was the limit
        (0.5, -0.9, 1.0),  # as promised, and it was not
        (1.0, -0.4, 1.0),
        (1.0, -0.1, 0.6),
        (1.0, 0.5, 0.6),
    ],
)
def test_radius_follows_the_share_of_the_gain(moved, reached, expected):
    found = RULE.after(1.0, 1.0, moved=moved, reached=reached, promised=-1.0)
    assert found == pytest.approx(expected)


@given(st.floats(0.2, 6.0), st.floats(0.0, 10.0), st.floats(-5.0, 5.0), st.floats(-5.0, -1e-3))
def test_radius_stays_between_its_bounds(radius, moved, reached, promised):
    found = RULE.after(radius, 2.0, moved=moved, reached=reached, promised=promised)
    assert 0.2 <= found <= 6.0


def test_a_step_without_a_promise_leaves_the_radius_finite():
    assert RULE.after(1.0, 1.0, moved=1.0, reached=0.0, promised=0.0) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        (lambda: refuse_not_positive(radius=0.0), "`radius` must be > 0, got 0.0"),
        (lambda: refuse_not_positive(radius=math.inf), "`radius` must be > 0, got inf"),
        (lambda: refuse_not_whole(1, batch=0), "`batch` must be a whole number >= 1, got 0"),
        (lambda: refuse_unknown("step", "newton", ("adam",)), "`step` must be one of adam, got"),
    ],
)
def test_an_option_out_of_range_is_refused(refuse, message):
    with pytest.raises(MethodError, match=message):
        refuse()


def test_a_good_option_and_a_default_are_taken():
    found = [refuse_not_positive(radius=0.5), refuse_not_whole(2, batch=None, n=2)]
    assert [*found, refuse_unknown("step", "adam", ["adam"])] == [None, None, None]
