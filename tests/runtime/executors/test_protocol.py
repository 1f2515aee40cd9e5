"""What all executors share: submit, poll, cancel, capabilities."""

import threading

import pytest

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
