"""The list of kernels that `benchmarks/physics.py` times is complete, and each of them runs."""

import importlib
import inspect
import pkgutil
import sys
from pathlib import Path

import pytest
import torch

import detopt.physics

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MODULES = [name for _, name, _ in pkgutil.iter_modules(detopt.physics.__path__) if name[0] != "_"]


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("physics_kernels")
    sys.path.remove(str(BENCHMARKS))


def public():
    """Every public function and class with all the names that it goes by."""
    names = {}
    for module_name in MODULES:
        module = importlib.import_module(f"detopt.physics.{module_name}")
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(inspect.unwrap(thing)):
                names.setdefault(thing, set()).add(f"{module_name}.{name}")
    return names


def rows(benchmark):
    return {title.split(",")[0] for title in benchmark.KERNELS}


def test_every_public_function_is_timed_or_said_to_be_no_kernel(benchmark):
    listed = rows(benchmark) | set(benchmark.NO_KERNELS)
    assert [sorted(names) for names in public().values() if not names & listed] == []


def test_the_list_names_nothing_that_does_not_exist(benchmark):
    known = set().union(*public().values())
    assert rows(benchmark) | set(benchmark.NO_KERNELS) <= known
    assert not rows(benchmark) & set(benchmark.NO_KERNELS)


def test_every_kernel_runs_on_a_few_elements(benchmark, rng):
    for title, kernel in benchmark.KERNELS.items():
        arguments = [
            torch.empty(3, *map(int, shape)).uniform_(low, high, generator=rng)
            for low, high, *shape in kernel.spans
        ]
        assert kernel.call(*arguments or (3, rng)) is not None, title
