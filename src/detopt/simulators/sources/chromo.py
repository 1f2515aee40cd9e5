"""Hadronic interactions of the models that chromo collects, made by a program of its own.

Models are Fortran programs with a global state, of which a process can hold one.
"""

__all__ = ["Chromo"]

import math
import sys
from collections.abc import Mapping
from pathlib import Path

from detopt.errors import DomainError
from detopt.simulators.files import Limits
from detopt.simulators.sources.generator import STRETCH, Generator
from detopt.simulators.sources.generator_process import Program

PROGRAM = Program("chromo", "chromo", "`chromo`", litters=True)  # UrQMD keeps tables
AIR: Mapping[str, float] = {"N": 0.773, "O": 0.227}  # shares of atoms times A^(2/3)
Beam = str | int | tuple[int, int]


class Chromo(Generator):
    """Draws collisions of hadrons and nuclei from a model of chromo.

    Args:
        model: Its name there. `Sibyll21`, `Sibyll23d`, `Pythia6` and `UrQMD34` need no tables;
            others fetch theirs from the network at their first use.
        projectile: Name (`"proton"`, `"pi+"`, `"He"`), PDG code, or mass and atomic number.
        target: Likewise; or shares of the collisions by element; or `"air"`, without its argon,
            which not every model knows.
        energy: Total energy of the projectile, for nuclei of each nucleon; or of two nucleons in
            their center of mass [GeV].
        frame: "fixed_target", the target at rest and the projectile along z, or
            "center_of_mass".
        python: Interpreter with the package `chromo`; by default this one.
        final_only: Whether particles that leave the events are kept alone.
        limits: Time of a call and memory of each process.
        n_workers: Processes that make stretches at the same time; by default two, or one where
            there is one core. A draw of one stretch has one.
        stretch: Events in a row that share a seed and a process; other stretches are other events.

    Raises:
        NotFoundError: There is no such interpreter.
        DomainError: The energy, a share, `n_workers` or `stretch` is not positive, or there is no
            such frame.

    Note:
        The same generator state gives the same events bit by bit, whatever was drawn before, and
        for any number of processes. Energy is conserved as well as the model does it: Sibyll to
        some per mille. Statuses are those of HepMC: 1, 2 for what decayed, 4 for a beam. For POSIX
        systems.

    References:
        A. Fedynitch, H. Dembinski, A. Prosekin, Proc. Sci. 444 (2023) 189.
    """

    def __init__(
        self,
        model: str,
        projectile: Beam,
        target: Beam | Mapping[str, float],
        energy: float,
        frame: str = "fixed_target",
        python: str | Path = sys.executable,
        final_only: bool = True,
        limits: Limits | None = None,
        n_workers: int | None = None,
        stretch: int = STRETCH,
    ) -> None:
        if not (energy > 0 and math.isfinite(energy)):
            raise DomainError(f"`energy` must be > 0, got {energy:g} GeV.")
        if frame not in ("fixed_target", "center_of_mass"):
            raise DomainError(f"`frame` must be `fixed_target` or `center_of_mass`, got `{frame}`.")
        mixture = AIR if target == "air" else target
        if isinstance(mixture, Mapping) and not (mixture and min(mixture.values()) > 0):
            raise DomainError(f"Shares of a mixture must be > 0, got {dict(mixture)}.")
        settings = {
            "model": model,
            "projectile": projectile,
            "target": dict(mixture) if isinstance(mixture, Mapping) else mixture,
            "energy": energy,
            "fixed_target": frame == "fixed_target",
        }
        super().__init__(PROGRAM, settings, python, final_only, stretch, limits, n_workers, stretch)
