"""Simulations that fail, outcomes with several objectives and with constraints."""

import math

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Real
from detopt.errors import DomainError, MethodError, SimulationError
from detopt.optimizers import make
from detopt.pipeline import FunctionProblem, Outcome, evaluate
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed
from detopt.runtime.executors import ProblemRecipe, ProcessExecutor

SPACE = DesignSpace([Continuous("x", 1.0, Real())])
START = torch.ones(1, dtype=torch.float64)


def crash_beyond_two(design, n_events, rng):
    if float(design["x"].detach()) > 2.0:
        raise SimulationError("The beam left the pipe at x = 2.")
    return design["x"].square() + torch.randn(n_events, generator=rng)


class TwoGoals(FunctionProblem):
    """Mean and spread at once, with a constraint on the mean."""

    objective_names = ("mean", "spread")
    constraint_names = ("low",)

    def judge(self, summary, design):
        mean, spread = summary.value.mean(), summary.value.std()
        goals = {"mean": mean, "spread": spread}
        return Outcome(mean + spread, constraints={"low": 3.0 - mean}, objectives=goals)


def crashing(on_failure):
    problem = FunctionProblem(SPACE, crash_beyond_two, n_events=100)
    problem.on_failure = on_failure
    return problem


def test_a_failure_stops_by_default():
    with pytest.raises(SimulationError, match="left the pipe"):
        evaluate(crashing("stop"), Request(3 * START, ("a",)), Seed(0))


@pytest.mark.parametrize("gradient", [False, True])
def test_a_failure_can_be_an_answer(gradient):
    answer = evaluate(crashing("skip"), Request(3 * START, ("a",), gradient=gradient), Seed(0))
    assert math.isnan(answer.value)
    assert answer.failure == "The beam left the pipe at x = 2."
    assert evaluate(crashing("skip"), Request(START, ("a",)), Seed(0)).failure == ""


def test_worker_processes_tell_failures_from_answers():
    problem = crashing("skip")
    requests = [Request(scale * START, ("a",), gradient=True) for scale in (1.0, 3.0, 1.5)]
    with ProcessExecutor(problem, ProblemRecipe(None, {}, (), problem), 2) as executor:
        answers = executor.evaluate(requests, Seed(0))
    assert [bool(answer.failure) for answer in answers] == [False, True, False]
    assert answers[2].value == evaluate(problem, requests[2], Seed(0)).value


@pytest.mark.parametrize("method", ["adam", "cma"])
def test_methods_go_on_after_failures(method):
    problem = crashing("skip")
    optimizer = make(method, SPACE, 40, {}, problem)
    failed = 0
    for _ in range(40):
        answers = [evaluate(problem, request, Seed(1)) for request in optimizer.ask()]
        if optimizer.round == 3:  # whatever the method asks, it fails
            answers = [Evaluation.failed(a.request, "power cut") for a in answers[:1]] + answers[1:]
        failed += sum(bool(answer.failure) for answer in answers)
        optimizer.tell(answers)
    assert failed > 0
    assert abs(float(optimizer.recommend())) < 0.4


def test_a_method_that_cannot_go_on_is_refused():
    with pytest.raises(MethodError, match="failed evaluation"):
        make("lbfgsb", SPACE, 10, {}, crashing("skip"))


def test_gradient_descent_gives_up_after_many_failures():
    problem = crashing("skip")
    optimizer = make("adam", SPACE, 40, {}, problem)

    def round_without_power():
        optimizer.tell([Evaluation.failed(request, "power cut") for request in optimizer.ask()])

    for _ in range(10):
        round_without_power()
    with pytest.raises(MethodError, match="power cut"):
        round_without_power()


def test_several_objectives_and_constraints_have_names_and_errors():
    problem = TwoGoals(SPACE, crash_beyond_two, n_events=400)
    answer = evaluate(problem, Request(START, ("a",)), Seed(0))
    assert answer.value == pytest.approx(sum(answer.objectives.values()))
    assert answer.constraints == {"low": pytest.approx(3.0 - answer.objectives["mean"])}
    assert answer.objective_errors["mean"] == pytest.approx(1 / 20, rel=0.3)
    assert answer.objective_errors["spread"] == pytest.approx(1 / 800**0.5, rel=0.4)


def test_a_single_objective_is_one_of_its_kind():
    answer = evaluate(crashing("stop"), Request(START, ("a",)), Seed(0))
    assert answer.objectives == {"objective": answer.value}
    assert answer.objective_errors == {"objective": answer.std_error}
    assert answer.constraints == {}


def test_a_method_that_would_ignore_constraints_is_refused():
    with pytest.raises(MethodError, match="constraints low of the outcome"):
        make("adam", SPACE, 10, {}, TwoGoals(SPACE, crash_beyond_two))


def test_another_space_keeps_what_was_set_on_the_problem():
    problem = crashing("skip")
    problem.constraint_names, problem.objective_names = ("low",), ("mean",)
    other = problem.with_space(SPACE.starting_at({"x": torch.tensor(2.0, dtype=torch.float64)}))
    assert other.on_failure == "skip"
    assert (other.constraint_names, other.objective_names) == (("low",), ("mean",))


def test_cma_asks_again_for_a_population_that_failed():
    problem = crashing("skip")
    optimizer = make("cma", SPACE, 40, {}, problem)

    def round_without_power():
        asked = optimizer.ask()
        optimizer.tell([Evaluation.failed(request, "power cut") for request in asked])
        return torch.stack([request.theta for request in asked])

    lost = round_without_power()
    again = torch.stack([request.theta for request in optimizer.ask()])
    assert torch.equal(lost, again)
    optimizer.tell([evaluate(problem, request, Seed(0)) for request in optimizer.ask()])
    for _ in range(10):
        round_without_power()
    with pytest.raises(MethodError, match="power cut"):
        round_without_power()


def test_rows_that_cannot_be_judged_again_leave_the_error_unknown():
    """Rows drawn with replacement may miss what the objective needs; the value is known."""

    class Ratio(FunctionProblem):
        def judge(self, summary, design):
            n_background = int((summary.value < 0).sum())
            if n_background == 0:
                raise DomainError("There is no background.")
            return Outcome(summary.value.new_tensor(1.0 / n_background))

    def one_below(design, n_events, rng):
        return torch.arange(n_events).to(design["x"]) - 0.5

    space = DesignSpace([Continuous("x", 0.0, Real())])
    problem = Ratio(space, one_below, n_events=8, dtype=torch.float64)
    found = evaluate(problem, Request(torch.zeros(1), ("a",)), Seed(0))
    assert found.value == 1.0
    assert math.isnan(found.std_error)
