"""Simulations that are black boxes: Python functions, programs in any language, containers."""

from detopt.simulators.command import Command
from detopt.simulators.container import Container
from detopt.simulators.files import Limits
from detopt.simulators.function import BlackBox

__all__ = ["BlackBox", "Command", "Container", "Limits"]
