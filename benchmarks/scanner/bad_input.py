"""Row `bad_input`: every mistake of a user is one clear line and exit code 2, and harms nothing."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from detopt.runtime import RunStore, Study, StudyConfig
from scanner.common import Setting, python

RUN = ("run", "muon_scanner", "--rounds", "2", "--events", "16", "--out", "run")
CALL = "import sys; from detopt.cli import main; sys.exit(main(sys.argv[1:]))"
EDGES = {
    "x_edges": np.linspace(0, 1, 11),
    "y_edges": np.linspace(0, 1, 11),
    "z_edges": np.linspace(0.4, 1, 7),
}


def _volume(folder: Path, materials: list[str], voxels: np.ndarray) -> None:
    np.savez(folder / "volume.npz", materials=np.array(materials), voxels=voxels, **EDGES)


def _unknown_in_file(folder: Path) -> None:
    _volume(folder, ["water", "unobtainium"], np.zeros((10, 10, 6), dtype=np.int16))


def _empty(folder: Path) -> None:
    _volume(folder, ["water"], np.zeros((0, 10, 6), dtype=np.int16))


def _corrupt_checkpoint(folder: Path) -> None:
    _small_run(folder / "run")
    with contextlib.closing(RunStore(folder / "run")) as run:
        path = Path(run.store.blobs.path(run.store.state_digest(run.id)))
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))


def _corrupt_database(folder: Path) -> None:
    _small_run(folder / "run")
    path = folder / "run" / "study.sqlite"
    data = bytearray(path.read_bytes())
    data[: len(data) // 2] = os.urandom(len(data) // 2)
    path.write_bytes(bytes(data))


def _finished_run(folder: Path) -> None:
    _small_run(folder / "run")


def _small_run(folder: Path) -> None:
    config = StudyConfig.make("muon_scanner", rounds=2, events=16, evaluation_events=16)
    Study.create(config, folder).run()


def _nothing(folder: Path) -> None:
    del folder


IMAGE = ("-o", "task=image")
CASES: list[tuple[str, Callable[[Path], None], tuple[str, ...]]] = [
    ("unknown material, option", _nothing, (*RUN, *IMAGE, "-o", "block=unobtainium")),
    ("unknown material, file", _unknown_in_file, (*RUN, *IMAGE, "-o", "volume=volume.npz")),
    ("wrong unit", _nothing, (*RUN, "-o", "reach=3 kg")),
    ("panel inside the volume", _nothing, (*RUN, "-o", "upper_z=[1.7, 1.6, 1.5, 1.0]")),
    ("negative budget", _nothing, (*RUN, "-o", "budget=-1")),
    ("misspelt key", _nothing, (*RUN, "-o", "n_muon=100")),
    ("misspelt method option", _nothing, (*RUN, "-o", "method.learning_rte=0.1")),
    ("empty volume", _empty, (*RUN, *IMAGE, "-o", "volume=volume.npz")),
    ("missing volume", _nothing, (*RUN, *IMAGE, "-o", "volume=volume.npz")),
    ("corrupt checkpoint", _corrupt_checkpoint, ("resume", "run")),
    ("corrupt database", _corrupt_database, ("resume", "run")),
    ("folder in use", _finished_run, RUN),
]


def run(setting: Setting) -> dict[str, Any]:
    """Each case in a folder of its own."""
    del setting
    cases = []
    for name, prepare, arguments in CASES:
        with tempfile.TemporaryDirectory() as folder:
            cases.append({"case": name, **_case(Path(folder), prepare, arguments)})
    return {"cases": cases, "passed": sum(case["passed"] for case in cases)}


def _case(
    folder: Path, prepare: Callable[[Path], None], arguments: tuple[str, ...]
) -> dict[str, Any]:
    prepare(folder)
    before = _content(folder)
    done = python("-c", CALL, *arguments, cwd=folder)
    lines = done.stderr.strip().splitlines()
    unchanged = _content(folder) == before
    one_line = len(lines) == 1 and "Traceback" not in done.stderr and not done.stdout.strip()
    return {
        "exit_code": done.returncode,
        "lines": len(lines),
        "folder_unchanged": unchanged,
        "message": lines[-1].replace(str(folder), ".") if lines else "",
        "passed": done.returncode == 2 and one_line and unchanged,
    }


def _content(folder: Path) -> dict[str, str]:
    """Every file below a folder, by the checksum of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
