"""What a process does that only calls a program; nothing here imports torch."""

__all__ = ["Said", "do_all", "prepare"]

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from detopt.cpu import cpu_time
from detopt.errors import SimulationError
from detopt.simulators.calls import Call, perform

_simulator: Callable[..., object] | None = None


def prepare(simulator: Callable[..., object]) -> None:
    """Say what this process calls."""
    global _simulator
    _simulator = simulator


class Said(NamedTuple):
    """What came of a call: plain numbers or an error, and the time it took [s]."""

    answer: object
    cpu_s: float
    wall_s: float


def do_all(calls: Sequence[Call]) -> list[Said]:
    """What the simulation says to each call."""
    return [_do(call) for call in calls]


def _do(call: Call) -> Said:
    assert _simulator is not None
    begin, wall = cpu_time(), time.perf_counter()
    answer: object
    try:
        answer = _plain(perform(_simulator, call))
    except SimulationError as error:
        answer = error
    return Said(answer, cpu_time() - begin, time.perf_counter() - wall)


def _plain(value: Any) -> Any:
    """Arrays and tensors as lists, which any process can read."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value
