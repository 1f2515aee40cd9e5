"""One call of a program, within its limits of time and memory."""

__all__ = ["Launch", "run_program"]

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detopt.errors import NotFoundError, SimulationError
from detopt.simulators.files import OUTPUT, Limits

GIGABYTE = 10**9
# Sets the limit in the new process and becomes the program: no code runs between fork and exec.
WITH_LIMIT = (
    "import os, resource, sys; size = int(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_AS, (size, size)); os.execvp(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True)
class Launch:
    """How a program is started.

    Args:
        words: Program and arguments.
        folder: Working folder.
        environment: Variables beside those of this process.
        stop: Command that ends what the program started elsewhere, such as a container.
        limits_memory: Whether its processes are given the limit of memory here.
    """

    words: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    limits_memory: bool = True


def run_program(launch: Launch, call: Path, limits: Limits) -> None:
    """Run a program to its end; what it prints goes to a file in `call`.

    The program leads a process group of its own. When the time is over, when this process is
    interrupted, and when the program has ended, the whole group is killed.

    Raises:
        NotFoundError: There is no such program or folder.
        SimulationError: It took too long, was killed, or ended with an exit code other than 0.

    Note:
        For POSIX systems.
    """
    words = _with_limit(launch, limits)
    if not launch.folder.is_dir():
        raise NotFoundError(f"The working folder {launch.folder} does not exist.")
    variables = {**os.environ, **launch.environment}
    if not _is_there(launch, variables):
        raise NotFoundError(
            f"No program `{launch.words[0]}`. Install it, give its full path, or make the file "
            "executable."
        )
    with (call / OUTPUT).open("wb") as output:
        process = subprocess.Popen(
            words,
            cwd=launch.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        late = _wait(process, launch, limits.timeout)
    if late:
        raise SimulationError(f"The simulation took longer than {limits.timeout:g} s.")
    if process.returncode < 0:
        name = signal.strsignal(-process.returncode)
        raise SimulationError(
            f"The simulation was killed by signal {-process.returncode} ({name})."
        )
    if process.returncode > 0:
        raise SimulationError(f"The simulation ended with exit code {process.returncode}.")


def _with_limit(launch: Launch, limits: Limits) -> tuple[str, ...]:
    if limits.memory is None or not launch.limits_memory:
        return launch.words
    size = str(int(limits.memory * GIGABYTE))
    return (sys.executable, "-I", "-S", "-c", WITH_LIMIT, size, *launch.words)


def _is_there(launch: Launch, variables: Mapping[str, str]) -> bool:
    """Whether the program exists; a relative path starts at the working folder."""
    name = launch.words[0]
    if "/" in name:
        return os.access(launch.folder / name, os.X_OK)
    return shutil.which(name, path=variables.get("PATH")) is not None


def _wait(process: "subprocess.Popen[bytes]", launch: Launch, timeout: float | None) -> bool:
    """Wait for the end; whether the time was over before."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        _kill(process, launch)

    watch = threading.Timer(timeout or 0.0, give_up)
    watch.daemon = True
    try:
        if timeout is not None:
            watch.start()
        process.wait()
    finally:
        watch.cancel()
        _kill(process, launch if process.returncode is None or late.is_set() else None)
        process.wait()
    return late.is_set()


def _kill(process: "subprocess.Popen[bytes]", launch: Launch | None) -> None:
    """Kill the process group, and what it started elsewhere."""
    if launch is not None and launch.stop:
        subprocess.run(launch.stop, capture_output=True, check=False)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
