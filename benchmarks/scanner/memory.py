"""Row `memory`: peak memory of a large batch, and how time grows with muons and voxels.

Each measurement has a process of its own, so that the peak belongs to it.
"""

import json
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from detopt.pipeline import Request, evaluate
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.volumes import Grid, blocks, save_volumes
from scanner.common import BENCHMARKS, Setting, python, say
from scanner.speed import GEOMETRY, Step

LARGE = 10_000  # muons in one batch
SCANS = (10, 100, 300, 1_000)  # of 1,000 muons each
REMEMBERED = 130_000  # muons whose events are kept for the second pass: 8 chunks of 16 scans
GRIDS = {  # voxels, and the lengths of their edges [m]
    "10x10x6": ((10, 10, 6), 0.1),
    "20x20x20": ((20, 20, 20), 0.05),
}
REPEATS = 9


def run(setting: Setting) -> dict[str, Any]:
    """All three, each in fresh processes."""
    large = _child("batch")
    say(f"memory: {large['peak_mib']:.0f} MiB for {LARGE} muons")
    scaling = []
    for scans in SCANS[:2] if setting.quick else SCANS:
        scaling.append(_child("scans", scans))
        say(f"memory: {scaling[-1]}")
    forward = [entry["forward_us_per_muon"] for entry in scaling]
    passes = [entry["us_per_muon"] for entry in scaling if entry["muons"] > REMEMBERED]
    return {
        "batch": large,
        "scaling": scaling,
        "spread_forward": max(forward) / min(forward) - 1,
        "spread_gradient": max(passes) / min(passes) - 1 if passes else 0.0,
        "voxels": _child("grids", 2 if setting.quick else REPEATS),
    }


def _child(task: str, number: int = 0) -> dict[str, Any]:
    code = f"from scanner import memory; memory.child({task!r}, {number})"
    done = python("-c", code, cwd=BENCHMARKS)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def child(task: str, number: int) -> None:
    """One measurement, as JSON on standard output."""
    torch.set_num_threads(1)
    answer = {"batch": _batch, "scans": _scans, "grids": _grids}[task](number)
    sys.stdout.write(json.dumps(answer))


def _peak() -> float:
    """Peak resident memory so far [MiB]."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _batch(_: int) -> dict[str, float]:
    before = _peak()
    step = Step(build(Config(**{**GEOMETRY, "n_muons": LARGE})), 1)
    step()
    peak = _peak() - before
    return {"muons": LARGE, "peak_mib": peak, "import_mib": before}


def _scans(n_scans: int) -> dict[str, float]:
    """An evaluation by chunks, with its gradient and without.

    With few chunks the gradient takes one pass, which keeps their graphs; with more it takes two,
    and with many the second also draws the events again.
    """
    before = _peak()
    problem = build(Config(**GEOMETRY))
    theta = problem.space.theta(problem.space.start)

    def us_per_muon(n: int, gradient: bool) -> float:
        times = []
        for i in range(max(1, 200 // n)):
            stream = ("scaling", n, i, str(gradient))  # fresh events
            request = Request(theta, stream, gradient=gradient, n_events=n, std_error=False)
            times.append(evaluate(problem, request, Seed(0)).cpu_s)
        return 1e6 * statistics.median(times) / (n * GEOMETRY["n_muons"])

    us_per_muon(80, gradient=True)  # warm-up
    return {
        "muons": n_scans * GEOMETRY["n_muons"],
        "us_per_muon": us_per_muon(n_scans, gradient=True),
        "forward_us_per_muon": us_per_muon(n_scans, gradient=False),
        "peak_mib": _peak() - before,
    }


def _grids(repeats: int) -> dict[str, Any]:
    """Time of a step with few and many voxels, alternating; volumes come from files."""
    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for n_volumes in (1, 16):
            steps = {name: _step(Path(folder), name, n_volumes) for name in GRIDS}
            times: dict[str, list[float]] = {name: [] for name in GRIDS}
            for repeat in range(repeats + 1):
                for name, step in steps.items():
                    us = step.microseconds(20 if n_volumes == 1 else 3)
                    if repeat:
                        times[name].append(us)
            medians = {name: statistics.median(values) for name, values in times.items()}
            answer[f"{n_volumes} volumes"] = {
                "us_per_muon": medians,
                "ratio": medians["20x20x20"] / medians["10x10x6"],
            }
    return answer


def _step(folder: Path, name: str, n_volumes: int) -> Step:
    shape, edge = GRIDS[name]
    path = folder / f"{name}.npz"
    grid = Grid((0.0, 0.0, 0.4), (edge,) * 3, shape)
    size = (round(0.4 / edge), round(0.4 / edge), round(0.2 / edge))
    save_volumes(path, blocks(grid, 16, Seed(name).generator(), size=size))
    top = grid.high[2]
    heights = tuple(top + distance for distance in (0.32, 0.24, 0.16, 0.08))
    return Step(build(Config(**{**GEOMETRY, "upper_z": heights, "volume": path})), n_volumes)
