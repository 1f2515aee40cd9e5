"""The folder of one run, and where its rows and bytes lie.

By default a SQLite file and blobs in the folder itself; or any database and object store by URL,
which many machines share. After every round the optimizer's state is written as a blob, then a row
with its digest is committed. Whatever happens in between, the last committed row names a complete
state.
"""

__all__ = ["Round", "RunStore"]

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detopt.errors import CheckpointError
from detopt.optimizers import StateDict
from detopt.pipeline import Evaluation
from detopt.runtime.rounds import Round
from detopt.runtime.storage import BlobStore, Database, Store, sqlite_url

KEPT = 2  # states of the optimizer
FILE, PLACE, BLOBS = "study.sqlite", "store.json", "blobs"
OWN = ("study.yaml", "result.json", "report.html", BLOBS, "inputs", PLACE)  # files of a run


class RunStore:
    """The folder of one run.

    Args:
        folder: Where it is.

    Raises:
        CheckpointError: The folder's database is damaged or missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        place = _read_place(folder)
        self.is_private = "database" not in place
        if self.is_private and not (folder / FILE).is_file():
            raise CheckpointError(f"{folder} holds no run: {FILE} is missing.")
        self.store = _open(folder, place.get("database"), place.get("blobs"))
        self.store.database.check()
        run = self.store.run(_only_run(self.store, folder, place.get("run")))
        self.id = run.id
        self.fingerprint = self.store.study(run.study_id).fingerprint

    @classmethod
    def create(
        cls,
        folder: Path,
        run_id: str,
        fingerprint: str,
        config: Mapping[str, Any] | None = None,
        *,
        database: str | None = None,
        blobs: str | None = None,
        parent_id: str | None = None,
    ) -> "RunStore":
        """A new run in `folder`.

        Args:
            folder: Where `study.yaml`, results and report are.
            run_id: Name of the run.
            fingerprint: What determines its result.
            config: What the study is.
            database: URL of a shared database; None for a file in the folder.
            blobs: URL of shared files; None for the folder.
            parent_id: Study whose design this one starts from.

        Raises:
            CheckpointError: There is a run already; nothing is overwritten.
        """
        if (folder / FILE).exists() or (folder / PLACE).exists():
            raise CheckpointError(
                f"{folder} already holds a run. Resume it with `detopt resume {folder}`, or choose "
                "another folder."
            )
        taken = [name for name in OWN if (folder / name).exists()]
        if taken:
            raise CheckpointError(
                f"{folder} already holds {', '.join(taken)}, which a run would overwrite. Choose "
                "another folder."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"Cannot make the folder {folder}: {error.strerror}.") from error
        store = _open(folder, database, blobs)
        store.database.upgrade()
        store.add_study(run_id, fingerprint, config or {}, parent_id)
        store.add_run(run_id, run_id)
        store.close()
        if database is not None:
            place = {"database": database, "blobs": blobs, "run": run_id}
            write_whole(folder / PLACE, json.dumps(place).encode())
        return cls(folder)

    @property
    def status(self) -> str:
        """`running`, `interrupted` or `finished`."""
        return self.store.run(self.id).status

    @status.setter
    def status(self, status: str) -> None:
        self.store.set_status(self.id, status)

    def append(
        self, record: Round, state: StateDict, evaluations: Sequence[Evaluation] = ()
    ) -> None:
        """Keep a round, and the state from which the next one goes on."""
        self.store.append(self.id, record, state, evaluations)
        old = self.store.state_digest(self.id, back=KEPT) if self.is_private else None
        if old is not None:
            self.store.blobs.remove(old)

    def rounds(self) -> list[Round]:
        """All rounds so far."""
        return self.store.rounds(self.id)

    def last_state(self) -> StateDict | None:
        """State after the last round, or None before the first.

        Raises:
            CheckpointError: The checkpoint is missing or damaged.
        """
        state: StateDict | None = self.store.last_state(self.id)
        return state

    def close(self) -> None:
        """Release the database."""
        self.store.close()


def _open(folder: Path, database: str | None, blobs: str | None) -> Store:
    url = sqlite_url(folder / FILE) if database is None else database
    return Store(Database(url), BlobStore(folder.resolve() / BLOBS if blobs is None else blobs))


def _read_place(folder: Path) -> dict[str, Any]:
    path = folder / PLACE
    if not path.is_file():
        return {}
    try:
        place: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    return place


def _only_run(store: Store, folder: Path, name: str | None) -> str:
    if name is not None:
        return name
    runs = store.runs()
    if len(runs) != 1:
        raise CheckpointError(f"{folder / FILE} is no run of this version of detopt.")
    return runs[0].id


def write_whole(path: Path, data: bytes) -> None:
    """Write a file such that it is either complete or absent."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
