"""Prices of machines in a file that the user writes: by provider and type, with or without spot."""

__all__ = ["EXAMPLE", "LOCAL", "MachinePrice", "Prices", "Rate", "load_prices"]

import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detopt.errors import ConfigError, NotFoundError
from detopt.runtime.budget.amounts import Amounts

HOUR = 3600.0  # s
MOST_BYTES = 2**20
EXAMPLE = """\
# Prices of machines. You write this file: the figures below are made up.
currency: EUR            # three letters; all prices of the file are in it
as_of: 2026-01-01        # when you looked them up
machines:
  aws:                   # the provider, as you call it
    c7i.4xlarge:         # the type of machine
      cores: 16          # workers that share it, unless you say otherwise
      per_hour: 0.80
      spot_per_hour: 0.32
    g6.xlarge:
      cores: 4
      gpus: 1
      per_hour: 0.90
  institute:             # an internal price, or 0 for what is free
    node:
      cores: 64
      per_hour: 1.28
"""


class MachinePrice(BaseModel):
    """What an hour of a type of machine costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_hour: float = Field(ge=0, allow_inf_nan=False, description="Price of an hour")
    spot_per_hour: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Price of an hour as a spot machine"
    )
    cores: int = Field(1, ge=1, description="Cores: as many workers share it by default")
    gpus: int = Field(0, ge=0, description="Accelerators")


class Prices(BaseModel):
    """The prices of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field(pattern=r"^[A-Z]{3}$", description="Three capital letters, such as EUR")
    as_of: date | None = Field(None, description="When the prices held")
    machines: dict[str, dict[str, MachinePrice]] = Field(
        min_length=1, description="By provider and type"
    )

    def rate(self, machine: str, *, spot: bool = False, workers: int | None = None) -> "Rate":
        """What a worker on a machine costs.

        Args:
            machine: `PROVIDER/TYPE`.
            spot: Whether it is a spot machine.
            workers: Workers that share the machine; as many as it has cores by default.

        Raises:
            NotFoundError: The file has no price of that machine.
            ConfigError: It has none as a spot machine.
        """
        provider, _, kind = machine.partition("/")
        found = self.machines.get(provider, {}).get(kind)
        if found is None:
            known = ", ".join(f"{p}/{k}" for p, kinds in self.machines.items() for k in kinds)
            raise NotFoundError(f"No price of the machine `{machine}`. There are: {known}.")
        if spot and found.spot_per_hour is None:
            raise ConfigError(
                f"`{machine}` has no price as a spot machine. Add `spot_per_hour` to the file."
            )
        price = found.spot_per_hour if spot else found.per_hour
        assert price is not None
        shared = found.cores if workers is None else workers
        return Rate(machine, spot, price / shared, found.gpus / shared, self.currency)


@dataclass(frozen=True)
class Rate:
    """What an hour of a worker costs.

    Args:
        machine: `PROVIDER/TYPE`, or empty where nothing is paid.
        spot: Whether it is a spot machine.
        per_worker_hour: Money for an hour of a worker.
        gpus: Accelerators of a worker.
        currency: Three letters, or None where nothing is paid.
    """

    machine: str = ""
    spot: bool = False
    per_worker_hour: float = 0.0
    gpus: float = 0.0
    currency: str | None = None

    def amounts(self, wall_s: float, cpu_s: float, worker_s: float) -> Amounts:
        """What times [s] cost."""
        worker_h = worker_s / HOUR
        return Amounts(
            cpu_s / HOUR,
            self.gpus * worker_h,
            wall_s / HOUR,
            self.per_worker_hour * worker_h,
            worker_h,
        )


LOCAL = Rate()


def load_prices(path: Path) -> Prices:
    """The prices in a YAML or TOML file.

    Raises:
        ConfigError: The file is missing or says nothing usable; the message names the entry.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ConfigError(f"The price file {path} has {size} bytes: it is no list of prices.")
        text = path.read_text()
        data = tomllib.loads(text) if path.suffix == ".toml" else _yaml(text)
    except OSError as error:
        raise ConfigError(f"Cannot read the price file {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"The price file {path} cannot be read: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return Prices.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)} See `detopt budget prices`.") from error


def _yaml(text: str) -> Any:
    _refuse_twice(yaml.compose(text, Loader=yaml.SafeLoader))
    return yaml.safe_load(text)


def _refuse_twice(node: Any) -> None:
    """A name that is given twice would silently lose its first price."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"`{key.value}` in line {line} is given twice. Remove one.")
            seen.add(key.value)
            _refuse_twice(value)


def _explain(error: ValidationError) -> str:
    return " ".join(
        f"`{'.'.join(map(str, item['loc'])) or 'the file'}`: {item['msg']}, got {item['input']!r}."
        for item in error.errors(include_url=False)
    )
