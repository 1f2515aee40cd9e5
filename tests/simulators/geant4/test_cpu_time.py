"""The CPU time of a process of Geant4 counts while it is kept for further calls."""

import pytest

from detopt.cpu import cpu_time
from detopt.physics import materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.simulators import Limits
from detopt.simulators.geant4 import Geant4, Primaries, close_pools, simulate_stack
from detopt.simulators.geant4.host import WORKER

STACK = Stack.of([Layer(materials.get("Pb"), 0.01), Layer(materials.get("Si"), 0.001, active=True)])
BURNT = 0.5  # s
ENGINE = """
import importlib.util, time
import numpy as np
spec = importlib.util.spec_from_file_location("worker", {worker!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

class Engine:
    def __init__(self, physics, cut):
        pass

    def run(self, request, particles, first):
        end = time.process_time() + {burnt}
        while time.process_time() < end:
            pass
        return np.zeros((len(particles), len(request["volumes"])))

worker.serve(Engine)
"""


@pytest.fixture
def geant4(tmp_path, substitute):
    """A process that computes for a while in every event, and nothing else."""
    program = tmp_path / "engine.py"
    program.write_text(ENGINE.format(worker=WORKER, burnt=BURNT))
    yield Geant4(data=substitute.folder, program=str(program), limits=Limits(memory=4.0))
    close_pools()


def test_each_call_counts_when_it_is_answered_and_once(geant4):
    found = []
    for seed in (1, 2):
        begin = cpu_time()
        simulate_stack(STACK, Primaries.gun("e-", 0.5, 1), seed, geant4=geant4)
        found.append(cpu_time() - begin)
    assert min(found) >= BURNT
    before = cpu_time()
    close_pools()
    assert 0 <= cpu_time() - before < BURNT / 2  # the system's figure takes the place of ours
