"""The folder of one run, and where its rows and bytes lie.

By default a SQLite file and blobs in the folder itself; or any database and object store by URL,
which many machines share. After every round the optimizer's state is written as a blob, then a row
with its digest is committed. Whatever happens in between, the last committed row names a complete
state.
"""

__all__ = ["Round", "RunStore", "database_url", "refuse_password", "refuse_secret", "write_whole"]

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from detopt.errors import CheckpointError, ConfigError, DetoptError
from detopt.optimizers import StateDict
from detopt.pipeline import Evaluation
from detopt.runtime.rounds import Round
from detopt.runtime.storage import BlobStore, Database, Lease, Store, sqlite_url
from detopt.runtime.storage.tasks import NOTICE

KEPT = 2  # states of the optimizer
FILE, PLACE, BLOBS = "study.sqlite", "store.json", "blobs"
SECRETS = ("password", "passwd", "secret", "token", "key", "signature", "credential")
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
        database_url(folder)
        place = _read_place(folder)
        self.is_private = "database" not in place
        self.store = _open(folder, place.get("database"), place.get("blobs"))
        try:
            self.store.database.check()
            run = self.store.run(_only_run(self.store, folder, place.get("run")))
            self.id = run.id
            study = self.store.study(run.study_id)
            self.fingerprint, self.config = study.fingerprint, study.config
        except BaseException:
            self.close()
            raise

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
        first: Callable[[Store], object] | None = None,
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
            first: What is done before the run is kept, which may refuse it.

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
        refuse_password(database)
        refuse_secret(blobs)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"Cannot make the folder {folder}: {error.strerror}.") from error
        store = _open(folder, database, blobs)
        try:
            store.database.upgrade()
            if database is not None:
                _refuse_taken(store, run_id)
            if first is not None:
                first(store)
            store.add_study(run_id, fingerprint, config or {}, parent_id)
            store.add_run(run_id, run_id)
        except DetoptError:
            with contextlib.suppress(OSError):
                folder.rmdir()  # it was made for this run, unless something is in it
            raise
        finally:
            store.close()
        if database is not None:
            _write_place(folder, database, blobs, run_id)
        return cls(folder)

    @classmethod
    def fetch(
        cls, folder: Path, store: Store, run_id: str, inputs: Mapping[str, bytes]
    ) -> "RunStore":
        """A run of a shared store, in an empty folder here.

        Args:
            folder: Where its files go.
            store: Where the run is kept.
            run_id: The run.
            inputs: Study and input files, by name.
        """
        for name, data in inputs.items():
            write_whole(folder / name, data)
        url = store.database.engine.url.render_as_string(hide_password=False)
        refuse_password(url)
        _write_place(folder, url, store.blobs.url, run_id)
        return cls(folder)

    @property
    def status(self) -> str:
        """`running`, `interrupted` or `finished`."""
        return self.store.run(self.id).status

    @status.setter
    def status(self, status: str) -> None:
        self.store.set_status(self.id, status)

    def interrupt(self, lease: Lease) -> None:
        """Say that nobody goes on with the run for now, unless somebody else does."""
        self.store.set_status(self.id, "interrupted", lease, NOTICE)

    def append(
        self,
        record: Round,
        state: StateDict,
        evaluations: Sequence[Evaluation] = (),
        lease: Lease | None = None,
    ) -> None:
        """Keep a round, and the state from which the next one goes on; see `Store.append`."""
        self.store.append(self.id, record, state, evaluations, lease)
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


def _refuse_taken(store: Store, run_id: str) -> None:
    """Two runs of one name would write into each other."""
    if any(run.id == run_id for run in store.runs()):
        raise CheckpointError(
            f"{store.database.url} already holds a run `{run_id}`. Choose another name by the name "
            "of the folder, such as with --out."
        )


def database_url(folder: Path) -> str:
    """Where the rows of a run are, of whatever version.

    Raises:
        CheckpointError: The folder holds no run.
    """
    database = _read_place(folder).get("database")
    if database is None and not (folder / FILE).is_file():
        raise CheckpointError(f"{folder} holds no run: {FILE} is missing.")
    return sqlite_url(folder / FILE) if database is None else str(database)


def _open(folder: Path, database: str | None, blobs: str | None) -> Store:
    url = sqlite_url(folder / FILE) if database is None else database
    return Store(Database(url), BlobStore(folder.resolve() / BLOBS if blobs is None else blobs))


def refuse_password(database: str | None) -> None:
    """No secret in a file.

    Raises:
        ConfigError: The URL holds a password, or is none.
    """
    if database is None:
        return
    try:
        url = make_url(database)
    except (ArgumentError, ValueError) as error:  # whose words may hold the URL
        raise ConfigError(
            "The database must be a URL, such as postgresql+psycopg://user@host:5432/name."
        ) from error
    if url.password is not None or any("password" in key for key in url.query):
        raise ConfigError(
            "The URL of the database holds a password, which would be written into a file. Leave "
            "it out, and give it by PGPASSWORD or in ~/.pgpass."
        )


def refuse_secret(blobs: str | None) -> None:
    """No secret in a file.

    Raises:
        ConfigError: The URL of the files holds a password, a key or a token.
    """
    if blobs is None or "://" not in blobs:
        return
    url = urlsplit(blobs)
    keys = parse_qs(url.query, keep_blank_values=True)
    if url.password is not None or any(word in key.lower() for key in keys for word in SECRETS):
        raise ConfigError(
            "The URL of the files holds a secret, which would be written into a file. Leave it "
            "out, and give it as the object store says, such as by AWS_SECRET_ACCESS_KEY."
        )


def _write_place(folder: Path, database: str, blobs: str | None, run_id: str) -> None:
    place = {"database": database, "blobs": blobs, "run": run_id}
    write_whole(folder / PLACE, json.dumps(place).encode())


def _read_place(folder: Path) -> dict[str, Any]:
    path = folder / PLACE
    if not path.is_file():
        return {}
    try:
        place = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    if not isinstance(place, dict) or not isinstance(place.get("database"), str):
        raise CheckpointError(f"{path} is damaged: it names no database.")
    if not all(isinstance(place.get(key), str | None) for key in ("blobs", "run")):
        raise CheckpointError(f"{path} is damaged: `blobs` and `run` must be texts.")
    return place


def _only_run(store: Store, folder: Path, name: str | None) -> str:
    if name is not None:
        return name
    runs = store.runs()
    if len(runs) != 1:
        raise CheckpointError(f"{folder / FILE} is no run of this version of detopt.")
    return runs[0].id


def write_whole(path: Path, data: bytes) -> None:
    """Write a file such that it is either complete or absent.

    Raises:
        CheckpointError: The disk is full or read-only; an older file stays as it is.
    """
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise CheckpointError(f"Cannot write {path}: {error.strerror}.") from error
