"""What the machinery itself costs: a task, a claim, and taking over many open tasks."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import torch

from detopt.pipeline.evaluation import Chunk
from detopt.random import Seed
from detopt.runtime.executors import QueueExecutor, Work
from detopt.runtime.sources import KIND, StoreSource
from detopt.runtime.storage import BlobStore, Database, NewTask, Store
from detopt.testing.postgres import new_database, postgres_server, postgres_tools
from runtime_parts.lab import Lab
from runtime_parts.processes import start, work

CPU_BAR, CLAIMS_BAR, TAKEN_BAR = 5.0, 400.0, 10.0  # ms, 1/s, s
CLAIMANTS = ((1, 1), (8, 1), (1, 16))  # workers, tasks at a time
LEASE = 60.0  # s


def run(quick: bool) -> dict[str, Any]:
    found = {}
    with tempfile.TemporaryDirectory() as name:
        found["task"] = _cpu_of_a_task(Lab(Path(name) / "task", 0), 20 if quick else 500)
        found["taken"] = _take_over(Lab(Path(name) / "open", 0), 200 if quick else 10_000)
        if postgres_tools() is not None:
            with postgres_server() as server:
                found["claims"] = _claims(server, Path(name) / "blobs", 48 if quick else 1_600)
    return found


def _store(url: str, blobs: Path) -> Store:
    store = Store(Database(url), BlobStore(blobs))
    store.database.upgrade()
    store.add_study("study", "f" * 64, {})
    store.add_run("run", "study")
    return store


def _works(n: int) -> list[Work]:
    theta = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    return [Work(Chunk(theta, Seed(3).child(i), 20, False)) for i in range(n)]


@contextmanager
def _timed(found: dict[str, float]) -> Iterator[None]:
    wall, cpu = time.monotonic(), time.process_time()
    yield
    found["wall_s"], found["cpu_s"] = time.monotonic() - wall, time.process_time() - cpu


def _cpu_of_a_task(lab: Lab, n: int) -> dict[str, float]:
    """From asking for a task to its answer, on the controller's side."""
    lab.close()  # no open connection goes into a fork
    processes = [start(work, lab.folder) for _ in range(2)]
    found = {"n": float(n)}
    with _timed(found):
        for pending in lab.executor.submit(_works(n)):
            pending.result()
    for process in processes:
        process.terminate()
        process.join()
    lab.close()
    return found


def _take_over(lab: Lab, n: int) -> dict[str, float]:
    """A new controller asks for pieces of work that are all in the queue."""
    works = _works(n)
    lab.executor.submit(works)
    found = {"n": float(n)}
    with _timed(found):
        executor = QueueExecutor(lab.problem, lab.store, lab.run_id)
        pending = executor.submit(works)
        assert not pending[0].done()
    lab.close()
    return found


def _claims(server: str, blobs: Path, n: int) -> list[dict[str, float]]:
    """So many workers take tasks of a run, so many at a time, each by its own connection."""
    found = []
    for number, (workers, batch) in enumerate(CLAIMANTS):
        url = new_database(server, f"claims{number}")
        stores = [_store(url, blobs) for _ in range(workers)]
        tasks = [NewTask(str(i), KIND, "a" * 64) for i in range(n + workers * batch)]
        stores[0].tasks.add("run", tasks)
        one: dict[str, float] = {"workers": workers, "batch": batch, "n": n}
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(_take, stores, repeat(batch), repeat(batch)))  # connections are made
            with _timed(one):
                list(pool.map(_take, stores, repeat(n // workers), repeat(batch)))
        found.append(one)
        for store in stores:
            store.close()
    return found


def _take(store: Store, n: int, batch: int) -> None:
    source, taken = StoreSource(store, "run"), 0
    while taken < n:
        taken += len(source.claim("worker", LEASE, batch))


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    task, taken = result["task"], result["taken"]
    cpu = 1_000 * task["cpu_s"] / task["n"]
    table = [
        (
            f"CPU time of the controller a task ({task['n']:.0f} tasks, SQLite)",
            f"<= {CPU_BAR:g} ms",
            f"{cpu:.2f} ms",
            cpu <= CPU_BAR,
        ),
        (
            f"{taken['n']:.0f} open tasks taken over by a new controller (SQLite)",
            f"<= {TAKEN_BAR:g} s",
            f"{taken['wall_s']:.1f} s, CPU {taken['cpu_s']:.1f} s",
            taken["wall_s"] <= TAKEN_BAR,
        ),
    ]
    for one in result.get("claims", []):
        rate = one["n"] / one["wall_s"]
        table.append(
            (
                f"claims on PostgreSQL by {one['workers']} workers, {one['batch']} at a time",
                f">= {CLAIMS_BAR:g} a second",
                f"{rate:.0f} a second, {one['n'] / one['cpu_s']:.0f} a second of their CPU",
                rate >= CLAIMS_BAR,
            )
        )
    return table
