"""The process of a tracker: takes lines of JSON, gives them to the tracker, says what failed.

It starts anew rather than as a copy of the study's process, so that what a tool changes in Python,
its threads and what it does at its end stay here. When the study dies, the lines end, and the run
is shown as interrupted.
"""

__all__ = ["main", "serve"]

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from detopt.runtime.trackers.base import TrackedRun, Tracker
from detopt.runtime.trackers.memory import Memory
from detopt.runtime.trackers.registry import load_tracker
from detopt.runtime.trackers.secrets import hide

Say = Callable[[str], None]
LOOK = 2.0  # s between two looks at the study's process
PATIENCE = 60.0  # s to write what is pending


def serve(lines: Iterable[str], say: Say) -> None:
    """Do what each line says; the first one names tracker and run.

    What fails is said, without secrets, and left out; a tracker that does not start ends all.

    Args:
        lines: JSON, one object a line, as `Outlet` writes them.
        say: Takes a message for the user.
    """
    source = iter(lines)
    first = json.loads(next(source))
    memory = Memory.read(Path(first["memory"]))
    with _said(say, "cannot start") as started:
        tracker = load_tracker(first["tracker"], first["options"])
        folder = Path(first["folder"])
        tracker.start(
            TrackedRun(first["name"], memory.key, folder, first["config"], memory.was_used)
        )
        memory.keep(memory.last)
    if not started:
        return
    status = "interrupted"
    for line in source:
        message = json.loads(line)
        if "status" in message:
            status = message["status"]
            break
        with _said(say, "lost something"):
            _do(tracker, message, memory)
    with _said(say, "did not end well"):
        tracker.finish(status)


def _do(tracker: Tracker, message: dict[str, Any], memory: Memory) -> None:
    if "path" in message:
        tracker.attach(Path(message["path"]), message["name"])
        return
    for step, metrics in message["rounds"]:
        tracker.log(metrics, step)
        memory.keep(step)


class _said(contextlib.AbstractContextManager["_said"]):  # noqa: N801 (used like a function)
    """Says what goes wrong in a block, and ends it there."""

    def __init__(self, say: Say, what: str) -> None:
        self._say, self._what, self._ok = say, what, True

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            return False
        self._ok = False
        text = " ".join(str(error).split())
        self._say(hide(f"{self._what}: {type(error).__name__}: {text}"))
        return True

    def __bool__(self) -> bool:
        return self._ok


def _end_with(parent: int) -> None:
    """End the process some time after its study has gone, even where the tool hangs."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    time.sleep(PATIENCE)
    os._exit(1)


def main() -> int:
    """Serve standard input; whatever a tool prints or asks for goes nowhere."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    heard, said = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    with os.fdopen(heard, encoding="utf-8") as lines, os.fdopen(said, "w") as answers:

        def say(message: str) -> None:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

        serve(lines, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
