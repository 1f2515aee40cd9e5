r"""Technologies of tracking panels, and the choice among them by relaxation.

A technology has a price for each square metre and each channel, a range of pitches that sets its
resolution, an efficiency and dead material. A panel of the relaxed design is a mosaic: shares
:math:`w_k` of its area are tiles of technology k, and every property is that of the mean tile.
The mean variance of a hit is dominated by the coarse tiles and the mean price by the dear ones, so
a mosaic has the drawbacks of all its technologies. Nothing forces shares to 0 and 1, though. What
is judged at last has the technology of the largest share alone.
"""

__all__ = [
    "TECHNOLOGIES",
    "Equip",
    "EquippedReconstruction",
    "EquippedSimulator",
    "RowShares",
    "Technology",
    "mean_panels",
    "pure",
    "start_price",
    "start_shares",
    "technology_parameters",
]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous, Design, Domain, Interval
from detopt.errors import ConfigError, DesignError
from detopt.pipeline import Reconstruction, Simulator

CERTAIN_SHARE = 1e-6  # least share of a technology in the relaxed design
TOLERANCE = 1e-5
SMALLEST = 1e-9  # share above the least one that theta can tell from it
SHARES, FINENESS = "panel_technology", "panel_fineness"
FINENESS_START = 0.5


@dataclass(frozen=True)
class Technology:
    r"""What a kind of panel costs and how well it measures.

    Both coordinates are read out by strips of the pitch :math:`p`: :math:`2/p` channels for a
    square metre, a resolution :math:`r p`.

    Args:
        area_price: Price of a square metre without readout [thousand euros].
        channel_price: Price of a channel [thousand euros].
        pitches: Coarsest and finest pitch of the strips [m].
        resolution_per_pitch: Ratio r of resolution to pitch: :math:`1/\sqrt{12}` where one strip
            answers, less where neighbours share the signal.
        efficiency: Probability of a hit in both coordinates.
        thickness: Dead material of both coordinates in radiation lengths.
    """

    area_price: float
    channel_price: float
    pitches: tuple[float, float]
    resolution_per_pitch: float
    efficiency: float
    thickness: float

    def __post_init__(self) -> None:
        coarse, fine = self.pitches
        if not (coarse > fine > 0 and 0 < self.efficiency < 1 and self.thickness > 0):
            raise ConfigError(
                f"A technology needs pitches from coarse to fine, an efficiency between 0 and 1 and"
                f" a thickness > 0, got {self}."
            )

    def pitch(self, fineness: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        r"""Pitch [m] from the coarsest (fineness 0) to the finest (1), geometrically."""
        coarse, fine = self.pitches
        return coarse * (fineness * math.log(fine / coarse)).exp()

    def resolution(self, fineness: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Resolution of a coordinate [m]."""
        return self.resolution_per_pitch * self.pitch(fineness)

    def channels(self, fineness: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Channels for a square metre, both coordinates."""
        return 2 / self.pitch(fineness)

    def price(self, fineness: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Price of a square metre [thousand euros]."""
        return self.area_price + self.channel_price * self.channels(fineness)


# Quality is that of built detectors. RPC: more than 99 % in each of 12 chambers with strips of
# 1.5 mm, one coordinate each ("Muon scattering tomography with resistive plate chambers"); 0.36 mm
# with strips of 2.54 mm ("A position resolution MRPC for muon tomography"), 0.38 mm with a delay
# line (Q.-T. Li et al., Chinese Phys. C 37 (2013) 016002). Scintillator: 97.5 % a layer and 0.09 of
# the pitch (arXiv:2512.15444); 97 % a plane and 2.5 mm (V. Anghel et al., Nucl. Instrum. Meth. A
# 798 (2015) 12). Silicon: one strip answers, which resolves the pitch over sqrt(12). Prices are
# estimates of ours for parts and no offers: extruded scintillator costs about 10 $/kg (A.
# Pla-Dalmau et al., Fermilab), a photosensor with its channel 10 to 20 euros.
TECHNOLOGIES: Mapping[str, Technology] = {
    "rpc": Technology(2.5, 0.004, (0.012, 0.0015), 0.25, 0.98, 0.05),
    "scintillator": Technology(1.5, 0.020, (0.035, 0.010), 0.10, 0.95, 0.08),
    "silicon": Technology(50.0, 0.0005, (5e-4, 8e-5), 12**-0.5, 0.995, 0.012),
}


@dataclass(frozen=True)
class RowShares(Domain):
    r"""Rows of shares that add up to 1, each at least `low`: a softmax along each row.

    Args:
        n_columns: Shares in a row.
        low: Least share.
    """

    n_columns: int
    low: float = CERTAIN_SHARE

    def __post_init__(self) -> None:
        if self.n_columns < 2 or not 0 <= self.low < 1 / self.n_columns:
            raise DesignError(
                f"Rows need >= 2 shares and 0 <= `low` < 1/{self.n_columns}, got `low` {self.low}."
            )

    def _rows(self, flat: Tensor) -> Tensor:
        rows: Tensor = flat.unflatten(-1, (-1, self.n_columns))
        return rows

    def values(self, theta: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Shares, row after row."""
        spare = 1 - self.n_columns * self.low
        return (self.low + spare * torch.softmax(self._rows(theta), dim=-1)).flatten(-2)

    def theta(self, values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The inverse, with mean 0 in each row; shares below twice the least one become that."""
        spare = 1 - self.n_columns * self.low
        least = max(self.low, SMALLEST)
        logits = ((self._rows(values) - self.low).clamp_min(least) / spare).log()
        return (logits - logits.mean(dim=-1, keepdim=True)).flatten(-2)

    def settled(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """One share of 1 in each row, the largest one."""
        rows = self._rows(values)
        hard = torch.nn.functional.one_hot(rows.argmax(-1), self.n_columns)
        return hard.to(values).flatten()

    def exchanges(self, values: Float[Tensor, " n"]) -> list[Float[Tensor, " n"]]:
        """Settled values with another choice in one row, one for each row and other choice."""
        rows = self._rows(self.settled(values))
        found = []
        for row in range(len(rows)):
            for shift in range(1, self.n_columns):
                other = rows.clone()
                other[row] = other[row].roll(shift)
                found.append(other.flatten())
        return found

    def violation(self, values: Float[Tensor, " n"]) -> str | None:
        """Whether a row misses 1 or a share is negative."""
        rows = self._rows(values)
        worst = float((rows.sum(-1) - 1).abs().max())
        if worst > TOLERANCE:
            return f"must have rows that add up to 1, got one off by {worst:.3g}"
        if float(rows.min()) < -TOLERANCE:
            return f"must be >= 0, got {float(rows.min()):.3g}"
        return None


def technology_parameters(names: Sequence[str], n_panels: int) -> list[Continuous]:
    """Shares of the technologies in each panel, if there are several, and fineness.

    Raises:
        ConfigError: A name is unknown or used twice.
    """
    unknown = [name for name in names if name not in TECHNOLOGIES]
    if unknown or len(set(names)) != len(names):
        raise ConfigError(
            f"`technologies` must be different ones of {', '.join(TECHNOLOGIES)}, got "
            f"{', '.join(names)}."
        )
    fineness = Continuous(
        FINENESS,
        [FINENESS_START] * n_panels,
        Interval(0.0, 1.0),
        "",
        "technology",
        "Pitch of each panel, from the coarsest (0) to the finest (1) of its technology",
    )
    if len(names) == 1:
        return [fineness]
    shares = Continuous(
        SHARES,
        [start_shares(names).tolist()] * n_panels,
        RowShares(len(names)),
        "",
        "technology",
        f"Share of each technology in each panel: {', '.join(names)}",
    )
    return [shares, fineness]


def start_shares(names: Sequence[str]) -> Float[Tensor, " n"]:
    """Shares of the technologies where the search starts: equal money for each (float64)."""
    return 1 / _prices(names) / (1 / _prices(names)).sum()


def start_price(names: Sequence[str]) -> Float[Tensor, ""]:
    """Price of a square metre where the search starts (float64)."""
    return (start_shares(names) * _prices(names)).sum()


def _prices(names: Sequence[str]) -> Float[Tensor, " n"]:
    middle = torch.tensor(FINENESS_START, dtype=torch.float64)
    return torch.stack([TECHNOLOGIES[name].price(middle) for name in names])


def mean_panels(design: Design, names: Sequence[str], *, is_dead: bool = True) -> Design:
    r"""The design with the properties that its technologies give to each panel.

    With the shares :math:`w_k`,

    .. math::
        c = \sum_k w_k c_k, \qquad \sigma^2 = \sum_k w_k \sigma_k^2, \qquad
        \epsilon = \sum_k w_k \epsilon_k, \qquad t = \sum_k w_k t_k .

    Args:
        design: A design with `panel_fineness`, and `panel_technology` for several technologies.
        names: The technologies.
        is_dead: Whether panels have dead material.

    Returns:
        The same with `panel_resolution` [m], `panel_efficiency`, `panel_price` of a square metre
        and, with dead material, `panel_thickness` [radiation lengths].

    Note:
        Differentiable in shares and fineness. For shares of 0 and 1 it is one technology.
    """
    fineness = design[FINENESS]
    kinds = [TECHNOLOGIES[name] for name in names]
    ones = torch.ones_like(fineness)
    shares = design[SHARES] if len(names) > 1 else ones[..., None]

    def mean(properties: list[Tensor]) -> Tensor:
        return (shares * torch.stack(properties, dim=-1)).sum(-1)

    found = {
        **design,
        "panel_resolution": mean([k.resolution(fineness).square() for k in kinds]).sqrt(),
        "panel_efficiency": mean([k.efficiency * ones for k in kinds]),
        "panel_price": mean([k.price(fineness) for k in kinds]),
    }
    if is_dead:
        found["panel_thickness"] = mean([k.thickness * ones for k in kinds])
    return Design(found)


def pure(design: Design) -> Design:
    """The design in which every panel has the technology of its largest share alone.

    Shares of the budget stay, so a panel's area changes with its price.
    """
    if SHARES not in design:
        return design
    shares = design[SHARES]
    hard = torch.nn.functional.one_hot(shares.argmax(-1), shares.shape[-1]).to(shares)
    return Design({**design, SHARES: hard})


@dataclass(frozen=True)
class Equip:
    """Gives the panels of a design the properties of their technologies.

    Args:
        names: The technologies.
        is_pure: Whether each panel has one technology, as at last, or is a mosaic.
        is_dead: Whether panels have dead material.
    """

    names: tuple[str, ...]
    is_pure: bool
    is_dead: bool = False

    def __call__(self, design: Design) -> Design:
        """See `mean_panels`."""
        shares = pure(design) if self.is_pure else design
        return mean_panels(shares, self.names, is_dead=self.is_dead)


class EquippedSimulator(Simulator[Any, Any]):
    """A simulator of panels that gets their properties from their technologies.

    Args:
        inner: Simulator of panels with given properties.
        equip: Gives them.
    """

    def __init__(self, inner: Simulator[Any, Any], equip: Equip) -> None:
        super().__init__()
        self.inner = inner
        self.equip = equip

    def forward(self, events: Any, design: Design, rng: torch.Generator) -> Any:
        """Readout of the panels."""
        return self.inner(events, self.equip(design), rng)


class EquippedReconstruction(Reconstruction[Any, Any]):
    """A reconstruction that knows the technologies of the panels.

    Args:
        inner: Reconstruction for panels with given properties.
        equip: Gives them.
    """

    def __init__(self, inner: Reconstruction[Any, Any], equip: Equip) -> None:
        super().__init__()
        self.inner = inner
        self.equip = equip

    def forward(self, readout: Any, design: Design) -> Any:
        """Estimates from the readout."""
        return self.inner(readout, self.equip(design))
