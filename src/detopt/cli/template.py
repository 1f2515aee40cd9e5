"""The example that `detopt new` writes."""

__all__ = ["write_template"]

import keyword
from importlib.resources import files
from pathlib import Path

from detopt.errors import ConfigError


def write_template(name: str, folder: Path) -> Path:
    """Write the commented example as NAME.py into `folder`.

    Raises:
        ConfigError: The name is no identifier, or the file exists.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigError(f"The name of a use case must be a Python identifier, got {name!r}.")
    path = folder / f"{name}.py"
    if path.exists():
        raise ConfigError(f"{path} exists; nothing was written. Choose another name.")
    path.write_text(files("detopt.cli").joinpath("telescope.py.txt").read_text())
    return path
