"""One method at a budget: what counts, who judges, when the target is reached."""

import json
import math

import pytest
import torch

from detopt import usecases
from detopt.design import Continuous, DesignSpace, Real
from detopt.errors import ConfigError, MethodError, SimulationError
from detopt.optimizers import Optimizer, make
from detopt.pipeline import Evaluation, FunctionProblem, Outcome, Request
from detopt.runtime.race import Plan, planned_rounds, race, run_from_dict

SPACE = DesignSpace([Continuous("x", [2.0, 2.0], Real())])
PLAN = Plan(budget=30, n_checkpoints=6, evaluation_events=50)


def exact(design, n_events, rng):
    """No noise: the objective is the squared distance from 1."""
    return (design["x"] - 1.0).square().sum().expand(n_events)


def noisy(design, n_events, rng):
    return exact(design, n_events, rng) + 0.1 * torch.randn(n_events, generator=rng)


def problem(function=exact, **settings):
    return FunctionProblem(SPACE, function, n_events=20, dtype=torch.float64, **settings)


def maker(name, task, **options):
    return lambda rounds: make(name, SPACE, rounds, options, task)


def run(name="adam", plan=PLAN, task=None, seed=0, **options):
    task = problem() if task is None else task
    return race(task, maker(name, task, **options), plan, seed, name)


class Goals(FunctionProblem):
    """Two objectives that trade, and a constraint."""

    objective_names = ("near zero", "near one")
    constraint_names = ("first is negative",)

    def judge(self, summary, design):
        x = design["x"]
        goals = {"near zero": x.square().sum(), "near one": (x - 1).square().sum()}
        limits = {"first is negative": -x[0]}
        return Outcome(sum(goals.values()), objectives=goals, constraints=limits)


class Walk(Optimizer):
    """Asks for given requests and goes half the way to 1 in each round."""

    def __init__(self, requests):
        super().__init__(SPACE, 1)
        self.requests = requests

    def ask(self):
        return [Request(self.theta, ("round", self.round), **one) for one in self.requests]

    def tell(self, evaluations):
        self.round += 1
        self.theta = 1 + (self.theta - 1) / 2

    def recommend(self):
        return self.theta


def walk(*requests):
    return lambda rounds: Walk(requests)


def test_a_gradient_counts_as_one_call():
    assert run().calls == 30
    assert run(estimator="finite_differences").calls == 30  # six rounds of five


@pytest.mark.parametrize(("requests", "calls"), [
    ([{}], 30), ([{}] * 4, 28), ([{"n_events": 60}], 30), ([{"n_events": 80}], 28),
    ([{}, {"n_events": 10}], 30), ([{"gradient": True}], 30),
])  # fmt: skip
def test_events_decide_what_an_evaluation_counts(requests, calls):
    assert race(problem(), walk(*requests), PLAN).calls == calls


def test_schedules_know_how_many_rounds_fit():
    task = problem()
    assert planned_rounds(maker("adam", task), 30) == 30
    assert planned_rounds(maker("adam", task, estimator="finite_differences"), 33) == 6
    with pytest.raises(MethodError, match="first round takes 5 calls, and the budget is 4"):
        planned_rounds(maker("adam", task, estimator="finite_differences"), 4)


def test_a_method_whose_rounds_become_cheaper_gets_more_of_them():
    task = usecases.load("benchmark_mixed_materials").build({})
    make_one = lambda rounds: make("enumeration", task.space, rounds, {}, task)  # noqa: E731
    n_rounds = planned_rounds(make_one, 440)
    assert (
        make_one(n_rounds).planned_evaluations()
        <= 440
        < make_one(n_rounds + 1).planned_evaluations()
    )
    assert n_rounds > 440 // len(make_one(440).ask())


def test_the_recommended_designs_are_judged_along_the_way():
    found = race(problem(), walk(*[{}] * 5), PLAN)
    assert [one.calls for one in found.checkpoints] == [0, 5, 10, 15, 20, 25, 30]
    expected = [2 * 0.25**i for i in range(7)]
    assert [one.value for one in found.checkpoints] == pytest.approx(expected)
    assert found.design["x"] == pytest.approx([1 + 0.5**6] * 2)


def test_a_checkpoint_within_a_round_sees_the_round_before():
    found = race(problem(), walk(*[{}] * 10), PLAN)
    assert [one.calls for one in found.checkpoints] == [0, 0, 10, 10, 20, 20, 30]


def test_the_judge_is_the_reference_with_fresh_events():
    class Judged(FunctionProblem):
        @property
        def reference(self):
            return problem(lambda *call: 5 + noisy(*call))

    plain = Judged(SPACE, exact, n_events=20, dtype=torch.float64)
    found = race(plain, walk({}), PLAN)
    noise = [one.value - 5 - 2 * 0.25**one.calls for one in found.checkpoints]
    assert noise == pytest.approx([noise[0]] * 7)  # the same fresh events for every verdict
    assert 0 < abs(noise[0]) < 5 * 0.1 / 50**0.5


@pytest.mark.parametrize(("target", "rounds"), [(2.0, 0), (0.5, 1), (0.49, 2), (1e-3, 6)])
def test_the_round_that_reaches_the_target_is_found(target, rounds):
    plan = Plan(budget=30, n_checkpoints=2, evaluation_events=2, target=target)
    assert race(problem(), walk(*[{}] * 3), plan).to_target == 3 * rounds


def test_a_target_may_not_be_reached():
    plan = Plan(budget=3, n_checkpoints=2, evaluation_events=2, target=1e-9)
    assert race(problem(), walk({}), plan).to_target is None


def test_equal_seeds_give_equal_numbers():
    task = problem(noisy)
    one, same, other = (race(task, maker("cma", task, seed=seed), PLAN, seed) for seed in (1, 1, 2))
    assert [c.value for c in one.checkpoints] == [c.value for c in same.checkpoints]
    assert one.design == same.design
    assert one.design != other.design


def test_time_is_told_apart():
    found = run("cma", task=problem(noisy))
    assert 0 < found.method_cpu_s < found.cpu_s
    times = [one.cpu_s for one in found.checkpoints]
    assert times == sorted(times)
    assert times[-1] == found.cpu_s


def test_fronts_hold_what_none_dominates_and_all_limits_allow():
    space = DesignSpace([Continuous("x", [0.5, 0.5], Real())])
    task = Goals(space, exact, n_events=2, dtype=torch.float64)
    found = race(task, lambda rounds: make("random", space, rounds, {}, task), PLAN)
    first, last = found.checkpoints[2].front, found.checkpoints[-1].front
    assert found.checkpoints[0].front == []
    assert first
    assert last
    for a in last:
        assert not any(b[0] < a[0] and b[1] < a[1] for b in last)
    assert found.checkpoints[-1].violation < 0


def test_failed_evaluations_are_counted():
    def crash(design, n_events, rng):
        if float(design["x"][0]) > 2.2:
            raise SimulationError("The beam left the pipe.")
        return exact(design, n_events, rng)

    task = problem(crash)
    task.on_failure = "skip"
    found = run("cma", task=task)
    assert 0 < found.n_failed < 30
    assert found.calls == 30
    assert math.isfinite(found.checkpoints[-1].value)


def test_a_verdict_that_fails_is_no_number():
    class Broken(FunctionProblem):
        @property
        def reference(self):
            def crash(design, n_events, rng):
                raise SimulationError("The beam left the pipe.")

            return problem(crash)

    found = race(Broken(SPACE, exact, n_events=20), walk({}), PLAN)
    assert math.isnan(found.checkpoints[0].value)
    assert not found.checkpoints[0].allowed


def test_a_method_that_gives_up_leaves_its_reason_and_what_it_had():
    rounds = []

    def crash_later(design, n_events, rng):
        rounds.append(1)
        if len(rounds) == 4:
            raise SimulationError("The beam left the pipe.")
        return exact(design, n_events, rng)

    found = race(problem(crash_later), walk({}), PLAN)
    assert found.calls == 3
    assert found.reason == "The beam left the pipe."
    assert found.checkpoints[-1].calls == 3


def test_a_method_that_does_not_fit_leaves_its_reason():
    task = problem()
    task.constraint_names = ("weight",)
    found = run("adam", task=task)
    assert "cannot keep the constraints weight" in found.reason
    assert found.checkpoints == []


def test_what_goes_on_is_told():
    heard = []
    race(problem(), walk(*[{}] * 10), PLAN, listener=lambda calls: heard.append(calls))
    assert heard == [10, 20, 30]


def test_a_run_survives_json():
    found = run("cma")
    assert run_from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False))) == found


@pytest.mark.parametrize(("settings", "message"), [
    ({"budget": 0}, "`budget` must be >= 1, got 0"),
    ({"n_checkpoints": 0}, "`n_checkpoints` must be >= 1"),
    ({"evaluation_events": 0}, "`evaluation_events` must be >= 1"),
    ({"target": math.nan}, "`target` must be finite"),
])  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Plan(**settings)


def limited(limit, goals=None):
    """A run on a problem whose constraints have these values everywhere."""

    class Limited(FunctionProblem):
        objective_names = () if goals is None else tuple(goals)
        constraint_names = tuple(limit)

        def judge(self, summary, design):
            made = {name: torch.tensor(value) for name, value in (goals or {}).items()}
            limits = {name: torch.tensor(value) for name, value in limit.items()}
            return Outcome(summary.value.mean(), objectives=made, constraints=limits)

    return race(Limited(SPACE, exact, n_events=20, dtype=torch.float64), walk({}), PLAN)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_constraint_without_a_number_is_broken_also_after_json(value):
    found = limited({"fine": -1.0, "dose": value})
    again = run_from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False)))
    for run_ in (found, again):
        assert run_.checkpoints
        assert not any(one.allowed for one in run_.checkpoints)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_design_without_all_its_objectives_is_on_no_front(value, monkeypatch):
    monkeypatch.setattr("detopt.runtime.race.non_dominated", lambda x: torch.ones(len(x)).bool())
    monkeypatch.setattr(
        "detopt.runtime.race.evaluate",
        lambda problem, request, seed: Evaluation(
            request, 1.0, 0.1, None, None, {"objective:a": 1.0, "objective:b": 1.0}
        ),
    )
    found = limited({}, {"a": 1.0, "b": value})
    assert all(one.front == [] for one in found.checkpoints)
    json.dumps(found.as_dict(), allow_nan=False)
