"""Every kind of fault a few times, and workers and controllers that are killed: nothing is lost.

The long form is `python benchmarks/runtime.py`.
"""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
KINDS = [
    "kill",
    "notice",
    "disk_full",
    "database_away",
    "restart_in_commit",
    "flipped_bit",
    "clock_jump",
    "duplicate",
    "cut_network",
    "memory_cap",
    "read_only",
    "expired",
]


@pytest.fixture(scope="module")
def parts():
    """The modules of the benchmark."""
    sys.path.insert(0, str(BENCHMARKS))
    yield lambda name: importlib.import_module(f"runtime_parts.{name}")
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def lab(parts, tmp_path_factory):
    lab = parts("lab").Lab(tmp_path_factory.mktemp("lab") / "run", seed=5)
    yield lab
    lab.close()


def test_the_list_is_that_of_the_benchmark(parts):
    assert [fault.__name__ for fault in parts("faults").KINDS.values()] == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong_after_a_fault(parts, lab, kind):
    fault = getattr(parts("faults"), kind)
    assert {fault(lab) for _ in range(3)} <= {"recovered", "refused"}


def test_killed_processes_lose_nothing(parts):
    found = parts("kills").run(quick=True)
    assert found["kills"] == 4
    assert all(row[-1] for row in parts("kills").rows(found))
