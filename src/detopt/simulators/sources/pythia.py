"""Events of Pythia 8, made by a program of its own.

Pythia has the licence GPL: it is never imported here, and need not be installed in the same Python.
"""

__all__ = ["Pythia"]

import sys
from collections.abc import Sequence
from pathlib import Path

from detopt.errors import ConfigError, NotFoundError
from detopt.simulators.files import Limits
from detopt.simulators.sources.generator import BLOCK, STRETCH, Generator
from detopt.simulators.sources.generator_process import Program

PROGRAM = Program("pythia", "Pythia", "`pythia8mc`")


class Pythia(Generator):
    """Draws events from Pythia 8.

    Args:
        settings: Lines such as `Beams:eCM = 13000.`, or a file with such lines.
        python: Interpreter with the package `pythia8mc`; by default this one.
        final_only: Whether particles that leave the events are kept alone.
        block: Events handed over at a time.
        limits: Time of a call and memory of each process.
        n_workers: Processes that make stretches at the same time; by default two, or one where
            there is one core. A draw of one stretch has one.
        stretch: Events in a row that share a seed and a process; other stretches are other events.

    Raises:
        NotFoundError: There is no such file of settings, or no such interpreter.
        DomainError: `block`, `n_workers` or `stretch` is not positive.

    Note:
        The same generator state gives the same events bit by bit, whatever was drawn before, and
        for any number of processes. They start with the first draw that needs them and serve all
        later ones; `close` ends them. Statuses are those of HepMC: 1, 2 for what decayed or was an
        intermediate step, 4 for a beam. For POSIX systems.

        Events of a file (`Beams:LHEF`) are refused, since every stretch would begin with the first
        one: see `read_lhe`.

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
        n_workers: int | None = None,
        stretch: int = STRETCH,
    ) -> None:
        super().__init__(
            PROGRAM, _lines(settings), python, final_only, block, limits, n_workers, stretch
        )


def _lines(settings: Sequence[str] | Path) -> list[str]:
    if isinstance(settings, str):
        raise ConfigError("`settings` must be a list of lines or a `Path`, got one text.")
    if isinstance(settings, Path):
        if not settings.is_file():
            raise NotFoundError(f"There is no file of settings {settings}.")
        settings = settings.read_text().splitlines()
    lines = [line.strip() for line in settings]
    return [line for line in lines if line and line[0].isalnum()]
