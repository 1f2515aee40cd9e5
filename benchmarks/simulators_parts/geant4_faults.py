"""A process of Geant4 that fails in ten ways: what is said, and that the study goes on."""

import tempfile
from pathlib import Path
from typing import Any

from detopt.design import Continuous, DesignSpace, Interval
from detopt.errors import SimulationError
from detopt.physics import materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.pipeline import Request, evaluate
from detopt.random import Seed
from detopt.simulators import BlackBox, Limits
from detopt.simulators.geant4 import Geant4, Primaries, close_pools, simulate_stack
from detopt.simulators.geant4.host import WORKER
from simulators_parts.geant4 import geant4

Row = tuple[str, str, str, bool]
N, BAD = 200, 117
ENGINE = """
import importlib.util, os, pathlib, time
import numpy as np

spec = importlib.util.spec_from_file_location("worker", {worker!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)


class Engine:
    def __init__(self, physics, cut):
        pass

    def run(self, request, particles, first):
        deposits = np.repeat(particles["energy"][:, None], len(request["volumes"]), 1)
        if first <= {bad} < first + len(particles):
            {fault}
        return deposits


worker.serve(Engine)
"""
HALF = (
    "path = pathlib.Path(request['folder']) / worker.block_name(first, first + len(particles)); "
    "worker.write = lambda *_: path.write_bytes(b'half')"
)
FAULTS = {  # fault: what it does, whether the very event is known
    "it aborts": ("os.abort()", True),
    "it is killed": ("os.kill(os.getpid(), 9)", True),
    "it ends with an exit code": ("os._exit(3)", True),
    "it raises an exception": ("raise RuntimeError('overlap')", True),
    "it hangs": ("time.sleep(1000)", True),
    "it wants more memory than it may": ("bytearray(10**10)", True),
    "NaN": (f"deposits[{BAD} - first] = np.nan", True),
    "the wrong number of events": ("deposits = deposits[1:]", False),
    "half a file": (HALF, False),
    "no file": ("worker.write = lambda *_: None", False),
}


def run(quick: bool) -> list[dict[str, Any]]:  # noqa: ARG001 (small as it is)
    """All faults, to a call and to an evaluation that may skip a design."""
    found = []
    for name, (fault, exact) in FAULTS.items():
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "engine.py"
            program.write_text(ENGINE.format(worker=WORKER, bad=BAD, fault=fault))
            found.append({"fault": name, "exact": exact, **_try(str(program))})
            close_pools()
    return found


def _try(program: str) -> dict[str, Any]:
    runner = Geant4(
        data=geant4().data, program=program, limits=Limits(memory=4.0), event_timeout=2.0
    )
    space = DesignSpace([Continuous("lead", 0.01, Interval(0.001, 0.1), "m")])

    def simulate(design: dict[str, float], seed: int, n_events: int) -> Any:
        stack = Stack.of([Layer(materials.get("Pb"), design["lead"], active=True)])
        primaries = Primaries.gun("e-", 0.5, n_events)
        return simulate_stack(stack, primaries, seed, geant4=runner).visible

    def ask(on_failure: str, n_events: int) -> Any:
        problem = BlackBox(space, simulate, n_events=N, on_failure=on_failure)
        request = Request(space.theta(space.start), ("a",), n_events=n_events)
        return evaluate(problem, request, Seed(1))

    try:
        ask("stop", N)
        message = ""
    except SimulationError as error:
        message = str(error)
    skipped = ask("skip", N).failure
    value = ask("skip", BAD).value
    return {"message": message, "skipped": skipped is not None, "after": value}


def rows(result: list[dict[str, Any]]) -> list[Row]:
    """What must hold."""
    table = []
    for one in result:
        event = f"event {BAD} of {N}" if one["exact"] else "event"
        said = " ".join(one["message"].partition(" (seed")[0].split())
        named = event in one["message"] and "seed" in one["message"]
        table.append(
            (
                f"Geant4's process: {one['fault']}",
                "an error with event and seed; the study stops or goes on as chosen",
                f"'{said} (seed ...)'; "
                f"{'skipped' if one['skipped'] else 'NOT skipped'}, the next call gave "
                f"{one['after']:g} GeV of 0.5",
                named and one["skipped"] and abs(one["after"] - 0.5) < 1e-12,
            )
        )
    return table
