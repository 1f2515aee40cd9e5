"""Unbinned likelihoods against closed forms, published bounds and finite differences."""

import math
from dataclasses import replace

import pytest
import torch

from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.inference.fisher import unbinned_information, uncertainty
from detopt.inference.fits import Likelihood, fit
from detopt.inference.unbinned import (
    FitParameter,
    UnbinnedLikelihood,
    event_scores,
    weighted_covariance,
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def normal_log_density(x, mean, width):
    return -((x - mean) / width).square() / 2 - math.log(width) - math.log(2 * math.pi) / 2


def peak_log_densities(events, parameters, resolution):
    """A normal peak on a flat background between 0 and 1."""
    x = events[..., 0]
    peak = -((x - 0.5) / resolution).square() / 2 - (resolution * math.sqrt(2 * math.pi)).log()
    return torch.stack(torch.broadcast_tensors(peak, 0 * x * parameters[..., 0]), -1)


def peak_yields(parameters, resolution):
    return parameters[..., :2]


def peak(resolution=0.05, **changes):
    parameters = (FitParameter("s", 60.0), FitParameter("b", 250.0))
    resolution = torch.as_tensor(resolution, dtype=torch.float64)
    model = UnbinnedLikelihood(peak_log_densities, peak_yields, parameters, "s", (resolution,))
    return replace(model, **changes)


def sample(n_signal, n_background, rng, *batch):
    signal = 0.5 + 0.05 * torch.randn(*batch, n_signal, generator=rng, dtype=torch.float64)
    flat = torch.rand(*batch, n_background, generator=rng, dtype=torch.float64)
    return torch.cat([signal, flat], -1).unsqueeze(-1)


def exponential(extended=True):
    """One component: number of events and rate of an exponential density."""
    return UnbinnedLikelihood(
        lambda x, p: (p[..., 1].log() - p[..., 1] * x[..., 0]).unsqueeze(-1),
        lambda p: p[..., :1],
        (FitParameter("n", 50.0, low=0.0, fixed=not extended), FitParameter("rate", 1.0, low=1e-3)),
        "rate",
        extended=extended,
    )


@pytest.mark.parametrize("extended", [True, False])
def test_exponential_fit_has_its_closed_form(extended, rng):
    x = torch.empty(120, 1, dtype=torch.float64).exponential_(2.0, generator=rng)
    found = fit(exponential(extended), x)
    rate = 1 / x.mean().item()
    assert found.parameters[1].item() == pytest.approx(rate, rel=1e-8)
    assert found.uncertainty()[1].item() == pytest.approx(rate / math.sqrt(120), rel=1e-6)
    assert found.parameters[0].item() == pytest.approx(120 if extended else 50)


def test_value_is_the_extended_likelihood_written_out():
    model = peak(
        parameters=(FitParameter("s", 60.0, width=10.0, center=50.0), FitParameter("b", 1.0))
    )
    x, s, b = [0.45, 0.9], 55.0, 200.0
    density = [
        s * math.exp(-(((v - 0.5) / 0.05) ** 2) / 2) / (0.05 * math.sqrt(2 * math.pi)) for v in x
    ]
    expected = s + b - sum(math.log(d + b) for d in density) + 0.125
    value = model.negative_log_likelihood(tensor(s, b), tensor(*x).unsqueeze(-1))
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_value_without_extension_is_the_density_of_fractions():
    x = tensor(0.45, 0.9).unsqueeze(-1)
    extended, plain = peak(), peak(extended=False)
    theta = tensor(55.0, 200.0)
    expected = extended.negative_log_likelihood(theta, x) - 255 + 2 * math.log(255)
    torch.testing.assert_close(plain.negative_log_likelihood(theta, x), expected)
    torch.testing.assert_close(plain.negative_log_likelihood(3 * theta, x), expected)


def test_fitted_yields_add_up_to_the_number_of_events(rng):
    found = fit(peak(), sample(60, 250, rng))
    assert found.parameters.sum().item() == pytest.approx(310, rel=1e-8)


def test_weight_two_is_the_event_twice(rng):
    x = sample(30, 100, rng)
    theta = tensor(50.0, 150.0)
    twice = peak().negative_log_likelihood(theta, torch.cat([x, x], -2))
    model = peak(weights=torch.full((130,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(model.negative_log_likelihood(theta, x), twice)


def test_event_of_weight_zero_pads_the_sample(rng):
    x = sample(30, 100, rng)
    padded = torch.cat([x, tensor(7.7).unsqueeze(-1)], -2)
    weights = torch.cat([torch.ones(130), torch.zeros(1)]).double()
    found = fit(peak(weights=weights), padded)
    torch.testing.assert_close(found.parameters, fit(peak(), x).parameters)


def test_batch_of_toys_is_the_stack_of_single_fits(rng):
    toys = sample(60, 250, rng, 3)
    found = fit(peak(), toys)
    single = torch.stack([fit(peak(), toy).parameters for toy in toys])
    torch.testing.assert_close(found.parameters, single)


def test_yield_may_be_negative_where_the_intensity_is_positive(rng):
    x = torch.linspace(0.0, 1.0, 200, dtype=torch.float64)
    x = x[(x - 0.5).abs() > 0.05].unsqueeze(-1)  # a hole where the peak should be
    found = fit(peak(parameters=(FitParameter("s", 5.0), FitParameter("b", 190.0))), x)
    assert found.parameters[0].item() < 0
    assert found.value.isfinite()


def test_it_is_a_likelihood_of_the_fits():
    model = peak()
    assert isinstance(model, Likelihood)
    assert model.index("b") == 1
    with pytest.raises(NotFoundError, match=r"No parameter `q`\. There are: s, b"):
        model.index("q")


def test_value_has_the_gradient_of_finite_differences(rng):
    x = sample(3, 5, rng).requires_grad_()
    weights = torch.rand(8, generator=rng, dtype=torch.float64).requires_grad_()
    inputs = (tensor(30.0, 60.0).requires_grad_(), x, tensor(0.1)[0].requires_grad_(), weights)

    def value(theta, events, resolution, weights):
        return peak(resolution, weights=weights).negative_log_likelihood(theta, events)

    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)


def test_fit_has_the_implicit_gradient_of_finite_differences(rng):
    x = sample(40, 100, rng)
    resolution = tensor(0.05)[0].requires_grad_()
    heavy = tensor(1.0, 2.0, 0.5).requires_grad_()

    def fitted(resolution, heavy):
        weights = torch.cat([heavy, torch.ones(137, dtype=torch.float64)])
        found = fit(peak(resolution, weights=weights), x)
        return found.parameters, found.value

    assert torch.autograd.gradcheck(fitted, (resolution, heavy), eps=1e-5, atol=1e-4)


def test_scores_are_the_derivatives_of_single_events(rng):
    theta, x = tensor(55.0, 200.0), sample(4, 6, rng)
    scores = event_scores(peak(), theta, x)
    for event, score in zip(x, scores, strict=True):
        rows = torch.func.grad(lambda t, e=event: peak().intensity(e[None], t).log().sum())(theta)
        torch.testing.assert_close(score, rows)


def test_scores_have_the_gradient_of_finite_differences(rng):
    x, theta = sample(2, 3, rng).requires_grad_(), tensor(30.0, 60.0).requires_grad_()

    def scores(resolution, theta, events):
        return event_scores(peak(resolution), theta, events)

    assert torch.autograd.gradcheck(scores, (tensor(0.1)[0].requires_grad_(), theta, x))


def test_weighted_sum_of_scores_is_the_slope_of_the_likelihood(rng):
    x, weights = sample(20, 50, rng), torch.rand(70, generator=rng, dtype=torch.float64)
    model = peak(weights=weights)
    theta = tensor(20.0, 50.0).requires_grad_()
    (slope,) = torch.autograd.grad(model.negative_log_likelihood(theta, x), theta)
    scores = event_scores(model, theta.detach(), x)
    torch.testing.assert_close(slope, 1 - (weights.unsqueeze(-1) * scores).sum(0))


def inferno_log_densities(events, parameters):
    """The mixture of arXiv:1806.04743: parameters s, r, rate, b."""
    x0, x1, x2 = events.unbind(-1)
    _, shift, rate, _ = parameters.unbind(-1)
    signal = normal_log_density(x0, 0.0, 1.0) + normal_log_density(x1, 0.0, 1.0)
    signal = signal + math.log(2) - 2 * x2
    background = normal_log_density(x0, 2 + shift, math.sqrt(5)) + normal_log_density(x1, 0, 3.0)
    background = background + rate.log() - rate * x2
    return torch.stack(torch.broadcast_tensors(signal, background), -1)


@pytest.mark.parametrize(
    ("widths", "bound"),
    [
        ((None, None, None), 14.705),
        ((math.inf, None, None), 15.503),
        ((math.inf, math.inf, None), 15.634),
        ((0.4, 1.0, None), 15.605),
        ((0.4, 1.0, 100.0), 16.877),
    ],
)
def test_information_of_the_synthetic_benchmark_is_the_exact_bound(widths, bound):
    """Bounds by quadrature; the paper's table 1 has 14.71, 15.52, 15.65, 15.62 and 16.89."""
    starts = {"r": 0.0, "rate": 3.0, "b": 1000.0}
    nuisances = [
        FitParameter(name, start, width=width or math.inf, fixed=width is None)
        for (name, start), width in zip(starts.items(), widths, strict=True)
    ]
    model = UnbinnedLikelihood(
        inferno_log_densities,
        lambda p: torch.stack([p[..., 0], p[..., 3]], -1),
        (FitParameter("s", 50.0), *nuisances),
        "s",
    )
    axes = [
        torch.linspace(-10, 14, 97, dtype=torch.float64),
        torch.linspace(-13, 13, 79, dtype=torch.float64),
        (torch.arange(60, dtype=torch.float64) + 0.5) / 10,
    ]
    cell = math.prod((axis[1] - axis[0]).item() for axis in axes)
    events = torch.cartesian_prod(*axes)
    scores = event_scores(model, model.start, events)
    weights = model.intensity(events, model.start) * cell
    free = [not fixed for fixed in model.fixed]
    information = unbinned_information(
        scores[:, free], weights, prior_widths=model.prior_widths[free]
    )
    assert uncertainty(information).item() == pytest.approx(bound, abs=0.012)


def test_weighted_covariance_is_the_inverse_hessian_of_unweighted_events(rng):
    x = sample(4000, 20000, rng)
    model = peak(parameters=(FitParameter("s", 4000.0), FitParameter("b", 20000.0)))
    found = fit(model, x)
    torch.testing.assert_close(weighted_covariance(model, found, x), found.covariance())


def test_weighted_covariance_has_the_spread_of_toys(rng):
    """Weights of 0.5 or 3 at random: the inverse Hessian alone is wrong by half."""
    n_toys = 400
    toys = sample(350, 1300, rng, n_toys)
    number = torch.tensor([240.0, 1000.0], dtype=torch.float64).expand(n_toys, 2)
    number = torch.poisson(number, generator=rng)
    place = torch.cat([torch.arange(350), torch.arange(1300)])
    kept = place < number.repeat_interleave(torch.tensor([350, 1300]), dim=-1)
    heavy = torch.rand(n_toys, 1650, generator=rng) < 0.2
    weights = torch.where(heavy, 3.0, 0.5).double() * kept
    model = peak(weights=weights)
    found = fit(model, toys)
    spread = found.parameters.detach().var(0)
    variances = weighted_covariance(model, found, toys).diagonal(dim1=-2, dim2=-1).mean(0)
    torch.testing.assert_close(variances, spread, rtol=0.2, atol=0)  # 3 errors of 400 toys
    naive = found.covariance().diagonal(dim1=-2, dim2=-1).mean(0)
    assert (naive < 0.65 * spread).all()


def test_constraint_pulls_the_fit_towards_its_center(rng):
    """Far narrower than the data's own error: the fit stays at the center."""
    parameters = (FitParameter("s", 60.0, width=1e-3, center=40.0), FitParameter("b", 250.0))
    found = fit(peak(parameters=parameters), sample(60, 250, rng))
    assert found.parameters[0].item() == pytest.approx(40.0, abs=1e-4)
    moved = fit(peak(parameters=parameters, centers=tensor(45.0, 0.0)), sample(60, 250, rng))
    assert moved.parameters[0].item() == pytest.approx(45.0, abs=1e-4)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (torch.zeros(0, 1), "at least one event, got"),
        (torch.zeros(3), r"shape \(\*batch, events, features\)"),
        (tensor(0.2, math.nan).unsqueeze(-1), r"holds nan at index \(1, 0\)"),
    ],
)
def test_events_that_cannot_be_fitted_are_refused(events, message):
    with pytest.raises(DomainError, match=message):
        fit(peak(), events)


def test_event_outside_of_all_densities_is_named():
    def bounded(events, parameters, resolution):
        inside = (events[..., :1] >= 0) & (events[..., :1] <= 1)
        return torch.where(inside, peak_log_densities(events, parameters, resolution), -math.inf)

    x = tensor(0.3, 0.5, 1.2).unsqueeze(-1)
    model = peak(log_densities=bounded)
    with pytest.raises(DomainError, match=r"event at index \(2,\) has no positive density"):
        fit(model, x)
    with pytest.raises(DomainError, match=r"event at index \(2,\) has no positive intensity"):
        event_scores(model, tensor(60.0, 250.0), x)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: FitParameter("a", 1.0, width=0.0), ConfigError, "`width` of parameter `a`"),
        (lambda: FitParameter("a", 1.0, low=2.0), ConfigError, "between 2 and inf, got 1"),
        (lambda: peak(interest="q"), ConfigError, r"one of \['s', 'b'\], got 'q'"),
        (lambda: peak(parameters=()), ConfigError, "one name each"),
        (lambda: peak(parameters=(FitParameter("s", 1.0),) * 2), ConfigError, "one name each"),
        (lambda: peak(weights=tensor(1.0, math.nan)), DomainError, "`weights` must be finite"),
    ],
)
def test_bad_model_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
