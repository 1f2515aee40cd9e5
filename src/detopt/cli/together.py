"""The command `detopt merge`, and how a run begins at another one."""

__all__ = ["INTERRUPTED", "files_by_digest", "finish", "merge", "parent_settings"]

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from detopt.cli import family, output
from detopt.cli.budget import spent
from detopt.cli.options import Debug, Json
from detopt.cli.places import Blobs, SharedDatabase, finished_runs, open_place, shared_urls
from detopt.errors import BudgetError, ConfigError
from detopt.runtime.constraints import broken_words

INTERRUPTED = 130
BY_DIGEST = "sha256:"


def merge(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN ...", help="Finished runs with a common parent"),
    ],
    prefer: Annotated[
        list[str],
        typer.Option(
            metavar="RUN[:PATTERN]",
            help="Whose value counts where two runs freed the same parameter",
        ),
    ] = [],  # noqa: B006 (typer copies it)
    out: Annotated[Path | None, typer.Option(help="Folder of the merge")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the fresh events")] = None,
    evaluation_events: Annotated[
        int | None, typer.Option(min=2, help="Fresh events for each design; as the runs had")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; same result")] = None,
    database: SharedDatabase = None,
    blobs: Blobs = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Put the designs of several tasks together, and judge them with fresh events."""
    from detopt.api import Study
    from detopt.runtime.merging import merge_tasks

    database, blobs = shared_urls(database, blobs)
    settings = {} if workers is None else {"workers": workers}
    with finished_runs(runs, database, blobs) as tasks:
        config = merge_tasks(
            tasks, prefer, seed=seed, evaluation_events=evaluation_events, **settings
        )
        study = Study.from_config(config, out, database=database, blobs=blobs)
    result = finish(study if database is None else Study.resume(study.folder), json)
    if not json:
        for line in family.differences(result["differences"], broken_words(result, "final")):
            output.say(line)


def finish(study: Any, json: bool) -> Any:
    """Run a study to its end and print what it found."""
    try:
        result = study.run()
    except KeyboardInterrupt:
        output.say(f"Stopped. Go on with: detopt resume {study.folder}")
        raise typer.Exit(INTERRUPTED) from None
    except BudgetError as error:
        raise spent(error, study.folder) from None
    output.result(result, study.folder, json)
    return result


@contextmanager
def parent_settings(
    use_case: str | None, parent: str | None, database: str | None, blobs: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The use case, and what the parent says of it; its files are there during the block.

    Without a use case, it is that of the parent, with its options.
    """
    if parent is None:
        if use_case is None:
            raise ConfigError("Name a use case, or a run to start from with --parent.")
        yield use_case, {}
        return
    with finished_runs([parent], database, blobs) as (found,):
        settings: dict[str, Any] = {"parent": found.origin.model_dump(), "merged": []}
        if use_case is None:
            settings["options"] = dict(found.config.options)
        yield use_case or found.config.use_case, settings


@contextmanager
def files_by_digest(
    use_case: str, options: dict[str, Any], database: str | None, blobs: str | None
) -> Iterator[dict[str, Any]]:
    """Options in which each file that is named by its digest is fetched from the shared store."""
    from detopt.runtime.config import path_options
    from detopt.runtime.storage import Artifacts

    wanted = {
        key: str(options[key]).removeprefix(BY_DIGEST)
        for key in path_options(use_case)
        if str(options.get(key)).startswith(BY_DIGEST)
    }
    if not wanted:
        yield options
        return
    if database is None:
        raise ConfigError(f"A file by its digest ({BY_DIGEST}...) needs --database and --blobs.")
    with open_place(database, blobs) as (store, _), TemporaryDirectory(prefix="detopt-") as name:
        fetched = {}
        for key, digest in wanted.items():
            found = Artifacts(store).find(digest)
            path = Path(name) / f"{found.digest[:12]}-{Path(found.name).name}"
            path.write_bytes(store.blobs.get(found.digest))
            fetched[key] = str(path)
        yield {**options, **fetched}
