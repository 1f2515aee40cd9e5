"""What runs keep under names, by digest: inputs, results, states of optimizers, surrogates."""

__all__ = ["Artifact", "Artifacts"]

from dataclasses import dataclass

import sqlalchemy as sql

from detopt.errors import CheckpointError, NotFoundError
from detopt.runtime.storage import schema
from detopt.runtime.storage.encoding import digest_of
from detopt.runtime.storage.records import Store

STATE = "optimizer state"  # after the last round, with what it has learned
SHORTEST = 6  # letters of a digest


@dataclass(frozen=True)
class Artifact:
    """Bytes that a run keeps.

    Args:
        run: The run.
        name: What they are to it.
        digest: SHA-256, by which they are found.
        size: Number of bytes, where the database knows it.
    """

    run: str
    name: str
    digest: str
    size: int | None


class Artifacts:
    """What the runs of a store keep.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def list(self, run_id: str | None = None) -> list[Artifact]:
        """Of all runs or of one, by run and name."""
        use, artifact = schema.artifact_use, schema.artifact
        query = sql.select(use.c.run_id, use.c.name, use.c.digest, artifact.c.size)
        query = query.join(artifact, artifact.c.digest == use.c.digest)
        if run_id is not None:
            query = query.where(use.c.run_id == run_id)
        query = query.order_by(use.c.run_id, use.c.name)
        rows = self.store.database.read(lambda connection: connection.execute(query).all())
        found = [Artifact(row.run_id, row.name, row.digest, row.size) for row in rows]
        runs = [run_id] if run_id is not None else [run.id for run in self.store.runs()]
        for run in runs:
            digest = self.store.state_digest(run)
            if digest is not None:
                found.append(Artifact(run, STATE, digest, None))
        return found

    def find(self, digest: str) -> Artifact:
        """The one whose digest begins so.

        Raises:
            NotFoundError: There is none, or there are several.
        """
        if len(digest) < SHORTEST:
            raise NotFoundError(f"A digest needs {SHORTEST} letters or more, got {digest!r}.")
        found = {one.digest: one for one in self.list() if one.digest.startswith(digest.lower())}
        if not found:
            raise NotFoundError(
                f"{self.store.database.url} keeps nothing with the digest {digest}. See what there "
                "is with `detopt store list`."
            )
        if len(found) > 1:
            raise NotFoundError(f"Several digests begin with {digest}: {', '.join(found)}.")
        return next(iter(found.values()))

    def get(self, digest: str) -> bytes:
        """The bytes of a digest, or of the only one that begins so.

        Raises:
            NotFoundError: There is none, or there are several.
            CheckpointError: They are damaged.
        """
        return self.store.blobs.get(self.find(digest).digest)

    def put(self, run_id: str, name: str, data: bytes) -> str:
        """Keep bytes under a name of a run; their digest.

        Raises:
            CheckpointError: Other bytes have that name already.
        """
        known = self.store.artifacts(run_id).get(name)
        if known not in (None, digest_of(data)):
            raise CheckpointError(
                f"The run {run_id} keeps other bytes as `{name}`, {known}. Choose another name."
            )
        return self.store.keep(run_id, name, data)
