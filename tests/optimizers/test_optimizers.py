"""Optimizers: they find minima, refuse what they cannot do, and go on to the same bits."""

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from detopt.design import Categorical, Continuous, DesignSpace, Integer, Interval, Limit, Real
from detopt.errors import MethodError, NotFoundError
from detopt.gradients import FiniteDifferences, Pathwise
from detopt.optimizers import METHODS, LocalSurrogate, make
from detopt.pipeline import Evaluation, FunctionProblem, evaluate
from detopt.random import Seed

SPACE = DesignSpace([Continuous("a", -0.5, Real()), Continuous("b", [0.5, 1.0], Real())])
MINIMUM = (1.0, 2.0, -1.0)  # of the quadratic
EFFORT = {  # rounds and options that suffice for both functions
    "adam": (150, {"learning_rate": 0.2}),
    "sgd": (300, {"learning_rate": 0.1}),
    "lbfgsb": (60, {}),
    "cma": (50, {"population": 12}),
    "local_surrogate": (150, {}),
}
every_method = pytest.mark.parametrize("method", EFFORT)
by_gradient = pytest.mark.parametrize(
    "method", [name for name in EFFORT if METHODS[name].uses_gradients]
)


def quadratic(design, n_events, rng):
    noise = 0.3 * torch.randn(3, n_events, generator=rng, dtype=torch.float64)
    theta = torch.cat([design["a"].reshape(1), design["b"]])
    target = torch.tensor(MINIMUM, dtype=torch.float64)
    return ((theta - target)[:, None] + noise).square().sum(0)


def valley(design, n_events, rng):
    """Rosenbrock's function with a milder wall, and noise that the design does not touch."""
    a, (b, c) = design["a"], design["b"]
    noise = torch.randn(n_events, generator=rng, dtype=torch.float64)
    return 0.5 * (1 - a) ** 2 + 2 * (b - a**2) ** 2 + c**2 + 0.1 * noise


def problem_of(function, space=SPACE):
    return FunctionProblem(space, function, n_events=20, dtype=torch.float64)


def answers(optimizer, problem, seed=0):
    needs_errors = isinstance(optimizer, LocalSurrogate)
    requests = [dataclasses.replace(r, std_error=needs_errors) for r in optimizer.ask()]
    return [evaluate(problem, request, Seed(seed)) for request in requests]


def walk(optimizer, problem, n_rounds):
    path = []
    for _ in range(n_rounds):
        if optimizer.finished:
            break
        optimizer.tell(answers(optimizer, problem))
        path.append(optimizer.theta)
    return path


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


# --- minima


@every_method
def test_minimum_of_a_noisy_quadratic_is_found(method):
    n_rounds, options = EFFORT[method]
    optimizer = make(method, SPACE, n_rounds, options)
    walk(optimizer, problem_of(quadratic), n_rounds)
    # L-BFGS-B finds that of its sample, 0.3 / sqrt(20) away
    assert optimizer.recommend().tolist() == pytest.approx(MINIMUM, abs=0.2)


@every_method
def test_minimum_of_a_curved_valley_is_found(method):
    n_rounds, options = EFFORT[method]
    optimizer = make(method, SPACE, n_rounds, options)
    walk(optimizer, problem_of(valley), n_rounds)
    assert optimizer.recommend().tolist() == pytest.approx((1.0, 1.0, 0.0), abs=0.15)


@by_gradient
@pytest.mark.parametrize(
    ("name", "kind", "n_requests"),
    [("pathwise", Pathwise, 1), ("finite_differences", FiniteDifferences, 7)],
)
def test_estimator_is_chosen_by_its_name(method, name, kind, n_requests):
    optimizer = make(method, SPACE, 40, {"estimator": name})
    assert isinstance(optimizer.estimator, kind)
    assert len(optimizer.ask()) == n_requests


@by_gradient
def test_differences_find_the_minimum_too(method):
    n_rounds, options = EFFORT[method]
    n_rounds = min(n_rounds, 60)
    optimizer = make(method, SPACE, n_rounds, {**options, "estimator": "finite_differences"})
    walk(optimizer, problem_of(quadratic), n_rounds)
    assert optimizer.recommend().tolist() == pytest.approx(MINIMUM, abs=0.2)


def test_one_parameter_is_enough_for_cma():
    space = DesignSpace([Continuous("a", 3.0, Real())])
    optimizer = make("cma", space, 25)
    walk(optimizer, problem_of(lambda d, n, rng: (d["a"] - 1).square().expand(n), space), 25)
    assert optimizer.recommend().item() == pytest.approx(1.0, abs=0.02)


def test_cma_chooses_discrete_parameters():
    space = DesignSpace(
        [
            Continuous("a", 3.0, Real()),
            Integer("n", 1, 0, 9),
            Categorical("glue", ("a", "b", "c"), "a"),
        ]
    )

    def loss(design, n_events, rng):
        wrong = (design["glue"] != 2).double()
        return ((design["a"] - 1) ** 2 + (design["n"] - 6) ** 2 + wrong).expand(n_events)

    optimizer = make("cma", space, 40, {"population": 16})
    walk(optimizer, problem_of(loss, space), 40)
    best = space.design(optimizer.recommend())
    assert (best["n"].item(), best["glue"].item()) == (6.0, 2.0)


@pytest.mark.parametrize("method", ["adam", "sgd"])
def test_last_quarter_of_the_path_is_averaged(method):
    optimizer = make(method, SPACE, 8, {"learning_rate": 0.1})
    path = walk(optimizer, problem_of(quadratic), 8)
    torch.testing.assert_close(optimizer.recommend(), torch.stack(path[-2:]).mean(0))


# --- going on


@every_method
@pytest.mark.parametrize("stop", [0, 1, 4, 7])
def test_stored_state_goes_on_to_the_same_bits(method, stop):
    problem, options = problem_of(quadratic), EFFORT[method][1]
    whole = make(method, SPACE, 8, options)
    walk(whole, problem, 8)

    first = make(method, SPACE, 8, options)
    walk(first, problem, stop)
    second = make(method, SPACE, 8, options)
    second.load_state_dict(through_a_file(first.state_dict()))
    walk(second, problem, 8 - stop)

    assert second.round == whole.round
    assert second.finished == whole.finished
    assert torch.equal(second.theta, whole.theta)
    assert torch.equal(second.recommend(), whole.recommend())


@every_method
def test_stored_state_does_not_change_with_the_optimizer(method):
    optimizer = make(method, SPACE, 8, EFFORT[method][1])
    walk(optimizer, problem_of(quadratic), 2)
    state = optimizer.state_dict()
    before = repr(state)
    walk(optimizer, problem_of(quadratic), 2)
    assert repr(state) == before


@every_method
def test_state_of_another_space_is_refused(method):
    state = make(method, SPACE, 8).state_dict()
    with pytest.raises(MethodError, match="another design space"):
        make(method, SPACE.freeze("a"), 8).load_state_dict(state)


@every_method
def test_same_optimizer_takes_the_same_path(method):
    paths = [
        walk(make(method, SPACE, 5, EFFORT[method][1]), problem_of(quadratic), 5) for _ in range(2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*paths, strict=True))


def test_seed_of_cma_changes_its_path():
    asked = [make("cma", SPACE, 5, {"seed": seed}).ask()[0].theta for seed in (0, 1)]
    assert not torch.equal(*asked)


def test_cma_leaves_the_global_generators_alone():
    name, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    walk(make("cma", SPACE, 3, {"seed": 4}), problem_of(quadratic), 3)
    after = np.random.get_state()  # noqa: NPY002
    assert (name, position) == (after[0], after[2])
    assert np.array_equal(keys, after[1])
    assert torch.equal(torch_state, torch.get_rng_state())


# --- streams


def test_designs_of_a_local_surrogate_have_events_of_their_own():
    requests = make("local_surrogate", SPACE, 5).ask()
    assert len({request.stream for request in requests}) == len(requests) == 4


@pytest.mark.parametrize("method", ["adam", "sgd", "lbfgsb", "cma"])
def test_round_shares_its_random_numbers(method):
    assert len({request.stream for request in make(method, SPACE, 5).ask()}) == 1


@pytest.mark.parametrize(
    ("method", "n_streams"), [("adam", 4), ("sgd", 4), ("cma", 4), ("lbfgsb", 1)]
)
def test_rounds_have_fresh_events_except_on_a_fixed_sample(method, n_streams):
    optimizer = make(method, SPACE, 10)
    streams = set()
    for _ in range(4):
        streams.add(optimizer.ask()[0].stream)
        optimizer.tell(answers(optimizer, problem_of(quadratic)))
    assert len(streams) == n_streams


# --- gradient descent


def told(optimizer, gradient, value=1.0):
    request = optimizer.ask()[0]
    gradient = torch.tensor(gradient, dtype=torch.float64)
    optimizer.tell([Evaluation(request, value, 0.1, gradient, torch.zeros_like(gradient))])


def test_step_of_plain_descent_is_the_rate_times_the_gradient():  # by definition
    optimizer = make("sgd", SPACE, 10, {"learning_rate": 0.5})
    told(optimizer, [0.2, 0.0, -0.4])
    assert optimizer.theta.tolist() == pytest.approx([-0.5 - 0.1, 0.5, 1.0 + 0.2])


def test_learning_rate_falls_to_its_floor():
    optimizer = make("sgd", SPACE, 1_000, {"learning_rate": 1.0})
    optimizer.round = 999
    told(optimizer, [1.0, 0.0, 0.0])
    assert optimizer.theta[0].item() == pytest.approx(-0.5 - 0.02, abs=1e-4)


def test_outlier_is_shortened_to_the_usual_length():
    optimizer = make("sgd", SPACE, 10**6, {"learning_rate": 1.0, "max_norm": 3.0})
    for _ in range(5):
        told(optimizer, [0.1, 0.0, 0.0])
    before = optimizer.theta
    told(optimizer, [0.0, 1e6, 0.0])
    assert (optimizer.theta - before).tolist() == pytest.approx([0.0, -0.3, 0.0])


@by_gradient
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradient_that_is_not_finite_stops_the_method(method, bad):
    optimizer = make(method, SPACE, 10)
    before = repr(optimizer.state_dict())
    with pytest.raises(MethodError, match=r"gradient of `b\[1\]` is not finite in round 0"):
        told(optimizer, [0.1, 0.2, bad])
    assert repr(optimizer.state_dict()) == before


@by_gradient
def test_objective_that_is_not_finite_stops_the_method(method):
    with pytest.raises(MethodError, match="objective is not finite in round 0"):
        told(make(method, SPACE, 10), [0.1, 0.2, 0.3], value=math.nan)


def test_design_without_an_objective_ranks_last():
    def loss(design, n_events, rng):
        value = (design["a"] - 1).square() + design["b"].square().sum()
        return torch.where(design["a"] < 0.3, torch.nan, value).expand(n_events)

    optimizer = make("cma", SPACE, 40, {"population": 12, "step": 2.0})
    walk(optimizer, problem_of(loss), 40)
    assert optimizer.recommend().tolist() == pytest.approx((1.0, 0.0, 0.0), abs=0.05)


def test_population_without_any_objective_stops_the_search():
    nothing = problem_of(lambda d, n, rng: torch.full((n,), torch.nan, dtype=torch.float64))
    with pytest.raises(MethodError, match="finite for no design of round 0"):
        walk(make("cma", SPACE, 5), nothing, 1)


# --- L-BFGS-B


def directly(problem, space, bound=8.0):
    """What SciPy finds when it calls the same function itself."""
    start = space.theta(space.start)
    template = make("lbfgsb", space, 1)

    def function(point):
        requests = Pathwise().requests(torch.as_tensor(np.array(point)), ("sample",), None)
        found = evaluate(problem, requests[0], Seed(0))
        return found.value, found.gradient.numpy()

    bounds = [(s - bound, s + bound) for s in template.theta.tolist()]
    return minimize(function, start.numpy(), jac=True, method="L-BFGS-B", bounds=bounds)


@pytest.mark.parametrize("function", [quadratic, valley])
def test_replay_is_scipy_itself(function):
    problem = problem_of(function)
    expected = directly(problem, SPACE)
    optimizer = make("lbfgsb", SPACE, 200)
    walk(optimizer, problem, 200)
    assert optimizer.finished
    assert optimizer.round == expected.nfev
    assert optimizer.recommend().tolist() == expected.x.tolist()


def test_start_far_from_zero_is_no_obstacle():
    space = DesignSpace([Continuous("a", 30.0, Real())])
    problem = problem_of(lambda d, n, rng: (d["a"] - 25).square().expand(n), space)
    optimizer = make("lbfgsb", space, 50)
    walk(optimizer, problem, 50)
    assert optimizer.recommend().item() == pytest.approx(25.0, abs=1e-5)


def test_bound_limits_the_walk():
    optimizer = make("lbfgsb", SPACE, 50, {"bound": 0.25})
    walk(optimizer, problem_of(quadratic), 50)
    distance = (optimizer.recommend() - SPACE.theta(SPACE.start)).abs()
    assert distance.max().item() == pytest.approx(0.25)


def test_nothing_known_recommends_the_start():
    optimizer = make("lbfgsb", SPACE, 5)
    assert torch.equal(optimizer.recommend(), SPACE.theta(SPACE.start))


# --- refusals


def test_unknown_method_is_refused():
    with pytest.raises(
        NotFoundError, match=r"No method `adamm`\. There are: adam, sgd, lbfgsb, cma"
    ):
        make("adamm", SPACE, 5)


@by_gradient
def test_unknown_estimator_is_refused(method):
    with pytest.raises(
        NotFoundError, match=r"No gradient estimator `pathwize`\. There are: pathwise"
    ):
        make(method, SPACE, 5, {"estimator": "pathwize"})


@every_method
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rat": 0.1}, "does not take these options: learning_rat"),
        ({"n_events": 0}, "`n_events` must be a whole number >= 1, got 0"),
        ({"n_events": "many"}, "`n_events` must be a whole number >= 1, got 'many'"),
        ({"estimator": 5}, "`estimator` must be a name or a GradientEstimator, got 5"),
    ],
)
def test_unusable_option_is_refused(method, options, message):
    with pytest.raises(MethodError, match=message):
        make(method, SPACE, 5, options)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("adam", {"learning_rate": 0.0}, "`learning_rate` must be > 0, got 0.0"),
        ("adam", {"learning_rate": math.nan}, "`learning_rate` must be > 0, got nan"),
        ("sgd", {"max_norm": -1.0}, "`max_norm` must be > 0, got -1.0"),
        ("lbfgsb", {"bound": 0.0}, "`bound` must be > 0, got 0.0"),
        ("cma", {"step": 0.0}, "`step` must be > 0, got 0.0"),
        ("cma", {"step": math.inf}, "`step` must be > 0, got inf"),
        ("cma", {"population": 1}, "`population` must be a whole number >= 4, got 1"),
        ("cma", {"learning_rate": 0.1}, "does not take these options: learning_rate"),
    ],
)
def test_value_out_of_range_is_refused(method, options, message):
    with pytest.raises(MethodError, match=message):
        make(method, SPACE, 5, options)


@every_method
@pytest.mark.parametrize("n_rounds", [0, -1])
def test_study_without_rounds_is_refused(method, n_rounds):
    with pytest.raises(MethodError, match=f"rounds must be >= 1, got {n_rounds}"):
        make(method, SPACE, n_rounds)


@by_gradient
def test_discrete_parameter_is_refused_by_gradient_methods(method):
    space = DesignSpace([Continuous("a", 0.3, Interval(0.0, 1.0)), Integer("layers", 2, 1, 3)])
    with pytest.raises(MethodError, match="cannot choose the discrete parameters layers"):
        make(method, space, 5)
    assert make(method, space.freeze("layers"), 5).theta.shape == (1,)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_plateau_around_the_start_stops_no_local_surrogate(noise):
    def flat(design, n_events, rng):
        scatter = torch.randn(n_events, generator=rng, dtype=torch.float64)
        return torch.relu(design["a"] - 40) + noise * (scatter - scatter + 1)

    optimizer = make("local_surrogate", SPACE, 5)
    walk(optimizer, problem_of(flat), 5)
    assert bool(optimizer.recommend().isfinite().all())


@pytest.mark.parametrize("estimator", ["pathwise", "finite_differences", "local_regression"])
def test_adam_walks_along_a_bent_limit(estimator):
    """In theta of an interval a straight limit is bent; by hand the optimum is (-0.5, 0.5)."""
    limit = Limit("sum", lambda design: design["x"].sum(), 0.0)
    space = DesignSpace([Continuous("x", [-0.5, -0.5], Interval(-3.0, 3.0))], limits=[limit])
    target = torch.tensor([1.0, 2.0], dtype=torch.float64)

    def bowl(design, n_events, rng):
        return (design["x"] - target).square().sum().expand(n_events)

    case = FunctionProblem(space, bowl, n_events=2, dtype=torch.float64)
    optimizer = make("adam", space, 60, {"estimator": estimator}, case)
    for _ in range(60):
        requests = [dataclasses.replace(one, std_error=False) for one in optimizer.ask()]
        assert all(space.allows(request.theta) for request in requests)
        optimizer.tell([evaluate(case, request, Seed(0)) for request in requests])
    found = space.design(optimizer.recommend())["x"]
    assert found.tolist() == pytest.approx([-0.5, 0.5], abs=0.08)
