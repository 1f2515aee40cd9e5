"""Simulations of others: Python, JAX and TensorFlow functions, programs, containers, Geant4.

What needs torch is imported when it is first used: what calls a program does without.
"""

import importlib
from typing import TYPE_CHECKING, Any

from detopt.simulators.calls import FileFunction
from detopt.simulators.command import Command
from detopt.simulators.container import Container
from detopt.simulators.files import Limits

if TYPE_CHECKING:
    from detopt.simulators.foreign import JaxFunction as JaxFunction
    from detopt.simulators.foreign import TensorFlowFunction as TensorFlowFunction
    from detopt.simulators.function import BlackBox as BlackBox

__all__ = [
    "BlackBox",
    "Command",
    "Container",
    "FileFunction",
    "JaxFunction",
    "Limits",
    "TensorFlowFunction",
]

LATER = {"BlackBox": "function", "JaxFunction": "foreign", "TensorFlowFunction": "foreign"}


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(importlib.import_module(f"{__name__}.{LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
