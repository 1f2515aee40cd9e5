"""Black box: which design does a program of yours, in any language, call the best?

A program reads a design from a JSON file and writes an objective to another; nothing else is known
of it. It may be a script, a command, a function in a Python file or a program in a container. By
default it is the example that comes with the package: two wire planes measure the slope of tracks;
a wide `gap` [m] measures well but scatters, a fine `pitch` [m] measures well but costs. Objective:
whatever the program says, by default the mean squared error of the slope and the price [mrad^2].
"""

__all__ = ["Config", "ParameterOption", "build"]

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from detopt.design import (
    Categorical,
    Continuous,
    Design,
    DesignSpace,
    Integer,
    Interval,
    Parameter,
    Real,
)
from detopt.errors import ConfigError, DesignError
from detopt.simulators import BlackBox, Command, Container, FileFunction, Limits
from detopt.simulators import example as example_program
from detopt.units import Duration

NO_DERIVATIVE = True
RECOMMENDED = {"method": "local_surrogate", "rounds": 40}
INTERPRETERS = {".py": sys.executable, ".jl": "julia", ".R": "Rscript", ".sh": "sh"}
ARGUMENTS = ("{design}", "{result}")


class ParameterOption(BaseModel):
    """One parameter of the design."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name in the design file")
    start: float | list[float] | str = Field(description="Where the search starts")
    low: float | None = Field(None, description="Lower bound, with `high`")
    high: float | None = Field(None, description="Upper bound, with `low`")
    scale: float = Field(1.0, gt=0, description="Step that counts as one, without bounds")
    whole: bool = Field(False, description="Whether it is a whole number")
    choices: list[str] | None = Field(None, description="Names, of which one is chosen")
    unit: str = Field("", description="Unit, for people and the design file")
    group: str = Field("", description="Group that is frozen together")
    description: str = Field("", description="One line for people")


EXAMPLE = (
    ParameterOption(name="gap", start=0.3, low=0.05, high=3.0, unit="m", description="Distance"),
    ParameterOption(
        name="pitch", start=2e-3, low=2e-4, high=5e-3, unit="m", description="Of wires"
    ),
)


class Config(BaseModel):
    """Options of the use case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    program: Path | None = Field(
        None, description="Script (.py, .jl, .R, .sh), copied with the study"
    )
    function: str | None = Field(
        None, description="Function of the Python file `program` that is called instead"
    )
    command: str | list[str] | None = Field(
        None, description="Program and arguments with {design} and {result}, see the documentation"
    )
    image: str | None = Field(None, description="Container image in which `command` runs")
    runtime: Literal["docker", "podman", "apptainer"] = Field(
        "docker", description="What runs the container"
    )
    working_folder: str | None = Field(None, description="Where `command` runs; here by default")
    parameters: list[ParameterOption] = Field(
        default_factory=list, description="name, start, low, high, unit; or whole, or choices"
    )
    baselines: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Designs to compare with, by name"
    )
    objective_name: str = Field("answer of the program", description="Objective, with its unit")
    objectives: list[str] = Field(default_factory=list, description="Names, if there are several")
    constraints: list[str] = Field(default_factory=list, description="Names; violated where > 0")
    metrics: list[str] = Field(default_factory=list, description="Names of numbers to keep")
    n_events: int = Field(1_000, ge=1, description="Events in an evaluation")
    events_per_call: int = Field(10_000, ge=1, description="Events in one call, at most")
    timeout: Duration | None = Field(None, gt=0, description="Longest time of a call [s]")
    memory: float | None = Field(None, gt=0, description="Largest memory of a process [GB]")
    retries: int = Field(0, ge=0, description="Further attempts after a failure")
    logs: str | None = Field(None, description="Folder where files of calls are kept")
    keep: Literal["failures", "all"] = Field("failures", description="Which calls are kept")
    on_failure: Literal["stop", "skip"] = Field(
        "stop", description="Whether a failed call stops the study or skips the design"
    )

    @field_validator("baselines", mode="before")
    @classmethod
    def _read_mapping(cls, value: object) -> object:
        """A mapping on the command line is a text."""
        return yaml.safe_load(value) if isinstance(value, str) else value


def build(config: Config) -> BlackBox:
    """The design problem that `config` describes.

    Raises:
        ConfigError: The program is not said, or said twice, or its parameters are missing.
    """
    given = [name for name in ("program", "command") if getattr(config, name) is not None]
    if not given and config.parameters:
        raise ConfigError("Say with `program` or `command` what is called with these parameters.")
    if given and not config.parameters:
        raise ConfigError(
            f"`{given[0]}` needs `parameters`, a list such as "
            "[{name: gap, start: 0.3, low: 0.1, high: 1.0, unit: m}]."
        )
    space = DesignSpace([_parameter(one) for one in config.parameters or EXAMPLE])
    return BlackBox(
        space,
        _simulator(config),
        n_events=config.n_events,
        chunk_size=config.events_per_call,
        objectives=config.objectives,
        constraints=config.constraints,
        metrics=config.metrics if given else ["price"],
        on_failure=config.on_failure,
        baselines={name: _design(space, values) for name, values in config.baselines.items()},
        objective_name=config.objective_name,
    )


def _simulator(config: Config) -> Callable[..., object]:
    limits = Limits(config.timeout, config.memory, config.retries, config.logs, config.keep)
    if config.function is not None:
        return _function(config, limits)
    if config.image is not None:
        if config.command is None or config.program is not None:
            raise ConfigError("With `image`, say with `command`, not `program`, what runs in it.")
        return Container(config.image, config.command, config.runtime, limits)
    return Command(_words(config), config.working_folder, limits)


def _words(config: Config) -> tuple[str, ...]:
    program = config.program
    if config.command is None:
        program = Path(example_program.__file__) if program is None else program
        if program.suffix not in INTERPRETERS:
            raise ConfigError(
                f"`program` is a script ({', '.join(INTERPRETERS)}), got {program}. Call anything "
                f"else by command='{program} {' '.join(ARGUMENTS)}'."
            )
        return (INTERPRETERS[program.suffix], str(program), *ARGUMENTS)
    given = config.command
    words = shlex.split(given) if isinstance(given, str) else given
    return tuple(word.replace("{program}", str(program)) if program else word for word in words)


def _function(config: Config, limits: Limits) -> Callable[..., object]:
    name = str(config.function)
    if config.program is None or config.command is not None or config.image is not None:
        raise ConfigError("`function` names a function of the Python file `program`, alone.")
    if limits != Limits():
        raise ConfigError(
            "A `function` is called in this process, without limits and logs. Leave `timeout`, "
            "`memory`, `retries` and `logs` out, or make it a program."
        )
    return FileFunction(str(config.program), name).check()


def _parameter(option: ParameterOption) -> Parameter:
    about: dict[str, Any] = {"group": option.group, "description": option.description}
    start, low, high = option.start, option.low, option.high
    if option.choices is not None:
        return Categorical(option.name, tuple(option.choices), str(start), **about)
    if isinstance(start, str):
        raise ConfigError(f"The start of `{option.name}` must be a number, got {start!r}.")
    if (low is None) != (high is None):
        raise ConfigError(f"`{option.name}` needs both `low` and `high`, or neither.")
    if not option.whole:
        domain = Real(option.scale) if low is None or high is None else Interval(low, high)
        return Continuous(option.name, start, domain, option.unit, **about)
    numbers = (start, low, high)
    if not all(isinstance(one, float) and one == round(one) for one in numbers):
        raise ConfigError(
            f"`{option.name}` is whole: `start`, `low` and `high` must be whole numbers, got "
            f"{start}, {low} and {high}."
        )
    whole = [round(one) for one in numbers if isinstance(one, float)]
    return Integer(option.name, whole[0], whole[1], whole[2], option.unit, **about)


def _design(space: DesignSpace, values: dict[str, Any]) -> Design:
    """A design from plain numbers and names of choices."""
    found = dict(values)
    for parameter in space.parameters:
        if isinstance(parameter, Categorical) and found.get(parameter.name) in parameter.choices:
            found[parameter.name] = parameter.choices.index(found[parameter.name])
    try:
        tensors = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in found.items()}
    except (TypeError, ValueError) as error:
        raise DesignError(f"A baseline must hold numbers and names of choices: {error}.") from error
    design = Design(tensors)
    space.check(design)
    return design
