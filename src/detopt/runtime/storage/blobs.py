"""Content-addressed files: a digest names the bytes, wherever they lie.

A blob is written under a temporary name, flushed to the disk and renamed, so that it is complete
or absent. Its name is the SHA-256 of its content, which is checked each time it is read.
"""

__all__ = ["BlobStore", "FilesAwayError"]

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from detopt.errors import CheckpointError, ConfigError
from detopt.runtime.storage.encoding import digest_of

PARTIAL = ".partial"  # end of a temporary name
SAFE = " What was kept before is safe: mend the cause and go on."


class FilesAwayError(CheckpointError):
    """The disk or the object store does not answer or refuses; what is kept there may be sound."""


class BlobStore:
    """Files below a folder or an object-store URL.

    Args:
        url: Folder, or any URL that fsspec knows, such as `s3://bucket/prefix`.
        options: Options of the file system, such as endpoint and credentials.

    Raises:
        ConfigError: No such kind of URL, or its driver is not installed.
    """

    def __init__(self, url: str | Path, **options: Any) -> None:
        self.url = str(url)
        try:
            self._system, root = fsspec.core.url_to_fs(self.url, **options)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"Cannot use the files at {self.url}: {error}.") from error
        self._root = PurePosixPath(root)
        self._is_local = "file" in _protocols(self._system)

    def put(self, data: bytes) -> str:
        """Keep bytes; their digest. Bytes that are there already are not written again.

        Raises:
            FilesAwayError: The disk is full, read-only or gone, or the object store is away or
                refuses; nothing is left behind then.
        """
        digest = digest_of(data)
        path = self._path(digest)
        with _told(f"Cannot write {path}", SAFE):
            if self._holds(path, digest):
                return digest
            if self._is_local:
                _write_whole(Path(path), data)
            else:
                self._system.pipe_file(path, data)  # object stores publish a whole object or none
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of that digest.

        Raises:
            FilesAwayError: The store is away.
            CheckpointError: They are missing or damaged.
        """
        path = self._path(digest)
        with _told(f"Cannot read {path}"):
            try:
                data: bytes = self._system.cat_file(path)
            except FileNotFoundError as error:
                raise CheckpointError(f"The stored file {path} is missing.") from error
        if digest_of(data) != digest:
            raise CheckpointError(
                f"The stored file {path} is damaged: its checksum differs. Restore the file from "
                "a copy, or start a new run from study.yaml."
            )
        return data

    def __contains__(self, digest: str) -> bool:
        path = self._path(digest)
        with _told(f"Cannot look for {path}"):
            return bool(self._system.exists(path))

    def remove(self, digest: str) -> None:
        """Forget bytes; nothing happens where there are none."""
        path = self._path(digest)
        with _told(f"Cannot remove {path}"), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(path)

    def path(self, digest: str) -> str:
        """Where the bytes of a digest lie."""
        return self._path(digest)

    def _path(self, digest: str) -> str:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(f"{digest!r} is no digest.")
        return str(self._root / digest[:2] / digest)

    def _holds(self, path: str, digest: str) -> bool:
        """Whether an undamaged file is there."""
        try:
            return digest_of(self._system.cat_file(path)) == digest
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def _told(what: str, also: str = "") -> Iterator[None]:
    """Says what the files refuse; drivers of object stores have errors of their own classes."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        raise FilesAwayError(f"{what}: {reason}.{also}") from error


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file such that it is either complete or absent, also after a loss of power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
