"""Signals that say that the machine goes away, as an exception at the next safe place."""

__all__ = ["Interrupted", "held_back", "interruptible"]

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


_waiting: list[str] = []  # signals that came within `held_back`
_holders: list[None] = []


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop: what is under way is given back, what is done is kept."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, SIGTERM and SIGUSR1 raise `Interrupted`; a second signal is ignored.

    Elsewhere than in the main thread nothing happens: only that one gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(number: int, _frame: FrameType | None) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        name = signal.Signals(number).name
        if _holders:
            _waiting.append(name)
        else:
            raise Interrupted(name)

    before = {one: signal.signal(one, first) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Within `interruptible`, a signal is raised at the end of this, not in its middle.

    For a few moments in which something is taken that must be given back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _holders.append(None)
    try:
        yield
    finally:
        _holders.pop()
        if _waiting and not _holders:
            raise Interrupted(_waiting.pop())
