"""What readers of event files share: files that are there, and errors that name them."""

__all__ = ["opened"]

import contextlib
import difflib
from collections.abc import Iterator
from pathlib import Path

from detopt.errors import DetoptError, DomainError, NotFoundError, SimulationError


@contextlib.contextmanager
def opened(path: str | Path, kind: str) -> Iterator[Path]:
    """A file that exists; what goes wrong while it is read names it.

    Raises:
        NotFoundError: There is no such file.
        SimulationError: It is empty or damaged, or its events make no sense.
    """
    file = Path(path)
    if not file.is_file():
        near = difflib.get_close_matches(file.name, _neighbours(file))
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise NotFoundError(f"There is no {kind} file {file}.{hint}")
    if file.stat().st_size == 0:
        raise SimulationError(f"The {kind} file {file} is empty: 0 bytes.")
    try:
        yield file
    except DomainError as error:
        raise SimulationError(f"The {kind} file {file} holds no usable events: {error}") from error
    except DetoptError:
        raise
    except Exception as error:  # every package has its own errors for a damaged file
        raise SimulationError(
            f"The {kind} file {file} cannot be read: {str(error).rstrip('.') or repr(error)}. "
            "It is damaged, incomplete or of another format."
        ) from error


def _neighbours(file: Path) -> list[str]:
    return [one.name for one in file.parent.iterdir()] if file.parent.is_dir() else []
