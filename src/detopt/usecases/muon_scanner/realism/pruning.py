r"""The number of panels: a fixed price for each, and the removal of those that are not worth it.

A panel costs a base price (frame, front end, readout board, an alignment of its own) besides its
area. The shares of the budget relax the number of panels: a share may shrink towards nothing, and
a panel whose share does not pay for itself is removed when the design is judged.
"""

__all__ = ["Pruned", "Sizing", "final_sizing", "prune"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.design import Design
from detopt.errors import ConfigError, DesignError
from detopt.usecases.muon_scanner.config import Config
from detopt.usecases.muon_scanner.realism.options import WORTHWHILE
from detopt.usecases.muon_scanner.technologies import FINENESS, SHARES

RELAXATION = 0.25  # base prices: width of the step from no panel to one
PANEL_NAMES = ("panel_x", "panel_y", "panel_cost", "panel_resolution", "panel_efficiency")
OPTIONAL_NAMES = (
    "panel_thickness",
    "panel_areal_density",
    "panel_tilt_x",
    "panel_tilt_y",
    SHARES,
    FINENESS,
)


@dataclass(frozen=True)
class Sizing:
    r"""What is left of each panel's share of the budget for its area.

    Args:
        base_price: Price of a panel without area, in standard m2.
        removal_share: Share of the whole budget below which a panel is removed.
        is_final: Whether panels are removed, and their shares given to the others, or relaxed.
    """

    base_price: float = 0.0
    removal_share: float = 0.0
    is_final: bool = False

    def kept(self, cost: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Which panels are worth building."""
        least = max(self.removal_share * float(cost.detach().sum()), WORTHWHILE * self.base_price)
        return cost.detach() >= least

    def spent_on_area(self, cost: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        r"""Share of the budget that buys area.

        Relaxed, with the base price :math:`b` and :math:`w = b/4`,

        .. math::
            n(s) = w \ln\left(1 + e^{(s - b)/w}\right) - w \ln\left(1 + e^{-b/w}\right),

        which is 0 at :math:`s = 0` and :math:`s - b` for large shares. It is convex: a small panel
        gains less from a bit of budget than a large one, so small ones vanish.
        Final, panels that are not `kept` get nothing, and the others the whole budget, in
        proportion to their shares, less one base price each.

        Note:
            Differentiable where relaxed.
        """
        if self.is_final:
            kept = self.kept(cost)
            shares = cost * kept
            scaled = shares * (cost.sum() / shares.sum().clamp_min(1e-12))
            return (scaled - self.base_price * kept).clamp_min(0)
        if self.base_price == 0:
            return cost
        width = RELAXATION * self.base_price
        place = (cost - self.base_price) / width
        nothing = math.log1p(math.exp(-1 / RELAXATION))
        return width * (torch.nn.functional.softplus(place) - nothing)


def final_sizing(config: Config) -> Sizing:
    """What the panels get at last, without those that are removed."""
    return Sizing(config.panel_base_price, config.removal_share, is_final=True)


@dataclass(frozen=True)
class Pruned:
    """A scanner with fewer panels.

    Args:
        config: Options of the smaller problem.
        design: The same panels without those that were removed, at the same budget.
        removed: What was removed, such as ``"above 2"``; numbered from 1 at the highest panel.
    """

    config: Config
    design: Design
    removed: tuple[str, ...]


def prune(config: Config, design: Design) -> Pruned:
    """The design without panels that are not worth their price, and the problem that it belongs to.

    The budget of the panels that go is given to the others in proportion to their shares.

    Args:
        config: Options of the problem that the design belongs to.
        design: Its final design.

    Raises:
        ConfigError: Panels have free edges and no shares of a budget.
        DesignError: Fewer than two panels would be left above or below.
    """
    if config.budget_mode != "fixed":
        raise ConfigError("Panels are removed by their share of a fixed budget. Set it `fixed`.")
    design = design.detach()
    cost = design["panel_cost"]
    kept = final_sizing(config).kept(cost)
    counts = (config.n_above, config.n_below, config.n_behind, len(config.side_panels))
    above, below, behind, side = kept.split(counts)
    for name, part, least in (("above", above, 2), ("below", below, 2), ("behind", behind, 2)):
        if len(part) > 0 and int(part.sum()) < least:
            raise DesignError(
                f"Only {int(part.sum())} of {len(part)} panels {name} are worth their price; a "
                "track needs two. Raise the budget or lower the base price."
            )
    shares = cost[kept]
    values = dict(design)
    for name in (*PANEL_NAMES, *OPTIONAL_NAMES):
        if name in design:
            n = len(design[name])  # centers and tilts exist for horizontal panels only
            values[name] = design[name][kept[:n]]
    values["panel_cost"] = shares * (cost.sum() / shares.sum())
    for name, part in (
        ("upper_z", above),
        ("lower_z", below),
        ("behind_depth", behind),
        ("side_distance", side),
        ("side_shift", side),
        ("side_z", side),
    ):
        if name in design:
            values[name] = design[name][part]
            if not part.any():  # the smaller problem has no such panels
                del values[name]
    names = zip(("above", "below", "behind", "side"), (above, below, behind, side), strict=True)
    removed = [
        f"{name} {i + 1}" for name, part in names for i in (~part).nonzero().flatten().tolist()
    ]
    update = {
        "n_above": int(above.sum()),
        "n_below": int(below.sum()),
        "upper_z": tuple(values["upper_z"].tolist()),
        "lower_z": tuple(values["lower_z"].tolist()),
        "side_panels": tuple(
            f for f, k in zip(config.side_panels, side.tolist(), strict=True) if k
        ),
    }
    if config.n_behind:
        update["n_behind"] = int(behind.sum())
    return Pruned(config.model_copy(update=update), Design(values), tuple(removed))
