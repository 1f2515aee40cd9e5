r"""The layers that a design describes: their space, length, price and picture.

Design parameters are in mm. A layer of relaxed presence :math:`p` counts with the gate
:math:`\sigma((p - 1/2)/w)`, which shrinks its absorber and its active part; the limits count it as
:math:`\min(2 \sigma, 1)`, or :math:`\max(2 \sigma - 1, 0)` where they ask for matter, so that a
design that keeps them does so after rounding too.
"""

__all__ = ["Calorimeter"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import (
    Categorical,
    Continuous,
    Design,
    DesignSpace,
    Domain,
    FixedSum,
    Interval,
    Limit,
    Ordered,
    Parameter,
)
from detopt.physics import materials
from detopt.physics.shower_stacks import Stack
from detopt.pipeline import Box, Scene
from detopt.usecases.sampling_calorimeter.config import Config

MM = 1e-3  # m
PRESENT = 0.9  # presence of every layer at the start
SLACK = 1e-6  # relative, of limits: the baseline lies on them
OPACITY = {"absorber": 0.6, "active": 0.3}


@dataclass(frozen=True)
class Calorimeter:
    """Maps designs to layers.

    Args:
        config: Options of the use case.
    """

    config: Config

    @property
    def space(self) -> DesignSpace:
        """All calorimeters that keep length, budget and number of channels."""
        config, n = self.config, self.config.n_layers
        parameters: list[Parameter] = []
        domain: Domain
        if config.design == "positions":
            gap = config.active_thickness + config.thinnest
            low, high = gap, self._baseline_length
            ordered = Ordered(low / MM, high / MM, gap / MM)
            text = "Back of active layers"
            parameters.append(
                Continuous("positions", self._ends(), ordered, "mm", description=text)
            )
        else:
            for name in ("absorber", "active"):
                start = [getattr(config, f"{name}_thickness") / MM] * n
                text = f"Thickness of {name} layers, front first"
                interval = Interval(config.thinnest / MM, config.thickest / MM)
                share = FixedSum(sum(start), config.thinnest / MM)
                domain = share if config.design == "shares" else interval
                parameters.append(Continuous(name, start, domain, "mm", description=text))
            if config.number == "relaxed":
                text = "Whether layers are there (above 0.5) or not"
                parameters.append(
                    Continuous("presence", [PRESENT] * n, Interval(0.0, 1.0), description=text)
                )
        for kind in ("absorber", "active"):
            choices = getattr(config, kind)
            if len(choices) > 1:
                parameters += [
                    Categorical(f"{kind}_material_{zone}", choices, choices[0], group="materials")
                    for zone in range(config.n_zones)
                ]
        limits = [
            Limit("length", self.safe_length, self.longest * (1 + SLACK), "m"),
            Limit("price", self.safe_price, self.budget * (1 + SLACK), "kEUR"),
        ]
        if config.containment > 0:
            least = config.containment * float(self.depth(self.baseline))
            unit = self.depth_unit
            limits.append(Limit("minus the depth", self.safe_depth, -least * (1 - SLACK), unit))
        return DesignSpace(parameters, limits=limits)

    @property
    def baseline(self) -> Design:
        """Equal layers of the first materials."""
        config, n = self.config, self.config.n_layers
        values: dict[str, Tensor] = {}
        if config.design == "positions":
            values["positions"] = torch.tensor(self._ends(), dtype=torch.float64)
        else:
            for name in ("absorber", "active"):
                thickness = getattr(config, f"{name}_thickness") / MM
                values[name] = torch.full((n,), thickness, dtype=torch.float64)
            if config.number == "relaxed":
                values["presence"] = torch.ones(n, dtype=torch.float64)
        for kind in ("absorber", "active"):
            if len(getattr(config, kind)) > 1:
                for zone in range(config.n_zones):
                    values[f"{kind}_material_{zone}"] = torch.zeros((), dtype=torch.float64)
        return Design(values)

    @property
    def longest(self) -> float:
        """Longest stack that is allowed [m]."""
        given = self.config.length
        return self._baseline_length if given is None else given

    @property
    def budget(self) -> float:
        """Money for materials and channels [kEUR]."""
        given = self.config.budget
        return float(self.price(self.baseline)) if given is None else given

    def stack(self, design: Mapping[str, Tensor], hard: bool = True) -> Stack:
        """The layers, absorber first.

        Args:
            design: A design.
            hard: Whether a layer is there or not, or partly there.
        """
        return self._stack(design, self._gate(design, hard))

    def length(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Length of the layers that are there [m]."""
        return self.stack(design).thickness.sum()

    def price(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Price of materials and channels of the layers that are there [kEUR]."""
        return self._price(design, self._gate(design, hard=True))

    def depth(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Radiation lengths of the layers that are there; for pions interaction lengths."""
        return self._depth(self.stack(design))

    @property
    def depth_unit(self) -> str:
        """In what depths are counted."""
        return "interaction lengths" if self.config.particle == "pion" else "X0"

    def safe_depth(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Minus a smooth depth that is at most the soft one and the hard one."""
        gate = self._gate(design, hard=False)
        if "presence" in design:
            gate = (2 * gate - 1).clamp(min=0.0)
        return -self._depth(self._stack(design, gate))

    def safe_length(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """A smooth length that is at least the soft one and the hard one [m]."""
        return self._stack(design, self._safe_gate(design)).thickness.sum()

    def safe_price(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """A smooth price that is at least the soft one and the hard one [kEUR]."""
        return self._price(design, self._safe_gate(design))

    def n_present(self, design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """How many active layers are there."""
        return self._gate(design, hard=True).sum()

    def scene(self, design: Design) -> Scene:
        """The layers that are there, along the beam; of wide ones a part."""
        stack, width = self.stack(design), min(self.config.width, self._baseline_length)
        ends = stack.thickness.detach().cumsum(0).tolist()
        boxes = []
        for thickness, end, material, active in zip(
            stack.thickness.tolist(), ends, stack.materials, stack.active, strict=True
        ):
            if thickness > 0:
                kind = "active" if active else "absorber"
                center = (end - thickness / 2, 0.0, 0.0)
                size = (thickness, width, width)
                boxes.append(Box(center, size, f"{kind}: {material.name}", OPACITY[kind]))
        return Scene(boxes)

    @property
    def _baseline_length(self) -> float:
        config = self.config
        return config.n_layers * (config.absorber_thickness + config.active_thickness)

    def _ends(self) -> list[float]:
        """Backs of equal layers [mm], the last one just within the block."""
        pitch = self._baseline_length / self.config.n_layers / MM
        return [pitch * (i + 1) * (1 - SLACK) for i in range(self.config.n_layers)]

    def _gate(self, design: Mapping[str, Tensor], hard: bool) -> Float[Tensor, " n_layers"]:
        if "presence" not in design:
            first = design["positions" if "positions" in design else "absorber"]
            return torch.ones_like(first)
        presence = design["presence"]
        if hard:
            return (presence > 0.5).to(presence)
        return torch.sigmoid((presence - 0.5) / self.config.softness)

    def _safe_gate(self, design: Mapping[str, Tensor]) -> Float[Tensor, " n_layers"]:
        gate = self._gate(design, hard=False)
        return (2 * gate).clamp(max=1.0) if "presence" in design else gate

    def _thickness(
        self, design: Mapping[str, Tensor], gate: Float[Tensor, " n_layers"]
    ) -> Float[Tensor, "n_layers 2"]:
        """Absorber and active part of each layer [m]."""
        if "positions" in design:
            ends = MM * design["positions"]
            active = torch.full_like(ends, self.config.active_thickness)
            begins = torch.cat([ends.new_zeros(1), ends[:-1]])
            return torch.stack([ends - begins - active, active], dim=1)
        return MM * gate[:, None] * torch.stack([design["absorber"], design["active"]], dim=1)

    def _names(self, design: Mapping[str, Tensor]) -> list[str]:
        """Material of each layer, absorber first."""
        config, names = self.config, []
        for i in range(config.n_layers):
            zone = i * config.n_zones // config.n_layers
            for kind in ("absorber", "active"):
                key = f"{kind}_material_{zone}"
                chosen = int(design[key]) if key in design else 0
                names.append(getattr(config, kind)[chosen])
        return names

    def _depth(self, stack: Stack) -> Float[Tensor, ""]:
        if self.config.particle == "pion":
            return (stack.thickness / stack.column("nuclear_interaction_length")).sum()
        return stack.depth.sum()

    def _stack(self, design: Mapping[str, Tensor], gate: Float[Tensor, " n_layers"]) -> Stack:
        kinds = tuple(materials.get(name) for name in self._names(design))
        thickness = self._thickness(design, gate).reshape(-1)
        return Stack(thickness, kinds, (False, True) * self.config.n_layers)

    def _price(
        self, design: Mapping[str, Tensor], gate: Float[Tensor, " n_layers"]
    ) -> Float[Tensor, ""]:
        config, thickness = self.config, self._thickness(design, gate).reshape(-1)
        known = config.known_prices
        each = torch.tensor([known[name] for name in self._names(design)]).to(thickness)
        channels = (config.width / config.cell) ** 2 * gate.sum()
        return config.width**2 * (each * thickness).sum() + config.channel_price * channels
