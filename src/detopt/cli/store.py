"""The commands `detopt store`."""

__all__ = ["store_app"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detopt.cli import output
from detopt.cli.options import Debug, Json
from detopt.cli.places import Blobs, Place, open_place
from detopt.errors import ConfigError

if TYPE_CHECKING:
    from detopt.runtime.storage import Database

store_app = typer.Typer(help="Look after where runs are kept.", no_args_is_help=True)


@store_app.command()
def upgrade(place: Place, json: Json = False, debug: Debug = False) -> None:  # noqa: ARG001
    """Make the tables of a database, or update those of an earlier version."""
    from detopt.runtime.storage import migrate

    database = _database(place)
    try:
        before = database.read(migrate.revision)
        database.upgrade()
        database.check()
        after = database.read(migrate.revision)
    finally:
        database.close()
    document = {"database": database.url, "before": before, "after": after}
    if json:
        output.document(document)
    elif before == after:
        output.say(f"{database.url} has the tables of version {after} already.")
    else:
        output.say(f"{database.url} has the tables of version {after} now.")


@store_app.command()
def check(
    place: Place,
    blobs: Blobs = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Read everything that is kept, and compare it with its checksums; exit with 1 on damage."""
    with open_place(place, blobs) as (store, _):
        found = store.damage()
        document = {"database": store.database.url, "blobs": store.blobs.url, "damage": found}
    if json:
        output.document(document)
    else:
        for line in found:
            output.say(line)
        if not found:
            output.say(f"{document['database']} and its files are sound.")
    raise typer.Exit(1 if found else 0)


@store_app.command("list")
def list_(
    place: Place,
    blobs: Blobs = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """What runs keep, by digest: inputs, results, states of optimizers, surrogates."""
    from detopt.cli.family import print_artifacts
    from detopt.runtime.storage import Artifacts

    with open_place(place, blobs) as (store, run):
        rows = [vars(one) for one in Artifacts(store).list(None if run is None else run.id)]
    if json:
        output.document(rows)
    else:
        print_artifacts(rows)


@store_app.command()
def get(
    digest: Annotated[str, typer.Argument(help="SHA-256 of the bytes, or how it begins")],
    place: Place,
    out: Annotated[Path, typer.Option(help="File to write; it must not exist")],
    blobs: Blobs = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Fetch what a run keeps by its digest; damaged bytes are refused."""
    from detopt.runtime.storage import Artifacts
    from detopt.runtime.store import write_whole

    if out.exists():
        raise ConfigError(f"{out} exists already. Name another file.")
    with open_place(place, blobs) as (store, _):
        write_whole(out, Artifacts(store).get(digest))
    output.created(out, json)


@store_app.command()
def put(
    file: Annotated[Path, typer.Argument(help="File to keep, such as a trained surrogate")],
    place: Place,
    blobs: Blobs = None,
    run: Annotated[str | None, typer.Option(help="Run of a database by URL")] = None,
    name: Annotated[str | None, typer.Option(help="What it is called; the file's name")] = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Keep a file with a run, for others to find it by its digest."""
    from detopt.runtime.storage import Artifacts

    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"Cannot read {file}: {error.strerror}.") from error
    with open_place(place, blobs) as (store, own):
        wanted = run if own is None else own.id
        if wanted is None:
            raise ConfigError("A database by URL needs --run, the run that keeps the file.")
        run_id = store.run(wanted).id
        digest = Artifacts(store).put(run_id, name or file.name, data)
    if json:
        output.document({"run": run_id, "name": name or file.name, "digest": digest})
    else:
        output.say(f"{run_id} keeps {file} as {digest}")


def _database(place: str) -> "Database":
    """A database whose tables may be those of an earlier version."""
    from detopt.runtime.storage import Database
    from detopt.runtime.store import database_url

    url = place if "://" in place else database_url(output.run_folder(place))
    return Database(url)
