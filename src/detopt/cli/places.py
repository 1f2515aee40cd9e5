"""Where a store is: the folder of a run, or the URL of a database."""

__all__ = ["Blobs", "Place", "SharedDatabase", "finished_runs", "open_place", "shared_urls"]

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detopt.cli import output
from detopt.errors import ConfigError

if TYPE_CHECKING:
    from detopt.runtime import RunStore
    from detopt.runtime.finished import FinishedRun
    from detopt.runtime.storage import Store

Place = Annotated[
    str, typer.Argument(metavar="PLACE", help="Folder of a run, or URL of a database")
]
Blobs = Annotated[str | None, typer.Option(help="URL of the files, with the URL of a database")]
SharedDatabase = Annotated[
    str | None, typer.Option("--database", help="URL of a database that others share")
]


@contextlib.contextmanager
def open_place(place: str, blobs: str | None) -> "Iterator[tuple[Store, RunStore | None]]":
    """A store, and the run where the place is the folder of one."""
    from detopt.runtime import RunStore
    from detopt.runtime.storage import BlobStore, Database, Store

    if "://" not in place:
        with contextlib.closing(RunStore(output.run_folder(place))) as run:
            yield run.store, run
        return
    if blobs is None:
        raise ConfigError("A database by URL needs --blobs, the folder or URL of its files.")
    if "://" not in blobs and not Path(blobs).is_dir():
        raise ConfigError(f"The folder of the files {blobs} does not exist.")
    with contextlib.closing(Store(Database(place), BlobStore(blobs))) as store:
        store.database.check()
        yield store, None


def shared_urls(database: str | None, blobs: str | None) -> tuple[str | None, str | None]:
    """The URLs of a shared store, which mean the same wherever they are read.

    Raises:
        ConfigError: One of the two is missing or no URL, or holds a secret.
    """
    from sqlalchemy import make_url

    from detopt.runtime.store import refuse_password, refuse_secret

    if database is None and blobs is None:
        return None, None
    if database is None or blobs is None:
        raise ConfigError("--database and --blobs go together: rows and files of a shared store.")
    refuse_password(database)
    refuse_secret(blobs)
    url = make_url(database)
    if url.drivername.startswith("sqlite") and url.database:
        database = str(url.set(database=str(Path(url.database).resolve())))
    return database, blobs if "://" in blobs else str(Path(blobs).resolve())


@contextlib.contextmanager
def finished_runs(
    identifiers: Sequence[str], database: str | None, blobs: str | None
) -> "Iterator[list[FinishedRun]]":
    """Runs that have ended, from their folders, or by name from a shared store."""
    from detopt.runtime.finished import fetch_finished, read_finished

    with contextlib.ExitStack() as stack:
        store: Store | None = None
        found = []
        for identifier in identifiers:
            folder = output.find_folder(identifier)
            if folder is not None or database is None:
                found.append(read_finished(folder or output.run_folder(identifier)))
                continue
            if store is None:
                store, _ = stack.enter_context(open_place(database, blobs))
            found.append(stack.enter_context(fetch_finished(store, identifier)))
        yield found
