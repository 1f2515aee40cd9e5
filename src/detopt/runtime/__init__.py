"""Running studies: configuration, executors, store, the loop, the result.

Everything is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detopt.runtime.config import StudyConfig, load_study, save_study
    from detopt.runtime.result import load_result
    from detopt.runtime.store import Round, RunStore
    from detopt.runtime.study import Study

_HOMES = {
    "Round": "store",
    "RunStore": "store",
    "Study": "study",
    "StudyConfig": "config",
    "load_result": "result",
    "load_study": "config",
    "save_study": "config",
}
__all__ = ["Round", "RunStore", "Study", "StudyConfig", "load_result", "load_study", "save_study"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
