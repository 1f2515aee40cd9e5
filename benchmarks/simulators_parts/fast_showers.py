"""The fast shower model beside Geant4, on five stacks that its coefficients were not fitted to."""

import math
import statistics
import time
from typing import Any

import torch

from detopt.physics.shower_tuning import LayerSample, shower_moments
from detopt.physics.tuned_sampling import sample_tuned_showers
from detopt.usecases.sampling_calorimeter.tuning import STACKS, layers_of, simulate_samples
from simulators_parts.geant4 import bootstrap, geant4, normal_width
from tables import Row

PLASTIC = "polyvinyltoluene"
OTHERS = {
    "25 x (4 mm Pb + 8 mm plastic)": layers_of("Pb", 4.0, PLASTIC, 8.0, 25),
    "30 x (2.4 mm W + 0.5 mm Si)": layers_of("W", 2.4, "Si", 0.5, 30),
    "22 x (17 mm Fe + 6 mm plastic)": layers_of("Fe", 17.0, PLASTIC, 6.0, 22),
    "28 x (12 mm Cu + 5 mm plastic)": layers_of("Cu", 12.0, PLASTIC, 5.0, 28),
    "14 x (4 to 16 mm Pb + 5 mm plastic)": [
        slab
        for thickness in (8, 4, 4, 4, 6, 6, 6, 10, 10, 10, 14, 14, 16, 16)
        for slab in (("Pb", thickness, False), (PLASTIC, 5, True))
    ],
}
ENERGIES = {1.0: 8_000, 5.0: 1_600, 20.0: 400, 50.0: 1_000}  # GeV: electrons
SEED = 9753
SHARE, MEAN, WIDTH = 0.01, 0.05, 0.10
N_FAST = 4_000


def run(quick: bool) -> list[dict[str, Any]]:
    """All stacks and energies."""
    assert not set(OTHERS) & set(STACKS)
    runner, found = geant4(), []
    simulate_samples(OTHERS["25 x (4 mm Pb + 8 mm plastic)"], {1.0: 1}, 0, runner)  # starts it
    for name, slabs in OTHERS.items():
        for energy, n in ENERGIES.items():
            begin = time.perf_counter()
            (sample,) = simulate_samples(slabs, {energy: n // 10 if quick else n}, SEED, runner)
            seconds = time.perf_counter() - begin
            each = seconds / sample.n_showers
            found.append({"stack": name, **_compare(sample), "geant4_s": each})
    return found


def _compare(sample: LayerSample) -> dict[str, Any]:
    """Means of layers, mean and width of the visible energy, and times."""
    model, moments = shower_moments(sample.stack, sample.energy), sample.moments
    active = sample.stack.active_mask
    error = (moments.variance / sample.n_showers).sqrt() / moments.mean
    away = model.mean / moments.mean - 1
    counted = sample.counted(SHARE)
    rng = torch.Generator().manual_seed(SEED)
    each = torch.full((N_FAST,), sample.energy, dtype=torch.float64)
    begin = time.perf_counter()
    fast = sample_tuned_showers(sample.stack, each, rng)[:, active].sum(1)
    seconds = time.perf_counter() - begin
    visible = sample.deposit[:, active].sum(1)

    def width(values: torch.Tensor) -> float:
        return normal_width(values) / values.mean().item()

    result = {
        "energy": sample.energy,
        "n": sample.n_showers,
        "visible": [model.visible.item(), moments.visible.item()],
        "width": [width(fast), width(visible), bootstrap(visible, width)],
        "fast_s": seconds / N_FAST,
    }
    for kind, where in (("passive", counted & ~active), ("active", counted & active)):
        result[kind] = torch.stack([away[where], error[where]], dim=1).tolist()
    return result


def rows(result: list[dict[str, Any]]) -> list[Row]:
    """What must hold."""
    table = []
    for name in OTHERS:
        mine = [one for one in result if one["stack"] == name]
        for kind, of_what in (("passive", "the energy"), ("active", "the visible energy")):
            pairs = [(abs(a), e) for one in mine for a, e in one[kind]]
            if not pairs:
                continue
            beyond = sum(a > MEAN + 2 * e for a, e in pairs)
            excess = sum(a * a - e * e for a, e in pairs) / len(pairs)
            spread = math.sqrt(max(excess, 0.0))
            errors = [e for _, e in pairs]
            table.append(
                (
                    f"{name}: mean energies of the {len(pairs)} {kind} layers with over 1 % of "
                    f"{of_what}, 1 to 50 GeV",
                    "within 5 % beyond two standard errors of Geant4",
                    f"{len(pairs) - beyond} of {len(pairs)}; worst {max(a for a, _ in pairs):.1%}, "
                    f"rms without statistics {spread:.1%}; standard errors of Geant4 "
                    f"{statistics.median(errors):.1%} (median), {max(errors):.1%} (largest)",
                    beyond == 0,
                )
            )
        worst = max(mine, key=lambda one: abs(one["width"][0] / one["width"][1] - 1))
        table.append(
            (
                f"{name}: resolution from the central 95 %, {', '.join(_of(one) for one in mine)}",
                "within 10 % beyond two standard errors",
                ", ".join(
                    f"{one['width'][0]:.2%} for {one['width'][1]:.2%} +- {one['width'][2]:.2%}"
                    for one in mine
                )
                + f" (worst {worst['width'][0] / worst['width'][1] - 1:+.0%})",
                all(
                    abs(one["width"][0] - one["width"][1])
                    <= WIDTH * one["width"][1] + 2 * one["width"][2]
                    for one in mine
                ),
            )
        )
    for energy in ENERGIES:
        mine = [one for one in result if one["energy"] == energy]
        fast, full = (len(mine) / sum(one[key] for one in mine) for key in ("fast_s", "geant4_s"))
        table.append(
            (
                f"showers of {energy:g} GeV a second by the clock, mean of the stacks",
                "no bar",
                f"{fast:.0f} fast, {full:.1f} Geant4 ({fast / full:.0f} times)",
                True,
            )
        )
    return table


def _of(one: dict[str, Any]) -> str:
    return f"{one['energy']:g} GeV"
