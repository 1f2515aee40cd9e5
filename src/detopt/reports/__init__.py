"""Reports: figures, tables, and one self-contained HTML page for each run.

Nothing here changes a run; a report can be written again at any time, also while the run goes on.
Matplotlib is imported when the first of these names is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detopt.reports.figures import curves
    from detopt.reports.html import write_report
    from detopt.reports.scene import scene_figure

__all__ = ["curves", "scene_figure", "write_report"]

_HOMES = {"curves": "figures", "scene_figure": "scene", "write_report": "html"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
