"""The commands of `detopt`."""

__all__ = ["app", "run_app"]

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from detopt.cli import output
from detopt.cli.budget import MaxCpuHours, MaxGpuHours, MaxMoney, MaxWallHours, budget_app
from detopt.cli.compare import compare_methods
from detopt.cli.doctor import doctor
from detopt.cli.geant4 import geant4_data
from detopt.cli.options import Debug, Json, Options, read_options, repeat_lists
from detopt.cli.physics import physics
from detopt.cli.reconstruct import reconstruct
from detopt.cli.run import run
from detopt.cli.service import serve, token
from detopt.cli.store import store_app
from detopt.cli.together import INTERRUPTED, finish, merge
from detopt.cli.train_imager import train_imager
from detopt.cli.validate_surrogate import validate_surrogate
from detopt.cli.worker import worker
from detopt.errors import DetoptError

app = typer.Typer(
    help="Optimize the design of physics instruments.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
UseCaseName = Annotated[str, typer.Argument(metavar="USECASE", help="Name, or path of its file")]
RunName = Annotated[str, typer.Argument(metavar="ID", help="Name below `runs/`, or a folder")]
FAILED = 2


@app.command("list")
def list_(json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Use cases and methods, one line each."""
    from detopt import optimizers, usecases

    cases = [{"name": n, "summary": usecases.load(n).summary} for n in usecases.names()]
    methods = [
        {"name": name, "summary": (kind.__doc__ or "").partition("\n")[0]}
        for name, kind in optimizers.METHODS.items()
    ]
    output.listing({"use_cases": cases, "methods": methods}, json)


app.command()(run)


@app.command()
def resume(
    identifier: RunName,
    max_cpu_hours: MaxCpuHours = None,
    max_gpu_hours: MaxGpuHours = None,
    max_wall_hours: MaxWallHours = None,
    max_money: MaxMoney = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Go on with a run that was interrupted, to the same bits; its budget may be changed."""
    from detopt.api import Study
    from detopt.runtime.budget import Limits

    limits = Limits(max_cpu_hours, max_gpu_hours, max_wall_hours, max_money)
    given = limits if limits.given() else None
    finish(Study.resume(output.run_folder(identifier), given), json)


@app.command()
def check(
    use_case: UseCaseName,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Only the gradients, parameter by parameter")
    ] = False,
    option: Options = [],  # noqa: B006
    estimator: Annotated[str, typer.Option(help="Gradient estimator to check")] = "pathwise",
    events: Annotated[int | None, typer.Option(help="Events in an evaluation")] = None,
    repeats: Annotated[int, typer.Option(help="Repetitions with fresh random numbers")] = 24,
    extra: Annotated[
        int, typer.Option(help="Most repetitions of the estimator alone, where noise hides it")
    ] = 0,
    step: Annotated[float, typer.Option(help="Step of the differences in theta")] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of the check")] = 0,
    freeze: Annotated[list[str], typer.Option(help="Parameter or group to leave out")] = [],  # noqa: B006
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Run the conformance suite on a use case; exit with 1 if it fails."""
    from detopt import optimizers, usecases
    from detopt.errors import NotFoundError

    options = read_options(option)
    if not gradients:
        from detopt.testing import conformance

        if options:  # the user's mistakes are no finding about the use case
            usecases.load(use_case).build(options)
        findings = output.findings(conformance(use_case, options), json)
        raise typer.Exit(0 if all(finding.passed for finding in findings) else 1)

    from detopt.gradients import Verdict, check_gradients

    if estimator not in optimizers.ESTIMATORS:
        known = ", ".join(optimizers.ESTIMATORS)
        raise NotFoundError(f"No gradient estimator `{estimator}`. There are: {known}.")
    case = usecases.load(use_case)
    problem = case.build(options)
    if freeze:
        problem = problem.with_space(problem.space.freeze(*freeze))
    with output.counter("checking gradients") as progress:
        checks = check_gradients(
            problem,
            optimizers.ESTIMATORS[estimator](),
            seed=seed,
            n_repeats=repeats,
            n_extra=extra,
            step=step,
            n_events=case.check_events if events is None else events,
            progress=progress,
        )
    output.gradient_table(checks, json)
    raise typer.Exit(0 if all(item.verdict is Verdict.AGREES for item in checks) else 1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the use case, a Python identifier")],
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Write a commented one-file use case that runs."""
    from detopt.cli.template import write_template

    output.created(write_template(name, Path.cwd()), json)


@app.command()
def show(identifier: RunName, json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """What a run is, and what it found."""
    from detopt.runtime import RunStore, load_result, load_study
    from detopt.runtime.executors.shared import n_shared
    from detopt.runtime.family import family
    from detopt.runtime.storage import Artifacts

    folder = output.run_folder(identifier)
    finished = (folder / "result.json").is_file()
    with contextlib.closing(RunStore(folder)) as store:
        data = {
            "study": store.id,
            "status": store.status,
            "folder": str(folder),
            "config": load_study(folder / "study.yaml").model_dump(mode="json"),
            "rounds": len(store.rounds()),
            "result": load_result(folder) if finished else None,
            "artifacts": [vars(one) for one in Artifacts(store.store).list(store.id)],
            "shared": n_shared(store.store, store.id),
            "lineage": family(folder).as_dict(),
        }
    output.shown(data, json)


@app.command("list-runs")
def list_runs(
    runs: Annotated[Path, typer.Option(help="Folder of the runs")] = output.DEFAULT_RUNS,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """All runs, one line each."""
    output.runs(runs, json)


@app.command()
def report(identifier: RunName, json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Write a run's report again."""
    from detopt.reports import write_report

    output.created(write_report(output.run_folder(identifier)), json)


app.command("compare-methods")(compare_methods)
app.command()(merge)
app.command()(physics)
app.command()(reconstruct)
app.command("train-imager")(train_imager)
app.command()(worker)
app.command()(serve)
app.command()(doctor)
app.command("geant4-data")(geant4_data)
app.command("validate-surrogate")(validate_surrogate)
app.command()(token)
app.add_typer(store_app, name="store")
app.add_typer(budget_app, name="budget")


def run_app(arguments: list[str]) -> int:
    """Run a command; an error of the user's becomes one line and exit code 2."""
    try:
        code = app(repeat_lists(arguments) or ["--help"], standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("Stopped.\n")
        return INTERRUPTED
    except Exception as error:
        if "--debug" in arguments or not isinstance(error, DetoptError | _usage_error()):
            raise
        message = getattr(error, "format_message", error.__str__)()
        sys.stderr.write(f"Error: {' '.join(message.split())}\n")
        return FAILED
    return code if isinstance(code, int) else 0


def _usage_error() -> type[Exception]:
    """What typer raises for a wrong command line; the class has no public name of its own."""
    kind = typer.BadParameter.__mro__[1]
    assert issubclass(kind, Exception)
    return kind
