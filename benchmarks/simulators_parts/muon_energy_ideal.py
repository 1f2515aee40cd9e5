"""The best estimate of all: the energy of a muon whose every loss is known."""

import functools
import math

import torch
from torch import Tensor

from detopt.physics.muon_losses import PROCESSES, hard_losses, loss_spectrum
from detopt.random import Seed
from detopt.usecases.muon_energy_calorimeter import Config
from detopt.usecases.muon_energy_calorimeter.tracks import sample_losses

CHUNK = 1_000


def ideal_error(depth: float, n: int) -> float:
    r"""Error of :math:`\ln E` of who knows every loss above the cut, and the spectrum.

    Args:
        depth: Depth of the block [m].
        n: Number of muons.
    """
    rng = Seed("ideal").generator()
    errors = [_errors(depth, min(CHUNK, n), rng) for _ in range(max(1, n // CHUNK))]
    return float(torch.cat(errors).square().mean().sqrt())


def _errors(depth: float, n: int, rng: torch.Generator) -> Tensor:
    """Mean of the posterior of the logarithm, less its true value."""
    config = Config()
    table = hard_losses("PbWO4", config.cut)
    uniform = torch.rand(n, generator=rng, dtype=torch.float64)
    energy = config.low_energy * (config.high_energy / config.low_energy) ** uniform
    losses = sample_losses(table, energy, depth, rng)
    grid = torch.linspace(math.log(config.low_energy), math.log(config.high_energy), 120).double()
    loss = losses.loss[..., None]
    gone = losses.loss.cumsum(1)[..., None] - loss
    at = (grid.exp() - gone).clamp(min=1.0)
    gaps = torch.diff(losses.position, dim=1, prepend=torch.zeros(n, 1).double())
    density = _density(at, (loss / at).clamp(1e-9, 1.0))
    logarithm = torch.where(loss > 0, density.clamp(min=1e-30).log(), 0.0).sum(1)
    logarithm = logarithm - (table.rate_at(at) * gaps[..., None]).sum(1)
    return (torch.softmax(logarithm, dim=1) * grid).sum(1) - energy.log()


@functools.cache
def _table() -> tuple[Tensor, Tensor, Tensor]:
    """Losses on a grid of ln E and ln v."""
    rows = torch.linspace(0.0, math.log(1e4), 60, dtype=torch.float64)
    columns = torch.linspace(math.log(1e-6), -1e-9, 600, dtype=torch.float64)
    total, v = rows.exp()[:, None].expand(-1, 600), columns.exp().expand(60, -1)
    table = sum(loss_spectrum("PbWO4", total, v, process) for process in PROCESSES)
    assert isinstance(table, Tensor)
    return rows, columns, table


def _density(energy: Tensor, fraction: Tensor) -> Tensor:
    """Losses per g/cm2 and unit of ln v."""
    rows, columns, table = _table()
    x = (energy.log() / (rows[1] - rows[0])).clamp(0, len(rows) - 1.001)
    y = ((fraction.log() - columns[0]) / (columns[1] - columns[0])).clamp(0, len(columns) - 1.001)
    i, j = x.long(), y.long()
    u, w = x - i, y - j
    low = torch.lerp(table[i, j], table[i, j + 1], w)
    high = torch.lerp(table[i + 1, j], table[i + 1, j + 1], w)
    return torch.lerp(low, high, u)
