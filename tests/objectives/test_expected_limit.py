"""Expected limits and significances of templates: closed forms, laws, gradients, refusals."""

import math

import pytest
import torch

from detopt.design import Design
from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.inference.asymptotics import expected_significance
from detopt.objectives import (
    ExpectedLimit,
    Templates,
    by_weights,
    expected_limit,
    model_of_templates,
)

SIGNAL = 12.0
NAMES = ("s", "r")


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


COUNTS = tensor(60.0, 35.0, 20.0)
SLOPES = tensor([0.05, 4.0], [0.3, -2.0], [0.65, 1.0])


def model(counts=COUNTS, slopes=SLOPES, width=0.5, signal=SIGNAL):
    templates = Templates(counts, slopes, torch.zeros_like(counts))
    return model_of_templates(templates, NAMES, {"r": width}, signal=signal)


def test_significance_has_the_closed_form():  # sqrt(2 [(s + b) ln(1 + s/b) - s]), Cowan et al.
    one_bin = model(tensor(110.0), tensor([1.0, 0.0]), signal=10.0)
    expected = math.sqrt(2 * (110 * math.log(1.1) - 10))
    assert expected_significance(one_bin).item() == pytest.approx(expected, rel=1e-6)


def test_limit_of_a_large_background_has_the_gaussian_form():  # Phi^-1(1 - 0.025) sigma / s
    one_bin = model(tensor(1_000_100.0), tensor([1.0, 0.0]), signal=100.0)
    assert expected_limit(one_bin).item() == pytest.approx(1.959964 * 1000 / 100, rel=2e-3)


def test_model_has_the_slopes_that_it_is_made_of():
    made = model()

    def counts(theta):
        return made.expected_counts(theta)

    start = made.start.clone()
    start[made.index("mu")] = 1.0
    torch.testing.assert_close(counts(start), COUNTS)
    jacobian = torch.autograd.functional.jacobian(counts, start)
    torch.testing.assert_close(jacobian[:, made.index("mu")], SIGNAL * SLOPES[:, 0])
    torch.testing.assert_close(jacobian[:, made.index("r")], 0.5 * SLOPES[:, 1])


def test_limit_grows_with_the_width_of_a_nuisance_parameter():
    limits = torch.stack([expected_limit(model(width=width)) for width in (0.01, 2.0)])
    assert bool((limits.diff() > 0).all())


def test_empty_bin_changes_nothing():
    counts = torch.cat([COUNTS, tensor(0.0)])
    slopes = torch.cat([SLOPES, tensor([0.0, 0.0])])
    torch.testing.assert_close(expected_limit(model(counts, slopes)), expected_limit(model()))


@pytest.mark.parametrize("goal", [expected_limit, expected_significance])
def test_gradient_matches_finite_differences(goal):
    inputs = (COUNTS.clone().requires_grad_(), SLOPES.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda c, s: goal(model(c, s)), inputs, fast_mode=True)


@pytest.fixture
def events(rng):
    shares = torch.softmax(torch.randn(40, 3, generator=rng, dtype=torch.float64), dim=-1)
    weights = torch.full((40,), 115.0, dtype=torch.float64)
    slopes = torch.rand(40, 2, generator=rng, dtype=torch.float64) * tensor(1e-2, 0.05)
    return by_weights(shares, weights, slopes)


def test_stage_gives_limit_or_significance(events):
    made = model_of_templates(events.templates(), NAMES, {"r": 0.5}, signal=SIGNAL)
    limit = ExpectedLimit(NAMES, {"r": 0.5}, signal=SIGNAL)(events, Design({}))
    torch.testing.assert_close(limit.objective, expected_limit(made))
    stage = ExpectedLimit(
        NAMES, {"r": 0.5}, signal=SIGNAL, goal="significance", price=lambda d: tensor(2.0).sum()
    )
    outcome = stage(events, Design({}))
    torch.testing.assert_close(outcome.objective, -expected_significance(made))
    torch.testing.assert_close(outcome.terms["significance"], -outcome.objective)
    assert outcome.cost.item() == 2.0


def test_free_nuisance_parameter_is_refused():
    templates = Templates(COUNTS, SLOPES, torch.zeros_like(COUNTS))
    with pytest.raises(ConfigError, match="`r` has no finite width > 0"):
        model_of_templates(templates, NAMES, {}, signal=SIGNAL)


def test_unknown_signal_is_refused():
    templates = Templates(COUNTS, SLOPES, torch.zeros_like(COUNTS))
    with pytest.raises(NotFoundError, match="No parameter `m`"):
        model_of_templates(templates, NAMES, {"r": 1.0}, signal=SIGNAL, interest="m")


def test_no_signal_is_refused():
    with pytest.raises(DomainError, match="`signal` must be > 0, got 0"):
        model(signal=0.0)


def test_negative_variation_is_refused():
    with pytest.raises(DomainError, match="bin"):
        model(width=50.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"goal": "limits"},
            ConfigError,
            "`goal` must be one of limit, significance, got 'limits'",
        ),
        ({"widths": {"r": 1.0, "q": 1.0}}, NotFoundError, "No parameter `q`. There are: s, r"),
        ({"widths": {}}, ConfigError, "`r` has no finite width > 0"),
        ({"names": (), "widths": {}}, ConfigError, "`names` must not be empty"),
        ({"signal": -1.0}, DomainError, "`signal` must be > 0"),
        ({"level": 5.0}, ConfigError, "`level` must lie between 0 and 1, got 5"),
    ],
)
def test_stage_that_cannot_be_used_is_refused(arguments, error, message):
    settings = {"names": NAMES, "widths": {"r": 0.5}, "signal": SIGNAL} | arguments
    with pytest.raises(error, match=message):
        ExpectedLimit(settings.pop("names"), settings.pop("widths"), **settings)


def test_limit_of_a_bin_without_background_does_not_hang_on_rounding():
    counts, alone = torch.cat([COUNTS, tensor(6.0)]), torch.cat([SLOPES, tensor([0.5, 0.0])])
    limits = []
    for dust in (-1e-13, 0.0):  # of the counts against the yield times their slope
        found = model(counts + tensor(0.0, 0.0, 0.0, dust), alone, signal=SIGNAL)
        limits.append(expected_limit(found))
    torch.testing.assert_close(limits[0], limits[1])
    assert float(limits[0]) < 3.1 / 6  # no event there excludes three


def test_background_far_below_zero_is_refused():
    with pytest.raises(DomainError, match="background"):
        model(tensor(60.0, 35.0, 7.7))


def test_significance_of_a_bin_without_background_is_refused():
    """Its first event would exclude the background: the formula diverges as b goes to 0."""
    rows = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    shares = torch.tensor(rows, dtype=torch.float64)
    counts, signal = tensor(50.0, 40.0, 2.0), tensor(6.0, 4.0, 2.0)  # all of the last bin
    events = by_weights(shares, 3 * counts, (signal / SIGNAL / counts)[:, None])
    with pytest.raises(DomainError, match="Bin 2 has signal and no background"):
        ExpectedLimit(("s",), {}, signal=SIGNAL, goal="significance")(events, Design({}))
    limit = ExpectedLimit(("s",), {}, signal=SIGNAL)(events, Design({})).objective
    assert 0 < limit.item() < math.inf
