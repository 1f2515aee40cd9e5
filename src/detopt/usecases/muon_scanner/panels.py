"""Panels: where they stand, what they cost, and the hits that they record."""

__all__ = [
    "Layout",
    "ScannerCost",
    "Side",
    "half_widths",
    "hard_hits",
    "layout",
    "likelihood_ratio",
    "soft_hits",
    "unit_price",
]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.design import Design
from detopt.usecases.muon_scanner.flow import Hits, Muons
from detopt.usecases.muon_scanner.realism.pruning import Sizing

REFERENCE_RESOLUTION = 1e-4  # m; a panel of this resolution and efficiency has the unit price
REFERENCE_EFFICIENCY = 0.9
CHANNEL_SHARE = 0.5  # share of the price that grows with the number of channels
CERTAIN = 1 - 1e-6  # largest probability of a hit in the soft simulation
SIMPLE = Sizing()  # the whole share of the budget buys area


@dataclass(frozen=True)
class Side:
    """The panels above or below the volume.

    Args:
        height: Heights z [m].
        center: Centers, x and y first [m].
        half_width: Half edge lengths, x and y first [m].
        resolution: Resolution of a coordinate [m].
        efficiency: Probability of a hit inside the panel.
    """

    height: Float[Tensor, " n"]
    center: Float[Tensor, "2 n"]
    half_width: Float[Tensor, "2 n"]
    resolution: Float[Tensor, " n"]
    efficiency: Float[Tensor, " n"]


@dataclass(frozen=True)
class Layout:
    """All panels of a scanner."""

    above: Side
    below: Side
    cost: Float[Tensor, ""]


def unit_price(
    resolution: Float[Tensor, "*batch"], efficiency: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    r"""Price of a square metre of panel, 1 for 0.1 mm and 90 %.

    .. math::
        c = \left[1 - f + f \frac{\sigma_0}{\sigma}\right]
            \frac{\ln(1 - \epsilon)}{\ln(1 - \epsilon_0)}

    A share f = 1/2 goes with the number of channels, which is inverse to the resolution;
    a better efficiency is bought by stacking detection gaps, whose inefficiencies multiply.

    Note:
        A model of ours for trading quality against area, not a price list. Differentiable.
    """
    channels = 1 - CHANNEL_SHARE + CHANNEL_SHARE * REFERENCE_RESOLUTION / resolution
    gaps = torch.log1p(-efficiency) / math.log1p(-REFERENCE_EFFICIENCY)
    return channels * gaps


def half_widths(
    design: Design, sizing: Sizing = SIMPLE
) -> tuple[Float[Tensor, "2 n"], Float[Tensor, ""]]:
    """Half edge lengths of all panels, x and y first [m], and what they cost together."""
    price = _price(design)
    if "panel_cost" in design:
        cost = design["panel_cost"].sum()
        half_width = (sizing.spent_on_area(design["panel_cost"]) / price).sqrt() / 2
        half_width = torch.stack([half_width, half_width])
    else:
        span = design["panel_span"].movedim(-1, 0)
        cost = (span[0] * span[1] * price).sum()
        half_width = span / 2
    return half_width, cost


def _price(design: Design) -> Float[Tensor, " n"]:
    """Price of a square metre of each panel: by its technology, or by its quality."""
    if "panel_price" in design:
        return design["panel_price"]
    return unit_price(design["panel_resolution"], design["panel_efficiency"])


def layout(design: Design, n_above: int, sizing: Sizing = SIMPLE) -> Layout:
    """Panels of a design: by exact budget (`panel_cost`) or by free spans (`panel_span`)."""
    half_width, cost = half_widths(design, sizing)
    resolution, efficiency = design["panel_resolution"], design["panel_efficiency"]
    center = torch.stack([design["panel_x"], design["panel_y"]])
    n_both = n_above + len(design["lower_z"])

    def side(part: slice, height: Tensor) -> Side:
        return Side(
            height, center[:, part], half_width[:, part], resolution[part], efficiency[part]
        )

    return Layout(
        side(slice(0, n_above), design["upper_z"]),
        side(slice(n_above, n_both), design["lower_z"]),
        cost,
    )


class ScannerCost:
    """Cost of all panels of a design.

    Args:
        n_above: Panels above the volume.
    """

    def __init__(self, n_above: int) -> None:
        self.n_above = n_above

    def __call__(self, design: Design) -> Float[Tensor, ""]:
        """In units of a square metre of standard panel."""
        return layout(design, self.n_above).cost


def _crossings(muons: Muons, side: Side) -> Float[Tensor, "2 n_panels n_volumes n_muons"]:
    """Where the muons cross the planes of the panels [m]."""
    arm = _column(side.height - muons.height)
    return muons.position[:, None] + muons.slope[:, None] * arm


def _column(values: Float[Tensor, "*panels"]) -> Float[Tensor, "*panels 1 1"]:
    """A value for each panel, for all muons of all volumes."""
    return values.reshape(*values.shape, 1, 1)


def soft_hits(muons: Muons, side: Side, smoothness: float, rng: torch.Generator) -> Hits:
    r"""Hits with soft edges, differentiable in every property of the panels.

    Whether a panel responds at all is drawn with its efficiency :math:`\epsilon`, as in
    `hard_hits`: what a lost hit costs is no average over panels. One that responds records every
    muon near it, as if hits existed in part: with the weight :math:`w = p/\sigma^2` and with noise
    of variance :math:`1/w`, where

    .. math::
        p = \prod_{x, y} S^2\left(\frac{1}{2} + \frac{h - |x - c|}{\tau}\right),
        \qquad S(t) = t^2 (3 - 2 t) \text{ on } [0, 1],

    is 0 beyond :math:`\tau/2` outside the edge and 1 as far inside. The probability of at least two
    hits is exact for independent panels with these p.

    Args:
        muons: Straight tracks on this side.
        side: The panels.
        smoothness: Full width :math:`\tau` of the edges [m]; towards 0 detection probabilities
            tend to those of `hard_hits`.
        rng: Where noise and responses come from.

    Note:
        The draw's dependence on the efficiency is kept by its likelihood ratio, which is 1 in
        value and the score in its derivative, as a factor of `Hits.usable`.
    """
    crossing = _crossings(muons, side)
    noise = torch.randn(crossing.shape, generator=rng, dtype=crossing.dtype)
    lottery = torch.rand(crossing.shape[1:], generator=rng, dtype=crossing.dtype)
    responds = lottery < _column(side.efficiency.detach())
    distance = (crossing - _column(side.center)).abs()
    edge = _column(side.half_width / smoothness + 0.5)
    t = torch.sub(edge, distance, alpha=1 / smoothness).clamp(0, 1)
    step_x, step_y = (t * t * torch.rsub(t, 3, alpha=2)).unbind()
    root_p = step_x * step_y * responds
    root_weight = root_p / _column(side.resolution)
    weighted = root_weight * (root_weight * crossing + noise)
    usable = at_least_two(root_p * root_p * CERTAIN)
    if side.efficiency.requires_grad:
        efficiency = _column(side.efficiency)
        usable = usable * likelihood_ratio(responds, efficiency.log(), torch.log1p(-efficiency))
    return Hits(root_weight * root_weight, weighted, usable)


def likelihood_ratio(
    responds: Bool[Tensor, "n_panels *batch"],
    log_yes: Float[Tensor, "n_panels *#batch"],
    log_no: Float[Tensor, "n_panels *#batch"],
) -> Float[Tensor, "*batch"]:
    """Probability of the responses over its own value: 1, with the score as derivative.

    Args:
        responds: What was drawn.
        log_yes: Logarithm of the probability of a response, finite.
        log_no: Logarithm of the probability of none, finite.
    """
    log_probability = torch.where(responds, log_yes, log_no).sum(0)
    return (log_probability - log_probability.detach()).exp()


def at_least_two(p: Float[Tensor, "n_panels *batch"]) -> Float[Tensor, "*batch"]:
    """Probability that at least two of several independent panels fire; each p < 1."""
    q = 1 - p
    none = q.log().sum(0).exp()
    odds = q.reciprocal().sum(0) - (len(p) - 1)  # 1 + sum of p/q
    return (1 - none * odds).clamp_min(0)  # rounding


def hard_hits(muons: Muons, side: Side, rng: torch.Generator) -> Hits:
    """Hits with sharp edges: inside the panel and efficient, or not at all."""
    crossing = _crossings(muons, side)
    noise = torch.randn(crossing.shape, generator=rng, dtype=crossing.dtype)
    lottery = torch.rand(crossing.shape[1:], generator=rng, dtype=crossing.dtype)
    distance = (crossing - _column(side.center)).abs()
    inside = (distance <= _column(side.half_width)).all(0)
    hit = (inside & (lottery < _column(side.efficiency))).to(crossing.dtype)
    resolution = _column(side.resolution)
    usable = (hit.sum(0) >= 2).to(crossing.dtype)
    weight = usable * hit / resolution.square()
    return Hits(weight, weight * (crossing + resolution * noise), usable)
