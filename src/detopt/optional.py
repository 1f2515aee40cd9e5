"""Optional packages: imported where they are used, with an error that names the extra."""

__all__ = ["require"]

import importlib
from typing import Any

from detopt.errors import MissingExtraError


def require(module: str, *, extra: str, purpose: str) -> Any:
    """Import `module`, or say which extra installs it.

    Raises:
        MissingExtraError: The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingExtraError(
            f"{purpose} needs `{module}`. Install it with `pip install detopt[{extra}]`."
        ) from error
