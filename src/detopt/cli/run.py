"""The command `detopt run`."""

__all__ = ["run"]

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detopt.cli.budget import (
    Machine,
    MaxCpuHours,
    MaxGpuHours,
    MaxMoney,
    MaxWallHours,
    PriceFile,
    SharedBudget,
    Spot,
    budget_settings,
)
from detopt.cli.options import Debug, Json, Options, Settings, read_options, split_options
from detopt.cli.places import Blobs, SharedDatabase, shared_urls
from detopt.cli.together import files_by_digest, finish, parent_settings

if TYPE_CHECKING:
    from detopt.api import Study

UseCase = Annotated[
    str | None,
    typer.Argument(
        metavar="[USECASE]",
        help="Use case, or a study in a YAML file; with --parent that of the parent",
    ),
]
Method = Annotated[str | None, typer.Option(help="Optimizer; see `detopt list`")]
Rounds = Annotated[int | None, typer.Option(help="Rounds of the optimizer")]
Events = Annotated[int | None, typer.Option(help="Events in an evaluation")]
StudySeed = Annotated[int | None, typer.Option(help="Seed of all random numbers")]
Workers = Annotated[int | None, typer.Option(help="Processes; same result")]
Free = Annotated[
    list[str], typer.Option(help="Parameter, group or pattern; nothing else is free then")
]
Freeze = Annotated[list[str], typer.Option(help="Parameter, group or pattern to keep")]
Parent = Annotated[
    str | None, typer.Option(metavar="RUN", help="Start from the final design of a run")
]
Track = Annotated[list[str], typer.Option(help="Show it in tensorboard, wandb, comet or mlflow")]
Out = Annotated[Path | None, typer.Option(help="Folder of the run")]


def run(
    use_case: UseCase = None,
    option: Options = [],  # noqa: B006 (typer copies it)
    method: Method = None,
    rounds: Rounds = None,
    events: Events = None,
    seed: StudySeed = None,
    workers: Workers = None,
    free: Free = [],  # noqa: B006
    freeze: Freeze = [],  # noqa: B006
    parent: Parent = None,
    track: Track = [],  # noqa: B006
    out: Out = None,
    database: SharedDatabase = None,
    blobs: Blobs = None,
    max_cpu_hours: MaxCpuHours = None,
    max_gpu_hours: MaxGpuHours = None,
    max_wall_hours: MaxWallHours = None,
    max_money: MaxMoney = None,
    prices: PriceFile = None,
    machine: Machine = None,
    spot: Spot = False,
    shared_budget: SharedBudget = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Optimize a use case, judge the result independently and write a report."""
    from detopt.api import Study

    given = {"method": method, "rounds": rounds, "events": events, "seed": seed,
             "workers": workers, "free": free or None, "freeze": freeze or None,
             "trackers": track or None}  # fmt: skip
    budget = {"cpu_hours": max_cpu_hours, "gpu_hours": max_gpu_hours,
              "wall_hours": max_wall_hours, "money": max_money, "prices": prices,
              "machine": machine, "spot": spot, "shared": shared_budget}  # fmt: skip
    urls = shared_urls(database, blobs)
    study = _study(use_case, read_options(option), given, budget, parent, out, urls)
    finish(study if urls[0] is None else Study.resume(study.folder), json)


def _study(
    use_case: str | None,
    options: Settings,
    given: Settings,
    budget: Settings,
    parent: str | None,
    out: Path | None,
    urls: tuple[str | None, str | None],
) -> "Study":
    """The study that the command line describes."""
    from detopt.api import Study
    from detopt.runtime import StudyConfig

    database, blobs = urls
    with contextlib.ExitStack() as files:
        name, inherited = files.enter_context(parent_settings(use_case, parent, database, blobs))
        name, settings = _settings(name, options, given["method"], inherited.pop("options", {}))
        settings |= inherited | {key: value for key, value in given.items() if value is not None}
        settings |= budget_settings(settings.get("compute_budget"), **budget)
        settings["options"] = files.enter_context(
            files_by_digest(name, settings["options"], database, blobs)
        )
        config = StudyConfig.make(name, **settings)
        return Study.from_config(config, out, database=database, blobs=blobs)


def _settings(
    use_case: str, options: Settings, method: str | None, inherited: Settings
) -> tuple[str, Settings]:
    """Use case and settings of a study, from a name or from a file."""
    from detopt import usecases
    from detopt.runtime import load_study

    if Path(use_case).suffix in {".yaml", ".yml"}:
        base = load_study(Path(use_case))
        data = base.model_dump()
        name = data.pop("use_case")
        settings = split_options(options, set(usecases.load(name).config.model_fields))
        if method is not None and method != base.method:
            data["method_options"] = {}
        for key in ("options", "method_options"):
            settings[key] = {**data[key], **settings.get(key, {})}
        return name, {**data, **settings}
    settings = split_options(options, set(usecases.load(use_case).config.model_fields))
    settings["options"] = {**inherited, **settings["options"]}
    return use_case, settings
