"""Differentiable end-to-end design optimization of physics instruments.

A design problem is a design space and a pipeline of five stages; a study optimizes it by one of
several methods, keeps every round, and judges the final design independently.

Everything is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from detopt._version import __version__ as __version__

if TYPE_CHECKING:
    from detopt.api import Study as Study
    from detopt.design import Design as Design
    from detopt.design import DesignSpace as DesignSpace
    from detopt.gradients import check_gradients as check_gradients
    from detopt.pipeline import Pipeline as Pipeline
    from detopt.pipeline import Problem as Problem

_HOMES = {
    "Study": "detopt.api",
    "Design": "detopt.design",
    "DesignSpace": "detopt.design",
    "Pipeline": "detopt.pipeline",
    "Problem": "detopt.pipeline",
    "check_gradients": "detopt.gradients",
}
__all__ = ["Design", "DesignSpace", "Pipeline", "Problem", "Study", "check_gradients"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'detopt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
