"""What a process does that only calls a program; nothing here imports torch."""

__all__ = ["do", "prepare"]

from collections.abc import Callable, Mapping
from typing import Any

from detopt.cpu import cpu_time
from detopt.simulators.calls import Call, perform

_simulator: Callable[..., object] | None = None


def prepare(simulator: Callable[..., object]) -> None:
    """Say what this process calls."""
    global _simulator
    _simulator = simulator


def do(call: Call) -> tuple[object, float]:
    """What the simulation says, as plain numbers, and the CPU time of the call [s].

    Raises:
        SimulationError: The call failed.
    """
    assert _simulator is not None
    begin = cpu_time()
    said = perform(_simulator, call)
    return _plain(said), cpu_time() - begin


def _plain(value: Any) -> Any:
    """Arrays and tensors as lists, which any process can read."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value
