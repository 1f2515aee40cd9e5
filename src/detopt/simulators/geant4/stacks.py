"""A calorimeter as Geant4 sees it: layers one behind the other, with or without cells.

The front of the first layer is at z = 0, the middle of the layers at x = y = 0.
"""

__all__ = ["LayerDeposits", "StackSimulator", "simulate_stack", "stack_volume"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from detopt.design import Design
from detopt.errors import DomainError, MethodError, MissingExtraError, NotFoundError
from detopt.physics.materials import Material
from detopt.physics.shower_stacks import Stack
from detopt.pipeline import Simulator
from detopt.random import Seed
from detopt.simulators.geant4.media import VACUUM
from detopt.simulators.geant4.primaries import Primaries
from detopt.simulators.geant4.run import Geant4
from detopt.simulators.geant4.volumes import SMALLEST, Box, Volume

MARGIN = 0.01  # m, of the world around the layers
N_SEEDS = 2**62
UNKNOWN = "Geant4, with libraries and data that this machine does not have"


@dataclass(frozen=True)
class LayerDeposits:
    """What was deposited in layers and their cells.

    Attributes:
        cells: Deposited energy [GeV], 0 in layers that are not there.
        active: Whether a layer is read out.
        incident: Kinetic energy that entered [GeV].
        label: Which Geant4, data and physics; it belongs beside every number and figure.
        digest: SHA-256 of the data.
        seed: Seed of the run.
    """

    cells: Float[Tensor, "n_events n_layers nx ny"]
    active: Bool[Tensor, " n_layers"]
    incident: Float[Tensor, " n_events"]
    label: str
    digest: str
    seed: int

    @property
    def energy(self) -> Float[Tensor, "n_events n_layers"]:
        """Deposited energy in each layer [GeV]."""
        return self.cells.sum((2, 3))

    @property
    def visible(self) -> Float[Tensor, " n_events"]:
        """Deposited energy in all layers that are read out [GeV]."""
        return self.energy[:, self.active].sum(1)

    @property
    def leakage(self) -> Float[Tensor, " n_events"]:
        """Energy that no layer holds [GeV]; backwards, sideways and behind together.

        Note:
            The masses of positrons and other particles make it inexact by some MeV.
        """
        return self.incident - self.energy.sum(1)


def stack_volume(
    stack: Stack,
    width: float | tuple[float, float] = 0.5,
    cells: tuple[int, int] = (1, 1),
    world: str | Material = VACUUM,
) -> Volume:
    """The geometry of a stack.

    Args:
        stack: The layers, front first; one of thickness 0 is left out.
        width: Size in x and y [m].
        cells: Cells along x and y into which every active layer is divided.
        world: What is around the layers.

    Raises:
        DomainError: A thickness is negative or there is more than one design, all layers are left
            out, a width is not positive, or there is less than one cell.
    """
    thickness = stack.thickness.detach().double()
    if thickness.ndim != 1:
        raise DomainError(
            f"Geant4 takes one design at a time, got {tuple(thickness.shape)} layers."
        )
    if not bool((thickness.isfinite() & (thickness >= 0)).all()):
        raise DomainError(f"Thicknesses must be >= 0 m, got {thickness.tolist()}.")
    wide, high = width if isinstance(width, tuple) else (width, width)
    if min(cells) < 1:
        raise DomainError(f"`cells` must be >= 1 in x and y, got {cells}.")
    ends = thickness.cumsum(0).tolist()
    if ends[-1] < SMALLEST:
        raise DomainError("No layer is left: all thicknesses are 0.")
    daughters = []
    for i, (size, end) in enumerate(zip(thickness.tolist(), ends, strict=True)):
        if size < SMALLEST:
            continue
        box, place = Box((wide, high, size)), (0.0, 0.0, end - size / 2)
        parts = _divide(box, cells, stack.materials[i]) if stack.active[i] else ()
        daughters.append(
            Volume(f"Layer{i}", box, stack.materials[i], place, active=not parts, daughters=parts)
        )
    around = Box((wide + 2 * MARGIN, high + 2 * MARGIN, 2 * (ends[-1] + MARGIN)))
    return Volume("World", around, world, daughters=tuple(daughters))


def simulate_stack(
    stack: Stack,
    primaries: Primaries,
    seed: int | Seed,
    width: float | tuple[float, float] = 0.5,
    cells: tuple[int, int] = (1, 1),
    world: str | Material = VACUUM,
    geant4: Geant4 | None = None,
) -> LayerDeposits:
    """Energy deposited in the layers of a stack by real Geant4 events.

    Args:
        stack: The layers, front first; one of thickness 0 is left out.
        primaries: What enters; the stack begins at z = 0.
        seed: Seed of the run.
        width: Size in x and y [m].
        cells: Cells along x and y into which every active layer is divided.
        world: What is around the layers.
        geant4: Data, physics, limits and processes.

    Raises:
        DomainError: See `stack_volume` and `Geant4.run`.
        NotFoundError: There are no data for Geant4.
        MissingExtraError: The engine is not installed.
        SimulationError: Geant4 failed; the message names the event and the seed.

    Note:
        Not differentiable. Passive layers are recorded too, undivided: their energy stands in the
        first cell.
    """
    runner = Geant4() if geant4 is None else geant4
    volume = stack_volume(stack, width, cells, world)
    deposits = runner.run(volume, primaries, seed)
    places = [_place(path, cells[1]) for path in deposits.volumes]
    layer, column, row = (torch.tensor(one) for one in zip(*places, strict=True))
    energy = deposits.energy.new_zeros(primaries.n_events, len(stack.materials), *cells)
    energy[:, layer, column, row] = deposits.energy
    return LayerDeposits(
        energy,
        stack.active_mask.cpu(),
        deposits.incident,
        deposits.label,
        deposits.digest,
        deposits.seed,
    )


class StackSimulator(Simulator[Primaries, LayerDeposits]):
    """A stage of a pipeline: real Geant4 events in the stack that a design describes.

    Args:
        stack: Maps a design to its layers.
        width: Size in x and y [m].
        cells: Cells along x and y into which every active layer is divided.
        world: What is around the layers.
        geant4: Data, physics, limits and processes.
    """

    def __init__(
        self,
        stack: Callable[[Design], Stack],
        width: float | tuple[float, float] = 0.5,
        cells: tuple[int, int] = (1, 1),
        world: str | Material = VACUUM,
        geant4: Geant4 | None = None,
    ) -> None:
        super().__init__()
        self.stack, self.width, self.cells, self.world = stack, width, cells, world
        self.geant4 = Geant4() if geant4 is None else geant4

    @property
    def data_labels(self) -> tuple[str, ...]:
        """Which Geant4, data and physics."""
        try:
            return (self.geant4.label,)
        except (NotFoundError, MissingExtraError):  # other machines may have run the events
            return (UNKNOWN,)

    def forward(self, events: Primaries, design: Design, rng: Generator) -> LayerDeposits:
        """Deposits of the events.

        Raises:
            MethodError: Somebody wants the derivative.
            SimulationError: Geant4 failed; the message names the event and the seed.
        """
        if torch.is_grad_enabled() and any(value.requires_grad for value in design.values()):
            raise MethodError(
                "Geant4 has no pathwise gradient. Take a method that needs none, such as "
                "local_surrogate or cma, or another estimator, such as finite_differences."
            )
        seed = int(torch.randint(N_SEEDS, (), generator=rng))
        return simulate_stack(
            self.stack(design), events, seed, self.width, self.cells, self.world, self.geant4
        )


def _divide(box: Box, cells: tuple[int, int], material: Material) -> tuple[Volume, ...]:
    """The cells of a layer; none where it is a single one."""
    if cells == (1, 1):
        return ()
    wide, high = box.size[0] / cells[0], box.size[1] / cells[1]
    return tuple(
        Volume(
            f"Cell{i * cells[1] + j}",
            Box((wide, high, box.size[2])),
            material,
            (wide * (i + 0.5 - cells[0] / 2), high * (j + 0.5 - cells[1] / 2), 0.0),
            active=True,
        )
        for i in range(cells[0])
        for j in range(cells[1])
    )


def _place(path: str, rows: int) -> tuple[int, int, int]:
    """Layer, column and row of a volume."""
    parts = path.split(".")
    cell = int(parts[2].removeprefix("Cell")) if len(parts) > 2 else 0
    return int(parts[1].removeprefix("Layer")), cell // rows, cell % rows
