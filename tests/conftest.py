"""Fixtures of the whole suite: one seed, printed in the header, and one thread."""

import os

import pytest
import torch

SEED = int(os.environ.get("DETOPT_TEST_SEED", "20220325"))


def pytest_report_header(config):
    return f"seed of the random fixtures: {SEED} (set DETOPT_TEST_SEED to change it)"


@pytest.fixture
def rng() -> torch.Generator:
    """A generator with the seed of the suite."""
    return torch.Generator().manual_seed(SEED)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two cores shared by several test processes: more threads only cost time."""
    torch.set_num_threads(1)
