"""Three ways to nuisance slopes: they agree where all are right, and refuse what they cannot do."""

import pytest
import torch

from detopt.design import Continuous, Design, DesignSpace, Real
from detopt.errors import DomainError
from detopt.objectives import (
    by_transformation,
    by_variations,
    by_weights,
    concatenate,
    moved_shares,
)
from detopt.pipeline import FunctionProblem, Outcome
from detopt.pipeline.resampling import bootstrap
from detopt.random import Seed

EDGES = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)


def soft_bins(x):
    """Three smooth bins of a number, which add up to one."""
    below = torch.sigmoid((EDGES - x[:, :1]) / 0.3)
    ones = torch.ones_like(below[:, :1])
    return torch.cat([below, ones], dim=1).diff(dim=1, prepend=torch.zeros_like(ones))


def sample(n_events, rng):
    """A normal sample whose mean is the parameter: it moves with slope 1, its score is x."""
    x = torch.randn(n_events, 1, generator=rng, dtype=torch.float64)
    return x, torch.full((n_events,), 200.0, dtype=torch.float64)


def along(x):
    return torch.ones(len(x), 1, 1, dtype=torch.float64)


def moved(x, weights):
    none = torch.zeros(len(x), 1, dtype=torch.float64)
    return by_transformation(soft_bins, x, along(x), weights, none)


def varied(x, weights, step):
    return by_variations(
        soft_bins(x),
        weights,
        up=[(soft_bins(x + step), weights)],
        down=[(soft_bins(x - step), weights)],
        width=[step],
    )


def test_slopes_have_the_reference_value():
    """d/dm of the mean share is the integral of the normal density times the bin's slope."""
    grid = torch.linspace(-9, 9, 18001, dtype=torch.float64)
    density = torch.exp(-grid.square() / 2) / (2 * torch.pi) ** 0.5 * 1e-3
    expected = 200 * (density * grid) @ soft_bins(grid.unsqueeze(-1))
    rng = torch.Generator().manual_seed(1)
    x, weights = sample(400_000, rng)
    for rows, tolerance in (
        (by_weights(soft_bins(x), weights, x), 0.6),
        (moved(x, weights), 0.2),
        (varied(x, weights, 0.01), 0.2),
    ):
        slopes = rows.templates().slopes[:, 0]
        torch.testing.assert_close(slopes, expected, rtol=0, atol=tolerance)


def test_variations_tend_to_the_transformation(rng):
    x, weights = sample(500, rng)
    exact = moved(x, weights).templates().slopes
    errors = [(varied(x, weights, h).templates().slopes - exact).norm() for h in (0.2, 0.1)]
    assert (errors[0] / errors[1]).item() == pytest.approx(4, rel=0.1)  # second order in the step


def test_slopes_of_shares_add_up_to_zero(rng):
    x, weights = sample(200, rng)
    for rows in (moved(x, weights), varied(x, weights, 0.3)):
        assert rows.templates().slopes.sum().item() == pytest.approx(0, abs=1e-10)


def test_transformation_of_nothing_has_no_slope(rng):
    x, weights = sample(20, rng)
    rows = by_transformation(soft_bins, x, 0 * along(x), weights, torch.zeros(20, 1).double())
    assert not bool(rows.templates().slopes.any())
    torch.testing.assert_close(rows.shares, soft_bins(x))


def test_varied_weights_are_a_normalization(rng):
    x, weights = sample(50, rng)
    shares = soft_bins(x)
    rows = by_variations(
        shares, weights, up=[(shares, 1.1 * weights)], down=[(shares, 0.9 * weights)]
    )
    templates = rows.templates()
    torch.testing.assert_close(templates.slopes[:, 0], 0.1 * templates.counts)


def test_parameters_of_weights_come_before_varied_ones(rng):
    x, weights = sample(50, rng)
    shares = soft_bins(x)
    first = torch.ones(50, 1, dtype=torch.float64)
    variation = [(soft_bins(x + 0.1), weights)], [(soft_bins(x - 0.1), weights)]
    rows = by_variations(shares, weights, up=variation[0], down=variation[1], weight_slopes=first)
    slopes = rows.templates().slopes
    torch.testing.assert_close(slopes[:, 0], shares.mean(dim=0))
    torch.testing.assert_close(slopes[:, 1], 0.1 * varied(x, weights, 0.1).templates().slopes[:, 0])


def test_classes_are_normalized_each_to_its_own_rows(rng):
    x, weights = sample(50, rng)
    y, _ = sample(20, rng)
    small, large = moved(y, weights[:20]), by_weights(soft_bins(x), weights, x)
    whole = concatenate(small, large).templates()
    torch.testing.assert_close(whole.counts, small.templates().counts + large.templates().counts)
    torch.testing.assert_close(whole.slopes, small.templates().slopes + large.templates().slopes)


def test_slopes_can_be_differentiated_in_the_binning(rng):
    x, _ = sample(8, rng)
    edges = EDGES.clone().requires_grad_()

    def slopes(edges):
        bins = lambda x: torch.sigmoid((edges - x[:, :1]) / 0.3)  # noqa: E731
        return moved_shares(bins, x, along(x))[1]

    assert torch.autograd.gradcheck(slopes, (edges,))


@pytest.mark.parametrize(("activation", "is_right"), [(torch.tanh, True), (torch.relu, False)])
def test_kinks_bias_the_gradient_of_a_slope(activation, is_right):
    """The mean slope is smooth in the position of a kink; automatic derivatives miss its part."""
    grid = torch.linspace(-8, 8, 40_001, dtype=torch.float64).unsqueeze(-1)
    density = torch.exp(-grid.squeeze(-1).square() / 2) / (2 * torch.pi) ** 0.5 * 16 / 40_000

    def mean_slope(shift):
        _, slopes = moved_shares(lambda x: activation(x - shift), grid, along(grid))
        return density @ slopes[:, 0, 0]

    shift = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(mean_slope(shift), shift, allow_unused=True)
    with torch.no_grad():
        difference = (mean_slope(shift + 0.05) - mean_slope(shift - 0.05)) / 0.1
    agrees = found is not None and abs(found - difference) < 1e-3
    assert abs(difference) > 0.1
    assert bool(agrees) is is_right


def hard_bins(x):
    return torch.nn.functional.one_hot((x[:, 0] > 0).long(), 2).to(x)


def test_hard_bins_cannot_be_moved(rng):
    x, weights = sample(5, rng)
    with pytest.raises(DomainError, match="needs a smooth binning"):
        by_transformation(hard_bins, x, along(x), weights, torch.zeros(5, 1).double())


def test_unmatched_variations_are_refused(rng):
    x, weights = sample(5, rng)
    shares = soft_bins(x)
    row = (shares, weights)
    with pytest.raises(DomainError, match="got 1, 0 and 1"):
        by_variations(shares, weights, up=[row], down=[])
    with pytest.raises(DomainError, match="up sample of variation 0 has the shape"):
        by_variations(shares, weights, up=[(shares[:3], weights[:3])], down=[row])
    with pytest.raises(DomainError, match="step of variation 0 must be > 0, got 0"):
        by_variations(shares, weights, up=[row], down=[row], width=[0.0])
    with pytest.raises(DomainError, match="A nominal weight is 0"):
        by_variations(shares, 0 * weights, up=[row], down=[row])


def test_classes_of_other_bins_are_refused(rng):
    x, weights = sample(5, rng)
    with pytest.raises(DomainError, match="must have the same bins and parameters"):
        concatenate(by_weights(soft_bins(x), weights, x), by_weights(hard_bins(x), weights, x))


def test_bootstrap_of_classes_keeps_their_yields(rng):
    """Each class is simulated with a fixed number of events: the sum of all counts is known."""

    class Total(FunctionProblem):
        def judge(self, summary, design):
            return Outcome(summary.templates().counts.sum())

    space = DesignSpace([Continuous("x", 0.0, Real())])
    problem = Total(space, lambda design, n, rng: torch.rand(n, generator=rng))
    x, weights = sample(500, rng)
    y, _ = sample(100, rng)
    signal = by_weights(soft_bins(x), weights / 2, x)
    whole = concatenate(signal, by_weights(soft_bins(y), weights[:100], y))
    values = bootstrap(problem, whole, Design({}), Seed(1), 20)
    torch.testing.assert_close(values, torch.full_like(values, 100.0 + 200.0))


def test_bootstrap_keeps_the_yields_of_classes_inside_a_part(rng):
    class Total(FunctionProblem):
        def judge(self, summary, design):
            return Outcome(summary.templates().counts.sum())

    space = DesignSpace([Continuous("x", 0.0, Real())])
    problem = Total(space, lambda design, n, rng: torch.rand(n, generator=rng))
    x, weights = sample(60, rng)
    parts = [by_weights(soft_bins(x), factor * weights, x) for factor in (0.1, 1.0, 4.0)]
    nested = concatenate(concatenate(parts[0], parts[1]), parts[2])
    assert nested.strata.unique().tolist() == [0, 1, 2]
    torch.testing.assert_close(nested.templates().counts, concatenate(*parts).templates().counts)
    values = bootstrap(problem, nested, Design({}), Seed(1), 20)
    torch.testing.assert_close(values, torch.full_like(values, 200.0 * 5.1))


def test_shares_stay_where_the_samples_are():
    samples = torch.linspace(-1, 1, 5, dtype=torch.float64, device="cpu").unsqueeze(-1)
    directions = torch.stack([torch.zeros_like(samples), torch.ones_like(samples)], dim=-1)
    with torch.device("meta"):  # any device that is not that of the samples
        shares, slopes = moved_shares(torch.sigmoid, samples, directions)
    torch.testing.assert_close(slopes[:, :, 1], shares * (1 - shares))
    assert not slopes[:, :, 0].any()
