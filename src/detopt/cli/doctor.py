"""The command `detopt doctor`."""

__all__ = ["doctor"]

from typing import Annotated

import typer

from detopt.cli import output
from detopt.cli.options import Debug, Json, Options, read_options


def doctor(
    executor: Annotated[
        str, typer.Option(help="local, queue, dask, slurm, htcondor or kubernetes")
    ] = "local",
    workers: Annotated[int, typer.Option(min=0, help="Workers to start")] = 2,
    option: Options = [],  # noqa: B006 (typer copies it)
    database: Annotated[
        str | None, typer.Option(help="URL of a shared database, for `queue`")
    ] = None,
    blobs: Annotated[str | None, typer.Option(help="URL of its files")] = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Check that an executor keeps its promises here; exit with 1 if it does not.

    With -o come options of the executor, such as address=tls://HOST:8786; those of the class of a
    cluster read options.KEY=VALUE.
    """
    from detopt.testing.doctor import examine

    given = read_options(option)
    inner = {k.removeprefix("options."): v for k, v in given.items() if k.startswith("options.")}
    outer = {k: v for k, v in given.items() if not k.startswith("options.")}
    settings = {**outer, **({"options": inner} if inner else {})}
    found = output.findings(
        examine(executor, workers=workers, options=settings, database=database, blobs=blobs), json
    )
    raise typer.Exit(0 if all(finding.passed for finding in found) else 1)
