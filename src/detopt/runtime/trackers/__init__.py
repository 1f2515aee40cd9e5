"""Trackers: TensorBoard, Weights & Biases, Comet, MLflow, and those of installed plug-ins.

None is used unless a study asks for it. Each runs in a process of its own and gets what is left
over: it changes no number, and cannot stop or slow a study. Plug-ins name a subclass of `Tracker`
in the entry-point group `detopt.trackers`.
"""

from detopt.runtime.trackers.base import NoOptions, TrackedRun, Tracker
from detopt.runtime.trackers.registry import check_trackers, load_tracker, tracker_names

__all__ = [
    "NoOptions",
    "TrackedRun",
    "Tracker",
    "check_trackers",
    "load_tracker",
    "tracker_names",
]
