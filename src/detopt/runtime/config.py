"""What a study is, as a file that starts it again."""

__all__ = ["StudyConfig", "load_study", "save_study"]

import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from detopt import usecases
from detopt.design import Design
from detopt.errors import ConfigError
from detopt.optimizers import METHODS
from detopt.runtime.budget.config import ComputeBudget
from detopt.runtime.executors import ProblemRecipe
from detopt.runtime.executors.dask import DaskOptions
from detopt.runtime.origin import Origin, Part
from detopt.runtime.trackers.registry import check_trackers

DEFAULT_ROUNDS = 100
DEFAULT_EVALUATION = 4_000
LONGEST = 200  # letters of a value in a message


class StudyConfig(BaseModel):
    """One study: a use case with options, a method, and how long and where it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use_case: str = Field(description="Name of a use case, or path of its file")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the use case")
    method: str = Field("adam", description="Optimizer")
    method_options: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the optimizer"
    )
    rounds: int = Field(DEFAULT_ROUNDS, ge=1, description="Rounds of ask, evaluate and tell")
    events: int | None = Field(None, ge=1, description="Events in an evaluation; null: its own")
    seed: int = Field(0, ge=0, description="Seed of all random numbers")
    workers: int = Field(
        1,
        ge=0,
        description="Processes; they do not change the result. 0: others work",
    )
    executor: Literal["local", "queue", "dask"] = Field(
        "local",
        validate_default=True,
        description="Processes of this machine, workers that share a store, or Dask",
    )
    executor_options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the executor: of the Dask cluster"
    )
    free: list[str] = Field(
        default_factory=list,
        description="Parameters, groups or patterns that alone are free; none: those of the use "
        "case",
    )
    freeze: list[str] = Field(
        default_factory=list, description="Parameters, groups or patterns to freeze"
    )
    parent: Origin | None = Field(None, description="Run whose final design this one starts from")
    merged: list[Part] = Field(
        default_factory=list, description="Tasks whose designs are merged; nothing is searched then"
    )
    share: bool = Field(
        True, description="Use evaluations that other runs of a shared database have done"
    )
    evaluation_events: int = Field(
        DEFAULT_EVALUATION, ge=2, description="Events of the independent re-evaluation"
    )
    compute_budget: ComputeBudget | None = Field(
        None, description="How much computing it may use; null: as much as it takes"
    )
    trackers: list[str] = Field(
        default_factory=list, description="Where people follow it: tensorboard, wandb, ..."
    )
    tracker_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Options of each tracker, by its name"
    )

    @field_validator("executor")
    @classmethod
    def _somebody_works(cls, executor: str, info: Any) -> str:
        if executor == "local" and info.data.get("workers") == 0:
            raise ValueError("`workers` must be >= 1 where nobody else works")
        return executor

    @property
    def start(self) -> Design | None:
        """Where the study starts, if not where the use case does: at the parent or the merge."""
        if self.parent is None:
            return None
        taken: dict[str, Tensor] = {}
        for part in self.merged:
            values = part.values
            taken |= {name: values[name] for name in part.taken}
        return Design({**self.parent.values, **taken})

    @property
    def recipe(self) -> ProblemRecipe:
        """How the problem is made."""
        return ProblemRecipe(
            self.use_case,
            self.options,
            tuple(self.freeze),
            None,
            free=tuple(self.free),
            start=self.start,
        )

    @classmethod
    def make(cls, use_case: str, **settings: Any) -> "StudyConfig":
        """A checked study; what is not given, or None, is what the use case recommends.

        Its recommended options of the method hold where the method is the recommended one, each
        unless it is given.

        Raises:
            ConfigError: A setting is unknown or unusable, or there is no such method.
            NotFoundError: No such use case.
        """
        given = {key: value for key, value in settings.items() if value is not None}
        recommended = usecases.load(use_case).recommended_for(given.get("options"))
        merged = {**recommended, **given}
        merged["method_options"] = _method_options(use_case, given)
        made = cls._checked(use_case, merged)
        check_trackers(made.trackers, made.tracker_options)
        return made

    @classmethod
    def _checked(cls, use_case: str, settings: Mapping[str, Any]) -> "StudyConfig":
        unknown = [str(key) for key in settings if key not in cls.model_fields]
        if unknown:
            known = ", ".join(cls.model_fields)
            raise ConfigError(f"No setting `{unknown[0]}` of a study. There are: {known}.")
        try:
            config = cls(**{**settings, "use_case": use_case})
        except ValidationError as error:
            raise ConfigError(_explain(error)) from error
        if config.merged and config.parent is None:
            raise ConfigError("A merge needs the `parent` of its tasks.")
        if config.method not in METHODS and not config.merged:
            raise ConfigError(f"No method `{config.method}`. There are: {', '.join(METHODS)}.")
        if config.executor == "dask":
            DaskOptions.make(config.executor_options)
        elif config.executor_options:
            raise ConfigError(f"The executor `{config.executor}` has no options.")
        usecases.load(use_case).configure(config.options)
        if config.compute_budget is not None:
            config.compute_budget.rate()
        return config


def load_study(path: Path, complete: bool = False) -> StudyConfig:
    """The study in a YAML file; paths in it are relative to the file.

    Args:
        path: The file.
        complete: Whether it says everything, as the file of a run does: what the use case
            recommends is not looked at then.

    Raises:
        ConfigError: The file is missing or is no study.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"Cannot read the study {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"The study {path} is no YAML: {error}") from error
    if not isinstance(data, dict) or "use_case" not in data:
        raise ConfigError(f"The study {path} must be a mapping with the key `use_case`.")
    name = str(data.pop("use_case"))
    if (path.parent / name).is_file():
        name = str((path.parent / name).resolve())
    options = data.get("options") or {}
    if not isinstance(options, Mapping):
        raise ConfigError(f"`options` in {path} must be a mapping, got {options!r}.")
    data["options"] = _resolve(name, dict(options), path.parent)
    budget = data.get("compute_budget")
    if isinstance(budget, Mapping) and isinstance(budget.get("prices"), str):
        prices = str((path.parent / budget["prices"]).resolve())
        data["compute_budget"] = {**budget, "prices": prices}
    try:
        if complete:
            return StudyConfig._checked(name, data)
        return StudyConfig.make(name, **{str(key): value for key, value in data.items()})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def save_study(config: StudyConfig, folder: Path) -> Path:
    """Write `study.yaml` with copies of its input files, so that the folder suffices."""
    data = config.model_dump(mode="json")
    for key in path_options(config.use_case):
        if data["options"].get(key) is not None:
            data["options"][key] = _copy(Path(data["options"][key]), folder)
    if Path(config.use_case).suffix == ".py":
        data["use_case"] = _copy(Path(config.use_case), folder)
    if config.compute_budget is not None and config.compute_budget.prices is not None:
        data["compute_budget"]["prices"] = _copy(config.compute_budget.prices, folder)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def _copy(source: Path, folder: Path) -> str:
    if not source.is_file():
        raise ConfigError(f"The input file {source} does not exist.")
    inputs = folder / "inputs"
    inputs.mkdir(exist_ok=True)
    target = inputs / source.name
    if target.exists() and target.read_bytes() != source.read_bytes():
        raise ConfigError(f"Two input files are called {source.name}. Rename one of them.")
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)
    return f"inputs/{source.name}"


def _resolve(use_case: str, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    for key in path_options(use_case):
        value = options.get(key)
        if isinstance(value, str) and not Path(value).is_absolute():
            options[key] = str((folder / value).resolve())
    return options


def path_options(use_case: str) -> list[str]:
    """The options of a use case that name a file."""
    fields = usecases.load(use_case).config.model_fields
    return [
        name
        for name, info in fields.items()
        if info.annotation is Path or Path in get_args(info.annotation)
    ]


def _method_options(use_case: str, given: Mapping[str, Any]) -> Any:
    """The method's options: what is given, over what is recommended for that method."""
    recommended = usecases.load(use_case).recommended_for(given.get("options"))
    usual = recommended.get("method", StudyConfig.model_fields["method"].default)
    options = given.get("method_options", {})
    if given.get("method", usual) != usual or not isinstance(options, Mapping):
        return options
    return {**recommended.get("method_options", {}), **options}


def _explain(error: ValidationError) -> str:
    return " ".join(
        f"`{'.'.join(map(str, item['loc']))}`: {item['msg']}, got "
        f"{shorten(repr(item['input']), LONGEST)}."
        for item in error.errors()
    )
