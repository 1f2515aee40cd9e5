"""The command `detopt worker`."""

__all__ = ["worker"]

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from detopt.cli import output
from detopt.cli.options import Debug
from detopt.cli.places import Blobs, open_place
from detopt.errors import ConfigError

Steps = Sequence[Callable[[], object]]


def worker(
    place: Annotated[
        str | None, typer.Argument(metavar="[PLACE]", help="Folder of a run, or URL of a database")
    ] = None,
    blobs: Blobs = None,
    url: Annotated[
        str | None, typer.Option(help="Instead of a place: https://HOST:PORT of `detopt serve`")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the token, with --url")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="Certificate to trust instead of the system's, with --url")
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run use cases and programs that --url sends")
    ] = False,
    controllers: Annotated[
        bool, typer.Option("--controllers", help="Go on with runs whose controllers are gone, too")
    ] = False,
    lease: Annotated[
        float, typer.Option(min=1.0, max=600.0, help="Others take over after so many seconds")
    ] = 30.0,
    idle: Annotated[
        float | None, typer.Option(min=0.0, help="End after so many seconds without work")
    ] = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Work on tasks until a signal: of a run, of all runs of a database, or of a service."""
    import torch

    from detopt.runtime.interruption import interruptible

    torch.set_num_threads(1)
    if (place is None) == (url is None):
        raise ConfigError("Give a place or --url, and not both.")
    if url is None:
        if token_file is not None or authority is not None or allow_code:
            raise ConfigError("--token-file, --authority and --allow-code go with --url.")
        steps = _of_place(str(place), blobs, lease, controllers)
    else:
        if controllers or blobs is not None:
            raise ConfigError("--controllers and --blobs need a place: a service has only tasks.")
        steps = _of_service(url, token_file, authority, lease, allow_code)
    with steps as found, interruptible():
        _loop(found, idle)


@contextlib.contextmanager
def _of_place(place: str, blobs: str | None, lease: float, controllers: bool) -> Iterator[Steps]:
    from detopt.runtime.controller import Controllers
    from detopt.runtime.worker import Worker

    with open_place(place, blobs) as (store, run):
        steps = [Worker(store, lease_s=lease, run_id=None if run is None else run.id).step]
        if controllers:
            steps.append(Controllers(store, run=run, lease_s=lease, say=output.say).step)
        yield steps


@contextlib.contextmanager
def _of_service(
    url: str, token_file: Path | None, authority: Path | None, lease: float, allow_code: bool
) -> Iterator[Steps]:
    from detopt.runtime.worker import Worker
    from detopt.service.client import ServiceSource

    if token_file is None:
        raise ConfigError("--url needs --token-file, the file with the token.")
    try:
        token = token_file.read_text().strip()
    except OSError as error:
        raise ConfigError(f"Cannot read the token in {token_file}: {error.strerror}.") from error
    source = ServiceSource(url, token, authority=authority, allow_code=allow_code)
    with contextlib.closing(source):
        source.inputs("")  # what would refuse every task is said at once
        yield [Worker(source, lease_s=lease).step]


def _loop(steps: Steps, idle: float | None) -> None:
    from detopt.runtime.worker import LONGEST, SHORTEST

    pause, last = SHORTEST, time.monotonic()
    while True:
        if any(step() for step in steps):
            pause, last = SHORTEST, time.monotonic()
            continue
        if idle is not None and time.monotonic() - last >= idle:
            return
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)
