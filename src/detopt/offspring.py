"""Worker processes that end with the process which started them, whatever ended that.

Nothing here imports torch: a process may do nothing but call a program.
"""

__all__ = ["begin", "deaf", "do"]

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

GRACE = 2.0  # s; to stop what runs, once the other process is gone
CTRL_C = {signal.SIGINT}
_leaving, _busy = threading.Event(), threading.Event()


def begin(prepare: Callable[..., object], *arguments: Any) -> None:
    """Make this process ready: SIGTERM stops what it does, and so does the end of its parent."""
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow, daemon=True).start()
    prepare(*arguments)


def do(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function says, unless this process is asked to end; Ctrl-C ends the function."""
    if _leaving.is_set():
        raise SystemExit(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CTRL_C)
    try:
        _busy.set()
        return function(*arguments)
    finally:
        _busy.clear()
        signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Processes that are started within do not hear Ctrl-C; this one hears it at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Stop the function, but not an answer on its way: half of one would block everybody."""
    _leaving.set()
    if _busy.is_set():
        _busy.clear()
        raise SystemExit(1)


def _follow() -> None:
    """Wait for the end of the parent, and end this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
