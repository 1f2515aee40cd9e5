"""Folders that a command writes to."""

__all__ = ["make_folder"]

import os
from pathlib import Path

from detopt.errors import ConfigError


def make_folder(folder: Path) -> None:
    """Make the folder of --out, before the work whose result it is to hold.

    Raises:
        ConfigError: It cannot be made, or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Cannot make the folder {str(folder)!r} of --out: {error.strerror}. Name another."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"Cannot write to the folder {str(folder)!r} of --out. Name another.")
