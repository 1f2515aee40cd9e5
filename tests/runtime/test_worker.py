"""What a worker does when a signal comes at a bad moment."""

import os
import signal
import time

import pytest

from detopt.errors import CheckpointError
from detopt.runtime.interruption import Interrupted, held_back, interruptible
from detopt.runtime.sources import StoreSource
from detopt.runtime.storage import Lease
from detopt.runtime.worker import Worker

LEASE = Lease("task", "run", "evaluation", "", 1, "me", time.time() + 30.0)


class Source:
    """Hands out one task, and gets the signal while it does so."""

    def __init__(self):
        self.given_back = []

    def claim(self, worker, lease_s, limit=1):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # the signal has come
        return [LEASE]

    def release(self, lease):
        self.given_back.append(lease)
        return True

    def refuse(self, *arguments, **options):
        raise AssertionError("nothing is done with a task that is given back")

    payload = inputs = renew = finish = fail = refuse


def test_a_task_that_was_taken_while_a_signal_came_is_given_back():
    source = Source()
    with interruptible(), pytest.raises(Interrupted, match="SIGTERM"):
        Worker(source).step()
    assert source.given_back == [LEASE]


def test_a_signal_is_held_back_to_the_end_and_raised_once():
    reached = []

    def work():
        with held_back():
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.01)
            reached.append("end")

    with interruptible(), pytest.raises(Interrupted, match="SIGUSR1"):
        work()
    assert reached == ["end"]
    with interruptible(), held_back():
        pass


class FullStore(StoreSource):
    """Has no room for several answers at once."""

    def __init__(self):
        self.kept = []

    def finish_all(self, answers):
        if len(answers) > 1:
            raise CheckpointError("The disk is full.")
        self.kept += answers
        return ["accepted"]


def test_answers_that_cannot_be_kept_together_are_handed_in_one_by_one(caplog):
    source, answers = FullStore(), [(LEASE, b"one"), (LEASE, b"two")]
    Worker(source)._finish(answers)
    assert source.kept == answers
    assert caplog.messages == ["2 answers are handed in one by one: The disk is full."]
