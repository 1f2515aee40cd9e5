"""The commands `detopt store`."""

__all__ = ["store_app"]

from typing import TYPE_CHECKING

import typer

from detopt.cli import output
from detopt.cli.options import Debug, Json
from detopt.cli.places import Blobs, Place, open_place

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


def _database(place: str) -> "Database":
    """A database whose tables may be those of an earlier version."""
    from detopt.runtime.storage import Database
    from detopt.runtime.store import database_url

    url = place if "://" in place else database_url(output.run_folder(place))
    return Database(url)
