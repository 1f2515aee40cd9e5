"""What all executors share: submit, poll, cancel, capabilities."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Interval
from detopt.errors import SimulationError
from detopt.pipeline import FunctionProblem, Request
from detopt.runtime.executors import (
    Capabilities,
    ProblemRecipe,
    ProcessExecutor,
    QueueExecutor,
    SerialExecutor,
)
from detopt.runtime.worker import Worker, keep_inputs


@pytest.fixture(params=["serial", "processes", "queue"])
def executor(request, many):
    if request.param == "serial":
        yield SerialExecutor(many.problem)
        return
    if request.param == "processes":
        with ProcessExecutor(many.problem, ProblemRecipe("hump", {}, (), None), 2) as found:
            yield found
        return
    keep_inputs(many.store.store, many.store.id, many.store.folder)
    worker, over = Worker(many.store.store), threading.Event()
    thread = threading.Thread(target=lambda: worker.run(until=over.is_set))
    thread.start()
    yield QueueExecutor(many.problem, many.store.store, many.store.id)
    over.set()
    thread.join()


def test_every_executor_gives_the_same_bits(executor, many, requests, seed):
    expected = SerialExecutor(many.problem).evaluate(requests, seed)
    many.assert_same(executor.evaluate(requests, seed), expected)


def test_work_is_submitted_polled_and_read(executor, many):
    pending = executor.submit(many.work[:4])
    answers = [one.result() for one in pending]
    assert all(one.done() for one in pending)
    expected = [one.result() for one in SerialExecutor(many.problem).submit(many.work[:4])]
    many.assert_same_answers(answers, expected)


def test_work_that_nobody_wants_is_cancelled(executor, many):
    *others, last = executor.submit(many.work[:3])
    last.cancel()
    assert all(one.result().summary is not None for one in others)


def test_an_executor_says_what_it_can(executor):
    assert isinstance(executor.capabilities, Capabilities)
    assert executor.capabilities.parallel == (not isinstance(executor, SerialExecutor))


class Undecided(FunctionProblem):
    """Its events are simulated, but nobody can say what they mean."""

    on_failure = "skip"

    def judge(self, summary, design):
        raise SimulationError("no verdict")


def noise(design, n, rng):
    return design["x"] + torch.rand(n, generator=rng)


@pytest.mark.parametrize("gradient", [True, False])
def test_a_verdict_that_fails_is_skipped_wherever_the_events_are_made(seed, gradient):
    problem = Undecided(DesignSpace([Continuous("x", 0.5, Interval(0.0, 1.0))]), noise)
    theta = problem.space.theta(problem.space.start)
    asked = [Request(theta, ("r", i), gradient=gradient, n_events=8) for i in range(2)]
    with ProcessExecutor(problem, ProblemRecipe(None, {}, (), problem), 1) as executor:
        found = executor.evaluate(asked, seed)
    expected = SerialExecutor(problem).evaluate(asked, seed)
    assert [one.failure for one in found] == [one.failure for one in expected] == ["no verdict"] * 2


@pytest.fixture
def queue(many):
    keep_inputs(many.store.store, many.store.id, many.store.folder)
    return QueueExecutor(many.problem, many.store.store, many.store.id)


def test_work_that_nobody_wants_is_not_looked_for(queue, many):
    wanted, same, other = queue.submit([many.work[0], many.work[0], many.work[1]])
    other.cancel()
    other.cancel()
    same.cancel()
    Worker(many.store.store).step()
    assert wanted.result().summary is not None
    assert not queue._readers
    assert not queue._found


def test_files_that_are_away_for_a_while_are_waited_for(queue, many, monkeypatch):
    store = many.store.store
    (pending,) = queue.submit(many.work[:1])
    Worker(store).step()
    tries = []

    def away(path):
        tries.append(path)
        if len(tries) < 3:
            raise TimeoutError("timed out")
        return Path(path).read_bytes()

    monkeypatch.setattr(store.blobs, "_system", SimpleNamespace(cat_file=away))
    assert [pending.done() for _ in range(3)] == [False, False, True]
    assert pending.result().summary is not None
    assert store.tasks.counts(store.runs()[0].id)["done"] == 1
    assert not [event for event in store.events(many.store.id) if event.kind == "damaged"]


def test_ctrl_c_reaches_the_study_and_not_its_workers(many):
    with QueueExecutor(
        many.problem, many.store.store, many.store.id, workers=1, folder=many.store.folder
    ) as executor:
        assert os.getpgid(executor._workers[0].pid) != os.getpgid(0)
