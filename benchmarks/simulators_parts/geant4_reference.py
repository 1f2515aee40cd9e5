"""Mean, resolution and shower maximum of two calorimeters, beside the numbers of the reference."""

import math
import time
from typing import Any

from detopt.simulators.geant4 import Primaries, simulate_stack
from simulators_parts.geant4 import (
    CRYSTAL,
    CRYSTAL_WIDTH,
    MEV,
    PBWO4,
    SAMPLING,
    bootstrap,
    geant4,
    normal_width,
)

Row = tuple[str, str, str, bool]
CASES = {  # calorimeter, particle, GeV: events, mean and rms [MeV] of the reference
    ("PbWO4", "e-", 1.0): (2000, 991.6, 8.4),
    ("PbWO4", "e-", 10.0): (400, 9924.0, 25.0),
    ("PbWO4", "mu-", 1.0): (4000, 245.0, None),
    ("PbWO4", "mu-", 10.0): (8000, 314.0, None),
    ("Pb + plastic", "e-", 1.0): (2000, 135.0, 0.117 * 135),
    ("Pb + plastic", "e-", 5.0): (1000, 668.0, 0.056 * 668),
}
STEP = 0.005  # m, of the crystal's layers
MEAN, WIDTH, DEPTH = 0.01, 0.10, 0.5  # relative, relative, X0


def run(quick: bool) -> list[dict[str, Any]]:
    """All cases."""
    runner, found = geant4(), []
    for number, ((name, particle, energy), (n, mean, rms)) in enumerate(CASES.items()):
        stack, width = (CRYSTAL, CRYSTAL_WIDTH) if name == "PbWO4" else (SAMPLING, 0.5)
        n_events = n // 20 if quick else n
        begin = time.perf_counter()
        deposits = simulate_stack(
            stack, Primaries.gun(particle, energy, n_events), number, width, geant4=runner
        )
        seconds = time.perf_counter() - begin
        visible = MEV * deposits.visible
        found.append(
            {
                "case": f"{name}, {energy:g} GeV {particle}",
                "n": n_events,
                "mean": visible.mean().item(),
                "mean_error": visible.std().item() / math.sqrt(n_events),
                "rms": visible.std().item(),
                "rms_error": bootstrap(visible, lambda one: one.std()),
                "width": normal_width(visible),
                "width_error": bootstrap(visible, normal_width),
                "reference": [mean, rms],
                "ms": 1e3 * seconds / n_events,
                "peak": _peak(deposits.energy.mean(0).tolist()) * STEP / PBWO4.radiation_length,
                "energy": energy,
            }
        )
    return found


def _peak(profile: list[float]) -> float:
    """Where a parabola through the highest layer and its neighbours has its top, in layers."""
    i = max(1, min(len(profile) - 2, profile.index(max(profile))))
    left, middle, right = profile[i - 1 : i + 2]
    return i + 0.5 + 0.5 * (left - right) / (left - 2 * middle + right)


def rows(result: list[dict[str, Any]]) -> list[Row]:
    """What must hold."""
    return [row for one in result for row in _rows(one)]


def _rows(one: dict[str, Any]) -> list[Row]:
    mean, rms = one["reference"]
    case, away = one["case"], abs(one["mean"] - mean)
    table = [
        (
            f"{case}: mean deposit, {one['n']} events",
            f"{mean:g} MeV within 1 % beyond statistics",
            f"{one['mean']:.1f} +- {one['mean_error']:.1f} MeV ({one['mean'] / mean - 1:+.1%}), "
            f"{one['ms']:.1f} ms an event",
            away <= MEAN * mean + 2 * one["mean_error"],
        )
    ]
    if rms is not None:
        for name in ("rms", "width"):
            value, error = one[name], one[f"{name}_error"]
            what = "resolution" if name == "rms" else "resolution from the central 95 %"
            table.append(
                (
                    f"{case}: {what}",
                    f"{rms / mean:.2%} within 10 % beyond statistics",
                    f"{value / one['mean']:.2%} +- {error / one['mean']:.2%}",
                    abs(value / one["mean"] - rms / mean)
                    <= WIDTH * rms / mean + 2 * error / one["mean"],
                )
            )
    if case.startswith("PbWO4") and case.endswith("e-"):
        expected = math.log(one["energy"] / PBWO4.critical_energy) - 0.5
        table.append(
            (
                f"{case}: shower maximum",
                f"ln(E/E_c) - 0.5 = {expected:.2f} X0 within 0.5 X0",
                f"{one['peak']:.2f} X0",
                abs(one["peak"] - expected) <= DEPTH,
            )
        )
    return table
