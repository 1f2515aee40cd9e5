"""A flow of the layer energies of Geant4 showers: effort, speed, and what a classifier sees."""

import time
from typing import Any

import torch
from torch import Tensor

from detopt.random import Seed
from detopt.surrogates import (
    ConditionalFlow,
    ConditionalGenerator,
    EnergyShares,
    Training,
    load_surrogate,
    save_surrogate,
)
from detopt.surrogates.validation import Validation, validate
from surrogates_parts import showers

Row = tuple[str, str, str, bool]
THRESHOLD = 5e-5  # GeV in a layer, of the read-out
LIMIT = 0.6  # share of the energy that plastic may show
TRAINING = Training(
    n_steps=6_000, batch=512, learning_rate=2e-3, held_out=0.05, check_every=100, patience=12
)
MINUTES, AREA, MILLISECONDS = 10.0, 0.60, 5.0  # that must hold
BATCH = 1_000  # showers of a draw whose time is taken
SEED = Seed(7)


def read_out(part: str, quick: bool) -> tuple[Tensor, Tensor]:
    """Conditions, and layer energies above the threshold."""
    known = showers.showers(part, quick)
    layers = known["layers"]
    conditions = torch.cat([known["theta"], known["log_energy"]], dim=1)
    return conditions, torch.where(layers < THRESHOLD, 0.0, layers)


def flow(quick: bool) -> tuple[ConditionalGenerator, dict[str, Any]]:
    """The trained flow, from the scratch folder if it is there, and what its training took."""
    path = showers.FOLDER / f"flow{'-quick' if quick else ''}.safetensors"
    if not path.exists():
        conditions, layers = read_out("train", quick)
        training = Training(n_steps=20, held_out=0.1) if quick else TRAINING
        model = ConditionalFlow(
            conditions.shape[1],
            layers.shape[1],
            training,
            hidden=(128, 128),
            n_splines=2,
            layers="autoregressive",
            row_map=EnergyShares(2, limit=LIMIT, threshold=THRESHOLD),
        )
        steps = [0]
        begin, begin_cpu = time.perf_counter(), time.process_time()

        def count(done: int, total: int) -> None:
            steps[0] = done
            if done % 500 == 0:
                print(
                    f"step {done} of {total}, {time.process_time() - begin_cpu:.0f} s", flush=True
                )

        loss = model.fit(conditions, layers, SEED.child("fit").generator(), progress=count)
        facts = {
            "n_showers": len(layers),
            "n_steps": steps[0],
            "loss": loss,
            "cpu_s": time.process_time() - begin_cpu,
            "wall_s": time.perf_counter() - begin,
        }
        save_surrogate(model, path, facts)
    return load_surrogate(path)


def run(quick: bool) -> dict[str, Any]:
    """Train, draw and compare."""
    model, facts = flow(quick)
    conditions, layers = read_out("test", quick)
    few = conditions[: min(BATCH, len(conditions))]
    model.sample(few, SEED.child("warm").generator())
    times = []
    for i in range(3):
        begin = time.process_time()
        model.sample(few, SEED.child("time", i).generator())
        times.append((time.process_time() - begin) / len(few))
    found = validate(model, conditions, layers, SEED.child("validation"))
    return {"facts": facts, "ms": 1e3 * min(times), "found": found}


def rows(result: dict[str, Any]) -> list[Row]:
    """What must hold, and the rest of the table."""
    facts, found, ms = result["facts"], result["found"], result["ms"]
    assert isinstance(found, Validation)
    minutes = facts["cpu_s"] / 60
    high, floor = found.high, found.high_floor
    low, low_floor = found.low, found.low_floor
    mean, width = found.worst_closure
    return [
        (
            f"training on {facts['n_showers']} showers, {facts['n_steps']} steps",
            f"at most {MINUTES:g} min on 2 cores",
            f"{minutes:.1f} min of CPU on 1 core",
            minutes <= MINUTES,
        ),
        (
            "time of a shower, 1000 at once",
            f"at most {MILLISECONDS:g} ms of CPU",
            f"{ms:.2f} ms",
            ms <= MILLISECONDS,
        ),
        (
            f"classifier of {len(found.features)} features with the conditions: area, "
            f"{found.n_rows} unseen showers",
            f"at most {AREA:g}",
            f"{high.area:.3f} +- {high.std_error:.3f}; Geant4 against Geant4 "
            f"{floor.area:.3f} +- {floor.std_error:.3f}",
            high.area <= AREA,
        ),
        (
            "classifier of all layers with the conditions: area",
            "stated",
            f"{low.area:.3f} +- {low.std_error:.3f}; Geant4 against Geant4 "
            f"{low_floor.area:.3f} +- {low_floor.std_error:.3f}",
            True,
        ),
        (
            "separation of histograms, worst feature",
            "stated",
            f"{found.separation.max():.4f}; Geant4 against Geant4 "
            f"{found.separation_floor.max():.4f}",
            True,
        ),
        (
            "Frechet distance of features",
            "stated",
            f"{found.frechet:.4f}; Geant4 against Geant4 {found.frechet_floor:.4f}",
            True,
        ),
        (
            "worst mean and worst width of a feature in a quarter of a condition",
            "stated",
            f"{mean:.3f} widths, {width:.1%}",
            True,
        ),
        (
            "showers inside central intervals of 68.3 % and 95 %, features",
            "stated",
            "; ".join(f"{one.min():.3f} to {one.max():.3f}" for one in found.intervals),
            True,
        ),
    ]
