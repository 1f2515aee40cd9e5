"""Boosted trees that are trained anew for every design: a verdict, without derivative."""

__all__ = ["TreeColumns", "train_trees"]

import functools
from typing import Any

import torch

from detopt.design import Design
from detopt.optional import require
from detopt.pipeline import Reconstruction
from detopt.random import Seed
from detopt.usecases.muon_energy_calorimeter.block import Block
from detopt.usecases.muon_energy_calorimeter.config import Config
from detopt.usecases.muon_energy_calorimeter.features import features
from detopt.usecases.muon_energy_calorimeter.network import layer_thickness
from detopt.usecases.muon_energy_calorimeter.readout import CellReadout, Cells
from detopt.usecases.muon_energy_calorimeter.reconstruction import Columns
from detopt.usecases.muon_energy_calorimeter.tracks import MuonBeam

N_MUONS, CHUNK = 10_000, 2_000  # that trees are trained on
SETTINGS = {
    "max_iter": 150,
    "learning_rate": 0.06,
    "max_leaf_nodes": 12,
    "min_samples_leaf": 60,
    "l2_regularization": 1.0,
}


class TreeColumns(Reconstruction[Cells, Columns]):
    """A constant and what the trees say, in a design with whole layers and sharp thresholds.

    Args:
        block: Maps designs to cells.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        _sklearn()

    def forward(self, readout: Cells, design: Design) -> Columns:
        """Columns of the muons; trees are trained on others, and kept for the same design."""
        with torch.no_grad():
            trees = train_trees(self.block.config, design)
            thickness = layer_thickness(self.block, design, readout, hard=True)
            found = features(readout, thickness)
            estimate = torch.from_numpy(trees.predict(found.double().numpy())).to(found)
        return Columns(torch.stack([torch.ones_like(estimate), estimate], dim=1))


def train_trees(config: Config, design: Design) -> Any:
    """Trees that map features to the logarithm of the energy.

    Args:
        config: Options of the use case.
        design: The design that they are trained for.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    values = tuple((name, float(value)) for name, value in design.items())
    return _train(config.model_dump_json(), values)


@functools.lru_cache(maxsize=16)
def _train(options: str, values: tuple[tuple[str, float], ...]) -> Any:
    config = Config.model_validate_json(options)
    block, beam = Block(config), MuonBeam(config)
    design = Design({name: torch.tensor(v, dtype=torch.float64) for name, v in values})
    readout = CellReadout(block, hard=True)
    rng = Seed("muon energy", "trees", config.seed).generator()
    found, target = [], []
    with torch.no_grad():
        for _ in range(N_MUONS // CHUNK):
            tracks = beam(CHUNK, rng, torch.float64)
            cells = readout(tracks, design, rng)
            found.append(features(cells, layer_thickness(block, design, cells, hard=True)))
            target.append(tracks.energy.log())
    trees = _sklearn().HistGradientBoostingRegressor(**SETTINGS, random_state=config.seed)
    return trees.fit(torch.cat(found).numpy(), torch.cat(target).numpy())


def _sklearn() -> Any:
    return require("sklearn.ensemble", extra="benchmarks", purpose="A verdict by boosted trees")
