"""How much of the time workers work: light evaluations on this machine, tasks of a second by Dask.

The studies run in processes of their own, as `detopt run` does, so that what they import counts.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIGHT = Path(__file__).with_name("light.py")
LENGTH, N_LIGHT, POPULATION, LIGHT_BAR = 0.010, 2_000, 40, 0.85
N_DASK, DASK_BAR = 60, 0.80
MANY = 64  # processes
N_WORKERS = 2
STUDY = """
import json, sys, time
from pathlib import Path
from detopt.runtime import Study, StudyConfig

settings, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
study = Study.create(StudyConfig.make(**settings), folder)
ends, memory = [], []

def listen(phase, done, total, record):
    if phase == "optimizing":
        ends.append(time.monotonic())
        if len(ends) == 2 and settings["workers"] > 1:
            memory.extend(children())

def children():
    import os
    own, found = os.getpid(), []
    for task in Path(f"/proc/{own}/task").iterdir():
        for child in (task / "children").read_text().split():
            pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
            found.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
    return found

begin, cpu = time.monotonic(), time.process_time()
study.run(listen)
rows = study.store.store.n_evaluations(study.store.id)
study.store.close()
print(json.dumps({
    "n": rows, "wall_s": ends[-1] - begin, "steady_s": ends[-1] - ends[0], "rounds": len(ends),
    "cpu_s": time.process_time() - cpu, "memory": memory,
}))
"""


def run(quick: bool) -> dict[str, Any]:
    n = 200 if quick else N_LIGHT
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for kind in ("waiting", "busy"):
            found[kind] = _study(place / kind, kind, n)
        found["small"] = _study(place / "small", "waiting", n, population=8)
        many = 8 if quick else MANY
        found["one"] = _study(place / "one", "waiting", n, workers=1)
        found["many"] = _study(place / "many", "loaded", n, workers=many) | {"workers": many}
        found["same"] = _numbers(place / "one") == _numbers(place / "many")
        found["dask"] = _dask(place / "dask", 6 if quick else N_DASK)
    return found


def _settings(kind: str, n: int, population: int, workers: int) -> dict[str, Any]:
    ranges = {"start": 0.5, "low": 0.0, "high": 1.0}
    return {
        "use_case": "black_box",
        "options": {
            "program": str(LIGHT),
            "function": kind,
            "parameters": [{"name": name, **ranges} for name in "xy"],
            "n_events": 1,
        },
        "method": "cma",
        "method_options": {"population": population},
        "rounds": n // population,
        "evaluation_events": 2,
        "workers": workers,
    }


def _study(
    folder: Path, kind: str, n: int, population: int = POPULATION, workers: int = N_WORKERS
) -> dict[str, Any]:
    settings = json.dumps(_settings(kind, n, population, workers))
    command = [sys.executable, "-c", STUDY, settings, str(folder)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def _numbers(folder: Path) -> Any:
    """What was found at which points."""
    from runtime_parts.processes import query

    return query(
        folder, "SELECT round, position, theta, value FROM evaluation ORDER BY round, position"
    )


def _dask(folder: Path, n: int) -> dict[str, float]:
    """Tasks of a second, once the cluster of two processes has started."""
    import torch

    from detopt import usecases
    from detopt.pipeline.evaluation import Chunk
    from detopt.random import Seed
    from detopt.runtime import Study, StudyConfig
    from detopt.runtime.executors import Work
    from runtime_parts.processes import CASE

    config = StudyConfig.make(CASE, options={"pause": 1.0}, executor="dask", workers=N_WORKERS)
    study = Study.create(config, folder)
    usecases.load(CASE)
    theta = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    works = [Work(Chunk(theta, Seed(3).child(i), 20, False)) for i in range(n + N_WORKERS)]
    with study.make_executor() as executor:
        for pending in executor.submit(works[n:]):
            pending.result()
        begin, cpu = time.monotonic(), time.process_time()
        for pending in executor.submit(works[:n]):
            pending.result()
        wall, own = time.monotonic() - begin, time.process_time() - cpu
    study.store.close()
    return {"n": n, "wall_s": wall, "cpu_s": own}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    table = []
    for kind, what in (("waiting", "that wait"), ("busy", "that use the processor")):
        table.append(_row(result[kind], f"evaluations of 10 ms {what}", kind == "waiting"))
    table.append(_row(result["small"], "idem, waiting, in rounds of 8", False))
    dask, many = result["dask"], result["many"]
    share = dask["n"] / N_WORKERS / dask["wall_s"]
    memory = sorted(many["memory"])
    table += [
        (
            f"{dask['n']:.0f} tasks of 1 s by Dask, {N_WORKERS} workers",
            f">= {DASK_BAR:.0%} of ideal speed",
            f"{share:.1%}, {1000 * dask['cpu_s'] / dask['n']:.1f} ms CPU a task here",
            share >= DASK_BAR,
        ),
        (
            f"{many['workers']} worker processes, {many['n']} evaluations, torch in none of them",
            "same bits as with one",
            f"{'same' if result['same'] else 'other'}, {many['wall_s']:.1f} s; memory of a process "
            f"{memory[len(memory) // 2] if memory else float('nan'):.0f} MB",
            result["same"],
        ),
    ]
    return table


def _row(one: dict[str, Any], what: str, is_required: bool) -> tuple[str, str, str, bool]:
    share = one["n"] * LENGTH / N_WORKERS / one["wall_s"]
    per_round = one["n"] / one["rounds"]
    steady = (one["n"] - per_round) * LENGTH / N_WORKERS / one["steady_s"]
    return (
        f"{one['n']} {what}, {N_WORKERS} local workers",
        f">= {LIGHT_BAR:.0%} of ideal speed" if is_required else "for information",
        f"{share:.1%} with the start of the workers, {steady:.1%} after the first round; "
        f"{1000 * one['cpu_s'] / one['n']:.2f} ms CPU an evaluation in the controller",
        share >= LIGHT_BAR if is_required else True,
    )
