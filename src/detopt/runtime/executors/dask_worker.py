"""What runs in the workers of a Dask cluster; it is imported only where Dask is installed."""

__all__ = ["Inputs", "do"]

import time
from collections.abc import Mapping, Sequence

import torch
from distributed import WorkerPlugin

from detopt.errors import SimulationError
from detopt.pipeline.problem import Problem
from detopt.runtime.executors.work import answer, decode_work, encode_answer, encode_failure

_inputs: dict[str, Mapping[str, bytes]] = {}
_problems: dict[str, Problem] = {}


class Inputs(WorkerPlugin):
    """Brings a study and its input files to each worker, whenever it comes.

    Args:
        study: Name of the study.
        inputs: Its files, by name.
    """

    def __init__(self, study: str, inputs: Mapping[str, bytes]) -> None:
        self.name = f"detopt-{study}"
        self._study, self._inputs = study, inputs

    def setup(self, worker: object) -> None:  # noqa: ARG002 (one worker in a process)
        """Keep the files in the worker's process."""
        torch.set_num_threads(1)
        _inputs[self._study] = self._inputs


def do(study: str, payloads: Sequence[bytes]) -> tuple[list[bytes], float]:
    """Answers to some pieces of work, and the time that they took [s]."""
    from detopt.runtime.worker import make_problem  # which uses the executors

    if study not in _problems:
        _problems[study] = make_problem(_inputs[study])
    begin = time.perf_counter()
    answers = [_answer(_problems[study], payload) for payload in payloads]
    return answers, time.perf_counter() - begin


def _answer(problem: Problem, payload: bytes) -> bytes:
    try:
        return encode_answer(answer(problem, decode_work(payload)))
    except SimulationError as error:
        return encode_failure(error)
