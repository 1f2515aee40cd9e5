"""Processes that only call a program: the same bits, and no torch in them."""

import subprocess
import sys

import pytest
import torch

from detopt.errors import MethodError, SimulationError
from detopt.pipeline.evaluation import Request
from detopt.random import Seed
from detopt.runtime import Study, StudyConfig
from detopt.runtime.executors import (
    CallExecutor,
    ProblemRecipe,
    ProcessExecutor,
    SerialExecutor,
    make_executor,
)

PROGRAM = """
import random

import numpy


def light(design, seed, n_events):
    rng = random.Random(seed)
    values = [design["x"] ** 2 + rng.gauss(0.0, 0.1) for _ in range(n_events)]
    return {"objective": numpy.array(values), "metrics": {"size": numpy.float64(design["x"])}}


def noisy(design, seed):
    return {"objective": design["x"], "std_error": 0.1}


def broken(design):
    raise RuntimeError("it broke")


def picky(design):
    if design["x"] > 0.6:
        raise RuntimeError("too large")
    return design["x"]

"""


@pytest.fixture
def study(tmp_path):
    """Makes a study of a function of the file."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def make(function, name="run", on_failure="stop", **settings):
        options = {
            "on_failure": on_failure,
            "program": str(program),
            "function": function,
            "parameters": [{"name": "x", "start": 0.5, "low": 0.0, "high": 1.0}],
            "n_events": 4,
            "events_per_call": 2,
        }
        config = StudyConfig.make("black_box", options=options, evaluation_events=4, **settings)
        return Study.create(config, tmp_path / name)

    return make


def requests(problem, **settings):
    theta = problem.space.theta(problem.space.start)
    return [Request(theta + i, ("r", i), **settings) for i in range(3)]


@pytest.mark.parametrize("function", ["light", "noisy"])
def test_the_bits_are_those_of_one_process(study, function):
    problem = study(function).problem
    expected = SerialExecutor(problem).evaluate(requests(problem), Seed(5))
    with make_executor(problem, ProblemRecipe(None, {}, (), problem), 2) as executor:
        assert type(executor) is CallExecutor
        found = executor.evaluate(requests(problem), Seed(5))
    for one, other in zip(found, expected, strict=True):
        assert (one.value, one.std_error, one.terms) == (other.value, other.std_error, other.terms)


def test_a_study_ends_with_the_same_design(study):
    settings = {"method": "cma", "rounds": 3}
    alone, several = (
        study("light", "alone", **settings),
        study("light", "several", workers=2, **settings),
    )
    found = [one.run().data for one in (alone, several)]
    assert torch.equal(alone.theta(), several.theta())
    assert [one.value for one in alone.history] == [one.value for one in several.history]
    assert found[0]["objective"] == found[1]["objective"]


def test_what_a_process_needs_is_no_torch():
    code = "import sys, detopt.simulators.caller; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_failure_names_function_and_design(study):
    problem = study("broken").problem
    with (
        CallExecutor(problem, 1) as executor,
        pytest.raises(SimulationError, match=r"it broke.*in broken, .*program\.py.*x = 0\.5"),
    ):
        executor.evaluate(requests(problem)[:1], Seed(5))


def test_a_derivative_is_refused(study):
    problem = study("light").problem
    with (
        CallExecutor(problem, 1) as executor,
        pytest.raises(MethodError, match="no pathwise gradient"),
    ):
        executor.evaluate(requests(problem, gradient=True), Seed(5))


def test_other_problems_get_their_own_processes(many):
    with make_executor(many.problem, ProblemRecipe("hump", {}, (), None), 2) as executor:
        assert type(executor) is ProcessExecutor


def test_light_calls_travel_together_and_keep_their_bits(study):
    problem = study("light").problem
    theta = problem.space.theta(problem.space.start)
    many = [Request(theta + i / 40, ("r", i)) for i in range(40)]
    expected = [one.value for one in SerialExecutor(problem).evaluate(many, Seed(5))]
    with CallExecutor(problem, 2) as executor:
        assert executor._together(len(many)) == 1  # nothing is known of them yet
        for _ in range(2):
            found = [one.value for one in executor.evaluate(many, Seed(5))]
            assert found == expected
        assert executor._together(len(many)) == 5


def test_a_call_that_fails_leaves_those_beside_it(study):
    problem = study("picky", on_failure="skip").problem
    theta = problem.space.theta(problem.space.start)
    many = [Request(theta + i / 40, ("r", i)) for i in range(40)]
    with CallExecutor(problem, 1) as executor:
        executor._call_s = 0.001
        first, second = (executor.evaluate(many, Seed(5)) for _ in range(2))
    failures = ["too large" in one.failure for one in first]
    assert 0 < sum(failures) < len(many)
    assert failures == ["too large" in one.failure for one in second]
    assert not any(one.failure for one, failed in zip(second, failures, strict=True) if not failed)
