r"""Muons and what they leave in a block that is as deep as any design may be.

Single losses are drawn over the largest depth, so that their number and sizes do not depend on the
design; a design only decides where the energy is divided among cells.
"""

__all__ = ["Losses", "MuonBeam", "Tracks", "sample_losses"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.physics.muon_losses import HardLosses, hard_losses, soft_straggling
from detopt.pipeline import Source
from detopt.usecases.muon_energy_calorimeter.config import Config
from detopt.usecases.muon_energy_calorimeter.showers import RADII, ShowerBank

STOPPED = 0.5  # GeV, below which a muon counts as stopped


@dataclass(frozen=True)
class Losses:
    """Single losses along tracks; 0 where there is none.

    Attributes:
        position: Where they happen [m].
        loss: How large they are [GeV].
        left: Energy of the muon behind the last of them and at the end [GeV].
    """

    position: Float[Tensor, "n losses"]
    loss: Float[Tensor, "n losses"]
    left: Float[Tensor, " n"]


@dataclass(frozen=True)
class Tracks:
    """What muons leave.

    Attributes:
        energy: True energy [GeV].
        offset: Where the muon enters its cell, in units of the cell, from -1/2 to 1/2.
        place: Where it enters the beam's square, in units of its width, idem.
        deposited: Energy in front of each slice by radial component [GeV].
        slice_length: Of a slice [m].
        moliere_radius: Of the block [m].
    """

    energy: Float[Tensor, " n"]
    offset: Float[Tensor, "n 2"]
    place: Float[Tensor, "n 2"]
    deposited: Float[Tensor, "edges n radii"]
    slice_length: float
    moliere_radius: float

    def before(self, depth: Float[Tensor, " depths"]) -> Float[Tensor, "depths n radii"]:
        """Energy in front of some depths [m], differentiable once in them.

        The density of energy is linear between the middles of slices.
        """
        position = depth / self.slice_length - 0.5
        before = position.detach().floor().clamp(-1, len(self.deposited) - 4)
        u = (position - before)[:, None, None]
        row = before.long() + 1  # the first row lies one slice in front
        first, second, third = (self.deposited[row + k].to(depth) for k in range(3))
        return first + (second - first) * (0.5 + u - u**2 / 2) + (third - second) * u**2 / 2


class MuonBeam(Source[Tracks]):
    """Muons with as many in each octave, and what they leave.

    Args:
        config: Options of the use case.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.table = hard_losses(config.material, config.cut)
        self.bank = ShowerBank.of(config.material)

    def forward(self, n_events: int, rng: Generator, dtype: torch.dtype) -> Tracks:
        """Draw `n_events` muons."""
        config = self.config
        uniform = torch.rand(n_events, generator=rng, dtype=torch.float64)
        energy = config.low_energy * (config.high_energy / config.low_energy) ** uniform
        offset, place = torch.rand((2, n_events, 2), generator=rng, dtype=torch.float64) - 0.5
        return Tracks(
            energy.to(dtype),
            offset.to(dtype),
            place.to(dtype),
            self._deposited(energy, rng),
            self.bank.slice_length,
            self.bank.moliere_radius,
        )

    def _deposited(self, energy: Tensor, rng: Generator) -> Float[Tensor, "edges n radii"]:
        """Prefix sums of the energy by slice."""
        length = self.bank.slice_length
        n_slices, n = int(self.config.longest / length) + 4, len(energy)
        losses = sample_losses(self.table, energy, n_slices * length, rng)
        track, which = losses.loss.nonzero(as_tuple=True)
        loss = losses.loss[track, which]
        first = (losses.position[track, which] / length).long()
        shape = torch.rand(len(loss), generator=rng, dtype=torch.float64)

        single = torch.zeros(n, n_slices, dtype=torch.float64)
        single.view(-1).index_add_(0, track * n_slices + first, loss)
        behind = energy[:, None] - single.cumsum(1)
        score = torch.randn((n, n_slices), generator=rng)
        noise = soft_straggling(self.config.material, self.config.cut, length, score)
        mean = self.table.below_at(behind.clamp(min=STOPPED)).float() * length
        along = (mean + noise).clamp(min=0.0) * (behind > STOPPED)

        into = torch.zeros(n, n_slices, len(RADII))
        into[:, :, 0] = along
        self.bank.deposit(into, track, first, loss, shape)
        rows = into.transpose(0, 1).cumsum(0)
        return torch.cat([torch.zeros_like(rows[:2]), rows])


def sample_losses(
    table: HardLosses, energy: Float[Tensor, " n"], length: float, rng: Generator
) -> Losses:
    """Draw the single losses of muons, one after the other.

    The energy falls from loss to loss, by what is below the cut too; the number of losses is a
    Poisson variable for a muon that keeps its energy.

    Args:
        table: Losses above the cut.
        energy: Energies of the muons [GeV].
        length: Length of the track [m].
        rng: Source of the draws.
    """
    position, left = torch.zeros_like(energy), energy.clone()
    places, sizes = [], []
    going = torch.ones_like(energy, dtype=torch.bool)
    while bool(going.any()):
        uniform = 1 - torch.rand((2, len(energy)), generator=rng, dtype=torch.float64)
        gap = -torch.log(uniform[0]) / table.rate_at(left)
        path = torch.minimum(gap, length - position)
        left = torch.where(going, (left - table.below_at(left) * path).clamp(min=0.0), left)
        position = position + path
        going = going & (position < length) & (left > STOPPED)
        loss = torch.where(going, table.loss(left.clamp(min=STOPPED), uniform[1]), 0.0)
        left = left - loss
        places.append(position)
        sizes.append(loss)
    return Losses(torch.stack(places, 1), torch.stack(sizes, 1), left)
