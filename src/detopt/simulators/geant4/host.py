"""One process in which Geant4 runs, seen from outside: started, watched and killed."""

__all__ = ["WORKER", "CrashError", "Host", "Settings"]

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detopt.cpu import forget_program, note_program
from detopt.simulators.files import OUTPUT, Limits, last_output
from detopt.simulators.geant4.folders import VARIABLE
from detopt.simulators.process import GIGABYTE

WORKER = str(Path(__file__).with_name("worker.py"))
CM_PER_M = 100.0
READ = 65536  # bytes
START = 60.0  # s, until a fresh process gives its first answer, at least
PATIENCE = 10.0  # s, for the end of a process that says no more


@dataclass(frozen=True)
class Settings:
    """How the process is started.

    Args:
        data: Folder of the data.
        physics: Physics list: the electromagnetic one, or both with a dash between them.
        cut: Production cut [m].
        limits: Memory of the process, and time of a whole call.
        event_timeout: Longest time of an event [s].
        engine: File that drives the libraries, beside `detopt.simulators.geant4.worker`.
        program: Python file that serves; see there.
    """

    data: Path
    physics: str
    cut: float
    limits: Limits
    event_timeout: float
    engine: str = "calzone_engine"
    program: str = WORKER


@dataclass
class CrashError(Exception):
    """The process failed while it ran some rows.

    Args:
        reason: What happened.
        rows: First row and the one after the last, or None before the first.
        output: The last lines that it printed.
        is_over: Whether the time of the whole call is over.
    """

    reason: str
    rows: tuple[int, int] | None
    output: str
    is_over: bool = False


@dataclass
class _Link:
    """The pipes to the process and what was read but not yet used."""

    requests: int
    answers: int
    pending: bytes = field(default=b"")

    def close(self) -> None:
        """Close both ends of ours."""
        for descriptor in (self.requests, self.answers):
            with contextlib.suppress(OSError):
                os.close(descriptor)


class Host:
    """A process that lives until it fails or is closed.

    Args:
        settings: How it is started.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = tempfile.TemporaryDirectory(prefix="detopt-geant4-")
        self.n_calls = 0
        self._process, self._link = self._start()

    def run(self, request: dict[str, Any], folder: Path) -> None:
        """Let the process answer a request; the deposits lie in the folder afterwards.

        Raises:
            CrashError: It failed; what was finished before lies in the folder.
        """
        self.n_calls += 1
        path = folder / f"request-{request['rows'][0]:09d}.json"
        path.write_text(json.dumps(request))
        try:
            self._follow(path)
        except BaseException:
            self.close()
            raise

    def _follow(self, path: Path) -> None:
        """Hand over a request and wait for its end."""
        timeout, longest = self.settings.limits.timeout, self.settings.event_timeout
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        rows: tuple[int, int] | None = None
        patience = longest if self.n_calls > 1 else max(longest, START)
        try:
            os.write(self._link.requests, f"{path}\n".encode())
            while True:
                answer = self._answer(min(end, time.monotonic() + patience))
                if answer is None:
                    whole = time.monotonic() >= end
                    what = f"The call took longer than {timeout:g} s" if whole else ""
                    what = what or f"No event came to its end within {patience:g} s"
                    raise CrashError(what, rows, self._output(), is_over=whole)
                if "failed" in answer:
                    self._end()
                    raise CrashError(str(answer["failed"]), rows, self._output())
                if "done" in answer:
                    return
                rows, patience = (answer["rows"][0], answer["rows"][1]), longest
        except (BrokenPipeError, EOFError):
            raise CrashError(self._end(), rows, self._output()) from None

    def kill(self) -> None:
        """End the process under a call of another thread, which fails and closes it."""
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        self._link.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        forget_program(self._process.pid)
        self.folder.cleanup()

    def _start(self) -> "tuple[subprocess.Popen[bytes], _Link]":
        theirs, requests = os.pipe()
        answers, back = os.pipe()
        memory = self.settings.limits.memory
        settings = {
            "memory": None if memory is None else int(memory * GIGABYTE),
            "engine": self.settings.engine,
            "physics": self.settings.physics,
            "cut": self.settings.cut * CM_PER_M,
            "requests": theirs,
            "answers": back,
        }
        words = [sys.executable, "-P", self.settings.program, json.dumps(settings)]
        with (Path(self.folder.name) / OUTPUT).open("wb") as output:
            process = subprocess.Popen(
                words,
                env={**os.environ, VARIABLE: str(self.settings.data), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs, back),
                start_new_session=True,
            )
        os.close(theirs)
        os.close(back)
        return process, _Link(requests, answers)

    def _answer(self, end: float) -> dict[str, Any] | None:
        """The next answer, or None when the time is over."""
        link = self._link
        while b"\n" not in link.pending:
            left = max(0.0, end - time.monotonic())
            ready, _, _ = select.select([link.answers], [], [], min(left, 1e6))
            if not ready:
                return None
            read = os.read(link.answers, READ)
            if not read:
                raise EOFError
            link.pending += read
        line, _, link.pending = link.pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        note_program(self._process.pid, answer.pop("cpu_s", 0.0))
        return answer

    def _end(self) -> str:
        """How the process ended."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "The process of Geant4 stopped answering"
        forget_program(self._process.pid)
        if code < 0:
            return f"Geant4 aborted with signal {-code} ({signal.strsignal(-code)})"
        return f"The process of Geant4 ended with exit code {code}"

    def _output(self) -> str:
        return last_output(Path(self.folder.name))
