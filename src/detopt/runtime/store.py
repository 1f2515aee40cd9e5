"""Where a run is kept: a folder with a SQLite file and one checkpoint file a round.

After every round the optimizer's state is written to a new file, then a row with the file's
checksum is committed. Whatever happens in between, the last committed row names a complete
checkpoint. Older checkpoints are removed, the rows stay.
"""

__all__ = ["Round", "RunStore"]

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import CheckpointError
from detopt.optimizers import StateDict

FORMAT = 1
KEPT = 2  # checkpoints
FILE = "study.sqlite"
OWN = ("study.yaml", "result.json", "report.html", "checkpoints", "inputs")  # files of a run

_metadata = sql.MetaData()
_study = sql.Table(
    "study",
    _metadata,
    sql.Column("format", sql.Integer, primary_key=True),
    sql.Column("id", sql.Text, nullable=False),
    sql.Column("created", sql.Float, nullable=False),
    sql.Column("fingerprint", sql.Text, nullable=False),
    sql.Column("status", sql.Text, nullable=False),
)
_rounds = sql.Table(
    "rounds",
    _metadata,
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("record", sql.Text, nullable=False),
    sql.Column("record_sha256", sql.Text, nullable=False),
    sql.Column("checkpoint", sql.Text, nullable=False),
    sql.Column("checkpoint_sha256", sql.Text, nullable=False),
)


@dataclass(frozen=True)
class Round:
    """What a round found.

    Args:
        number: From 0.
        theta: Where it was evaluated.
        value: Objective; the best one of a population.
        std_error: Its standard error.
        gradient: In theta, where the method uses one.
        gradient_std_error: Its standard error.
        terms: Named terms and cost.
        n_evaluations: Evaluations of the objective.
        cpu_s: CPU time of the evaluations [s].
        wall_s: Time that the round took [s].
    """

    number: int
    theta: Float[Tensor, " n_free"]
    value: float
    std_error: float
    gradient: Float[Tensor, " n_free"] | None
    gradient_std_error: Float[Tensor, " n_free"] | None
    terms: dict[str, float]
    n_evaluations: int
    cpu_s: float
    wall_s: float

    def dumps(self) -> str:
        """As JSON, every bit of the numbers kept."""
        data = dict(self.__dict__)
        for key in ("theta", "gradient", "gradient_std_error"):
            data[key] = None if data[key] is None else [float(v).hex() for v in data[key]]
        return json.dumps(data)

    @staticmethod
    def loads(text: str) -> "Round":
        """From JSON."""
        data = json.loads(text)
        for key in ("theta", "gradient", "gradient_std_error"):
            if data[key] is not None:
                values = [float.fromhex(v) for v in data[key]]
                data[key] = torch.tensor(values, dtype=torch.float64)
        return Round(**data)


class RunStore:
    """The folder of one run.

    Args:
        folder: Where it is.

    Raises:
        CheckpointError: The folder's database is damaged or missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / FILE
        if not path.is_file():
            raise CheckpointError(f"{folder} holds no run: {FILE} is missing.")
        self._engine = _engine(path)
        with self._connected() as connection:
            found = connection.execute(sql.select(_study)).all()
            sound = connection.execute(sql.text("PRAGMA integrity_check")).scalar_one() == "ok"
        if not sound:
            raise CheckpointError(f"{path} is damaged. Start a new run from study.yaml.")
        row = found[0] if len(found) == 1 else None
        if row is None or row.format != FORMAT:
            raise CheckpointError(f"{path} is no run of this version of detopt.")
        self.id = str(row.id)
        self.fingerprint = str(row.fingerprint)

    @classmethod
    def create(cls, folder: Path, study: str, fingerprint: str) -> "RunStore":
        """A new run in `folder`.

        Raises:
            CheckpointError: There is a run already; nothing is overwritten.
        """
        path = folder / FILE
        if path.exists():
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
        engine = _engine(path)
        _metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(
                sql.insert(_study).values(
                    format=FORMAT,
                    id=study,
                    created=time.time(),
                    fingerprint=fingerprint,
                    status="running",
                )
            )
        engine.dispose()
        return cls(folder)

    @property
    def status(self) -> str:
        """`running`, `interrupted` or `finished`."""
        with self._connected() as connection:
            return str(connection.execute(sql.select(_study.c.status)).scalar_one())

    @status.setter
    def status(self, status: str) -> None:
        with self._connected() as connection, connection.begin():
            connection.execute(sql.update(_study).values(status=status))

    def append(self, record: Round, state: StateDict) -> None:
        """Keep a round, and the state from which the next one goes on."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        name = f"checkpoints/round-{record.number:06d}.pt"
        write_whole(self.folder / name, data)
        text = record.dumps()
        with self._connected() as connection, connection.begin():
            connection.execute(
                sql.insert(_rounds).values(
                    number=record.number,
                    record=text,
                    record_sha256=_digest(text.encode()),
                    checkpoint=name,
                    checkpoint_sha256=_digest(data),
                )
            )
        old = self.folder / f"checkpoints/round-{record.number - KEPT:06d}.pt"
        old.unlink(missing_ok=True)

    def rounds(self) -> list[Round]:
        """All rounds so far."""
        with self._connected() as connection:
            rows = connection.execute(sql.select(_rounds).order_by(_rounds.c.number)).all()
        for i, row in enumerate(rows):
            if row.number != i or _digest(row.record.encode()) != row.record_sha256:
                raise CheckpointError(
                    f"{self.folder / FILE} is damaged: its round {i} is missing or was changed. "
                    "Start a new run from study.yaml."
                )
        return [Round.loads(row.record) for row in rows]

    def last_state(self) -> StateDict | None:
        """State after the last round, or None before the first.

        Raises:
            CheckpointError: The checkpoint is missing or damaged.
        """
        with self._connected() as connection:
            row = connection.execute(
                sql.select(_rounds).order_by(_rounds.c.number.desc()).limit(1)
            ).one_or_none()
        if row is None:
            return None
        path = self.folder / str(row.checkpoint)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"The checkpoint {path} is missing.") from error
        if _digest(data) != row.checkpoint_sha256:
            raise CheckpointError(
                f"The checkpoint {path} is damaged: its checksum differs. Restore the file from a "
                "copy, or start a new run from study.yaml."
            )
        state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
        return state

    @contextmanager
    def _connected(self) -> Iterator[sql.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except sql.exc.IntegrityError as error:
            raise CheckpointError(
                f"Another process goes on with the run in {self.folder}. Stop one of the two."
            ) from error
        except (sql.exc.SQLAlchemyError, ValueError) as error:  # ValueError: a text that is none
            reason = getattr(error, "orig", error)
            raise CheckpointError(
                f"{self.folder / FILE} is damaged: {reason}. Start a new run from study.yaml."
            ) from error

    def close(self) -> None:
        """Release the file."""
        self._engine.dispose()


def _engine(path: Path) -> sql.Engine:
    return sql.create_engine(f"sqlite:///{path}", poolclass=sql.NullPool)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file such that it is either complete or absent."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
