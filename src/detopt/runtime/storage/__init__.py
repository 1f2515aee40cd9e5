"""Where everything is kept: rows in a database, bytes by their digest."""

from detopt.runtime.storage.answers import Answers, Place
from detopt.runtime.storage.artifacts import Artifact, Artifacts
from detopt.runtime.storage.blobs import BlobStore, FilesAwayError
from detopt.runtime.storage.database import Database, sqlite_url
from detopt.runtime.storage.encoding import decode, digest_of, encode
from detopt.runtime.storage.lineage import Lineage, Link
from detopt.runtime.storage.records import Event, RunInfo, Store, StudyInfo
from detopt.runtime.storage.tasks import Lease, NewTask, TaskQueue, TaskState, task_id
from detopt.runtime.storage.tokens import Token, Tokens

__all__ = [
    "Answers",
    "Artifact",
    "Artifacts",
    "BlobStore",
    "Database",
    "Event",
    "FilesAwayError",
    "Lease",
    "Lineage",
    "Link",
    "NewTask",
    "Place",
    "RunInfo",
    "Store",
    "StudyInfo",
    "TaskQueue",
    "TaskState",
    "Token",
    "Tokens",
    "decode",
    "digest_of",
    "encode",
    "sqlite_url",
    "task_id",
]
