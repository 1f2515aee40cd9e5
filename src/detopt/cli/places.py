"""Where a store is: the folder of a run, or the URL of a database."""

__all__ = ["Blobs", "Place", "open_place"]

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detopt.cli import output
from detopt.errors import ConfigError

if TYPE_CHECKING:
    from detopt.runtime import RunStore
    from detopt.runtime.storage import Store

Place = Annotated[
    str, typer.Argument(metavar="PLACE", help="Folder of a run, or URL of a database")
]
Blobs = Annotated[str | None, typer.Option(help="URL of the files, with the URL of a database")]


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
