"""Leases that are renewed while somebody works, and names that tell whether somebody still does."""

__all__ = ["Renewable", "is_gone", "own_name", "renewed"]

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from detopt.errors import DetoptError
from detopt.runtime.storage import Lease

UNKNOWN = "-"
JOIN = 5.0  # s


@runtime_checkable
class Renewable(Protocol):
    """Where leases are renewed."""

    def renew(self, lease: Lease, lease_s: float) -> bool:
        """Keep a lease for longer [s]; False if it is lost."""


@contextmanager
def renewed(source: Renewable, lease: Lease, lease_s: float) -> Iterator[None]:
    """Keep a lease as long as the block takes.

    Where the store is away for a while, the next try may find it again.
    """
    over = threading.Event()

    def renew() -> None:
        while not over.wait(lease_s / 3):
            try:
                if not source.renew(lease, lease_s):
                    return
            except DetoptError:
                continue

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(JOIN)


def own_name() -> str:
    """A name of this process by which others on the machine see whether it still runs."""
    pid = os.getpid()
    return " ".join([_place(), str(pid), _started(pid), uuid.uuid4().hex[:6]])


def is_gone(name: str) -> bool:
    """Whether a process of this machine has ended; False where that cannot be known."""
    place, pid, started, _ = (*name.split(" "), "", "", "")[:4]
    if place != _place() or started == UNKNOWN or not pid.isdigit():
        return False
    return _started(int(pid)) != started


def _place() -> str:
    """The machine since it was started, and its table of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        table = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 (the link leads to no file)
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}-{boot}-{table}"


def _started(pid: int) -> str:
    """When a process was started [ticks since the machine was], if there is one."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return UNKNOWN
    return UNKNOWN if words[0] in "ZX" else words[19]
