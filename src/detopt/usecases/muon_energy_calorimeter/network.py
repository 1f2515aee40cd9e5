"""A network that is learned once, and whose last layer every design retrains."""

__all__ = ["LogEnergyColumns", "learn_body"]

import functools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detopt.design import Design
from detopt.pipeline import Reconstruction
from detopt.random import Seed
from detopt.usecases.muon_energy_calorimeter.block import Block
from detopt.usecases.muon_energy_calorimeter.config import Config
from detopt.usecases.muon_energy_calorimeter.features import (
    N_FEATURES,
    features,
    truncated_mean,
)
from detopt.usecases.muon_energy_calorimeter.readout import CellReadout, Cells
from detopt.usecases.muon_energy_calorimeter.reconstruction import Columns
from detopt.usecases.muon_energy_calorimeter.tracks import MuonBeam

N_HIDDEN, N_LEARNED = 32, 10
N_DESIGNS, N_MUONS = 30, 400  # that the body is learned from; muons of each
N_STEPS, N_BATCH, LEARNING_RATE = 600, 512, 4e-3
SPREAD = 0.7  # of the designs around the baseline, in theta
EMPTY = 1e-2  # GeV/m that is added to the density of a sum
KNOTS = (1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, 25.0, 70.0, 200.0)  # GeV/m, of a calibration
N_PLAIN = 8  # features that are columns by themselves


class Body(nn.Module):
    """Learned functions of the features.

    Args:
        center: Mean of the features.
        scale: Their standard deviations.
    """

    def __init__(self, center: Float[Tensor, " f"], scale: Float[Tensor, " f"]) -> None:
        super().__init__()
        self.register_buffer("center", center)
        self.register_buffer("scale", scale)
        self.layers = nn.Sequential(
            nn.Linear(N_FEATURES, N_HIDDEN),
            nn.Tanh(),
            nn.Linear(N_HIDDEN, N_HIDDEN),
            nn.Tanh(),
            nn.Linear(N_HIDDEN, N_LEARNED),
            nn.Tanh(),
        )

    def forward(self, found: Float[Tensor, "n f"]) -> Float[Tensor, "n learned"]:
        """Values for muons."""
        center, scale = self.center, self.scale
        assert isinstance(center, Tensor)
        assert isinstance(scale, Tensor)
        values: Tensor = self.layers((found - center) / scale)
        return values


class LogEnergyColumns(Reconstruction[Cells, Columns]):
    """Columns of which the logarithm of the energy is a linear function in each design.

    Args:
        block: Maps designs to cells.
        hard: Whether layers are whole.
    """

    def __init__(self, block: Block, hard: bool = False) -> None:
        super().__init__()
        self.block, self.hard = block, hard
        kind = block.config.reconstruction
        self.body = learn_body(block.config) if kind in ("network", "trees") else None

    def forward(self, readout: Cells, design: Design) -> Columns:
        """A constant, plain and learned features; or a single regressor."""
        thickness = layer_thickness(self.block, design, readout, self.hard)
        if self.body is None:
            if self.block.config.reconstruction == "truncated":
                return Columns(_bent(truncated_mean(readout, thickness)))
            total = (readout.center + readout.ring + readout.rim).sum(1, keepdim=True)
            return Columns(_bent((total.clamp(min=0.0) / thickness.sum() + EMPTY).log()))
        found = features(readout, thickness)
        learned = self.body(found.float()).to(found)
        return Columns(
            torch.cat([torch.ones_like(found[:, :1]), found[:, :N_PLAIN], learned], dim=1)
        )


def layer_thickness(
    block: Block, design: Design, readout: Cells, hard: bool
) -> Float[Tensor, " layers"]:
    """Thickness of the layers that were read out [m]."""
    edges = block.edges(block.rounded(design) if hard else design)
    return edges.diff()[: readout.center.shape[1]]


def _bent(x: Float[Tensor, "n 1"]) -> Float[Tensor, "n 10"]:
    """A calibration that is linear between ten densities, and constant beyond."""
    knots = torch.tensor(KNOTS).to(x).log()
    rises = torch.minimum(torch.maximum(x, knots[:-1]), knots[1:]) - knots[:-1]
    return torch.cat([torch.ones_like(x), rises], dim=1)


def learn_body(config: Config) -> Body:
    """The body of the network, from designs around the baseline.

    Args:
        config: Options of the use case; the same options give the same weights, bit by bit.
    """
    kept = config.model_copy(update={"reconstruction": "network", "tracker": 0.0})
    return _learn(kept.model_dump_json())


@functools.lru_cache(maxsize=4)
def _learn(options: str) -> Body:
    config = Config.model_validate_json(options)
    rng = Seed("muon energy", "network", config.seed).generator()
    found, target = _muons(config, rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
        body = Body(found.mean(0), found.std(0).clamp(min=1e-3))
        head = nn.Linear(N_LEARNED, 1)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS)
    center = target.mean()
    for _ in range(N_STEPS):
        chosen = torch.randint(len(target), (N_BATCH,), generator=rng)
        estimate = head(body(found[chosen]))[:, 0]
        loss = (estimate - (target[chosen] - center)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return body.requires_grad_(False).eval()


def _muons(config: Config, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features and logarithms of the energy of muons in random designs."""
    block, beam = Block(config), MuonBeam(config)
    readout, space = CellReadout(block), block.space
    start = space.theta(space.start)
    found = []
    for _ in range(N_DESIGNS):
        step = SPREAD * torch.randn(start.shape, generator=rng, dtype=start.dtype)
        design = space.design(space.admit(start + step))
        tracks = beam(N_MUONS, rng, torch.float64)
        cells = readout(tracks, design, rng)
        thickness = layer_thickness(block, design, cells, hard=False)
        found.append((features(cells, thickness).float(), tracks.energy.log().float()))
    return tuple(torch.cat(one) for one in zip(*found, strict=True))  # type: ignore[return-value]
