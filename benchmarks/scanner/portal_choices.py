"""All choices of RPC and scintillator for the four panels of an optimized portal, judged.

The panels stand at the mean heights of the portals that were optimized with scintillator alone and
have their mean shares of the money and the coarsest pitch, so that only the technologies differ.
Optimized portals with more than four panels are left out.
Whether a search of mixtures could find a better portal than scintillator alone is thus known
without a search.
"""

__all__ = ["judge_choices", "row"]

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Pipeline
from detopt.usecases.muon_scanner.technologies import FINENESS, SHARES
from scanner.portal_judging import judge, scan

SCANS = "choices of technologies"  # name of the scans
LETTERS = {"R": 0, "S": 1}  # of the technologies of the problem
N_PANELS = 4
REMOVED = 0.01  # thousand euros, for each of the two panels that are not built
COARSEST = 0.01  # fineness
WORTH = 0.02  # share of the money above which a panel is built


def judge_choices(
    problem: Pipeline, optimized: Sequence[Design], n_scans: int
) -> dict[str, dict[str, float]]:
    """Missed blocks of each choice, from the highest panel to the lowest, less those of SSSS."""
    portals = {name: (problem, design) for name, design in _portals(problem, optimized).items()}
    answers = scan(portals, range(n_scans), SCANS)
    judged, samples = judge(portals, answers, SCANS)
    all_scintillator = "S" * N_PANELS
    return {
        name: {
            "value": judged[name]["objective"]["value"],
            "less": float((samples[name] - samples[all_scintillator]).mean()),
            "error": float((samples[name] - samples[all_scintillator]).std()),
        }
        for name in portals
    }


def _portals(problem: Pipeline, optimized: Sequence[Design]) -> Mapping[str, Design]:
    """The portals of all choices."""
    built = [_built(design) for design in optimized if int(_is_built(design).sum()) == N_PANELS]
    heights, money = (torch.stack(part).mean(0) for part in zip(*built, strict=True))
    upper, lower = heights.split(2)
    spent = torch.tensor([money[0], REMOVED, money[1], money[2], REMOVED, money[3]])
    budget = problem.baselines["two rpc"]["panel_cost"].sum()
    same = {
        **problem.baselines["two rpc"],
        "upper_z": torch.stack([upper[0], upper.mean(), upper[1]]),
        "lower_z": torch.stack([lower[0], lower.mean(), lower[1]]),
        "panel_cost": budget * spent.double() / spent.double().sum(),
        FINENESS: torch.full((6,), COARSEST, dtype=torch.float64),
    }
    found = {}
    for letters in itertools.product(LETTERS, repeat=N_PANELS):
        kinds = [LETTERS[one] for one in (*letters[:1], "S", *letters[1:3], "S", *letters[3:])]
        found["".join(letters)] = Design({**same, SHARES: torch.eye(3, dtype=torch.float64)[kinds]})
    return found


def _built(design: Design) -> tuple[Tensor, Tensor]:
    """Heights and money of the panels that are built."""
    heights = torch.cat([design["upper_z"], design["lower_z"]])
    return heights[_is_built(design)], design["panel_cost"][_is_built(design)]


def _is_built(design: Design) -> Tensor:
    return design["panel_cost"] > WORTH * design["panel_cost"].sum()


def row(found: dict[str, dict[str, float]]) -> tuple[str, str, str, bool]:
    """The best choices beside scintillator alone."""
    order = sorted(found, key=lambda name: found[name]["less"])
    others = [name for name in order if set(name) != {"S"}]
    text = ", ".join(
        f"{name} {100 * found[name]['less']:+.1f} +- {100 * found[name]['error']:.1f} %"
        for name in (*others[:4], others[-1])
    )
    return (
        f"missed blocks: all {len(found)} choices of RPC (R) and scintillator (S) for the four "
        "panels of the optimized portals, from the highest to the lowest, less those of SSSS; the "
        "best four and the worst",
        "no bar",
        text,
        True,
    )
