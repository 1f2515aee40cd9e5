"""100 x kill -9 at random times on workers and controller of a running study."""

import random
import tempfile
import time
from pathlib import Path
from typing import Any

from runtime_parts.processes import (
    control,
    create,
    findings,
    finish,
    in_process,
    kill,
    n_done,
    query,
    start,
    work,
)

SETTINGS = {"rounds": 60, "options": {"pause": 0.02}}
N_WORKERS = 3
BETWEEN = 5  # answers, at most, between two kills
MORE = 0.05  # s, at most


def run(quick: bool) -> dict[str, Any]:
    n_kills, rng = 4 if quick else 100, random.Random(1)
    settings = {**SETTINGS, "rounds": 6} if quick else SETTINGS
    total: dict[str, Any] = {
        "kills": 0, "controllers": 0, "studies": 0, "same": 0, "evaluations": 0, "rows": 0,
        "repeated": 0, "wall_s": 0.0,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        while total["kills"] < n_kills:
            seed = total["studies"]
            expected = _undisturbed(Path(name) / f"whole-{seed}", seed, settings)
            folder = Path(name) / f"killed-{seed}"
            create(folder, **settings, seed=seed, executor="queue", workers=0)
            begin = time.monotonic()
            _disturb(folder, n_kills - total["kills"], rng, total)
            total["wall_s"] += time.monotonic() - begin
            found = findings(folder)
            total["studies"] += 1
            total["same"] += found == expected
            total["evaluations"] += len(expected["evaluations"])
            total["rows"] += len(found["evaluations"])
            counts = "SELECT count(*), count(DISTINCT task_id) FROM attempt"
            started, different = query(folder, counts)[0]
            total["repeated"] += started - different
    return total


def _undisturbed(folder: Path, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    create(folder, **settings, seed=seed)
    in_process(lambda: control(folder))
    return findings(folder)


def _disturb(folder: Path, n_kills: int, rng: random.Random, total: dict[str, Any]) -> None:
    jobs = [control, *[work] * N_WORKERS]
    processes = [start(job, folder) for job in jobs]
    done = 0
    for _ in range(n_kills):
        enough = done + rng.randint(0, BETWEEN)
        while (done := n_done(folder)) < enough and processes[0].is_alive():
            time.sleep(0.005)
        processes[0].join(rng.uniform(0, MORE))
        if not processes[0].is_alive():
            break
        victim = rng.randrange(len(jobs))
        kill(processes[victim])
        total["kills"] += 1
        total["controllers"] += victim == 0
        processes[victim] = start(jobs[victim], folder)
    finish(processes[0])
    for process in processes[1:]:
        process.terminate()
        process.join()


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    kills, studies = result["kills"], result["studies"]
    lost = result["evaluations"] - result["rows"]
    return [
        (
            f"{kills} x kill -9 ({result['controllers']} of them the controller)",
            f"{studies} of {studies} studies as undisturbed, bit for bit",
            f"{result['same']} of {studies}",
            result["same"] == studies,
        ),
        (
            f"evaluations lost or counted twice, of {result['evaluations']}",
            "0",
            f"{lost}",
            lost == 0,
        ),
        (
            "pieces of work, and rounds, begun again a kill (a round has 6 pieces)",
            "<= 6",
            f"{result['repeated'] / kills:.2f}",
            result["repeated"] <= 6 * kills,
        ),
    ]
