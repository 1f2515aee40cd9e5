"""Real processes that run a study and die: forked, so that a new one costs no import."""

import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from detopt.runtime import RunStore, Study, StudyConfig, load_result
from detopt.runtime import result as result_module
from detopt.runtime.worker import Worker

CASE = str(Path(__file__).with_name("vector.py"))
FORK = multiprocessing.get_context("fork")
LEASE = 2.0  # s
TIMES = {"wall_s", "cpu_s"}


def start(function: Callable[..., None], *arguments: Any) -> Any:
    process = FORK.Process(target=_quietly, args=(function, arguments), daemon=True)
    process.start()
    return process


def _quietly(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    result_module.N_RESAMPLES = 40  # its intervals are not what is measured
    function(*arguments)


def create(folder: Path, **settings: Any) -> None:
    """A new study; its tables are made in a process of their own."""
    in_process(lambda: Study.create(StudyConfig.make(CASE, **settings), folder).store.close())


def in_process(function: Callable[[], None]) -> None:
    process = start(function)
    process.join()
    assert process.exitcode == 0, process.exitcode


def control(folder: Path) -> None:
    """Go on with a study until it is finished."""
    Study.resume(folder).run(lease_s=LEASE)


def work(folder: Path) -> None:
    """Work for a study until a signal."""
    store = RunStore(folder)
    Worker(store.store, lease_s=LEASE, run_id=store.id).run()


def kill(process: Any) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def finish(controller: Any, limit_s: float = 600.0) -> None:
    controller.join(limit_s)
    assert controller.exitcode == 0, controller.exitcode


def findings(folder: Path) -> dict[str, Any]:
    """What a study found, except times and its name."""
    result = load_result(folder)
    rows = query(
        folder,
        "SELECT round, position, theta, value, std_error, n_events, failure FROM evaluation "
        "ORDER BY round, position",
    )
    kept = {k: v for k, v in result.items() if k not in {*TIMES, "study", "use_case"}}
    return {"result": kept, "evaluations": rows}


def query(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / "study.sqlite", timeout=60.0)
    rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def n_done(folder: Path) -> int:
    """Tasks of a study that have their answers."""
    return int(query(folder, "SELECT count(*) FROM task WHERE state = 'done'")[0][0])


def wait_for(condition: Callable[[], bool], limit_s: float = 300.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.02)
