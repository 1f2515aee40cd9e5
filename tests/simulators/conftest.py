"""Fixtures of all simulators."""

import signal

import pytest


@pytest.fixture
def interruptible():
    """SIGINT raises as at a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
