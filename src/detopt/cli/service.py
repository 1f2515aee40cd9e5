"""The commands `detopt serve` and `detopt token`."""

__all__ = ["serve", "token"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detopt.cli import output
from detopt.cli.options import Debug, Json
from detopt.cli.places import Blobs, Place, open_place
from detopt.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from detopt.runtime.storage import Tokens

HOUR = 3600.0
Lifetime = Annotated[float, typer.Option(min=0.01, help="For how many hours it holds")]


def serve(
    place: Place,
    blobs: Blobs = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on")] = 8443,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate, PEM")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM")] = None,
    recheck: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of answers to do again (trust `sample`)"),
    ] = 0.05,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Hand out the tasks of a run, or of all runs of a database, to workers with a token."""
    from detopt.service.app import serve as start

    def ready(url: str) -> None:
        output.say(f"Serving the tasks of {place} at {url}")

    with open_place(place, blobs) as (store, _):
        start(
            store,
            host=host,
            port=port,
            certificate=certificate,
            key=key,
            rate=recheck,
            ready=ready,
        )


def token(
    place: Place,
    blobs: Blobs = None,
    run: Annotated[
        str | None, typer.Option(help="The run, where the place is a database of several")
    ] = None,
    hours: Lifetime = 24.0,
    trust: Annotated[
        str, typer.Option(help="`quorum`, `sample`, or `full` for your own machines")
    ] = "quorum",
    note: Annotated[str, typer.Option(help="Who gets it")] = "",
    revoke: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Take back the token that begins so")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show who has tokens")] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Make a token that lets remote workers do the tasks of a run; it is shown once."""
    from detopt.runtime.storage import Tokens

    with open_place(place, blobs) as (store, opened):
        name = opened.id if opened is not None else run
        if name is None:
            raise ConfigError("A database of several runs needs --run, the name of one.")
        tokens = Tokens(store.database)
        store.run(name)
        if revoke is not None:
            _revoke(tokens, name, revoke)
        if revoke is not None or list_:
            output.tokens([vars(one) for one in tokens.of(name)], json)
            return
        text = tokens.make(name, hours * HOUR, trust=trust, note=note)
    if json:
        output.document({"token": text, "run": name, "trust": trust, "hours": hours})
    else:
        typer.echo(text)


def _revoke(tokens: "Tokens", run: str, begin: str) -> None:
    found = [one.digest for one in tokens.of(run) if begin and one.digest.startswith(begin.lower())]
    if not found:
        raise NotFoundError(f"The run {run} has no token {begin!r}. See them with --list.")
    if len(found) > 1:
        raise NotFoundError(
            f"Several tokens begin with {begin}: {', '.join(found)}. Give more of the one."
        )
    tokens.revoke(found[0])
