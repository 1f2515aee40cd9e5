r"""The block that a design describes: its space, cells, price and picture.

Lengths of a design are in mm but for the depth, which is in m. The number of layers, depth over
thickness, is a real number in a search: of :math:`N = 25.4` layers the last one has 0.4 of the
thickness, of the noise and of the price of the others, so that nothing jumps where a layer appears.
"""

__all__ = ["N_SIDE", "Block"]

import contextlib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Interval, Limit
from detopt.errors import ConfigError, DesignError
from detopt.pipeline import Box, Scene
from detopt.usecases.muon_energy_calorimeter.config import (
    HIGHEST_THRESHOLD,
    LARGEST_CELL,
    N_SIDE,
    PART,
    SHALLOWEST,
    SMALLEST_CELL,
    THICKEST,
    Config,
)

MM = 1e-3  # m
MEV = 1e-3  # GeV
SLACK = 1e-6  # relative, of limits: the baseline lies on them
WHOLE = 1e-4  # layers that may be missing in a whole number
FEWEST_LAYERS = 5.0


@dataclass(frozen=True)
class Block:
    """Maps designs to cells.

    Args:
        config: Options of the use case.
    """

    config: Config

    @property
    def space(self) -> DesignSpace:
        """All blocks within size and budget whose rim is not empty.

        Raises:
            ConfigError: The budget does not pay for the block of the options.
        """
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
                Interval(config.depth / MM / config.most_layers / 2, THICKEST / MM),
                "mm",
                description="Thickness of a layer; whole layers in the end",
            ),
            Continuous(
                "cell",
                float(start["cell"]),
                Interval(SMALLEST_CELL / MM, LARGEST_CELL / MM),
                "mm",
                description="Edge of a cell across the muon",
            ),
            Continuous(
                "width",
                float(start["width"]),
                Interval(N_SIDE * SMALLEST_CELL / MM, config.widest / MM),
                "mm",
                description="Width and height of the block",
            ),
            Continuous(
                "threshold",
                float(start["threshold"]),
                Interval(0.0, HIGHEST_THRESHOLD / MEV),
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
    def baselines(self) -> dict[str, Design]:
        """The block of the options, and the coarse one where it is allowed.

        Few layers cannot be twice as thick: a block has at least five, of at most 300 mm.
        """
        found, coarse, space = {"block of the options": self.baseline}, self.coarse, self.space
        with contextlib.suppress(DesignError):
            space.check(coarse)
            found["twice as coarse"] = coarse
        return found

    @property
    def coarse(self) -> Design:
        """Cells of twice the edge in layers of twice the thickness, as deep as money allows.

        The edge stays within what a cell and the block allow.
        """
        config, base = self.config, self.baseline
        widest = (base["width"] / (N_SIDE - 1)).clamp(max=LARGEST_CELL / MM)
        values = {
            "depth": torch.ones_like(base["depth"]),
            "thickness": 2 * base["thickness"],
            "cell": torch.minimum(2 * base["cell"], widest),
        }
        of_one_metre = float(self.price({**base, **values}))
        most = config.most_layers * float(values["thickness"]) * MM
        values["depth"] = values["depth"] * min(self.budget / of_one_metre, config.longest, most)
        return self.rounded(Design({**base, **values}))

    @property
    def budget(self) -> float:
        """Money for material and channels [kEUR].

        Raises:
            ConfigError: It does not pay for the block of the options.
        """
        given, least = self.config.budget, float(self.price(self.baseline))
        if given is None:
            return least
        if given * (1 + SLACK) < least:
            raise ConfigError(
                f"`budget` must pay for the block of the options, {least:.1f} kEUR, got {given:g}. "
                "Give more, or make that block smaller."
            )
        return given

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
