"""Chains with known autocorrelation, and pyerrors, which imports a deprecated part of scipy."""

import math
import warnings

import pytest
import torch
from scipy.signal import lfilter

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import pyerrors  # noqa: F401 (the tests find it loaded)


@pytest.fixture
def autoregressive(rng):
    """x_{t+1} = phi x_t + noise, of unit variance and in equilibrium from its start."""

    def chains(phi, n, *shape):
        noise = torch.randn(*shape, n, generator=rng, dtype=torch.float64)
        noise[..., 1:] *= math.sqrt(1 - phi**2)
        return torch.from_numpy(lfilter([1.0], [1.0, -phi], noise.numpy()))

    return chains
