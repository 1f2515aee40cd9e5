"""Cells of the block: their energies, noise and thresholds."""

__all__ = ["CellReadout", "Cells"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.design import Design
from detopt.pipeline import Simulator
from detopt.usecases.muon_energy_calorimeter.block import MEV, MM, N_SIDE, Block
from detopt.usecases.muon_energy_calorimeter.showers import RADII, corner_share
from detopt.usecases.muon_energy_calorimeter.tracks import Tracks

SMALLEST_GROUP = 1e-6  # channels; keeps noise differentiable where a group is empty


@dataclass(frozen=True)
class Cells:
    """Energies that are read out [GeV].

    Attributes:
        center: Of the cell that the muon enters, by layer.
        ring: Of its eight neighbours.
        rim: Of all other cells.
    """

    center: Float[Tensor, "n layers"]
    ring: Float[Tensor, "n layers"]
    rim: Float[Tensor, "n layers"]


class CellReadout(Simulator[Tracks, Cells]):
    r"""Divides the energy among cells; differentiable.

    Of five by five groups around the track the inner nine are single cells; those of the rim reach
    to the end of the block, and are sums of many. A group of :math:`m` channels has the noise
    :math:`\sqrt m \sigma` and the threshold :math:`\sqrt m\, t`. What is below it is not read out,
    in a search by the factor :math:`1/(1 + e^{-(E - t)/w})`.

    Args:
        block: Maps designs to cells.
        hard: Whether thresholds are sharp and layers whole.
    """

    def __init__(self, block: Block, hard: bool = False) -> None:
        super().__init__()
        self.block, self.hard = block, hard

    def forward(self, events: Tracks, design: Design, rng: Generator) -> Cells:
        """Read out all cells."""
        config = self.block.config
        if self.hard:
            design = self.block.rounded(design)
        whole = torch.randn((config.most_layers, len(events.energy), N_SIDE**2), generator=rng)
        n_layers = self.block.n_read(design)
        edges = self.block.edges(design)[: n_layers + 1]
        before = events.before(edges[1:])
        layer = torch.cat([before[:1], before.diff(dim=0)])
        shares, channels = self.divide(events, design)
        energy = torch.einsum("lnr,nrc->lnc", layer, shares)

        presence = self.block.presence(design)[:n_layers, None, None]
        normals = whole[:n_layers].to(energy)
        noise = config.noise * presence * channels.sqrt()
        energy = energy + normals * (energy.clamp(min=0.0) / config.light + noise**2).sqrt()
        limit = MEV * design["threshold"] * presence * channels.sqrt()
        if self.hard:
            energy = torch.where(energy > limit, energy, 0.0)
        else:
            energy = energy * torch.sigmoid((energy - limit) / (config.softness * noise))
        side = energy.mT.reshape(*energy.shape[:1], N_SIDE, N_SIDE, -1)
        center, inner = side[:, 2, 2], side[:, 1:4, 1:4].sum((1, 2))
        rim = side.sum((1, 2)) - inner
        return Cells(center.mT, (inner - center).mT, rim.mT)

    def divide(
        self, events: Tracks, design: Design
    ) -> tuple[Float[Tensor, "n radii groups"], Float[Tensor, "n groups"]]:
        """Share of each component in each group of cells, and the channels of the group."""
        cell, half = MM * design["cell"], MM * design["width"] / 2
        place = self.block.config.aperture * events.place[..., None]
        inner = (torch.arange(1, N_SIDE).to(cell) - N_SIDE / 2) * cell
        inner = inner - events.offset[..., None] * cell
        low, high = -half - place, half - place
        around = torch.cat([low, torch.minimum(torch.maximum(inner, low), high), high], dim=-1)
        x, y = around[:, None, 0, :, None], around[:, None, 1, None, :]  # n, radii, edges, edges
        radius = events.moliere_radius * torch.tensor(RADII).to(cell)
        corner = corner_share(x, y, radius[:, None, None])
        shares = corner.diff(dim=-1).diff(dim=-2).flatten(-2)
        wide = around.diff() / cell
        channels = (wide[:, 0, :, None] * wide[:, 1, None, :]).flatten(1)
        return shares, channels.clamp(min=SMALLEST_GROUP)
