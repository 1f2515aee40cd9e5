"""Expected uncertainty as an objective: values, the gradient trap of Asimov data, refusals."""

from dataclasses import replace

import pytest
import torch

from detopt.design import Continuous, Design, DesignSpace, Real
from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.gradients import Verdict, check_gradients
from detopt.objectives import (
    BinnedEvents,
    ExpectedUncertainty,
    Templates,
    by_weights,
    expected_uncertainty,
)
from detopt.pipeline import FunctionProblem

NOTHING = Design({})


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def events(rng):
    """Random soft shares in four bins, with weights and scores of two parameters."""
    scores = torch.randn(60, 4, generator=rng, dtype=torch.float64)
    weights = 50 + 100 * torch.rand(60, generator=rng, dtype=torch.float64)
    slopes = torch.randn(60, 2, generator=rng, dtype=torch.float64)
    return by_weights(torch.softmax(scores, dim=-1), weights, slopes)


def test_templates_are_weighted_means(events):
    templates = events.templates()
    counts = (events.weights.unsqueeze(-1) * events.shares).mean(dim=0)
    torch.testing.assert_close(templates.counts, counts)
    for a in range(2):
        slope = (events.weight_slopes[:, a : a + 1] * events.shares).mean(dim=0)
        torch.testing.assert_close(templates.slopes[:, a], slope)
    assert templates.counts.sum().item() == pytest.approx(float(events.weights.mean()))


def test_simulation_variance_is_that_of_weighted_counts():  # by hand: sum w^2 p^2 / n^2
    shares = tensor([1.0, 0.0], [0.5, 0.5])
    none = torch.zeros(2, 2, 0, dtype=torch.float64)
    rows = BinnedEvents(shares, tensor(2.0, 4.0), torch.ones(2, 1, dtype=torch.float64), none)
    torch.testing.assert_close(rows.templates().simulation_variance, tensor(2.0, 1.0))


def test_templates_of_single_precision_are_double(events):
    single = events.replace([t.to(torch.float32) for t in events.tensors()])
    assert single.templates().counts.dtype is torch.float64


def test_counting_experiment_has_the_known_uncertainty():  # sqrt(s + b)
    templates = Templates(tensor(1050.0), tensor([1.0]), tensor(0.0))
    assert expected_uncertainty(templates).item() == pytest.approx(1050**0.5)


def test_simulation_errors_add_to_the_variance():
    templates = Templates(tensor(100.0), tensor([1.0]), tensor(44.0))
    assert expected_uncertainty(templates, simulation_errors=True).item() == pytest.approx(12.0)


def test_stage_gives_value_and_value_without_nuisances(events):
    outcome = ExpectedUncertainty(["s", "r"], {"r": 0.4})(events, NOTHING)
    templates = events.templates()
    widths = tensor(torch.inf, 0.4)
    torch.testing.assert_close(
        outcome.objective, expected_uncertainty(templates, prior_widths=widths)
    )
    alone = replace(templates, slopes=templates.slopes[:, :1])
    torch.testing.assert_close(outcome.terms["without_nuisances"], expected_uncertainty(alone))
    assert outcome.objective > outcome.terms["without_nuisances"]


def test_parameter_of_interest_is_found_by_name(events):
    by_name = ExpectedUncertainty(["r", "s"], interest="s")
    swapped = replace(events, weight_slopes=events.weight_slopes.flip(-1))
    torch.testing.assert_close(
        by_name(swapped, NOTHING).objective,
        ExpectedUncertainty(["s", "r"])(events, NOTHING).objective,
    )


def test_price_is_the_cost(events):
    stage = ExpectedUncertainty(["s", "r"], price=lambda design: tensor(3.0).sum())
    assert stage(events, NOTHING).cost.item() == 3.0


def test_gradient_matches_finite_differences(rng):
    scores = torch.randn(12, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    weights = (1 + torch.rand(12, generator=rng, dtype=torch.float64)).requires_grad_()
    slopes = torch.randn(12, 2, generator=rng, dtype=torch.float64)
    stage = ExpectedUncertainty(["s", "r"], {"r": 1.0})

    def sigma(scores, weights):
        return stage(by_weights(torch.softmax(scores, -1), weights, slopes), NOTHING).objective

    assert torch.autograd.gradcheck(sigma, (scores, weights))


# The mistake that keeps the value and ruins the gradient: Asimov data held fixed.

SHAPES = torch.linspace(-2, 2, 41, dtype=torch.float64)


def counts_of(design, theta):
    """Five soft bins of a peak over a background that theta tilts; the design moves the bins."""
    s, tilt = theta
    centers = torch.stack([design["a"] + k * design["b"] for k in range(-2, 3)])
    shares = torch.softmax(-(SHAPES.unsqueeze(-1) - centers).square() / 0.2, dim=-1)
    peak = torch.exp(-SHAPES.square() / 0.18)
    background = 1 + 0.3 * SHAPES + 0.2 * SHAPES.square()
    density = s * peak / peak.sum() + 1000 / 41 * background * torch.exp(tilt * SHAPES)
    return density @ shares


@torch.enable_grad()
def sigma_by_hessian(design, *, detach):
    theta = tensor(50.0, 0.0).requires_grad_()
    asimov = counts_of(design, theta.detach())
    asimov = asimov.detach() if detach else asimov
    counts = counts_of(design, theta)
    nll = (counts - asimov * counts.log()).sum()
    (slope,) = torch.autograd.grad(nll, theta, create_graph=True)
    rows = [torch.autograd.grad(slope[i], theta, create_graph=True)[0] for i in range(2)]
    return torch.linalg.inv(torch.stack(rows))[0, 0].sqrt()


def sigma_by_fisher(design):
    theta = tensor(50.0, 0.0)
    slopes = torch.autograd.functional.jacobian(
        lambda t: counts_of(design, t), theta, create_graph=True
    )
    counts = counts_of(design, theta)
    return expected_uncertainty(Templates(counts, slopes, torch.zeros_like(counts)))


FORMS = {
    "first derivatives": sigma_by_fisher,
    "Hessian, Asimov data of the design": lambda design: sigma_by_hessian(design, detach=False),
    "Hessian, Asimov data detached": lambda design: sigma_by_hessian(design, detach=True),
}


def trap(form):
    space = DesignSpace([Continuous("a", 0.3, Real()), Continuous("b", 0.7, Real())])
    return FunctionProblem(space, lambda design, n, rng: FORMS[form](design).expand(n), n_events=2)


def test_all_forms_have_the_same_value():
    design = trap("first derivatives").space.start
    values = torch.stack([form(design) for form in FORMS.values()])
    torch.testing.assert_close(values, values[:1].expand(3))


@pytest.mark.parametrize("form", FORMS)
def test_gradient_check_catches_detached_asimov_data(form):
    verdicts = {check.verdict for check in check_gradients(trap(form), n_repeats=8)}
    expected = Verdict.BIASED if "detached" in form else Verdict.AGREES
    assert verdicts == {expected}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ConfigError, "`names` must not be empty"),
        ((["s"], {"r": 1.0}), NotFoundError, "No parameter `r`. There are: s"),
        ((["s", "r"], {"r": 0.0}), ConfigError, "The width of `r` must be > 0"),
    ],
)
def test_unusable_parameters_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        ExpectedUncertainty(*arguments)


def test_unknown_interest_is_refused():
    with pytest.raises(NotFoundError, match="No parameter `mass`"):
        ExpectedUncertainty(["s"], interest="mass")


def test_parameters_that_bins_cannot_tell_apart_are_named(events):
    same = replace(events, weight_slopes=events.weight_slopes[:, :1].expand(-1, 2))
    with pytest.raises(DomainError, match="do not tell `s` apart"):
        ExpectedUncertainty(["s", "r"])(same, NOTHING)


def test_slopes_of_shares_of_another_number_of_parameters_are_refused(events):
    odd = replace(events, share_slopes=torch.zeros(60, 4, 3, dtype=torch.float64))
    with pytest.raises(DomainError, match="must have 0 or 2 parameters, got 3"):
        odd.templates()
