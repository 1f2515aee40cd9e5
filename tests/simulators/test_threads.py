"""Threads that wait for processes: order of the results, and how all of them end."""

import threading

import pytest

from detopt.simulators.threads import Halt, in_threads


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(n_threads):
    assert in_threads(lambda item, halt: item**2, range(5), n_threads) == [0, 1, 4, 9, 16]


def test_one_thread_is_the_present_one():
    here = threading.get_ident()
    assert in_threads(lambda item, halt: threading.get_ident(), [1, 2], 1) == [here, here]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_first_error_halts_what_runs_and_what_would_begin(error):
    waits, begun = threading.Event(), []

    def run(item, halt):
        begun.append(item)
        if item == "fails":
            assert waits.wait(60)
            raise error
        ended = threading.Event()
        with halt.covers(ended.set):
            waits.set()
            assert ended.wait(60)
        raise RuntimeError("the process was killed")

    with pytest.raises(error):
        in_threads(run, ["waits", "fails", "later", "last"], 2)
    assert begun[:2] == ["waits", "fails"]
    assert "last" not in begun


def test_what_begins_after_the_halt_ends_at_once():
    halt, ended = Halt(), threading.Event()
    halt()
    with halt.covers(ended.set):
        assert ended.is_set()


def test_what_has_come_to_its_end_is_left_alone():
    halt, ended = Halt(), threading.Event()
    with halt.covers(ended.set):
        pass
    halt()
    assert halt.over
    assert not ended.is_set()
