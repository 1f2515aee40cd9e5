"""Where a worker gets its tasks: from a store that it reaches, or from a service in between."""

__all__ = ["INPUTS", "KIND", "STUDY", "StoreSource", "TaskSource", "is_input"]

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

from detopt.runtime.storage import Lease, Store
from detopt.runtime.votes import Votes

KIND = "chunk"  # of a task: a piece of work for a problem
STUDY, INPUTS = "study.yaml", "inputs"  # artifacts of a run, from which its problem is made


@runtime_checkable
class TaskSource(Protocol):
    """What a worker needs; every call may be repeated."""

    def claim(self, worker: str, lease_s: float) -> list[Lease]:
        """At most one task, leased for some time [s]."""

    def renew(self, lease: Lease, lease_s: float) -> bool:
        """Keep a lease for longer [s]; False if it is lost."""

    def payload(self, lease: Lease) -> bytes:
        """What is to be done."""

    def finish(self, lease: Lease, data: bytes) -> str:
        """Hand in an answer."""

    def fail(self, lease: Lease, error: str, *, final: bool = False) -> None:
        """Say why there is none, and whether trying again is of no use."""

    def release(self, lease: Lease) -> None:
        """Give a task back unfinished."""

    def inputs(self, run_id: str) -> dict[str, bytes]:
        """The study of a run and its input files, by name."""


class StoreSource:
    """Tasks of a store.

    Args:
        store: Where tasks and blobs are.
        run_id: Only tasks of that run.
    """

    def __init__(self, store: Store, run_id: str | None = None) -> None:
        self.store = store
        self.run_id = run_id

    def claim(self, worker: str, lease_s: float, limit: int = 1) -> list[Lease]:
        """At most so many tasks."""
        return self.store.tasks.claim(worker, lease_s, limit, kinds=[KIND], run_id=self.run_id)

    def share(self, wanted: int) -> int:
        """How many tasks a worker may take, so that others find some; see `TaskQueue.share`."""
        return self.store.tasks.share(wanted, [KIND], self.run_id)

    def renew(self, lease: Lease, lease_s: float) -> bool:
        """Keep a lease for longer [s]; False if it is lost."""
        return self.store.tasks.renew(lease, lease_s)

    def payload(self, lease: Lease) -> bytes:
        """What is to be done."""
        return self.store.blobs.get(lease.payload)

    def finish(self, lease: Lease, data: bytes) -> str:
        """Hand in an answer, which shows whether untrusted workers gave the same."""
        return self.finish_all([(lease, data)])[0]

    def finish_all(self, answers: Sequence[tuple[Lease, bytes]]) -> list[str]:
        """Hand in answers in one go."""
        results = [(lease, self.store.blobs.put(data)) for lease, data in answers]
        said: list[str] = list(self.store.tasks.finish_all(results))
        votes = Votes(self.store)
        for name in votes.waiting([lease.task_id for lease, _ in answers]):
            votes.judge(name)
        return said

    def fail(self, lease: Lease, error: str, *, final: bool = False) -> None:
        """Say why there is no answer."""
        self.store.tasks.fail(lease, error, final=final)

    def release(self, lease: Lease) -> None:
        """Give a task back unfinished."""
        self.store.tasks.release(lease)

    def inputs(self, run_id: str) -> dict[str, bytes]:
        """The study of a run and its input files, by name."""
        return {
            name: self.store.blobs.get(digest)
            for name, digest in self.store.artifacts(run_id).items()
            if is_input(name)
        }


def is_input(name: str) -> bool:
    """Whether an artifact of that name is the study or one of its input files."""
    path = PurePosixPath(name)
    return name == STUDY or (
        path.parts == (INPUTS, path.name) and str(path) == name and path.name != ".."
    )
