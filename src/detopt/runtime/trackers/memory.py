"""What a tracker has seen of a run, so that a resumed run goes on where it stopped."""

__all__ = ["Memory"]

import contextlib
import json
import uuid
from pathlib import Path

NONE = -1


class Memory:
    """A small file beside the data of a tracker.

    Args:
        path: The file.
        key: Name of the run in the tool.
        last: The last round that it has, -1 for none.
        was_used: Whether the tool knows the run.
    """

    def __init__(self, path: Path, key: str, last: int, was_used: bool) -> None:
        self.path, self.key, self.last, self.was_used = path, key, last, was_used

    @classmethod
    def read(cls, path: Path) -> "Memory":
        """What the file says; a new key where there is none, or none that can be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads(path.read_text())
            return cls(path, str(data["key"]), int(data["last"]), True)
        return cls(path, uuid.uuid4().hex, NONE, False)

    def keep(self, last: int) -> None:
        """Remember the last round; a full disk is for the study to report."""
        self.last = max(self.last, last)
        partial = self.path.with_suffix(".part")
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({"key": self.key, "last": self.last}))
            partial.replace(self.path)
