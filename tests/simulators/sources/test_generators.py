"""What all generators share: frames between the processes, and how many processes there are."""

import itertools
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch

from detopt.errors import SimulationError
from detopt.simulators.files import Limits
from detopt.simulators.sources import Chromo, Pythia, generator, generator_worker
from detopt.simulators.sources.generator_process import GeneratorProcess
from detopt.simulators.sources.pythia import PROGRAM


def block(n_events, n_particles):
    rng = np.random.default_rng(0)
    return {
        "pdg": rng.integers(-300, 300, n_particles, np.int32),
        "status": np.ones(n_particles, np.int32),
        "momentum": rng.normal(size=(4, n_particles)),
        "vertex": np.zeros((4, n_particles)),
        "size": np.full(n_events, n_particles // n_events),
        "weight": rng.random(n_events),
    }


@pytest.fixture
def process(tmp_path):
    """A process with nothing in it, and the end of its pipe where a worker would write."""
    made = GeneratorProcess(PROGRAM, [], "sh", True, Limits(timeout=0.2))
    made._answers, worker = os.pipe()
    yield made, worker
    os.close(made._answers)


def frame(process):
    return process._frame(time.monotonic() + 0.2)


@pytest.mark.parametrize(("n_events", "n_particles"), [(3, 0), (1, 1), (5, 35)])
def test_arrays_come_as_they_were_sent(process, n_events, n_particles):
    made, worker = process
    sent = block(n_events, n_particles)
    generator_worker.send_block(worker, sent)
    generator_worker.send(worker, b"E")
    got = frame(made)
    assert list(got) == list(sent)
    for name, values in sent.items():
        np.testing.assert_array_equal(got[name], values, strict=True)
    assert frame(made) is None
    os.close(worker)


def test_half_a_frame_is_an_error(process):
    made, worker = process
    os.write(worker, b"B" + (1_000).to_bytes(8, "little") + b"[]")
    with pytest.raises(SimulationError, match=r"longer than 0\.2 s"):
        frame(made)
    os.write(worker, b"B" + (1_000).to_bytes(8, "little") + b"[]")
    os.close(worker)
    with pytest.raises(SimulationError, match="ended"):
        frame(made)


class Failing:
    """Stands for Pythia: of its events those fail whose turn it is."""

    rndm = type("Random", (), {"init": lambda *_: None})()

    def __init__(self, turns):
        self.turns, self.asked = iter(turns), []

    def nextBatch(self, n_events, mode):  # noqa: N802 (as Pythia)
        assert mode == "skip"
        self.asked.append(n_events)
        return "", n_events - sum(next(self.turns) for _ in range(n_events)), {}


def make(monkeypatch, pythia, n_events, size):
    monkeypatch.setattr(generator_worker, "columns", lambda *_: {})
    request = {"seed": 1, "n_events": n_events, "block": size}
    return list(generator_worker.pythia_blocks(pythia, request, True))


def test_events_that_fail_are_made_up_for(monkeypatch):
    first_fails_last_fails_twice = [True, False, False, False, True, True, False]
    pythia = Failing(first_fails_last_fails_twice)
    assert len(make(monkeypatch, pythia, 4, 3)) == 3
    assert pythia.asked == [3, 2, 1, 1]


@pytest.mark.parametrize(("size", "tries"), [(1, 100), (30, 120), (1_000, 1_000)])
def test_pythia_gives_up_where_all_events_fail(monkeypatch, size, tries):
    pythia = Failing(itertools.repeat(True))
    with pytest.raises(RuntimeError, match=f"gave up: {tries} events in a row failed"):
        make(monkeypatch, pythia, 2_000, size)
    assert sum(pythia.asked) == tries


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (64, 2)])
def test_there_are_two_processes_where_there_are_cores(monkeypatch, cores, expected):
    monkeypatch.setattr(generator, "_cores", lambda: cores)
    assert len(Pythia([])._processes) == expected
    assert len(Chromo("Sibyll21", "proton", "air", 100.0)._processes) == expected
    assert len(Pythia([], n_workers=3)._processes) == 3


WORKER = """
import json, os, pathlib, sys, time
here, answers = pathlib.Path({here!r}), int(sys.argv[-1])
sys.stdin.readline()
os.write(answers, b"R" + bytes(8))
sys.stdin.readline()
while True:
    try:
        number = len(list(here.glob("call-*")))
        (here / f"call-{{number}}").touch(exist_ok=False)
        break
    except FileExistsError:
        pass
if number == 0 and {fails}:
    while len(list(here.glob("call-*"))) < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), 9)
os.fork()
time.sleep(1000)
"""


@pytest.fixture
def stuck(tmp_path):
    """Makes a source of two processes with children that give no event; one of them may die."""
    sources = []

    def make(fails):
        program = tmp_path / "program.py"
        program.write_text(WORKER.format(here=str(tmp_path), fails=fails))
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
        python.chmod(0o755)
        sources.append(Pythia([], python=python, n_workers=2, stretch=1))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def test_a_process_that_dies_ends_the_others(stuck):
    source, begin = stuck(fails=True), time.monotonic()
    with pytest.raises(SimulationError, match="The process of Pythia ended, with seed"):
        source(9, torch.Generator().manual_seed(1), torch.float64)
    assert time.monotonic() - begin < 60
    assert [process._process for process in source._processes] == [None, None]


@pytest.mark.usefixtures("interruptible")
def test_the_user_who_interrupts_does_not_wait(stuck, tmp_path):
    def interrupt():
        while len(list(tmp_path.glob("call-*"))) < 2:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    source, begin = stuck(fails=False), time.monotonic()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        source(9, torch.Generator().manual_seed(1), torch.float64)
    assert time.monotonic() - begin < 60
    assert [process._process for process in source._processes] == [None, None]
    assert len(list(tmp_path.glob("call-*"))) == 2  # no other stretch begins


def test_cores_are_those_that_the_process_may_use():
    assert 1 <= generator._cores() <= os.cpu_count()
