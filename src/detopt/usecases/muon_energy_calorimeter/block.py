r"""The block that a design describes: its space, cells, price and picture.

Lengths of a design are in mm but for the depth, which is in m. The number of layers, depth over
thickness, is a real number in a search: of :math:`N = 25.4` layers the last one has 0.4 of the
thickness, of the noise and of the price of the others, so that nothing jumps where a layer appears.
"""

__all__ = ["N_SIDE", "Block"]

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Interval, Limit
from detopt.pipeline import Box, Scene
from detopt.usecases.muon_energy_calorimeter.config import Config

MM = 1e-3  # m
MEV = 1e-3  # GeV
SLACK = 1e-6  # relative, of limits: the baseline lies on them
WHOLE = 1e-4  # layers that may be missing in a whole number
PART = 0.5  # layers that the start is below the baseline: there is no derivative at whole numbers
N_SIDE = 5  # cells in a row that are told apart; those of the rim reach to the end of the block
SMALLEST_CELL, LARGEST_CELL = 2.0, 60.0  # mm
SHALLOWEST, THICKEST, FEWEST_LAYERS = 0.1, 300.0, 5.0  # m, mm, layers
HIGHEST_THRESHOLD = 200.0  # MeV


@dataclass(frozen=True)
class Block:
    """Maps designs to cells.

    Args:
        config: Options of the use case.
    """

    config: Config

    @property
    def space(self) -> DesignSpace:
        """All blocks within size and budget whose rim is not empty."""
        config = self.config
        start = self.baseline
        parameters = [
            Continuous(
                "depth",
                float(start["depth"]),
                Interval(SHALLOWEST, config.longest),
                "m",
                description="Depth of the block",
            ),
            Continuous(
                "thickness",
                config.depth / MM / (config.layers - PART),
                Interval(config.depth / MM / config.most_layers / 2, THICKEST),
                "mm",
                description="Thickness of a layer; whole layers in the end",
            ),
            Continuous(
                "cell",
                float(start["cell"]),
                Interval(SMALLEST_CELL, LARGEST_CELL),
                "mm",
                description="Edge of a cell across the muon",
            ),
            Continuous(
                "width",
                float(start["width"]),
                Interval(N_SIDE * SMALLEST_CELL, config.widest / MM),
                "mm",
                description="Width and height of the block",
            ),
            Continuous(
                "threshold",
                float(start["threshold"]),
                Interval(0.0, HIGHEST_THRESHOLD),
                "MeV",
                description="Energy below which a channel is not read out",
            ),
        ]
        limits = [
            Limit("price", self.price, self.budget * (1 + SLACK), "kEUR"),
            Limit("layers", self.n_layers, config.most_layers * (1 + SLACK)),
            Limit("minus the layers", self.minus_layers, -FEWEST_LAYERS),
            Limit("four cells less the width", self.missing_rim, 0.0, "mm"),
        ]
        return DesignSpace(parameters, limits=limits)

    @property
    def baseline(self) -> Design:
        """The block of the options."""
        config = self.config
        values = {
            "depth": config.depth,
            "thickness": config.depth / MM / config.layers,
            "cell": config.cell / MM,
            "width": config.width / MM,
            "threshold": config.threshold / MEV,
        }
        return Design({k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})

    @property
    def coarse(self) -> Design:
        """Cells of twice the edge in layers of twice the thickness, as deep as money allows."""
        config, base = self.config, self.baseline
        values = {
            "depth": torch.ones_like(base["depth"]),
            "thickness": 2 * base["thickness"],
            "cell": torch.minimum(2 * base["cell"], base["width"] / (N_SIDE - 1)),
        }
        of_one_metre = float(self.price({**base, **values}))
        most = config.most_layers * float(values["thickness"]) * MM
        values["depth"] = values["depth"] * min(self.budget / of_one_metre, config.longest, most)
        return self.rounded(Design({**base, **values}))

    @property
    def budget(self) -> float:
        """Money for material and channels [kEUR]."""
        given = self.config.budget
        return float(self.price(self.baseline)) if given is None else given

    def n_layers(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Number of layers; a real number."""
        return design["depth"] / (MM * design["thickness"])

    def minus_layers(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Minus the number of layers."""
        return -self.n_layers(design)

    def rounded(self, design: Design) -> Design:
        """The design with fewer, whole layers of the same depth, which never costs more."""
        whole = (self.n_layers(design) + WHOLE).floor()
        return Design({**design, "thickness": design["depth"] / MM / whole})

    def edges(self, design: Mapping[str, Tensor]) -> Float[Tensor, " edges"]:
        """Where layers begin and end [m], as many as there may be; missing ones are empty."""
        number = torch.arange(self.config.most_layers + 1).to(design["depth"])
        return torch.minimum(number * MM * design["thickness"], design["depth"])

    def n_read(self, design: Mapping[str, Tensor]) -> int:
        """Number of layers, the broken one among them."""
        number = float(self.n_layers(design).detach())
        return min(math.ceil(number - WHOLE**2), self.config.most_layers)

    def presence(self, design: Mapping[str, Tensor]) -> Float[Tensor, " layers"]:
        """Share of each layer that is there."""
        number = torch.arange(self.config.most_layers).to(design["depth"])
        return (self.n_layers(design) - number).clamp(0.0, 1.0)

    def price(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Price of material and channels [kEUR]."""
        config, width = self.config, MM * design["width"]
        material = config.price * width**2 * design["depth"]
        return material + config.channel_price * self.n_channels(design)

    def missing_rim(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """By how much the inner cells reach beyond the block [mm]."""
        return (N_SIDE - 1) * design["cell"] - design["width"]

    def n_channels(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Channels of the block; a real number."""
        return (design["width"] / design["cell"]) ** 2 * self.n_layers(design)

    def scene(self, design: Design) -> Scene:
        """Layers of the block, with the cell that the muon enters."""
        width, cell = (MM * float(design[name]) for name in ("width", "cell"))
        edges = self.edges(self.rounded(design)).tolist()
        boxes = []
        for begin, end in itertools.pairwise(edges):
            if end > begin:
                center, size = ((begin + end) / 2, 0.0, 0.0), (0.96 * (end - begin), width, width)
                boxes.append(Box(center, size, "layers", 0.15))
                boxes.append(Box(center, (size[0], cell, cell), "cells on the track", 0.8))
        return Scene(boxes)
