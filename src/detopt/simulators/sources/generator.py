"""Events of generators that run in processes of their own."""

__all__ = ["BLOCK", "SEEDS", "STRETCH", "Generator"]

import os
import queue
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detopt.errors import DomainError
from detopt.pipeline import Source
from detopt.simulators.files import Limits
from detopt.simulators.sources.generator_process import GeneratorProcess, Program
from detopt.simulators.sources.particles import FINAL, Particles
from detopt.simulators.threads import Halt, in_threads

BLOCK = 200  # events; larger ones need memory that is new to the process, smaller ones cost calls
STRETCH = 2000  # events; each stretch costs some 3 ms for a copy of the process
WORKERS = 2  # processes, where there are as many cores
SEEDS = 900_000_000  # the largest seed that Pythia takes
DECAYED, BEAM = 2, 4  # statuses as in HepMC
BEAM_CODE = 12  # minus this is the status of a beam particle in an answer
Stretch = tuple[int, int, int]  # seed, events, number of the first one


class Generator(Source[Particles]):
    """Draws events from a program in processes of its own.

    Args:
        program: Which one.
        settings: Of it, as it understands them.
        python: Interpreter.
        final_only: Whether particles that leave the events are kept alone.
        block: Events handed over at a time.
        limits: Time of a call and memory of each process.
        n_workers: Processes that make stretches at the same time; by default two, or one where
            there is one core.
        stretch: Events in a row that share a seed and a process.

    Raises:
        NotFoundError: There is no such interpreter.
        DomainError: `block`, `n_workers` or `stretch` is not positive.
    """

    def __init__(
        self,
        program: Program,
        settings: Any,
        python: str | Path,
        final_only: bool,
        block: int,
        limits: Limits | None,
        n_workers: int | None,
        stretch: int,
    ) -> None:
        super().__init__()
        n_workers = min(WORKERS, _cores()) if n_workers is None else n_workers
        for name, value in (("block", block), ("n_workers", n_workers), ("stretch", stretch)):
            if value < 1:
                raise DomainError(f"`{name}` must be > 0, got {value}.")
        self.block, self.stretch = block, stretch
        limits = Limits() if limits is None else limits
        self._processes = [
            GeneratorProcess(program, settings, str(python), final_only, limits)
            for _ in range(n_workers)
        ]

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Particles:
        """Draw `n_events` events.

        Raises:
            DomainError: `n_events` is not positive.
            ConfigError: The program refuses a setting.
            MissingExtraError: The interpreter lacks a package.
            SimulationError: A process crashed, or took too long; seed and output are named.
        """
        if n_events < 1:
            raise DomainError(f"`n_events` must be > 0, got {n_events}.")
        edges = range(0, n_events, self.stretch)
        seeds = [int(torch.randint(1, SEEDS + 1, (), generator=rng)) for _ in edges]
        sizes = [min(self.stretch, n_events - first) for first in edges]
        blocks = self._run(list(zip(seeds, sizes, edges, strict=True)))
        return _particles(blocks).to(dtype)

    def close(self) -> None:
        """End the processes; a later draw starts others."""
        for process in self._processes:
            process.close()

    def _run(self, stretches: Sequence[Stretch]) -> list[dict[str, Any]]:
        """The blocks of all stretches, in order."""
        timeout = self._processes[0].limits.timeout
        end = float("inf") if timeout is None else time.monotonic() + timeout
        free = queue.SimpleQueue[GeneratorProcess]()
        for process in self._processes:
            free.put(process)

        def run(stretch: Stretch, halt: Halt) -> list[dict[str, Any]]:
            seed, size, first = stretch
            process = free.get()
            try:
                return process.run(seed, size, self.block, first, end, halt)
            finally:
                free.put(process)

        n = min(len(self._processes), len(stretches))
        return [block for blocks in in_threads(run, stretches, n) for block in blocks]


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _particles(blocks: Sequence[dict[str, Any]]) -> Particles:
    names = ("pdg", "status", "size", "weight")
    pdg, code, size, weight = (np.concatenate([one[name] for one in blocks]) for name in names)
    status = np.where(code > 0, FINAL, np.where(code == -BEAM_CODE, BEAM, DECAYED))
    event = np.repeat(np.arange(len(size)), size)
    momentum, vertex = (_rows([one[name] for one in blocks]) for name in ("momentum", "vertex"))
    return Particles.of(pdg, status, momentum, vertex, event, weight)


def _rows(vectors: Sequence[Any]) -> Any:
    """Four-vectors one a row, of those that are one a column."""
    rows = np.empty((sum(one.shape[1] for one in vectors), 4))
    np.concatenate([one.T for one in vectors], out=rows)
    return rows
