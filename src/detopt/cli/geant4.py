"""The command `detopt geant4-data`."""

__all__ = ["geant4_data"]

from pathlib import Path
from typing import Annotated

import typer

from detopt.cli import output
from detopt.cli.options import Debug, Json
from detopt.errors import ConfigError


def geant4_data(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of the data; by default the one that results are made with"),
    ] = None,
    substitute: Annotated[
        bool,
        typer.Option("--substitute", help="Write a small electromagnetic substitute there"),
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Say which data would be used, and write nothing")
    ] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Say which data Geant4 would use, or write a substitute for the official ones.

    A substitute is made from formulae and from xraylib. Every result that is made with it says so.
    """
    from detopt.simulators.geant4 import find_data, write_substitute
    from detopt.simulators.geant4.folders import chosen_folder

    if substitute and show:
        raise ConfigError("Give `--substitute` to write data or `--show` to look, not both.")
    data = write_substitute(chosen_folder(folder)) if substitute else find_data(folder)
    found = {
        "folder": str(data.folder),
        "data": data.origin,
        "official": data.official,
        "sha256": data.digest,
    }
    if json:
        output.document(found)
    else:
        output.facts("Data of Geant4", [(key, str(value)) for key, value in found.items()])
