"""Calls of a black box, and what it says, as plain data: a process that calls needs no torch."""

__all__ = ["Call", "FileFunction", "perform"]

import inspect
import runpy
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from detopt.errors import ConfigError, DetoptError, SimulationError

LONGEST = 400  # characters of a design in a message


@dataclass(frozen=True)
class Call:
    """What a simulation is asked.

    Args:
        design: Numbers, lists and names of choices, by parameter.
        seed: A whole number below 2^31.
        n_events: Events that are wanted.
        units: Units by parameter.
    """

    design: Mapping[str, Any]
    seed: int
    n_events: int
    units: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = ", ".join(f"{name} = {value}" for name, value in self.design.items())
        text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
        return f"seed {self.seed}, {self.n_events} events, design: {text}"


@dataclass(frozen=True)
class FileFunction:
    """A function of a Python file, which each process loads once.

    Args:
        program: Path of the file.
        name: Of the function.

    Raises:
        ConfigError: When it is first needed: the file cannot be run, or has no such function.
    """

    program: str
    name: str

    @property
    def __signature__(self) -> inspect.Signature:
        """That of the function."""
        return inspect.signature(_load(self.program, self.name))

    def __call__(self, *arguments: Any, **named: Any) -> object:
        """What the function says."""
        return _load(self.program, self.name)(*arguments, **named)

    def check(self) -> "FileFunction":
        """Load it now."""
        _load(self.program, self.name)
        return self


def perform(simulator: Callable[..., object], call: Call) -> object:
    """What a simulation says.

    Raises:
        SimulationError: It raised something else than an error of this package.
    """
    offered = {"seed": call.seed, "n_events": call.n_events, "units": call.units}
    taken = {key: offered[key] for key in offered if key in _taken(simulator)}
    try:
        return simulator(call.design, **taken)
    except DetoptError:
        raise
    except Exception as error:  # whatever a user's function raises
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise SimulationError(
            f"The simulation raised {error!r} in {last.name}, {last.filename}:{last.lineno}."
        ) from error


def _taken(function: Callable[..., object]) -> frozenset[str]:
    """Which of the optional arguments a callable takes."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some callables written in C
        return frozenset()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return frozenset({"seed", "n_events", "units"})
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    return frozenset(one.name for one in parameters[1:] if one.kind in by_name) | frozenset(
        one.name for one in parameters[:1] if one.kind is inspect.Parameter.KEYWORD_ONLY
    )


@lru_cache(maxsize=16)
def _load(program: str, name: str) -> Callable[..., object]:
    try:
        found = runpy.run_path(program).get(name)
    except Exception as error:  # whatever a user's file raises
        raise ConfigError(f"Cannot run the file {program}: {error!r}.") from error
    if not callable(found):
        raise ConfigError(f"The file {program} has no function `{name}`.")
    function: Callable[..., object] = found
    return function
