"""Ways to differentiate a discrete draw: a table of all against known derivatives."""

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Real
from detopt.errors import DomainError, MethodError
from detopt.gradients import (
    UNBIASED,
    WAYS,
    Bernoulli,
    Categorical,
    Draws,
    Poisson,
    Verdict,
    check_gradients,
    draw_through,
)
from detopt.pipeline import FunctionProblem
from detopt.usecases import load

N = 40_000
A = 0.6


def coin(a, n):
    p = torch.sigmoid(a)
    value, slope = (1 + a) ** 2, 2 * (1 + a)  # if one; 1 - a if zero
    exact = p * (1 - p) * (value - (1 - a)) + p * slope - (1 - p)
    return Bernoulli(p.expand(n)), lambda k: torch.where(k > 0.5, (1 + a) ** 2, 1 - a), exact


def choice(a, n):
    p = torch.softmax(torch.stack([a, -a, a * 0, a**2]), 0)
    values = torch.stack([a, 2 + a * 0, 3 * a, -1 + a * 0])
    (exact,) = torch.autograd.grad((p * values).sum(), a, retain_graph=True)
    return Categorical(p.expand(n, 4)), lambda k: (k * values).sum(1) ** 1, exact


def count(a, n):  # E[a N^2] with rate exp(a): a (r + r^2)
    r = a.exp()
    exact = r + r**2 + a * (r + 2 * r**2)
    return Poisson(r.expand(n)), lambda k: a * k**2, exact


KINDS = {"coin": coin, "choice": choice, "count": count}
POSSIBLE = [(k, w) for k in KINDS for w in sorted(UNBIASED) if (k, w) != ("count", "exact")]


@pytest.mark.parametrize(("kind", "way"), POSSIBLE)
def test_unbiased_way_has_the_known_derivative(kind, way, rng):
    a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
    distribution, continuation, exact = KINDS[kind](a, N)
    values = draw_through(distribution, continuation, way, rng)
    (found,) = torch.autograd.grad(values.mean(), a)
    assert found.item() == pytest.approx(exact.item(), rel=1e-9 if way == "exact" else 0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_naive_way_has_the_derivative_of_what_follows_alone(kind, rng):
    a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
    distribution, continuation, exact = KINDS[kind](a, N)
    (found,) = torch.autograd.grad(draw_through(distribution, continuation, "naive", rng).mean(), a)
    assert abs(found.item() - exact.item()) > 0.1 * abs(exact.item())


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_values_do_not_depend_on_the_way(kind):
    a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
    distribution, continuation, _ = KINDS[kind](a, 100)
    values = [
        draw_through(distribution, continuation, way, torch.Generator().manual_seed(5))
        for way in WAYS
        if way != "exact"
    ]
    for other in values[1:]:
        assert torch.equal(other, values[0])


def test_exact_sum_has_no_noise_of_the_draw(rng):
    a = torch.tensor(A, dtype=torch.float64)
    distribution, continuation, _ = coin(a, 50)
    values = draw_through(distribution, continuation, "exact", rng)
    assert values.std().item() < 1e-12


def test_straight_through_is_right_for_what_is_linear_in_the_outcome(rng):
    p = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    values = draw_through(Bernoulli(p.expand(20)), lambda k: 3 * k + 1, "straight_through", rng)
    (found,) = torch.autograd.grad(values.mean(), p)
    assert found.item() == pytest.approx(3.0)


def test_columns_are_differentiated_each(rng):
    p = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for way in sorted(UNBIASED):
        values = draw_through(
            Bernoulli(p.expand(N)), lambda k: torch.stack([k, 5 * k**2], 1), way, rng
        )
        for column, slope in enumerate((1.0, 5.0)):
            mean = values[:, column].mean()
            (found,) = torch.autograd.grad(mean, p, retain_graph=True)
            assert found.item() == pytest.approx(slope, rel=0.03)


@pytest.mark.parametrize(("first", "second"), [("score", "measure_valued"), ("exact", "score")])
def test_draws_in_a_row_may_be_treated_in_two_ways(first, second, rng):
    a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
    p, r = torch.sigmoid(a), a.exp()  # N ~ Poisson(r) if the coin shows one, of mean p r^2 + p r

    def after_the_coin(k):
        return draw_through(Poisson(r.expand(N)), lambda n: k * n**2, second, rng)

    values = draw_through(Bernoulli(p.expand(N)), after_the_coin, first, rng)
    (found,) = torch.autograd.grad(values.mean(), a)
    exact = p * (1 - p) * (r + r**2) + p * (r + 2 * r**2)
    assert found.item() == pytest.approx(exact.item(), rel=0.05)


def test_gradient_of_a_deterministic_treatment_matches_differences():
    def mean(a):
        distribution, continuation, _ = choice(a, 3)
        return draw_through(distribution, continuation, "exact", torch.Generator()).mean()

    a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mean, a)


@pytest.mark.parametrize("way", WAYS)
def test_check_on_the_hump_tells_right_from_wrong(way):
    problem = load("hump").build({"draws": way})
    theta = torch.tensor([0.3, 1.0], dtype=torch.float64)
    checks = check_gradients(problem, theta=theta, n_repeats=12)
    verdicts = {check.verdict for check in checks}
    if way in UNBIASED:
        assert verdicts == {Verdict.AGREES}
    else:
        assert Verdict.BIASED in verdicts


def detector(way):
    """Noise, then an absorption with a probability, then resolution, then a ratio of sums."""

    def values(design, n, rng):
        a, b = design["a"], design["b"]
        depth = a.exp() * torch.rand(n, generator=rng, dtype=a.dtype)
        noise = torch.randn(n, generator=rng, dtype=a.dtype)

        def measured(seen):
            return seen * (depth + b * noise - 1) ** 2 + (1 - seen) * 5

        return draw_through(Bernoulli(torch.exp(-depth * b.exp())), measured, way, rng)

    space = DesignSpace([Continuous("a", 0.4, Real()), Continuous("b", 0.2, Real())])
    return FunctionProblem(space, values, n_events=1_500)


@pytest.mark.parametrize("way", WAYS)
def test_one_stage_is_treated_apart_and_the_others_stay_pathwise(way):
    verdicts = {check.verdict for check in check_gradients(detector(way), n_repeats=12)}
    # seen and not seen are mixed linearly, which is all that straight-through asks for
    assert (verdicts == {Verdict.AGREES}) == (way != "naive")


def test_unknown_way_is_refused(rng):
    with pytest.raises(MethodError, match=r"`way` must be one of naive, .* got 'magic'"):
        draw_through.__wrapped__(Bernoulli(torch.ones(2)), lambda k: k, "magic", rng)


def test_values_that_are_not_by_row_are_refused(rng):
    with pytest.raises(DomainError, match="a value for each"):
        draw_through(Bernoulli(torch.ones(2)), lambda k: k.sum(), "naive", rng)


def test_draws_of_several_stages_meet_at_the_end(rng):
    a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
    draws = Draws(N)
    first = draws.draw(Bernoulli(torch.sigmoid(a).expand(N)), rng)
    second = draws.draw(Poisson((1 + first) * a.exp()), rng)
    values = draws.attach(second * (1 + first) * a)
    (found,) = torch.autograd.grad(values.mean(), a)
    p, r = torch.sigmoid(a), a.exp()
    (exact,) = torch.autograd.grad(a * r * ((1 - p) + 4 * p), a)
    assert found.item() == pytest.approx(exact.item(), rel=0.05)
