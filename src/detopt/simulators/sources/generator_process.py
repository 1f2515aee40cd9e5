"""The process in which a generator runs, seen from outside: started, asked, watched and killed."""

__all__ = ["GeneratorProcess", "Program"]

import contextlib
import fcntl
import json
import math
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detopt.errors import (
    ConfigError,
    DetoptError,
    MissingExtraError,
    NotFoundError,
    SimulationError,
)
from detopt.simulators.files import OUTPUT, Limits, last_output
from detopt.simulators.process import GIGABYTE, WITH_LIMIT
from detopt.simulators.threads import Halt

WORKER = Path(__file__).with_name("generator_worker.py")
HEADER = 9  # bytes before a frame: letter and length
PIPE = 1 << 20  # bytes that the process may be ahead
COLUMNS = ("pdg", "status", "momentum", "vertex", "size", "weight")  # of a block


@dataclass(frozen=True)
class Program:
    """A generator that the worker knows.

    Args:
        key: Its name there, and that of the extra that installs it.
        name: Its name in messages.
        packages: What its interpreter needs, in words.
        litters: Whether it writes files where it runs: then it runs in a folder of its own.
    """

    key: str
    name: str
    packages: str
    litters: bool = False


class GeneratorProcess:
    """A process that is started when it is needed and lives until it fails or is closed.

    Args:
        program: What runs in it.
        settings: Of the program, as it understands them.
        python: Interpreter.
        final_only: Whether particles that leave the events are wanted alone.
        limits: Time of a call and memory.

    Raises:
        NotFoundError: There is no such interpreter.
    """

    def __init__(
        self, program: Program, settings: Any, python: str, final_only: bool, limits: Limits
    ) -> None:
        found = shutil.which(python)
        if found is None:
            raise NotFoundError(f"There is no Python interpreter {python}.")
        self.program = program
        self.first = {"program": program.key, "settings": settings, "final": final_only}
        self.python, self.limits = str(Path(found).absolute()), limits
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._answers = -1

    def run(
        self, seed: int, n_events: int, block: int, first: int, end: float, halt: Halt
    ) -> list[dict[str, Any]]:
        """Blocks of events, as arrays by name.

        Args:
            seed: Seed of these events.
            n_events: How many.
            block: Events handed over at a time.
            first: Number of the first one, for messages.
            end: When the time of the call is over, by the monotonic clock [s].
            halt: Ends the process from another thread.

        Raises:
            ConfigError: The program refuses a setting.
            MissingExtraError: The interpreter lacks a package.
            SimulationError: The process crashed, took too long, or answered with nonsense.
        """
        blocks: list[dict[str, Any]] = []
        try:
            is_new = self._process is None
            if is_new:
                self._start()
            with halt.covers(self._kill):
                if is_new:
                    self._frame(end)
                self._ask({"seed": seed, "n_events": n_events, "block": block})
                while (frame := self._frame(end)) is not None:
                    blocks.append(frame)
            made = sum(len(one["size"]) for one in blocks)
            if made != n_events:
                raise SimulationError(f"{self.program.name} made {made} events, not {n_events}.")
        except (ConfigError, MissingExtraError):
            self.close()
            raise
        except (SimulationError, OSError, ValueError, KeyError) as error:
            made = sum(len(one["size"]) for one in blocks)
            message = self._explain(error, seed, first + made)
            self.close()
            raise SimulationError(message) from error
        except BaseException:
            self.close()
            raise
        if halt.over:
            self.close()  # it may be dead
        return blocks

    def close(self) -> None:
        """End the process and what it started."""
        if self._process is not None:
            self._kill()
            self._process.wait()
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
            os.close(self._answers)
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _kill(self) -> None:
        """Kill the process and what it started: who reads from it comes to the end."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None, "_folder": None, "_answers": -1}

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the interpreter may be at its end
            self.close()

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=f"detopt-{self.program.key}-")
        self._answers, child = os.pipe()
        with contextlib.suppress(AttributeError, OSError):  # Linux alone can make a pipe larger
            fcntl.fcntl(child, fcntl.F_SETPIPE_SZ, PIPE)
        words = [self.python, str(WORKER), str(child)]
        if self.limits.memory is not None:
            size = str(int(self.limits.memory * GIGABYTE))
            words = [self.python, "-I", "-S", "-c", WITH_LIMIT, size, *words]
        try:
            with (Path(self._folder.name) / OUTPUT).open("wb") as output:
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(child,),
                    start_new_session=True,
                    cwd=self._folder.name if self.program.litters else None,
                )
        except OSError:
            os.close(self._answers)
            raise
        finally:
            os.close(child)
        self._ask(self.first)

    def _ask(self, request: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(request)}\n".encode())
        self._process.stdin.flush()

    def _frame(self, end: float) -> dict[str, Any] | None:
        """The next block, or None at the end of an answer."""
        header = self._read(HEADER, end)
        size = int.from_bytes(header[1:], "little")
        letter, payload = bytes(header[:1]), self._read(size, end)
        if letter == b"B":
            return _arrays(payload)
        if letter == b"F":
            raise self._failure(json.loads(payload))
        if letter not in (b"R", b"E"):
            raise SimulationError(f"The answer has an unknown part {letter!r}.")
        return None

    def _read(self, size: int, end: float) -> bytearray:
        whole = bytearray(size)
        rest = memoryview(whole)
        while rest:
            left = max(0.0, end - time.monotonic())
            wait = None if left == float("inf") else left
            if not select.select([self._answers], [], [], wait)[0]:
                raise SimulationError(
                    f"{self.program.name} took longer than {self.limits.timeout:g} s."
                )
            n_read = os.readv(self._answers, [rest])
            if n_read == 0:
                raise SimulationError(f"The process of {self.program.name} ended.")
            rest = rest[n_read:]
        return whole

    def _explain(self, error: Exception, seed: int, made: int) -> str:
        message = f"{str(error).rstrip('.')}, with seed {seed} behind event {made}."
        output = last_output(Path(self._folder.name)) if self._folder is not None else ""
        return f"{message} Its output ends with: {output}" if output else message

    def _failure(self, said: dict[str, str]) -> DetoptError:
        if said["kind"] == "settings":
            return ConfigError(said["message"])
        if said["kind"] == "missing":
            return MissingExtraError(
                f"The source needs {self.program.packages} in its interpreter: "
                f"{said['message']}. Install with `pip install detopt[{self.program.key}]`."
            )
        return SimulationError(said["message"])


def _arrays(payload: bytearray) -> dict[str, Any]:
    """The arrays that lie behind a line which describes them."""
    at = payload.index(b"\n") + 1
    arrays = {}
    for name, kind, shape in json.loads(payload[:at]):
        arrays[name] = np.frombuffer(payload, kind, math.prod(shape), at).reshape(shape)
        at += arrays[name].nbytes
    return {name: arrays[name] for name in COLUMNS}
