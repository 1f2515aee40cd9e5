"""Workers come and go in one study: 1, then 12, then 2 processes; and 64 threads."""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from detopt.runtime import RunStore, Study
from detopt.runtime.worker import Worker
from runtime_parts.processes import (
    control,
    create,
    findings,
    finish,
    in_process,
    n_done,
    start,
    wait_for,
    work,
)

SETTINGS: dict[str, Any] = {"rounds": 12, "options": {"pause": 0.02, "chunk": 4}}
PHASES = (1, 12, 2)
N_THREADS = 64
WITH_TORCH = "import detopt.runtime.worker"
WITHOUT_TORCH = "import numpy, safetensors.numpy, sqlalchemy.dialects.sqlite"
COST = """
import time
from pathlib import Path
{}
pages = int(Path("/proc/self/statm").read_text().split()[1])
print(time.process_time(), pages * 4096 / 2**20)
"""


def run(quick: bool) -> dict[str, Any]:
    settings = {**SETTINGS, "rounds": 2} if quick else SETTINGS
    phases = (1, 3, 2) if quick else PHASES
    n_threads = 8 if quick else N_THREADS
    with tempfile.TemporaryDirectory() as name:
        whole, elastic, threads = (Path(name) / one for one in ("whole", "elastic", "threads"))
        create(whole, **settings)
        in_process(lambda: control(whole))
        create(elastic, **settings, executor="queue", workers=0)
        _in_phases(elastic, phases)
        create(threads, **settings, executor="queue", workers=0)
        begin = time.monotonic()
        in_process(lambda: _in_threads(threads, n_threads))
        return {
            "phases": phases,
            "elastic": findings(elastic) == findings(whole),
            "threads": n_threads,
            "tasks": n_done(threads),
            "threads_s": time.monotonic() - begin,
            "same_in_threads": findings(threads) == findings(whole),
            "with_torch": _cost(WITH_TORCH),
            "without_torch": _cost(WITHOUT_TORCH),
        }


def _in_phases(folder: Path, phases: tuple[int, ...]) -> None:
    """So many workers until another part of the rounds is done."""
    controller = start(control, folder)
    for n in phases:
        before = n_done(folder)
        processes = [start(work, folder) for _ in range(n)]
        if n == phases[-1]:
            finish(controller)
        else:
            wait_for(lambda before=before: n_done(folder) >= before + 20)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _in_threads(folder: Path, n: int) -> None:
    """Threads stand in for processes, whose import of torch would fill this machine."""
    over, run = threading.Event(), RunStore(folder)
    workers = [Worker(run.store, f"thread-{i}", run_id=run.id) for i in range(n)]
    threads = [threading.Thread(target=one.run, kwargs={"until": over.is_set}) for one in workers]
    for thread in threads:
        thread.start()
    Study.resume(folder).run()
    over.set()
    for thread in threads:
        thread.join()


def _cost(imports: str) -> list[float]:
    """CPU time [s] and memory [MB] of a process that is ready to work."""
    command = [sys.executable, "-c", COST.format(imports)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in printed.split()]


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    phases = ", then ".join(str(n) for n in result["phases"])
    torch, light = result["with_torch"], result["without_torch"]
    return [
        (
            f"{phases} worker processes in one study",
            "same bits as with one",
            "same" if result["elastic"] else "other",
            result["elastic"],
        ),
        (
            f"{result['threads']} workers (threads), {result['tasks']} tasks",
            "same bits as with one",
            f"{'same' if result['same_in_threads'] else 'other'}, {result['threads_s']:.0f} s",
            result["same_in_threads"],
        ),
        (
            "a worker process that is ready: CPU time, memory",
            "for information",
            f"{torch[0]:.1f} s, {torch[1]:.0f} MB; "
            f"with what is needed besides torch {light[0]:.1f} s, {light[1]:.0f} MB",
            True,
        ),
    ]
