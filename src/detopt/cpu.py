"""CPU time of a piece of work, wherever it runs."""

__all__ = ["cpu_time", "forget_program", "note_program"]

import resource
import threading
import time

_running: dict[int, float] = {}
_lock = threading.Lock()


def cpu_time() -> float:
    """CPU time of this process and of its programs, ended or still running [s].

    Note:
        A program that runs counts with what it told last, see `note_program`. Containers are not
        included: they are programs of another process.
    """
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    with _lock:
        running = sum(_running.values())
    return time.process_time() + programs.ru_utime + programs.ru_stime + running


def note_program(pid: int, cpu_s: float) -> None:
    """Take down what a program of this process has used so far [s], while it runs.

    Args:
        pid: The program.
        cpu_s: Its own CPU time [s]; a smaller one than before changes nothing.
    """
    with _lock:
        _running[pid] = max(cpu_s, _running.get(pid, 0.0))


def forget_program(pid: int) -> None:
    """Forget a program that has ended and was waited for: the system counts it from now on."""
    with _lock:
        _running.pop(pid, None)
