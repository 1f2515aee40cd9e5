"""CPU time of a piece of work, wherever it runs."""

__all__ = ["cpu_time"]

import resource
import time


def cpu_time() -> float:
    """CPU time of this process and of all programs that it ran and waited for [s].

    Note:
        Containers are not included: they are programs of another process.
    """
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime
