"""Categories for gradient methods: soft weights, drawn choices, and every combination."""

import dataclasses

import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Integer, Limit, Real
from detopt.errors import DesignError, MethodError
from detopt.gradients import GaussianSmoothing, LocalRegression
from detopt.optimizers import RelaxedCategorical, make
from detopt.pipeline import Evaluation, FunctionProblem, evaluate
from detopt.random import Seed

CHOICES = ("a", "b", "c", "d")
PRICES = torch.tensor([0.5, 1.0, 0.0, 0.8], dtype=torch.float64)
BEST_X = torch.tensor([0.0, 0.1, 0.3, -0.1], dtype=torch.float64)  # of each choice


def by_index(design, n_events, rng):
    glue = design["glue"].long()
    noise = 0.1 * torch.randn(n_events, generator=rng, dtype=torch.float64)
    return (design["x"] - BEST_X[glue]) ** 2 + PRICES[glue] + noise


def by_weights(design, n_events, rng):
    noise = 0.1 * torch.randn(n_events, generator=rng, dtype=torch.float64)
    return (design["x"] - design["glue"] @ BEST_X) ** 2 + design["glue"] @ PRICES + noise


HARD = DesignSpace([Continuous("x", 0.6, Real()), Categorical("glue", CHOICES, "a")])
SOFT = DesignSpace([Continuous("x", 0.6, Real()), RelaxedCategorical("glue", CHOICES, "a")])


def problem_of(function, space):
    return FunctionProblem(space, function, n_events=10, dtype=torch.float64)


def walk(optimizer, problem, n_rounds):
    for _ in range(n_rounds):
        requests = [dataclasses.replace(r, std_error=False) for r in optimizer.ask()]
        optimizer.tell([evaluate(problem, request, Seed(0)) for request in requests])
    return optimizer


# --- weights


def test_weights_are_those_of_one_choice():
    value = SOFT.design(torch.tensor([0.0, 0.3, -1.0, 0.9, 0.2], dtype=torch.float64))["glue"]
    assert value.tolist() == [0.0, 0.0, 1.0, 0.0]


def test_gradient_is_that_of_the_softmax():
    parameter = RelaxedCategorical("glue", CHOICES, "a", temperature=0.7)
    theta = torch.tensor([0.3, -1.0, 0.9, 0.2], dtype=torch.float64, requires_grad=True)
    found = torch.autograd.functional.jacobian(parameter.decode, theta)
    soft = torch.autograd.functional.jacobian(lambda t: torch.softmax(t / 0.7, dim=0), theta)
    torch.testing.assert_close(found, soft)


def test_weights_go_there_and_back():
    parameter = RelaxedCategorical("glue", CHOICES, "c")
    assert torch.equal(parameter.decode(parameter.encode(parameter.start_value)), PRICES == 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("glue", ("a", "a"), "a"), "must differ"),
        (("glue", ("a", "b"), "c"), "must be one of a, b; got 'c'"),
        (("glue", ("a", "b"), "a", 0.0), "temperature of `glue` must be > 0, got 0.0"),
        (("my glue", ("a", "b"), "a"), "must be a Python identifier"),
    ],
)
def test_unusable_category_is_refused(arguments, message):
    with pytest.raises(DesignError, match=message):
        RelaxedCategorical(*arguments)


@pytest.mark.parametrize("weights", [[0.5, 0.5, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0]])
def test_weights_of_no_single_choice_are_refused(weights):
    with pytest.raises(DesignError, match="`glue` must"):
        SOFT.check({"x": torch.tensor(0.0), "glue": torch.tensor(weights)})


# --- drawn choices


@pytest.mark.parametrize(("space", "function"), [(HARD, by_index), (SOFT, by_weights)])
def test_best_choice_and_its_continuous_part_are_found(space, function):
    optimizer = make("gumbel_softmax", space, 60, {"learning_rate": 0.2, "n_draws": 4})
    walk(optimizer, problem_of(function, space), 60)
    best = space.design(optimizer.recommend())
    chosen = int(best["glue"]) if space is HARD else int(best["glue"].argmax())
    assert CHOICES[chosen] == "c"
    assert float(best["x"]) == pytest.approx(0.3, abs=0.1)


def test_gradient_of_the_odds_is_unbiased():
    """Against the exact sum over the choices, and its own standard error."""
    theta = torch.tensor([0.2, 0.4, -0.3, 0.1, 0.5], dtype=torch.float64)
    optimizer = make("gumbel_softmax", HARD, 10, {"n_draws": 4_000})
    requests = optimizer.estimator.requests(theta, ("round", 0), None)

    def answer(request):
        x, choice = request.theta[0], request.theta[1:].argmax()
        value = float((x - BEST_X[choice]) ** 2 + PRICES[choice])
        slope = torch.zeros(5, dtype=torch.float64)
        slope[0] = 2 * (x - BEST_X[choice])
        return Evaluation(request, value, 0.0, slope, torch.zeros(5))

    estimate = optimizer.estimator.combine([answer(request) for request in requests])
    leaf = theta.clone().requires_grad_()
    odds = torch.softmax(leaf[1:], dim=0)
    mean = (odds * ((leaf[0] - BEST_X) ** 2 + PRICES)).sum()
    (exact,) = torch.autograd.grad(mean, leaf)
    assert estimate.value == pytest.approx(mean.item(), abs=0.03)
    pulls = (estimate.gradient - exact) / estimate.gradient_std_error
    assert float(pulls.abs().max()) < 3
    assert float(estimate.gradient_std_error.max()) < 0.02


def test_limits_and_whole_numbers_are_refused_by_drawn_choices():
    limited = DesignSpace(HARD.parameters, limits=[Limit("x", lambda d: d["x"], 2.0)])
    with pytest.raises(MethodError, match="cannot keep the limits of x"):
        make("gumbel_softmax", limited, 5)
    with pytest.raises(MethodError, match="cannot choose the whole numbers n"):
        make("gumbel_softmax", DesignSpace([*HARD.parameters, Integer("n", 1, 0, 3)]), 5)
    with pytest.raises(MethodError, match="no free category to draw"):
        make("gumbel_softmax", HARD.freeze("glue"), 5)


@pytest.mark.parametrize("estimator", [GaussianSmoothing(n_pairs=2), LocalRegression(n_pairs=2)])
def test_drawn_choices_look_along_directions_of_their_own(estimator):
    """The reported error of the gradient is its scatter over rounds."""
    space = DesignSpace(
        [Continuous("x", [0.1 * i for i in range(8)], Real()), Categorical("c", ("a", "b"), "a")]
    )

    def bowl(design, n_events, rng):
        return ((design["x"] - 2).square().sum() + design["c"]).expand(n_events)

    problem = problem_of(bowl, space)
    optimizer = make("gumbel_softmax", space, 20, {"estimator": estimator, "n_draws": 8}, problem)
    found = []
    for k in range(25):
        requests = optimizer.estimator.requests(optimizer.theta, ("round", k), None)
        assert {request.stream for request in requests} == {("round", k)}  # common events
        answers = [
            evaluate(problem, dataclasses.replace(r, std_error=False), Seed(0)) for r in requests
        ]
        found.append(optimizer.estimator.combine(answers))
    scatter = torch.stack([one.gradient for one in found])[:, :8].std(0).mean()
    reported = torch.stack([one.gradient_std_error for one in found])[:, :8].mean()
    assert float(reported / scatter) == pytest.approx(1.0, abs=0.2)


def test_odds_are_those_of_the_round_where_designs_have_their_own_events():
    """Against the difference of the choices' objectives: (1 - 0) p (1 - p) at equal odds."""
    space = DesignSpace([Continuous("x", 0.0, Real()), Categorical("c", ("a", "b"), "a")])
    estimator = LocalRegression(common_random_numbers=False)
    optimizer = make("gumbel_softmax", space, 20, {"estimator": estimator, "n_draws": 300})
    theta = torch.zeros(3, dtype=torch.float64)
    requests = optimizer.estimator.requests(theta, ("round", 0), None)
    assert len({request.stream for request in requests}) == len(requests) // 300
    answers = [Evaluation(r, float(space.design(r.theta)["c"]), 0.1, None, None) for r in requests]
    gradient = optimizer.estimator.combine(answers).gradient
    assert gradient[1:].tolist() == pytest.approx([-0.25, 0.25], abs=0.05)


def test_error_of_the_mean_covers_what_all_draws_share():
    """Over rounds: events shift all draws of a round alike."""
    space = DesignSpace([Continuous("x", 0.0, Real()), Categorical("c", ("a", "b"), "a")])

    def shifted(design, n_events, rng):
        noise = torch.randn(n_events, generator=rng, dtype=torch.float64)
        return design["x"] + 0.3 * design["c"] + noise

    problem = problem_of(shifted, space)
    optimizer = make("gumbel_softmax", space, 20, {"n_draws": 8}, problem)
    theta = torch.zeros(3, dtype=torch.float64)
    values, errors = [], []
    for k in range(40):
        requests = optimizer.estimator.requests(theta, ("round", k), 10)
        found = optimizer.estimator.combine([evaluate(problem, r, Seed(0)) for r in requests])
        values.append(found.value)
        errors.append(found.value_std_error)
    scatter = float(torch.tensor(values).std())
    assert sum(errors) / len(errors) == pytest.approx(scatter, rel=0.35)


def test_error_of_the_gradient_covers_what_all_draws_share():
    """Over rounds: events tilt the objective of all draws of a round alike."""
    space = DesignSpace([Continuous("x", 0.0, Real()), Categorical("c", ("a", "b"), "a")])

    def tilted(design, n_events, rng):
        noise = torch.randn(n_events, generator=rng, dtype=torch.float64)
        return (1 + noise) * design["x"] + 0.3 * design["c"]

    problem = FunctionProblem(space, tilted, n_events=40, chunk_size=4, dtype=torch.float64)
    optimizer = make("gumbel_softmax", space, 20, {"n_draws": 8}, problem)
    slopes, errors = [], []
    for k in range(40):
        requests = optimizer.estimator.requests(torch.zeros(3).double(), ("round", k), None)
        requests = [dataclasses.replace(r, std_error=False) for r in requests]
        found = optimizer.estimator.combine([evaluate(problem, r, Seed(0)) for r in requests])
        slopes.append(float(found.gradient[0]))
        errors.append(float(found.gradient_std_error[0]))
    scatter = float(torch.tensor(slopes).std())
    assert scatter == pytest.approx(40**-0.5, rel=0.35)
    assert sum(errors) / len(errors) == pytest.approx(scatter, rel=0.35)
