"""Where evaluations run: in this process, in several, or anywhere through a queue."""

from detopt.pipeline.problem import Problem
from detopt.runtime.executors.base import (
    Capabilities,
    Executor,
    Pending,
    ProblemRecipe,
    SerialExecutor,
)
from detopt.runtime.executors.calls import CallExecutor, can_call
from detopt.runtime.executors.dask import DaskExecutor
from detopt.runtime.executors.processes import ProcessExecutor
from detopt.runtime.executors.queued import QueueExecutor
from detopt.runtime.executors.shared import SharingExecutor
from detopt.runtime.executors.work import DesignChunk, Work

__all__ = [
    "CallExecutor",
    "Capabilities",
    "DaskExecutor",
    "DesignChunk",
    "Executor",
    "Pending",
    "ProblemRecipe",
    "ProcessExecutor",
    "QueueExecutor",
    "SerialExecutor",
    "SharingExecutor",
    "Work",
    "make_executor",
]


def make_executor(problem: Problem, recipe: ProblemRecipe, workers: int) -> Executor:
    """One process, or several."""
    if workers == 1:
        return SerialExecutor(problem)
    if can_call(problem):
        return CallExecutor(problem, workers)
    return ProcessExecutor(problem, recipe, workers)
