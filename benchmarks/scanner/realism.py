"""Part `realism`: gradients of what real panels, momenta and telescopes add to a design.

Every new continuous parameter is checked against central differences in float64, away from
symmetric points. Where noise hides a gradient, further repetitions of the estimator alone follow.
"""

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from detopt import usecases
from detopt.gradients import GradientCheck, Verdict, check_gradients
from detopt.pipeline import Problem
from scanner.common import say

REPEATS = 24
EXTRA = 1200  # most further repetitions of the estimator alone
EVENTS = 64
STEP = 2e-4  # of theta; within 1e-2 a muon crosses much of a soft edge


@dataclass(frozen=True)
class Case:
    """Options of a use case, and patterns of the parameters that are new in it."""

    options: dict[str, Any]
    parameters: tuple[str, ...] = ("*",)
    usecase: str = "muon_scanner"


SMALL: dict[str, Any] = {"n_above": 3, "n_below": 3, "center": (0.5, 0.5)}
PANELS = ("panel_x", "panel_y", "upper_z", "lower_z", "panel_cost")
DEAD = ("panel_thickness", "panel_areal_density")
SLAB = {"momentum": None, "known_momentum": "estimated", "n_behind": 2, "task": "image"}
CASES = {
    "tilted panels": Case({**SMALL, "tilted": True}, ("panel_tilt_*",)),
    "side panels": Case(
        {**SMALL, "side_panels": ("-x", "+x"), "crossing": False}, ("side_*", "panel_cost")
    ),
    "dead material": Case(
        {**SMALL, "panel_thickness": 0.05, "panel_areal_density": 2.0, "free": DEAD}, DEAD
    ),
    "noise hits": Case({**SMALL, "noise_density": 0.05}, PANELS),
    "misalignment": Case({**SMALL, "misalignment": 1e-3, "misrotation": 1e-3}, PANELS),
    "unknown efficiency": Case({**SMALL, "efficiency_spread": 0.5}, PANELS),
    "estimated momentum": Case({**SMALL, **SLAB}, ("slab_depth", "slab_thickness", "behind_depth")),
    "price of a panel": Case({**SMALL, "panel_base_price": 0.2}, ("panel_cost",)),
    "telescope": Case({}, usecase="muon_absorption"),
    "pitch of a telescope": Case({"free": ("pitch",)}, ("pitch",), "muon_absorption"),
    "densities by a telescope": Case({"task": "density"}, usecase="muon_absorption"),
    "modular telescope": Case({"free": ("pitch", "efficiency")}, usecase="modular_telescope"),
}


def run(quick: bool, names: tuple[str, ...] = tuple(CASES)) -> dict[str, Any]:
    """The check of each case."""
    return {name: check(CASES[name], name, quick) for name in names}


def check(case: Case, name: str, quick: bool) -> dict[str, Any]:
    """Verdicts on the new parameters of a case."""
    problem = _problem(case)
    n_events, n_extra = (4, 0) if quick else (EVENTS, EXTRA)
    start = time.process_time()
    checks = check_gradients(
        problem, n_repeats=REPEATS, n_extra=n_extra, n_events=n_events, step=STEP
    )
    seconds = time.process_time() - start
    say(f"gradients {name}: {dict(_count(checks))}, {seconds:.0f} s")
    return {
        "events": n_events,
        "step": STEP,
        "parameters": len(checks),
        "verdicts": dict(_count(checks)),
        "cpu_s": seconds,
        "others": [c.as_dict() for c in checks if c.verdict is not Verdict.AGREES],
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, must be, measured, holds."""
    return [
        (
            f"gradients: {name}, parameters that agree",
            f"{case['parameters']}",
            f"{case['verdicts'].get(Verdict.AGREES, 0)}"
            + "".join(
                f", {n} {verdict}"
                for verdict, n in case["verdicts"].items()
                if verdict != Verdict.AGREES
            ),
            case["verdicts"].get(Verdict.AGREES, 0) == case["parameters"],
        )
        for name, case in result.items()
    ]


def _problem(case: Case) -> Problem:
    problem = usecases.load(case.usecase).build(case.options)
    space = problem.space.free_only(*case.parameters)
    discrete = [parameter.name for parameter in space.free if parameter.is_discrete]
    return problem.with_space(space.freeze(*discrete) if discrete else space)


def _count(checks: list[GradientCheck]) -> Counter[str]:
    return Counter(str(check.verdict) for check in checks)


if __name__ == "__main__":
    torch.set_num_threads(1)
    json.dump(run("--quick" in sys.argv, tuple(CASES)), sys.stdout, indent=1)
