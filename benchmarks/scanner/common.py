"""What the rows share: settings, clocks, child processes."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from detopt import __version__

BENCHMARKS = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Setting:
    """How the benchmark is run.

    Args:
        quick: A small version that only shows that the row works.
        scratch: Folder for checkpoints and runs.
        peer: Python of the peer's environment, for the row `speed`.
        starts: Searches of the row `cma`; none means all.
        seeds: Studies of the row `ladle`; none means all.
    """

    quick: bool
    scratch: Path
    peer: Path | None
    starts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def one_thread_environment() -> dict[str, str]:
    """The environment of child processes: one thread each."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, "1")}


def python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run this Python with arguments in a fresh process."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=one_thread_environment(),
        cwd=cwd,
    )


def machine() -> dict[str, str | int]:
    """Processor and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "detopt": __version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
