"""The errors of the package.

Each message says what is wrong, what was got and what to do. All derive from `DetoptError` and,
where one fits, from the built-in error that a Python user would expect.
"""

__all__ = [
    "BudgetError",
    "CheckpointError",
    "ConfigError",
    "DesignError",
    "DetoptError",
    "DomainError",
    "MethodError",
    "MissingExtraError",
    "NotFoundError",
    "SimulationError",
    "UnitError",
]


class DetoptError(Exception):
    """Base of all errors that a user of the package can cause."""


class DomainError(DetoptError, ValueError):
    """A physical quantity lies outside the range where a function is defined."""


class UnitError(DetoptError, ValueError):
    """A quantity has a unit of the wrong dimension, or one that does not parse."""


class ConfigError(DetoptError, ValueError):
    """An option is misspelt, missing, contradictory or out of range."""


class DesignError(DetoptError, ValueError):
    """A design breaks a hard constraint or does not belong to the design space."""


class MethodError(DetoptError, ValueError):
    """An optimizer or estimator cannot treat the problem that it was given."""


class NotFoundError(DetoptError, LookupError):
    """A use case, run, material or parameter of that name does not exist."""


class SimulationError(DetoptError, RuntimeError):
    """A simulation crashed, ran out of time, or answered with something unusable."""


class CheckpointError(DetoptError, RuntimeError):
    """A stored run is damaged, incomplete or of another version."""


class BudgetError(DetoptError, RuntimeError):
    """A compute budget is used up: what is done is kept, and a larger budget goes on."""


class MissingExtraError(DetoptError, ImportError):
    """An optional package is needed that is not installed."""
