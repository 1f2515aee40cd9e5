"""What the holder of a token may do with the tasks of its run."""

__all__ = ["Referee", "Refusal"]

import threading
from typing import Any

import sqlalchemy as sql

from detopt.errors import CheckpointError, DetoptError
from detopt.runtime.sources import KIND, StoreSource, is_input
from detopt.runtime.storage import Lease, Store, Token, digest_of, schema
from detopt.runtime.storage.encoding import plain
from detopt.runtime.votes import RATE, Votes
from detopt.runtime.worker import make_problem
from detopt.service.expectation import Expectation

LONGEST_LEASE = 120.0  # s; shorter than for workers that are trusted with the store
LONGEST_NAME, LONGEST_ERROR = 100, 2_000  # characters
CODE = ".py"


class Refusal(Exception):  # noqa: N818 (it is an answer)
    """A request that is not granted.

    Args:
        status: Of HTTP.
        why: What to do.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Referee:
    """Stands between a store and the holders of tokens.

    Args:
        store: Where the tasks are.
        rate: Share of the answers that are done again, under the trust `sample`.
    """

    def __init__(self, store: Store, rate: float = RATE) -> None:
        self.store = store
        self.votes = Votes(store, rate)
        self._expectations: dict[str, Expectation] = {}
        self._making = threading.Lock()

    def claim(self, token: Token, worker: str, lease_s: float) -> list[Lease]:
        """At most one task, for a short time.

        Raises:
            DetoptError: Its answer could not be checked here, such as for lack of a package.
        """
        name = token.mark + "".join(c for c in worker[:LONGEST_NAME] if c.isprintable())
        lease_s = min(max(lease_s, 1.0), LONGEST_LEASE)
        where: list[Any] = []
        if token.trust != "full":
            if self.votes.is_busy(token):
                return []
            where = self.votes.open_to(token)
        leases = self.store.tasks.claim(
            name, lease_s, kinds=[KIND], run_id=token.run_id, where=where
        )
        for lease in leases:
            self._prepare(lease)
        return leases

    def renew(self, token: Token, name: str, fence: int, lease_s: float) -> bool:
        """Keep a lease for longer."""
        lease = self._lease(token, name, fence)
        return self.store.tasks.renew(lease, min(max(lease_s, 1.0), LONGEST_LEASE))

    def finish(self, token: Token, name: str, fence: int, data: bytes, digest: str) -> str:
        """Take an answer, if it can be one."""
        lease = self._lease(token, name, fence)
        if digest_of(data) != digest:
            raise Refusal(409, "The answer was damaged on its way. Send it again.")
        expectation, payload = self._expectation(lease.run_id), self.store.blobs.get(lease.payload)
        try:
            checked = expectation.checked(payload, data)
        except CheckpointError as error:
            self._refuse(token, lease, str(error))
            raise Refusal(400, str(error)) from error
        if token.trust == "full":
            return StoreSource(self.store).finish(lease, checked)
        return self.votes.cast(token, lease, checked)

    def fail(self, token: Token, name: str, fence: int, error: str, final: bool) -> None:
        """There is no answer."""
        lease, error = self._lease(token, name, fence), plain(error[:LONGEST_ERROR])
        if token.trust == "full":
            self.store.tasks.fail(lease, error, final=final)
        else:
            self.votes.refuse(token, lease, error)

    def release(self, token: Token, name: str, fence: int) -> None:
        """Give a task back."""
        self.store.tasks.release(self._lease(token, name, fence))

    def inputs(self, token: Token, *, code: bool) -> tuple[dict[str, str], bool]:
        """Digests of the study and its files by name; and whether code was left out."""
        files = {n: d for n, d in self.store.artifacts(token.run_id).items() if is_input(n)}
        plain = {name: digest for name, digest in files.items() if not name.endswith(CODE)}
        return (files, False) if code else (plain, len(plain) != len(files))

    def blob(self, token: Token, digest: str, *, code: bool) -> bytes:
        """Bytes that the holder needs: an input of the run, or a task's payload.

        Raises:
            Refusal: They are nothing of the kind.
        """
        task, attempt = schema.task, schema.attempt
        query = (
            sql.select(task.c.id)
            .join(attempt, attempt.c.task_id == task.c.id)
            .where(
                task.c.run_id == token.run_id,
                task.c.payload == digest,
                attempt.c.worker.startswith(token.mark),
            )
            .limit(1)
        )
        if digest not in self.inputs(token, code=code)[0].values():
            found = self.store.database.read(lambda c: c.execute(query).scalar())
            if found is None:
                raise Refusal(404, "There is nothing of that digest for this token.")
        return self.store.blobs.get(digest)

    def _lease(self, token: Token, name: str, fence: int) -> Lease:
        """A lease that this token was given once; whether it still holds is seen later."""
        task, attempt = schema.task, schema.attempt
        query = (
            sql.select(task, attempt.c.worker.label("holder"))
            .join(attempt, attempt.c.task_id == task.c.id)
            .where(task.c.id == name, attempt.c.fence == fence, task.c.run_id == token.run_id)
        )
        row = self.store.database.read(lambda c: c.execute(query).one_or_none())
        if row is None or not row.holder.startswith(token.mark):
            raise Refusal(404, "This token has no such lease.")
        return Lease(row.id, row.run_id, row.kind, row.payload, fence, row.holder, 0.0)

    def _prepare(self, lease: Lease) -> None:
        """See what the answer must look like before somebody works on it."""
        try:
            self._expectation(lease.run_id).prepare(self.store.blobs.get(lease.payload))
        except CheckpointError:  # what is away now may be there when the answer comes
            return
        except DetoptError:
            self.store.tasks.release(lease)
            raise

    def _refuse(self, token: Token, lease: Lease, why: str) -> None:
        if token.trust == "full":
            self.store.tasks.fail(lease, why)
        else:
            self.votes.refuse(token, lease, why)

    def _expectation(self, run_id: str) -> Expectation:
        with self._making:
            if run_id not in self._expectations:
                problem = make_problem(StoreSource(self.store).inputs(run_id))
                self._expectations[run_id] = Expectation(problem)
        return self._expectations[run_id]
