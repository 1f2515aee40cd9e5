"""What happens when the process of Geant4 fails: the event and the seed are named."""

import os
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Interval
from detopt.errors import SimulationError
from detopt.physics import materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.pipeline import Request, evaluate
from detopt.random import Seed
from detopt.simulators import BlackBox, Limits
from detopt.simulators.geant4 import Geant4, Primaries, close_pools, simulate_stack
from detopt.simulators.geant4.host import WORKER

STACK = Stack.of([Layer(materials.get("Pb"), 0.01), Layer(materials.get("Si"), 0.001, active=True)])
N, BAD = 40, 17
ENGINE = """
import importlib.util, os, pathlib, sys, time
import numpy as np
spec = importlib.util.spec_from_file_location("worker", {worker!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
marker = pathlib.Path({marker!r})

class Engine:
    def __init__(self, physics, cut):
        print("the engine starts")

    def run(self, request, particles, first):
        deposits = np.repeat(particles["energy"][:, None], len(request["volumes"]), 1)
        if first >= {slow}:
            time.sleep(1000)
        bad = first <= {bad} < first + len(particles)
        if bad:
            {fault}
        return deposits

worker.serve(Engine)
"""
HALF = """path = pathlib.Path(request["folder"]) / worker.block_name(first, first + len(particles))
            worker.write = lambda *_: path.write_bytes(b"half a file")"""
FAULTS = {
    "abort": ("os.abort()", r"aborted with signal 6 \(Aborted\) in event 17 of 40"),
    "exit": ("os._exit(3)", r"ended with exit code 3 in event 17 of 40"),
    "exception": ("raise RuntimeError('overlap')", r"RuntimeError: overlap in event 17 of 40"),
    "hang": ("time.sleep(1000)", r"No event came to its end within 2 s in event 17 of 40"),
    "memory": ("bytearray(10**10)", r"MemoryError: .*in event 17 of 40"),
    "NaN": ("deposits[{bad} - first] = np.nan", r"no finite deposits for event 17 of 40"),
    "negative": ("deposits[{bad} - first] = -1", r"no finite deposits for event 17 of 40"),
    "too few": ("deposits = deposits[1:]", r"events 5 to 20 of 40 \(seed 7\), but \(16, 2\) were"),
    "half a file": (HALF, r"The deposits of events 5 to 20 of 40 \(seed 7\) are no complete file"),
    "no file": ("worker.write = lambda *_: None", r"no deposits for event 5 of 40"),
}


@pytest.fixture
def engine(tmp_path, substitute):
    """Makes a Geant4 whose process fails in the event `BAD` and is slow from another one on."""

    def make(fault, slow=N, **options):
        program = tmp_path / "engine.py"
        values = {"worker": WORKER, "bad": BAD, "slow": slow, "marker": str(tmp_path / "marker")}
        program.write_text(ENGINE.format(fault=fault.format(bad=BAD), **values))
        options = {"limits": Limits(memory=4.0)} | options
        return Geant4(data=substitute.folder, program=str(program), **options)

    yield make
    close_pools()


def run(geant4, n=N):
    return simulate_stack(STACK, Primaries.gun("e-", 0.5, n), 7, geant4=geant4)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_event_and_the_seed(engine, fault):
    act, message = FAULTS[fault]
    with pytest.raises(SimulationError, match=message) as caught:
        run(engine(act, event_timeout=2.0 if fault == "hang" else 60.0))
    assert "seed 7" in str(caught.value)


def test_a_fault_comes_with_the_last_output(engine):
    with pytest.raises(SimulationError, match="Its output ends with: the engine starts"):
        run(engine("os.abort()"))


def test_after_a_fault_the_next_call_runs(engine):
    geant4 = engine("os.abort()")
    with pytest.raises(SimulationError):
        run(geant4)
    assert bool((run(geant4, n=BAD).energy == 0.5).all())


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_retry_goes_on_where_it_stopped(engine, n_workers):
    """A process that is killed once, as by a lack of memory, costs nothing but time."""
    once = "if not marker.exists(): marker.touch(); os.abort()"
    geant4 = engine(once, limits=Limits(memory=4.0, retries=1), n_workers=n_workers)
    assert bool((run(geant4).energy == 0.5).all())


def test_a_fault_ends_the_other_processes(engine):
    """Event 17 is in the first half; the second half takes longer than anybody waits."""
    limits = Limits(memory=4.0, retries=1)
    geant4 = engine("os.abort()", slow=N // 2, n_workers=2, limits=limits, event_timeout=300.0)
    begin = time.monotonic()
    with pytest.raises(SimulationError, match="aborted with signal 6"):
        run(geant4)
    assert time.monotonic() - begin < 60
    assert not _children()


@pytest.mark.usefixtures("interruptible")
def test_the_user_who_interrupts_does_not_wait(engine, tmp_path):
    geant4 = engine("marker.touch(); time.sleep(1000)", n_workers=2, event_timeout=300.0)

    def interrupt():
        while not (tmp_path / "marker").exists():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    begin = time.monotonic()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(geant4)
    assert time.monotonic() - begin < 60
    close_pools()
    assert not _children()
    assert bool((run(geant4, n=BAD).energy == 0.5).all())


def test_a_call_has_an_end(engine):
    geant4 = engine("time.sleep(1000)", limits=Limits(timeout=0.5), event_timeout=100.0)
    with pytest.raises(SimulationError, match=r"The call took longer than 0.5 s"):
        run(geant4)


@pytest.mark.parametrize("on_failure", ["stop", "skip"])
def test_a_study_stops_or_goes_on_as_chosen(engine, on_failure):
    geant4 = engine("os.abort()")
    space = DesignSpace([Continuous("lead", 0.01, Interval(0.001, 0.1), "m")])

    def simulate(design, seed, n_events):
        stack = Stack.of([Layer(materials.get("Pb"), design["lead"], active=True)])
        primaries = Primaries.gun("e-", 0.5, n_events)
        return simulate_stack(stack, primaries, seed, geant4=geant4).visible

    problem = BlackBox(space, simulate, n_events=N, on_failure=on_failure)
    request = Request(space.theta(space.start), ("a",))
    if on_failure == "stop":
        with pytest.raises(SimulationError, match=r"event 17 of 40 \(seed \d+\)"):
            evaluate(problem, request, Seed(1))
    else:
        failure = evaluate(problem, request, Seed(1)).failure
        assert re.search(r"event 17 of 40 \(seed \d+\)", failure)
    small = Request(space.theta(space.start), ("a",), n_events=BAD)
    assert evaluate(problem, small, Seed(1)).value == pytest.approx(0.5)


def test_a_closed_pool_leaves_no_process(engine):
    geant4 = engine("pass")
    run(geant4)
    before = _children()
    assert before
    close_pools()
    assert not before & _children()


def _children():
    """Processes of this one that serve."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
            status = path.with_name("status").read_text()
        except OSError:
            continue
        is_own = f"PPid:\t{os.getpid()}\n" in status  # other tests run beside this one
        if is_own and any(word.endswith("engine.py") for word in words):
            found.add(path.parent.name)
    return found


def test_geant4_itself_says_what_was_wrong(geant4, tmp_path):
    """A table that is missing: an error with Geant4's own words, not the end of the study."""
    import shutil

    from detopt.simulators.geant4.folders import MARKER, digest

    broken = tmp_path / "data"
    shutil.copytree(geant4.data, broken)
    (broken / "G4EMLOW8.8" / "brem_SB" / "br82").unlink()
    marker = (broken / MARKER).read_text()
    old = re.search(r'"sha256": "(\w+)"', marker)[1]
    (broken / MARKER).write_text(marker.replace(old, digest(broken)))
    with pytest.raises(SimulationError, match=r"(?s)event 0 of 2 \(seed 7\).*br82"):
        run(replace(geant4, data=broken), n=2)
    assert torch.isfinite(run(geant4, n=2).energy).all()
