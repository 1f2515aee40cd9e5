"""Packages that draw global random numbers, run as functions of a seed."""

__all__ = ["isolated"]

import contextlib
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from detopt.random import Seed
from detopt.threads import one_thread


@contextlib.contextmanager
def isolated(seed: Seed) -> Iterator[None]:
    """One thread, all global generators at `seed` and as before afterwards, no warnings.

    The same calls inside give the same bits, and nothing outside notices. The packages warn of
    themselves and of their fits; what the user must know is raised by the caller instead.
    """
    before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002
    with one_thread(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed.number)
        np.random.seed(seed.number % 2**32)  # noqa: NPY002
        random.seed(seed.number)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)  # noqa: NPY002
