"""Makes the pictures of the benchmark pages: `python docs/images/make_benchmark_images.py [NAME]`.

Those of `materials` and `tracker` show what is stored in `benchmarks/results`.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from detopt.optimizers import make
from detopt.pipeline import evaluate
from detopt.random import Seed
from detopt.usecases import benchmark_layer_placement as placement
from detopt.usecases import benchmark_mixed_materials as mixed
from detopt.usecases import benchmark_tracker as tracker
from detopt.usecases import load

HERE = Path(__file__).parent
RESULTS = HERE.parent.parent / "benchmarks" / "results"
DPI, N_STEPS = 90, 160


def placement_figure() -> Figure:
    """Mean profiles of the showers, and the sensors before and after."""
    problem = load("benchmark_layer_placement").build()
    optimizer = make("adam", problem.space, N_STEPS)
    for _ in range(N_STEPS):
        wanted = [replace(request, std_error=False) for request in optimizer.ask()]
        optimizer.tell([evaluate(problem, request, Seed(0)) for request in wanted])
    found = problem.space.design(optimizer.recommend()).detach()["positions"]
    config = placement.Config()
    library = placement.make_showers(config, 300, Seed("picture").generator())
    density = library.cumulative.mean(dim=0).diff(dim=-1) / library.step
    depth = library.step * torch.arange(density.shape[-1])
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(7, 4), height_ratios=(2, 1), layout="constrained"
    )
    for row, name in ((1, "electrons of 50 GeV"), (3, "pions of 50 GeV")):
        above.plot(depth, density[row] / density[row].max(), label=name)
    above.set_ylabel("deposit [largest]")
    above.legend(frameon=False)
    for level, positions in ((1, problem.baselines["uniform"]["positions"]), (0, found)):
        below.vlines(positions.tolist(), level - 0.35, level + 0.35, lw=2)
    below.set_yticks([0, 1], ["found", "equal"])
    below.set_xlabel("depth [m]")
    return figure


def materials_figure() -> Figure:
    """The best designs of the exhaustive search, and the objective of all combinations."""
    stored = json.loads((RESULTS / "mixed_materials.json").read_text())["combinations"]
    figure, (layers, ranking) = plt.subplots(
        1, 2, figsize=(9, 3.4), width_ratios=(3, 1), layout="constrained"
    )
    colors = {
        "lead": "0.1",
        "iron": "0.6",
        "lead tungstate": "tab:blue",
        "polystyrene": "tab:orange",
    }
    labels = {"Pb": "lead", "Fe": "iron", "PbWO4": "lead tungstate", "polystyrene": "polystyrene"}
    shown = stored[:6]
    for row, one in enumerate(shown):
        design = {name: torch.tensor(value) for name, value in one["design"].items()}
        left = 0.0
        for material, width in zip(
            mixed.stack(design).materials, one["design"]["thickness"], strict=True
        ):
            layers.barh(row, width, left=left, color=colors[labels[material.name]])
            left += width
    layers.set_yticks(range(len(shown)), [f"{one['objective']:.4f}" for one in shown])
    layers.invert_yaxis()
    layers.set_xlim(left=-0.02)
    layers.set_ylabel("objective [GeV]")
    layers.set_xlabel("depth [m]")
    layers.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=color, label=name) for name, color in colors.items()]
    figure.legend(handles=handles, frameon=False, ncols=4, loc="outside upper center")
    ranking.semilogy(
        range(1, len(stored) + 1), [one["objective"] for one in stored], ".", color="k"
    )
    ranking.set_yticks([0.1, 0.2, 0.4], ["0.1", "0.2", "0.4"])
    ranking.minorticks_off()
    ranking.set_xlabel("rank of the combination")
    ranking.set_ylabel("best objective [GeV]")
    ranking.spines[["top", "right"]].set_visible(False)
    return figure


def tracker_figure() -> Figure:
    """The reference fronts in two projections."""
    stored = json.loads((RESULTS / "tracker_front.json").read_text())
    kinds = {"objectives": "evolved", "sampled": f"{stored['n_samples']} samples"}
    figure, both = plt.subplots(1, 2, figsize=(7, 3), sharex=True, layout="constrained")
    for axes, which in zip(both, (1, 2), strict=True):
        for name, label in kinds.items():
            values = torch.tensor(stored[name])
            axes.plot(values[:, 0], values[:, which], ".", ms=2 if name == "objectives" else 5)
            axes.lines[-1].set_label(label)
        axes.plot(1, 1, "k+", ms=8, label="baseline")
        axes.set_xlabel(f"{tracker.OBJECTIVES[0]} [baseline]")
        axes.set_ylabel(f"{tracker.OBJECTIVES[which]} [baseline]")
    both[0].legend(frameon=False, loc="upper left")
    return figure


FIGURES: dict[str, Any] = {
    "placement": placement_figure,
    "materials": materials_figure,
    "tracker": tracker_figure,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for chosen in sys.argv[1:] or FIGURES:
        FIGURES[chosen]().savefig(HERE / f"benchmark_{chosen}.png", dpi=DPI)
