"""The way from a study to the process of a tracker, which never makes the study wait."""

__all__ = ["Outlet"]

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from detopt.runtime.trackers.secrets import hide

LENGTH = 10_000  # messages that may wait; a round takes 1 to 2 kB
START = "import sys; from detopt.runtime.trackers.child import main; sys.exit(main())"
REAP = 5.0  # s; for a process that was killed
LOGGER = logging.getLogger("detopt.trackers")


class Outlet:
    """A bounded queue, a thread that empties it, and the process that it writes to.

    What does not fit is left out. Whatever goes wrong is said once, then there is silence.

    Args:
        name: Of the tracker.
        length: Messages that may wait.
    """

    def __init__(self, name: str, length: int = LENGTH) -> None:
        self.name = name
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(length)
        self._lock, self._has_warned = threading.Lock(), False
        self._process: subprocess.Popen[str] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drain, daemon=True)

    def start(self, first: dict[str, Any]) -> None:
        """Start thread and process, and say what the process must know; see `child.serve`."""
        self.put(first)
        self._thread.start()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """What fails in the block concerns the tracker alone."""
        try:
            yield
        except Exception as error:  # whatever it is, the study goes on
            self._warn(f"failed: {type(error).__name__}: {error}")

    def put(self, message: dict[str, Any]) -> None:
        """Send a message some time, or never."""
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self._warn("is too slow: what does not fit is left out")

    def finish(self, status: str, limit_s: float) -> None:
        """Say how the run ended; wait for the process, but not for longer than the limit."""
        if not self._thread.is_alive():
            return
        end = time.monotonic() + limit_s
        with contextlib.suppress(queue.Full):
            self._queue.put({"status": status}, timeout=max(0.0, limit_s))
            self._queue.put(None, timeout=max(0.0, end - time.monotonic()))
        self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread.is_alive():
            self._warn(f"did not end within {limit_s:.0f} s and was stopped")
            self._stop()

    def _stop(self) -> None:
        """End the process and all that it started, and the thread."""
        self._over.set()
        if self._process is not None:
            _kill(self._process)
        with contextlib.suppress(queue.Empty):
            self._queue.get_nowait()  # room for the last message
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(REAP)

    def _drain(self) -> None:
        """Start the process, give it all messages, hear what it says, and see it end."""
        with self.guard():
            process = self._start()
            reader = threading.Thread(target=self._hear, args=(process,), daemon=True)
            reader.start()
            while not self._over.is_set() and (message := self._queue.get()) is not None:
                self._write(process, message)
            with contextlib.suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
            code = process.wait()
            reader.join(REAP)
            if code != 0:
                self._warn(f"ended with exit code {code}")

    def _start(self) -> "subprocess.Popen[str]":
        self._process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the study, which then ends the tracker
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if self._over.is_set():
            _kill(self._process)
        return self._process

    @staticmethod
    def _write(process: "subprocess.Popen[str]", message: dict[str, Any]) -> None:
        """Write a line, unless the process has ended: it said why."""
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()

    def _hear(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._warn(str(json.loads(line)))

    def _warn(self, what: str) -> None:
        with self._lock:
            if self._has_warned:
                return
            self._has_warned = True
        LOGGER.warning(
            "The tracker `%s` %s. The study goes on; this is said once.", self.name, hide(what)
        )


def _kill(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
