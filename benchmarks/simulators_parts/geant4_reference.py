"""Mean, resolution and shower maximum of two calorimeters, beside the numbers of the reference.

Those of the crystal were measured with geant4-pybind and are compared with it. What calzone gives
there, and what the showers do under other conditions, stands beside them without a bar. The crystal
is also simulated by geant4-pybind without detopt, which must agree.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detopt.physics.shower_stacks import Layer, Stack
from detopt.simulators.geant4 import LayerDeposits, ParticleGun, Primaries, simulate_stack
from detopt.simulators.geant4.folders import VARIABLE
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
PYBIND, CALZONE = "geant4-pybind", "calzone"
STEP = 0.005  # m, of the crystal's layers
MEAN, MUON, WIDTH, DEPTH = 0.01, 0.03, 0.10, 0.5  # relative; mean of showers, muons; X0
SAMPLES, N_SAMPLES = (20, 50, 100, 200, 400), 20_000  # events of a sample, samples


@dataclass(frozen=True)
class Case:
    """A beam in a calorimeter, and what the reference found there [MeV], if anything."""

    calorimeter: str
    particle: str
    energy: float  # GeV
    n: int
    engine: str
    mean: float | None = None
    rms: float | None = None

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.calorimeter}, {self.energy:g} GeV {self.particle}, {self.engine}"


CASES = (
    Case("PbWO4", "e-", 1.0, 20_000, PYBIND, 991.6, 8.4),
    Case("PbWO4", "e-", 10.0, 1500, PYBIND, 9924.0, 25.0),
    Case("PbWO4", "mu-", 1.0, 20_000, PYBIND, 245.0),
    Case("PbWO4", "mu-", 10.0, 20_000, PYBIND, 314.0),
    Case("Pb + plastic", "e-", 1.0, 2000, CALZONE, 135.0, 0.117 * 135),
    Case("Pb + plastic", "e-", 5.0, 1000, CALZONE, 668.0, 0.056 * 668),
    Case("PbWO4", "e-", 1.0, 2000, CALZONE),
    Case("PbWO4", "e-", 10.0, 400, CALZONE),
    Case("PbWO4", "mu-", 1.0, 4000, CALZONE),
    Case("PbWO4", "mu-", 10.0, 8000, CALZONE),
    Case("Pb + plastic", "e-", 1.0, 2000, PYBIND),
)
OTHER_CONDITIONS: dict[str, dict[str, Any]] = {  # of electrons of 1 GeV in the crystal
    "a single block, not layers": {"stack": Stack.of([Layer(PBWO4, 0.22, active=True)])},
    "production cut of 0.01 mm, not 1 mm": {"cut": 1e-5},
    "production cut of 10 mm": {"cut": 1e-2},
    "beam spot of 1 cm": {"spot": 0.01},
    "the list `standard`, with Rayleigh scattering": {"physics": "standard"},
}
N_OTHER = 2000
BY_HAND = Path(__file__).resolve().parent.parent / "peers" / "geant4_crystal.py"


def run(quick: bool) -> dict[str, Any]:
    """All cases, and the first one under other conditions."""
    share = 20 if quick else 1
    found = [_measure(case, i, case.n // share) for i, case in enumerate(CASES)]
    first = CASES[0]
    others = {
        name: _summary(MEV * _other(first, N_OTHER // share, **options).visible)
        for name, options in OTHER_CONDITIONS.items()
    }
    return {"cases": found, "others": others, "by_hand": _by_hand(first.n // share)}


def _measure(case: Case, seed: int, n: int) -> dict[str, Any]:
    stack, width = (CRYSTAL, CRYSTAL_WIDTH) if case.calorimeter == "PbWO4" else (SAMPLING, 0.5)
    primaries = Primaries.gun(case.particle, case.energy, n)
    begin = time.perf_counter()
    deposits = simulate_stack(stack, primaries, seed, width, geant4=geant4(case.engine))
    seconds = time.perf_counter() - begin
    visible = MEV * deposits.visible
    return {
        **asdict(case),
        "name": case.name,
        **_summary(visible),
        "n": n,
        "ms": 1e3 * seconds / n,
        "label": deposits.label,
        "peak": _peak(deposits.energy.mean(0).tolist()) * STEP / PBWO4.radiation_length,
        "samples": _samples(visible, case.rms) if case.rms and case.engine == PYBIND else {},
    }


def _other(case: Case, n: int, **options: Any) -> LayerDeposits:
    stack, spot = options.pop("stack", CRYSTAL), options.pop("spot", 0.0)
    gun = ParticleGun(case.particle, case.energy, spot=spot)
    primaries = gun(n, torch.Generator().manual_seed(7), torch.float64)
    runner = replace(geant4(case.engine), **options)
    return simulate_stack(stack, primaries, 100, CRYSTAL_WIDTH, geant4=runner)


def _by_hand(n: int) -> dict[str, float]:
    """The first case without detopt."""
    environment = {**os.environ, VARIABLE: str(geant4(PYBIND).data_set.folder)}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "deposits.json"
        words = [sys.executable, str(BY_HAND), str(n), "1", str(target)]
        subprocess.run(
            words, env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        found = json.loads(target.read_text())
    deposits = torch.tensor(found["deposits"], dtype=torch.float64)
    assert len(deposits) == n
    steps = torch.tensor(found["steps"], dtype=torch.float64).mean().item()
    return {**_summary(deposits), "n": n, "steps": steps}


def _summary(visible: Tensor) -> dict[str, float]:
    return {
        "found": visible.mean().item(),
        "found_error": visible.std().item() / math.sqrt(len(visible)),
        "spread": visible.std().item(),
        "spread_error": bootstrap(visible, lambda one: one.std()),
        "width": normal_width(visible),
        "width_error": bootstrap(visible, normal_width),
        "lowest": visible.min().item(),
    }


def _samples(visible: Tensor, rms: float) -> dict[str, list[float]]:
    """Central 68 % and middle of the rms of samples, and how often it is so far off, by size.

    That is the share of samples whose rms is within 10 % of the reference or farther from the rms
    of all: what the reference would have found by chance with so many events.
    """
    rng, found = torch.Generator().manual_seed(0), {}
    levels = torch.tensor([0.16, 0.5, 0.84], dtype=visible.dtype)
    for n in SAMPLES:
        spread = torch.cat(
            [
                visible[torch.randint(len(visible), (N_SAMPLES // 20, n), generator=rng)].std(1)
                for _ in range(20)
            ]
        )
        far = min(
            (spread >= (1 - WIDTH) * rms).double().mean().item(),
            (spread <= (1 + WIDTH) * rms).double().mean().item(),
        )
        found[str(n)] = [*spread.quantile(levels).tolist(), far]
    return found


def _peak(profile: list[float]) -> float:
    """Where a parabola through the highest layer and its neighbours has its top, in layers."""
    i = max(1, min(len(profile) - 2, profile.index(max(profile))))
    left, middle, right = profile[i - 1 : i + 2]
    return i + 0.5 + 0.5 * (left - right) / (left - 2 * middle + right)


def rows(result: dict[str, Any]) -> list[Row]:
    """What must hold, and what stands beside it."""
    table = [row for one in result["cases"] for row in _rows(one)]
    table += _by_hand_rows(result["cases"][0], result["by_hand"])
    table += [_other_row(name, one) for name, one in result["others"].items()]
    return table


def _rows(one: dict[str, Any]) -> list[Row]:
    mean, rms, value, error = (one[name] for name in ("mean", "rms", "found", "found_error"))
    what = f"{one['name']}: mean deposit, {one['n']} events"
    measured = f"{value:.1f} +- {error:.2f} MeV"
    speed = f"{one['ms']:.1f} ms an event"
    if mean is None:
        electrons = one["particle"] == "e-"
        relative = f", {_relative(one, 'spread')}, central 95 % as {_relative(one, 'width')}"
        return [(what, "no bar", f"{measured}{relative if electrons else ''}, {speed}", True)]
    within = MEAN if one["particle"] == "e-" else MUON
    table = [
        (
            what,
            f"{mean:g} MeV within {within:.0%} beyond statistics",
            f"{measured} ({value / mean - 1:+.1%}), {speed}",
            abs(value - mean) <= within * mean + 2 * error,
        )
    ]
    if rms is not None:
        table += [
            _width_row(one, "spread", "resolution"),
            _width_row(one, "width", "resolution from the central 95 %"),
        ]
    if one["samples"]:
        table.append(_sample_row(one))
    if one["name"].startswith("PbWO4, ") and one["particle"] == "e-":
        expected = math.log(one["energy"] / PBWO4.critical_energy) - 0.5
        must = f"ln(E/E_c) - 0.5 = {expected:.2f} X0 within 0.5 X0"
        holds = abs(one["peak"] - expected) <= DEPTH
        table.append((f"{one['name']}: shower maximum", must, f"{one['peak']:.2f} X0", holds))
    return table


def _relative(one: dict[str, Any], name: str) -> str:
    return f"{one[name] / one['found']:.2%} +- {one[f'{name}_error'] / one['found']:.2%}"


def _width_row(one: dict[str, Any], name: str, what: str) -> Row:
    value, error = one[name] / one["found"], one[f"{name}_error"] / one["found"]
    expected = one["rms"] / one["mean"]
    return (
        f"{one['name']}: {what}",
        f"{expected:.2%} within 10 % beyond our own statistics",
        _relative(one, name),
        abs(value - expected) <= WIDTH * expected + 2 * error,
    )


def _sample_row(one: dict[str, Any]) -> Row:
    parts = [
        f"{n}: {low:.1f} to {high:.1f} MeV ({far:.1%})"
        for n, (low, _, high, far) in one["samples"].items()
    ]
    return (
        f"{one['name']}: rms of samples of so many of these events, central 68 % (chance of one "
        f"within 10 % of the {one['rms']:.1f} MeV of the reference, or farther off)",
        "no bar; the reference does not say how many events it had",
        ", ".join(parts),
        True,
    )


def _other_row(name: str, one: dict[str, float]) -> Row:
    return (
        f"{CASES[0].name}: {name}",
        "no bar",
        f"{one['found']:.1f} +- {one['found_error']:.2f} MeV, {_relative(one, 'spread')}, least "
        f"{one['lowest']:.0f} MeV",
        True,
    )


def _by_hand_rows(ours: dict[str, Any], hand: dict[str, float]) -> list[Row]:
    """Whether detopt finds what geant4-pybind finds without it."""
    what = f"{CASES[0].name} without detopt, {hand['n']} events, {hand['steps']:.0f} steps in each"
    table = []
    for name, label, within in (
        ("found", "mean deposit", MEAN),
        ("spread", "rms", WIDTH),
        ("width", "rms from the central 95 %", WIDTH),
    ):
        difference = hand[name] - ours[name]
        error = math.hypot(ours[f"{name}_error"], hand[f"{name}_error"])
        table.append(
            (
                f"{what}: {label}",
                f"{ours[name]:.2f} MeV of detopt within {within:.0%} beyond statistics",
                f"{hand[name]:.2f} MeV, difference {difference:+.2f} +- {error:.2f} MeV",
                abs(difference) <= within * ours[name] + 2 * error,
            )
        )
    return table
