"""A simulation of ten milliseconds, as a file that a study calls; it needs no package."""

import random
import time

LENGTH = 0.010  # s, overhead of the call included


def _value(design, seed):
    noise = random.Random(seed).gauss(0.0, 1e-3)
    return (design["x"] - 0.3) ** 2 + (design["y"] - 0.6) ** 2 + noise


def waiting(design, seed):
    """Waits, as for a program elsewhere."""
    end = time.perf_counter() + LENGTH
    value = _value(design, seed)
    time.sleep(max(0.0, end - time.perf_counter()))
    return value


def busy(design, seed):
    """Uses the processor all the time."""
    end = time.process_time() + LENGTH
    value = _value(design, seed)
    while time.process_time() < end:
        pass
    return value


def loaded(design, seed):
    """Waits; fails where torch is imported in this process."""
    import sys

    if "torch" in sys.modules:
        raise RuntimeError("this process has imported torch")
    return waiting(design, seed)
