"""Row `same_bits`: one seed gives one result, whatever the workers and interruptions."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from detopt.errors import CheckpointError
from detopt.runtime import RunStore, Study, StudyConfig, load_result
from scanner.common import BENCHMARKS, Setting, one_thread_environment, python

ROUNDS = 8
SCANS = {"few chunks": 32, "many chunks": 96}  # graphs are kept, or made twice
KILLED_AFTER = 3  # rounds
CODE = "from scanner import reproducible; reproducible.child({folder!r}, {scans}, {workers})"
GO_ON = "from scanner import reproducible; reproducible.resume({folder!r})"


def run(setting: Setting) -> dict[str, Any]:
    """Four runs of each size; the first is what the others are compared with."""
    answer: dict[str, Any] = {"rounds": ROUNDS}
    for name, scans in SCANS.items():
        base = setting.scratch / f"bits-{scans}-{time.time_ns()}"
        first = _whole(base / "first", scans, 1)
        answer[name] = {
            "scans": scans,
            "again": _same(first, _whole(base / "again", scans, 1)),
            "two workers": _same(first, _whole(base / "workers", scans, 2)),
            "killed and resumed": _same(first, _killed(base / "killed", scans)),
            "objective": first["objective"]["final"]["value"],
        }
    return answer


def child(folder: str, scans: int, workers: int) -> None:
    """One short study."""
    config = StudyConfig.make(
        "muon_scanner", rounds=ROUNDS, events=scans, workers=workers, seed=3, evaluation_events=96
    )
    Study.create(config, Path(folder)).run()


def resume(folder: str) -> None:
    """The rest of a study that was killed."""
    Study.resume(Path(folder)).run()


def _whole(folder: Path, scans: int, workers: int) -> dict[str, Any]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run(CODE.format(folder=str(folder), scans=scans, workers=workers))
    return load_result(folder)


def _killed(folder: Path, scans: int) -> dict[str, Any]:
    """Killed without warning after some rounds, then resumed."""
    code = CODE.format(folder=str(folder), scans=scans, workers=1)
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=BENCHMARKS, env=one_thread_environment()
    )
    while _n_rounds(folder) <= KILLED_AFTER and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "result.json").exists(), "the study ended before it was killed"
    _run(GO_ON.format(folder=str(folder)))
    return load_result(folder)


def _n_rounds(folder: Path) -> int:
    try:
        with contextlib.closing(RunStore(folder)) as run:
            return len(run.rounds())
    except CheckpointError:  # there is none yet
        return 0


def _run(code: str) -> None:
    done = python("-c", code, cwd=BENCHMARKS)
    if done.returncode:
        sys.exit(done.stderr)


def _same(first: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether design, theta and objective agree to the last bit."""
    keys = ("design", "theta", "objective", "cost", "baselines")
    return all(first[key] == other[key] for key in keys)
