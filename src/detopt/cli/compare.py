"""The command `detopt compare-methods`."""

__all__ = ["compare_methods"]

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detopt.cli import output
from detopt.cli.options import Debug, Json, Options, read_options

if TYPE_CHECKING:
    from detopt.runtime.comparison_result import Comparison
    from detopt.runtime.contenders import Contender


def compare_methods(
    use_case: Annotated[str, typer.Argument(metavar="USECASE", help="Name, or path of its file")],
    methods: Annotated[
        list[str],
        typer.Option(
            "-m",
            "--methods",
            help="Such as `adam,cma`, or with options `adam:learning_rate=0.05,max_norm=4;cma`",
        ),
    ],
    option: Options = [],  # noqa: B006 (typer copies it)
    budget: Annotated[int, typer.Option(help="Calls of the simulation, for each run")] = 500,
    seeds: Annotated[int, typer.Option(help="Seeds of each method")] = 5,
    target: Annotated[float | None, typer.Option(help="Objective to be reached")] = None,
    checkpoints: Annotated[int, typer.Option(help="Verdicts on the way")] = 20,
    evaluation_events: Annotated[
        int | None, typer.Option(help="Fresh events of a verdict; as the use case recommends")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Worst point of the hypervolume, such as 2.0,0.5")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; same numbers, except times")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of tables and figures")] = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Compare methods at an equal budget of calls; write a table and figures."""
    from detopt.reports.comparison import write_comparison
    from detopt.runtime import StudyConfig, comparison
    from detopt.runtime.comparison_log import ComparisonLog
    from detopt.runtime.contenders import read_contenders
    from detopt.runtime.race import Plan

    options = read_options(option)
    contenders = read_contenders(methods)
    usual = StudyConfig.make(use_case, options=options).evaluation_events
    plan = Plan(
        budget, checkpoints, usual if evaluation_events is None else evaluation_events, target
    )
    folder = _free_folder(use_case) if out is None else out
    _refuse_taken(folder)
    output.say(f"Finished runs are kept in {folder}: the same command goes on after a stop.")
    with _progress(contenders, seeds, budget) as listener:
        found = comparison.compare_methods(
            use_case,
            contenders,
            plan,
            options=options,
            seeds=seeds,
            workers=workers,
            reference=None if reference is None else _numbers(reference),
            folder=folder,
            listener=listener,
        )
    write_comparison(found, folder)
    ComparisonLog(folder).remove()
    _print(found, folder, json)


def _numbers(text: str) -> list[float]:
    from detopt.errors import ConfigError

    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"`reference` must be numbers with commas, got {text!r}.") from error


def _free_folder(use_case: str) -> Path:
    """The first folder without a finished comparison: one that was interrupted goes on."""
    from detopt.runtime.comparison_result import FILE

    stem = Path(use_case).stem
    names = (stem if i == 1 else f"{stem}-{i}" for i in itertools.count(1))
    folders = (Path("comparisons") / name for name in names)
    return next(folder for folder in folders if not (folder / FILE).exists())


def _refuse_taken(folder: Path) -> None:
    from detopt.errors import ConfigError
    from detopt.runtime.comparison_result import FILE

    if (folder / FILE).exists():
        raise ConfigError(f"{folder} holds a comparison already. Name another folder.")


@contextlib.contextmanager
def _progress(
    contenders: "Sequence[Contender]", seeds: int, budget: int
) -> Iterator[Callable[[str, int, float], None]]:
    """A bar for each method on standard error, and a line at the end of each run elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("calls"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    said: set[tuple[str, int]] = set()
    done: dict[str, dict[int, float]] = {one.label: {} for one in contenders}
    with bars:
        tasks = {one.label: bars.add_task(one.label, total=seeds * budget) for one in contenders}

        def listen(method: str, seed: int, calls: float) -> None:
            done[method][seed] = calls
            bars.update(tasks[method], completed=int(sum(done[method].values())))
            if calls >= budget and not console.is_terminal and (method, seed) not in said:
                said.add((method, seed))
                console.print(f"{method}, seed {seed}: done", highlight=False, markup=False)

        yield listen


def _print(found: "Comparison", folder: Path, json: bool) -> None:
    from detopt.reports import comparison_tables as tables

    data = {
        "use_case": found.use_case,
        "objective_name": found.objective_name,
        "plan": asdict(found.plan),
        "reference": list(found.reference),
        "methods": [asdict(summary) for summary in found.summaries()],
        "folder": str(folder),
    }
    output.compared(
        data,
        tables.note(found),
        tables.columns(found),
        tables.rows(found),
        tables.remarks(found),
        json,
    )
