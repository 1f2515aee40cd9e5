"""Work through the store's queue: workers come and go, on any machine that reaches the store.

The name of a piece of work is the digest of what it says. A controller that starts again asks for
the same pieces, and finds those that are done.
"""

__all__ = ["QueueExecutor"]

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from detopt.errors import DetoptError
from detopt.pipeline.problem import Problem
from detopt.runtime.executors.pooled import Pending, PooledExecutor
from detopt.runtime.executors.work import Answer, Work, decode_answer, encode_work
from detopt.runtime.storage import NewTask, Store

KIND = "chunk"
SHORTEST, LONGEST = 0.005, 0.25  # s between two looks at the tasks
LOST = ("failed", "cancelled")
MAX_REPLACED = 1_000  # for each worker; an error in all of them is to be seen


class QueueExecutor(PooledExecutor):
    """Chunks as tasks in a store.

    Args:
        problem: The problem, for the parts that stay in this process.
        store: Where tasks, blobs and workers meet.
        run_id: The run that asks.
        workers: Number of worker processes that this executor starts on this machine.
        folder: Run folder that they open; needed if there are any.
    """

    def __init__(
        self,
        problem: Problem,
        store: Store,
        run_id: str,
        workers: int = 0,
        folder: Path | None = None,
    ) -> None:
        super().__init__(problem)
        self.store = store
        self.run_id = run_id
        self._found: dict[str, bytes] = {}
        self._readers: Counter[str] = Counter()  # equal pieces of work are one task
        self._folder, self._n_replaced = folder, 0
        self._workers = [] if folder is None else [_start(folder) for _ in range(workers)]

    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Put tasks into the queue."""
        payloads = [self.store.blobs.put(encode_work(piece)) for piece in work]
        names = self.store.tasks.add(self.run_id, [NewTask(p, KIND, p) for p in payloads])
        self._readers.update(names)
        return [_Waiting(self, name) for name in names]

    def wait_for(self, name: str) -> bytes:
        """Result of a task, when it is there."""
        pause = SHORTEST
        while name not in self._found:
            if not self._look():
                self._watch_workers()
                time.sleep(pause)
                pause = min(2 * pause, LONGEST)
        self._readers[name] -= 1
        return self._found[name] if self._readers[name] else self._found.pop(name)

    def _look(self) -> bool:
        """Fetch all results that are there; whether there were any."""
        missing = [n for n, count in self._readers.items() if count and n not in self._found]
        states = self.store.tasks.states(missing)
        for name, state in states.items():
            if state.state in LOST:
                raise DetoptError(f"A piece of work is lost: {state.error or state.state}.")
            if state.result is not None:
                self._found[name] = self.store.blobs.get(state.result)
        return any(state.result is not None for state in states.values())

    def _watch_workers(self) -> None:
        """Replace own workers that died."""
        for i, process in enumerate(self._workers):
            if process.poll() is not None and self._folder is not None:
                self._n_replaced += 1
                if self._n_replaced > MAX_REPLACED * len(self._workers):
                    raise DetoptError(
                        f"{self._n_replaced} worker processes died, the last one with exit code "
                        f"{process.returncode}. See their messages above."
                    )
                self._workers[i] = _start(self._folder)

    def close(self) -> None:
        """Stop the workers that were started here."""
        for process in self._workers:
            process.terminate()
        for process in self._workers:
            process.wait()


class _Waiting(Pending):
    """A task's answer."""

    def __init__(self, executor: QueueExecutor, name: str) -> None:
        self._executor, self._name = executor, name
        self._data: bytes | None = None

    def result(self) -> Answer:
        """Wait for it."""
        if self._data is None:
            self._data = self._executor.wait_for(self._name)
        return decode_answer(self._data)


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "detopt.runtime.worker", str(folder)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
