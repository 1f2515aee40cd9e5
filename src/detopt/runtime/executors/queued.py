"""Work through the store's queue: workers come and go, on any machine that reaches the store.

The name of a piece of work is the digest of what it says. A controller that starts again asks for
the same pieces, and finds those that are done.
"""

__all__ = ["QueueExecutor"]

import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from detopt.errors import CheckpointError, DetoptError
from detopt.pipeline.problem import Problem
from detopt.runtime.executors.base import Capabilities, Pending
from detopt.runtime.executors.pooled import PooledExecutor
from detopt.runtime.executors.work import Answer, Work, decode_answer, encode_work
from detopt.runtime.sources import KIND
from detopt.runtime.storage import FilesAwayError, NewTask, Store, TaskState

SHORTEST, LONGEST = 0.005, 0.25  # s between two looks at the tasks
LOST = ("failed", "cancelled")
PATIENCE = 8.0  # s; for all workers to end: a machine that goes away gives 25 s
START = "import sys; from detopt.runtime.worker import main; sys.exit(main())"
TOGETHER = 8  # answers that a look may wait for
MANY = 50  # tasks that are looked at together
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

    capabilities = Capabilities(
        parallel=True, elastic=True, remote=True, replaces_workers=True, survives_controller=True
    )

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
        self._asked: dict[str, bytes] = {}
        self._retried: set[str] = set()
        self._away_since: float | None = None  # the files
        self._folder, self._n_replaced = folder, 0
        self._workers = [] if folder is None else [_start(folder) for _ in range(workers)]

    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Put tasks into the queue."""
        pieces = [encode_work(piece) for piece in work]
        payloads = [self.store.blobs.put(piece) for piece in pieces]
        names = self.store.tasks.add(self.run_id, [NewTask(p, KIND, p) for p in payloads])
        self._asked |= dict(zip(names, pieces, strict=True))
        self._readers.update(names)
        return [_Waiting(self, name) for name in names]

    def wait_for(self, name: str) -> bytes:
        """Result of a task, when it is there.

        The more answers are awaited, the more of them a look may wait for.
        """
        pause = SHORTEST * min(max(1, len(self._readers) // TOGETHER), TOGETHER)
        while name not in self._found:
            if not self._look(name):
                self._watch_workers()
                time.sleep(pause)
                pause = min(2 * pause, LONGEST)
        data = self._found[name]
        self.drop(name)
        return data

    def drop(self, name: str) -> None:
        """One reader of a task less; what nobody reads is forgotten here."""
        self._readers[name] -= 1
        if not self._readers[name]:
            del self._readers[name], self._asked[name]
            self._found.pop(name, None)

    def has(self, name: str) -> bool:
        """Whether the result of a task is there."""
        if name not in self._found:
            self._look(name)
        return name in self._found

    def _look(self, first: str) -> bool:
        """Fetch results that are there, of one task and the oldest ones; whether there were any."""
        missing = (n for n in self._readers if n not in self._found and n != first)
        names = [first, *itertools.islice(missing, MANY)]
        states = self.store.tasks.states(names, ended=True)
        before = len(self._found)
        for name, state in states.items():
            if state.result is None:
                self._try_again(name, state)
                continue
            try:
                self._found[name] = self.store.blobs.get(state.result)
                self._away_since = None
            except FilesAwayError as error:  # the next look may find it
                self._wait_for_files(error)
            except CheckpointError as error:  # damaged, and named so: it is made anew
                self.store.log("damaged", {"task": name, "error": str(error)}, self.run_id)
                self.store.tasks.reopen([name], ["done"])
        return len(self._found) > before

    def _wait_for_files(self, error: FilesAwayError) -> None:
        """Go on, unless the files are away for longer than a database may be."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since > self.store.database.patience:
            raise error

    def _try_again(self, name: str, state: TaskState) -> None:
        """Let a task be done that failed before this process asked, or for a damaged payload."""
        if name in self._retried:
            raise DetoptError(f"A piece of work is lost: {state.error or state.state}.")
        self._retried.add(name)
        self.store.blobs.put(self._asked[name])
        self.store.tasks.reopen([name], LOST)

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

    def signal_worker(self, number: int) -> bool:
        """Send a signal to one of the workers that were started here."""
        for process in self._workers:
            process.send_signal(number)
            return True
        return False

    def clock_skews(self) -> list[float]:
        """How far the clock of the database is ahead."""
        return [self.store.database.read(self.store.database.now) - time.time()]

    def close(self) -> None:
        """Stop the workers that were started here."""
        for process in self._workers:
            process.terminate()
        end = time.monotonic() + PATIENCE
        for process in self._workers:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Waiting(Pending):
    """A task's answer."""

    def __init__(self, executor: QueueExecutor, name: str) -> None:
        self._executor, self._name = executor, name
        self._data: bytes | None = None
        self._is_dropped = False

    def result(self) -> Answer:
        """Wait for it."""
        if self._data is None:
            self._data = self._executor.wait_for(self._name)
        return decode_answer(self._data)

    def done(self) -> bool:
        """Whether it is there."""
        return self._data is not None or self._executor.has(self._name)

    def cancel(self) -> None:
        """Forget it here; the task stays, for whoever asks for the same."""
        if self._data is None and not self._is_dropped:
            self._is_dropped = True
            self._executor.drop(self._name)


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", START, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, process_group=0)  # Ctrl-C is for the study
