"""All choices of RPC and scintillator for the four panels of an optimized portal, judged.

The panels stand at the mean heights of the portals that were optimized with scintillator alone and
have their mean shares of the money and the coarsest pitch, so that only the technologies differ;
what suits scintillator best may not suit the others. Optimized portals that do not have two panels
on each side are left out.
"""

__all__ = ["choices_rows", "judge_choices"]

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Pipeline
from detopt.usecases.muon_scanner import Config
from detopt.usecases.muon_scanner.realism.pruning import final_sizing
from detopt.usecases.muon_scanner.technologies import FINENESS, SHARES
from scanner.portal_judging import judge, scan

SCANS = "choices of technologies"  # name of the scans
LETTERS = {"R": 0, "S": 1}  # of the technologies of the problem
N_PANELS = 4
UNBUILT = 0.01  # thousand euros, for each of the two panels that are not built
COARSEST = 0.01  # fineness
BUILT = final_sizing(Config(task="portal"))


def judge_choices(
    problem: Pipeline, optimized: Sequence[Design], n_scans: int
) -> dict[str, dict[str, float]]:
    """Missed blocks of each choice, from the highest panel to the lowest, less those of SSSS."""
    portals = {name: (problem, design) for name, design in _portals(problem, optimized).items()}
    if not portals:
        return {}
    answers = scan(portals, range(n_scans), SCANS)
    judged, samples = judge(portals, answers, SCANS)
    all_scintillator = "S" * N_PANELS
    return {
        name: {
            "value": judged[name]["objective"]["value"],
            "difference": float((samples[name] - samples[all_scintillator]).mean()),
            "error": float((samples[name] - samples[all_scintillator]).std()),
        }
        for name in portals
    }


def _portals(problem: Pipeline, optimized: Sequence[Design]) -> Mapping[str, Design]:
    """The portals of all choices."""
    built = [_built(design) for design in optimized if _has_two_a_side(design)]
    if not built:
        return {}
    heights, money = (torch.stack(part).mean(0) for part in zip(*built, strict=True))
    upper, lower = heights.split(2)
    unbuilt = torch.full_like(money[0], UNBUILT)
    spent = torch.stack([money[0], unbuilt, money[1], money[2], unbuilt, money[3]])
    budget = problem.baselines["two rpc"]["panel_cost"].sum()
    same = {
        **problem.baselines["two rpc"],
        "upper_z": torch.stack([upper[0], upper.mean(), upper[1]]),
        "lower_z": torch.stack([lower[0], lower.mean(), lower[1]]),
        "panel_cost": budget * spent / spent.sum(),
        FINENESS: torch.full((6,), COARSEST, dtype=torch.float64),
    }
    found = {}
    for letters in itertools.product(LETTERS, repeat=N_PANELS):
        kinds = [LETTERS[one] for one in (*letters[:1], "S", *letters[1:3], "S", *letters[3:])]
        found["".join(letters)] = Design({**same, SHARES: torch.eye(3, dtype=torch.float64)[kinds]})
    return found


def _built(design: Design) -> tuple[Tensor, Tensor]:
    """Heights and money of the panels that are built."""
    kept = BUILT.kept(design["panel_cost"])
    return torch.cat([design["upper_z"], design["lower_z"]])[kept], design["panel_cost"][kept]


def _has_two_a_side(design: Design) -> bool:
    above, below = BUILT.kept(design["panel_cost"]).chunk(2)
    return int(above.sum()) == int(below.sum()) == N_PANELS // 2


def choices_rows(found: dict[str, dict[str, float]]) -> list[tuple[str, str, str, bool]]:
    """The best choices beside scintillator alone, if any were judged."""
    if not found:
        return []
    order = sorted(found, key=lambda name: found[name]["difference"])
    others = [name for name in order if set(name) != {"S"}]
    text = ", ".join(
        f"{name} {100 * found[name]['difference']:+.1f} +- {100 * found[name]['error']:.1f} %"
        for name in (*others[:4], others[-1])
    )
    what = (
        f"missed blocks: all {len(found)} choices of RPC (R) and scintillator (S) for the four "
        "panels of the optimized portals, from the highest to the lowest, less those of SSSS; the "
        "best four and the worst"
    )
    return [(what, "no bar", text, True)]
