"""Running studies: configuration, executors, store, the loop, the result."""

from detopt.runtime.config import StudyConfig, load_study, save_study
from detopt.runtime.result import load_result
from detopt.runtime.store import Round, RunStore
from detopt.runtime.study import Study

__all__ = ["Round", "RunStore", "Study", "StudyConfig", "load_result", "load_study", "save_study"]
