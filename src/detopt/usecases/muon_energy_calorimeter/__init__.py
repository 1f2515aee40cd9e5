r"""Calorimeter for muons of TeV: which cells tell their energy, where a magnet no longer does?

A muon above some 100 GeV leaves single showers in dense matter, by bremsstrahlung, electron pairs
and nuclear interactions. Their number and sizes, not their sum, tell its energy: one catastrophic
loss hides all others in a sum. Fine cells tell losses apart, and a deep block has more of them; at
a given price one must give way to the other. Design parameters: `depth` of the block [m],
`thickness` of a layer and edge of a `cell` [mm], `width` of the block [mm], and `threshold` of a
channel [MeV]. Objective: root mean square of :math:`\widehat{\ln E} - \ln E` over muons of 0.1 to
4 TeV, as many in each octave, by a network whose last layer is trained anew for every design.

Prices are estimates. Nuclear interactions count as electromagnetic showers of the same energy.

References:
    J. Kieseler et al., Eur. Phys. J. C 82 (2022) 79, arXiv:2107.02119; T. Dorigo et al.,
    arXiv:2008.10958 and arXiv:2203.02841.
"""

__all__ = ["CHECK_EVENTS", "RECOMMENDED", "Block", "Config", "build"]

import torch

from detopt.pipeline import Pipeline
from detopt.usecases.muon_energy_calorimeter.block import Block
from detopt.usecases.muon_energy_calorimeter.config import Config
from detopt.usecases.muon_energy_calorimeter.network import LogEnergyColumns
from detopt.usecases.muon_energy_calorimeter.readout import CellReadout
from detopt.usecases.muon_energy_calorimeter.reconstruction import (
    KeepColumns,
    LogEnergyError,
    scatter,
)
from detopt.usecases.muon_energy_calorimeter.tracks import MuonBeam
from detopt.usecases.muon_energy_calorimeter.trees import TreeColumns

RECOMMENDED = {
    "rounds": 60,
    "method_options": {"learning_rate": 0.2},
    "evaluation_events": 3_000,
}
CHECK_EVENTS = 1_000
CHUNK = 2_000


def build(config: Config) -> Pipeline:
    """The design problem that `config` describes.

    Raises:
        ConfigError: The budget does not pay for the block of the options.
        NotFoundError: The material does not exist.
        MissingExtraError: Trees are asked for, and scikit-learn is not installed.
    """
    block = Block(config)
    beam, trees = MuonBeam(config), config.reconstruction == "trees"

    def pipeline(hard: Pipeline | None) -> Pipeline:
        sharp = hard is None
        return Pipeline(
            block.space,
            beam,
            CellReadout(block, sharp),
            TreeColumns(block) if sharp and trees else LogEnergyColumns(block, sharp),
            KeepColumns(),
            LogEnergyError(block),
            hard=hard,
            n_events=config.n_events,
            chunk_size=max(config.n_events, CHUNK),
            baselines=block.baselines,
            price=block.price,
            objective_name="error of the logarithm of the energy",
            dtype=torch.float64,
            view=block.scene,
            diagnostics=scatter,
        )

    return pipeline(pipeline(None))
