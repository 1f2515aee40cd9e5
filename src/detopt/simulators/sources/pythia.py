"""Events of Pythia 8, made by a program of its own.

Pythia has the licence GPL: it is never imported here, and need not be installed in the same Python.
"""

__all__ = ["Pythia"]

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detopt.errors import DomainError
from detopt.pipeline import Source
from detopt.simulators.files import Limits
from detopt.simulators.sources.particles import FINAL, Particles
from detopt.simulators.sources.pythia_process import PythiaProcess

BLOCK = 500  # events; handing over a block costs some 7 ms beside what each event costs
SEEDS = 900_000_000  # the largest seed that Pythia takes
DECAYED, BEAM = 2, 4  # statuses as in HepMC
BEAM_CODE = 12  # of Pythia, for a beam particle


class Pythia(Source[Particles]):
    """Draws events from Pythia 8.

    Args:
        settings: Lines such as `Beams:eCM = 13000.`, or a file with such lines.
        python: Interpreter with the packages `pythia8mc` and `awkward`; by default this one.
        final_only: Whether particles that leave the events are kept alone.
        block: Events handed over at a time.
        limits: Time of a call and memory of the process.

    Raises:
        NotFoundError: There is no such file of settings, or no such interpreter.
        DomainError: `block` is not positive.

    Note:
        The same generator state gives the same events bit by bit, whatever was drawn before. A
        process starts with the first draw and serves all later ones; `close` ends it. Statuses are
        those of HepMC: 1, 2 for what decayed or was an intermediate step, 4 for a beam. For POSIX
        systems.

    References:
        C. Bierlich et al., SciPost Phys. Codebases 8 (2022).
    """

    def __init__(
        self,
        settings: Sequence[str] | Path,
        python: str | Path = sys.executable,
        final_only: bool = True,
        block: int = BLOCK,
        limits: Limits | None = None,
    ) -> None:
        super().__init__()
        if block < 1:
            raise DomainError(f"`block` must be > 0, got {block}.")
        self.block = block
        self._process = PythiaProcess(
            settings, str(python), final_only, Limits() if limits is None else limits
        )

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Particles:
        """Draw `n_events` events.

        Raises:
            DomainError: `n_events` is not positive.
            ConfigError: Pythia refuses a setting.
            MissingExtraError: The interpreter lacks a package.
            SimulationError: The process crashed, or took too long; seed and output are named.
        """
        if n_events < 1:
            raise DomainError(f"`n_events` must be > 0, got {n_events}.")
        seed = int(torch.randint(1, SEEDS + 1, (), generator=rng))
        blocks = self._process.run(seed, n_events, self.block)
        return _particles(blocks).to(dtype)

    def close(self) -> None:
        """End the process; a later draw starts another one."""
        self._process.close()


def _particles(blocks: Sequence[dict[str, Any]]) -> Particles:
    whole = {name: np.concatenate([one[name] for one in blocks]) for name in blocks[0]}
    code = whole["status"]
    status = np.where(code > 0, FINAL, np.where(code == -BEAM_CODE, BEAM, DECAYED))
    event = np.repeat(np.arange(len(whole["size"])), whole["size"])
    return Particles.of(
        whole["pdg"], status, whole["momentum"], whole["vertex"], event, whole["weight"]
    )
