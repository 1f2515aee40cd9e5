"""Every combination of categories and whole numbers, on problems whose best one is known."""

import itertools
from dataclasses import replace

import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Integer, Interval, Limit, Real
from detopt.errors import MethodError, SimulationError
from detopt.optimizers import RelaxedCategorical, make
from detopt.pipeline import FunctionProblem, evaluate
from detopt.random import Seed

CHOICES = ("a", "b", "c", "d")
HARD = DesignSpace([Continuous("x", 0.6, Real()), Categorical("glue", CHOICES, "a")])


def bowl(design, n_events, rng):
    """Lowest at x = 0.7 with the second color and the number 3."""
    noise = 0.05 * torch.randn(n_events, generator=rng, dtype=design["x"].dtype)
    penalty = (design["color"] - 1).square() + 0.2 * (design["number"] - 3).square()
    return (design["x"] - 0.7).square() + penalty + noise


def by_glue(design, n_events, rng):
    return (design["x"].square() + (design["glue"] - 2).square()).expand(n_events)


def problem(function=bowl, limits=(), space=None):
    space = space or DesignSpace(
        [
            Categorical("color", ("a", "b", "c"), "a"),
            Continuous("x", 0.3, Interval(0.0, 1.0)),
            Integer("number", 1, 1, 4),
        ],
        limits=limits,
    )
    return FunctionProblem(space, function, n_events=50, dtype=torch.float64)


def walk(optimizer, made, n_rounds, std_error=False):
    """The thetas of each round."""
    thetas = []
    for _ in range(n_rounds):
        if optimizer.finished:
            break
        requests = [replace(r, std_error=std_error) for r in optimizer.ask()]
        thetas.append([request.theta for request in requests])
        optimizer.tell([evaluate(made, request, Seed(1)) for request in requests])
    return thetas


@pytest.mark.parametrize(
    ("method", "n_rounds", "options"),
    [
        ("adam", 60, {}),
        ("local_surrogate", 15, {}),
        ("cma", 20, {"population": 4}),
        ("lbfgsb", 20, {}),
    ],
)
def test_the_best_combination_and_its_continuous_optimum_are_found(method, n_rounds, options):
    made = problem()
    optimizer = make("enumeration", made.space, n_rounds, {"method": method, **options})
    walk(optimizer, made, n_rounds, std_error=method == "local_surrogate")
    design = made.space.design(optimizer.recommend())
    assert (design["color"].item(), design["number"].item()) == (1, 3)
    assert design["x"].item() == pytest.approx(0.7, abs=0.05)


def test_best_combination_is_that_of_the_exhaustive_search_within_limits():
    space = DesignSpace(
        [
            Continuous("x", [0.5, 0.5], Interval(0.0, 1.0)),
            Categorical("first", ("a", "b", "c"), "a"),
            Integer("n", 1, 1, 4),
        ],
        limits=[Limit("sum", lambda d: d["x"].sum() + 0.1 * d["n"], 1.25)],
    )
    cost = torch.tensor([[3.0, 2.0, 2.5, 1.9], [2.0, 1.2, 0.4, 1.0], [1.5, 0.9, 1.1, 1.3]]).double()

    def loss(design, n_events, rng):
        base = cost[int(design["first"]), int(design["n"]) - 1]
        return (base + (design["x"] - 0.6).square().sum()).expand(n_events)

    made = problem(loss, space=space)
    optimizer = make("enumeration", space, 60, {"learning_rate": 0.2})
    asked = walk(optimizer, made, 60)
    room = {n: min(0.6, (1.25 - 0.1 * n) / 2) for n in range(1, 5)}
    exact = {
        (g, n): float(cost[g, n - 1]) + 2 * (room[n] - 0.6) ** 2
        for g, n in itertools.product(range(3), range(1, 5))
    }
    best = space.design(optimizer.recommend())
    assert (int(best["first"]), int(best["n"])) == min(exact, key=exact.get)
    assert best["x"].tolist() == pytest.approx([room[3]] * 2, abs=0.01)
    assert all(space.allows(theta) for theta in itertools.chain(*asked))
    assert optimizer.left_out == []


def test_rungs_cost_about_the_same():
    made = problem()
    optimizer = make("enumeration", made.space, 60)
    sizes = [len(asked) for asked in walk(optimizer, made, 60)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (12, 1)
    costs = [size * sizes.count(size) for size in set(sizes)]
    assert max(costs) < 1.5 * min(costs)


@pytest.mark.parametrize(("keep", "left"), [(0.5, [4, 2, 1]), (0.25, [4, 1])])
def test_share_that_goes_on_is_that_of_the_best(keep, left):
    made = problem(by_glue, space=HARD)
    optimizer = make("enumeration", HARD, 24, {"keep": keep})
    chosen = [[int(theta[1:].argmax()) for theta in asked] for asked in walk(optimizer, made, 24)]
    assert list(dict.fromkeys(len(one) for one in chosen)) == left
    assert chosen[-1] == [2]


def test_combinations_of_a_round_share_their_random_numbers():
    optimizer = make("enumeration", problem().space, 60)
    assert len({request.stream for request in optimizer.ask()}) == 1


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_a_stored_state_goes_on_to_the_same_bits(stop):
    made = problem()
    whole, first, again = (make("enumeration", made.space, 16) for _ in range(3))
    walk(whole, made, 16)
    walk(first, made, stop)
    again.load_state_dict(first.state_dict())
    assert torch.equal(again.recommend(), first.recommend())
    walk(again, made, 16 - stop)
    assert torch.equal(again.recommend(), whole.recommend())


def test_planned_evaluations_are_those_that_are_asked_for():
    made = problem()
    optimizer = make("enumeration", made.space, 16)
    planned = optimizer.planned_evaluations()
    assert planned == sum(len(asked) for asked in walk(optimizer, made, 16))
    with pytest.raises(MethodError, match="before the first round"):
        _ = optimizer.planned_evaluations()


def test_recommendation_is_that_of_the_best_at_any_time():
    made = problem(by_glue, space=HARD)
    optimizer = make("enumeration", HARD, 24)
    for _ in range(24):
        walk(optimizer, made, 1)
        assert int(optimizer.recommend()[1:].argmax()) == 2


def test_combination_that_only_fails_is_given_up():
    def fragile(design, n_events, rng):
        if design["glue"] == 2:
            raise SimulationError("This glue melts.")
        return by_glue(design, n_events, rng)

    made = problem(fragile, space=HARD)
    made.on_failure = "skip"
    optimizer = make("enumeration", HARD, 60, problem=made)
    walk(optimizer, made, 60)
    assert int(optimizer.recommend()[1:].argmax()) in (1, 3)


def test_combination_without_an_allowed_design_is_left_out():
    limit = Limit("price", lambda d: 10 * (d["glue"] - 1).abs() + d["x"], 12.0)
    space = DesignSpace(
        [Continuous("x", 0.5, Interval(0.0, 1.0)), Categorical("glue", CHOICES, "a")],
        limits=[limit],
    )
    optimizer = make("enumeration", space, 20)
    assert optimizer.left_out == [{"glue": 3.0}]
    assert len(optimizer.ask()) == 3


def test_seed_reaches_the_searches():
    first, second = (
        make("enumeration", problem().space, 30, {"method": "cma", "seed": seed}).ask()
        for seed in (0, 1)
    )
    assert not torch.equal(first[0].theta, second[0].theta)


@pytest.mark.parametrize(
    ("space", "n_rounds", "options", "message"),
    [
        (HARD.freeze("glue"), 20, {}, "needs a free discrete parameter"),
        (HARD.freeze("x"), 20, {}, "needs a free continuous parameter.* Take grid"),
        (HARD, 3, {}, "4 combinations need at least 6 rounds, got 3"),
        (HARD, 20, {"keep": 1.0}, "`keep` must lie between 0 and 1, got 1.0"),
        (HARD, 20, {"max_combinations": 3}, "4 combinations of glue, more than the 3"),
        (HARD, 20, {"method": "no"}, "No method `no`"),
        (HARD, 20, {"learning_rat": 0.1}, "`adam` does not take these options: learning_rat"),
        (
            DesignSpace([Continuous("x", 0.0, Real()), Integer("n", 0, 0, 999)]),
            5_000,
            {},
            "There are 1000 combinations of n, more than the 256",
        ),
    ],
)
def test_what_cannot_be_enumerated_is_refused(space, n_rounds, options, message):
    with pytest.raises((MethodError, LookupError), match=message):
        make("enumeration", space, n_rounds, options)


def test_answers_must_be_complete():
    optimizer = make("enumeration", HARD, 20)
    optimizer.ask()
    with pytest.raises(MethodError, match="Expected 4 answers"):
        optimizer.tell([])


def test_relaxed_category_is_searched_beside_the_combinations():
    space = DesignSpace(
        [
            Continuous("x", 1.0, Interval(0.0, 3.0)),
            Integer("n", 1, 1, 3),
            RelaxedCategorical("metal", ("a", "b"), "a"),
        ]
    )

    def function(design, n_events, rng):
        value = (design["x"] - 2).square() + (design["n"] - 2).square() + design["metal"][0]
        return value.expand(n_events)

    made = problem(function, space=space)
    optimizer = make("enumeration", space, 40, {"learning_rate": 0.2}, made)
    walk(optimizer, made, 40)
    best = space.design(optimizer.recommend())
    assert best["metal"].tolist() == [0.0, 1.0]
    assert (float(best["n"]), float(best["x"])) == pytest.approx((2.0, 2.0), abs=0.1)
