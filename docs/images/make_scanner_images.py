"""Makes the pictures of the scanner's pages: `python docs/images/make_scanner_images.py [NAME]`.

They show what is stored in `benchmarks/results`.
"""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.colors
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from detopt.design import Design
from detopt.pipeline import Pipeline
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.industry.problem import GEOMETRIES
from detopt.usecases.muon_scanner.industry.solids import Lines, scattering_moments
from detopt.usecases.muon_scanner.technologies import SHARES
from detopt.usecases.muon_scanner.volumes import Grid

HERE = Path(__file__).parent
RESULTS = HERE.parent.parent / "benchmarks" / "results"
DPI = 90
COLORS = {"rpc": "tab:blue", "scintillator": "tab:orange", "silicon": "tab:green", "cargo": "0.85"}
PORTAL_COLORS = ("0.7", "0.4", "tab:red", "tab:orange", "tab:blue")
PORTAL_LABELS = {"rpc": "RPC"}
PORTAL_TITLES = {
    "even scintillator": "scintillator, evenly spread",
    "two scintillator": "scintillator, two a side",
    "mixed 0": "all technologies, optimized",
    "scintillator 0": "scintillator, optimized",
    "rpc 0": "RPC, optimized",
}


def portal_designs() -> tuple[Pipeline, dict[str, Design]]:
    """The best even portal, the best of two panels a side, and optimized ones, by stored names."""
    stored = json.loads((RESULTS / "portal.json").read_text())["portals"]
    problem = build(Config(task="portal"))
    found = {}
    for kind in ("even", "two"):
        names = [name for name in problem.baselines if name.startswith(kind)]
        best = min(names, key=lambda name: stored[name]["objective"]["value"])
        found[best] = problem.baselines[best]
    for kind in (None, "scintillator", "rpc"):
        label = "mixed 0" if kind is None else f"{kind} 0"
        values = {
            name: torch.tensor(value, dtype=torch.float64)
            for name, value in stored[label]["design"].items()
        }
        if kind is not None:
            choice = list(COLORS).index(kind)
            n_panels = len(values["panel_cost"])
            row = torch.nn.functional.one_hot(torch.full((n_panels,), choice), 3)
            values[SHARES] = row.double()
        found[label] = Design(values)
    return problem, found


def portal_scene_figure() -> Figure:
    """Side views of the portals."""
    problem, designs = portal_designs()
    stored = json.loads((RESULTS / "portal.json").read_text())["portals"]
    figure, all_axes = plt.subplots(
        1, len(designs), figsize=(12.5, 4), sharex=True, sharey=True, layout="constrained"
    )
    labels: dict[str, Any] = {}
    for axes, (name, design) in zip(all_axes, designs.items(), strict=True):
        scene = problem.scene(design)
        assert scene is not None
        for box in scene.boxes:
            (x, _, z), (dx, _, dz) = box.center, box.size
            thick = max(dz, 0.03)
            color = COLORS[box.label]
            order = 1 if box.label == "cargo" else 2
            corner = x - dx / 2, z - thick / 2
            axes.add_patch(Rectangle(corner, dx, thick, color=color, zorder=order))
            labels[box.label] = Patch(color=color, label=PORTAL_LABELS.get(box.label, box.label))
        axes.set_title(f"{PORTAL_TITLES.get(name, name)}\n{_missed(stored[name])}", fontsize=10)
        axes.set_xlabel("x [m]")
        axes.set_aspect("equal")
        axes.autoscale_view()
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_ylabel("z [m]")
    figure.legend(handles=list(labels.values()), frameon=False, ncols=4, loc="outside upper center")
    return figure


def _missed(judged: dict[str, Any]) -> str:
    return f"misses {100 * judged['objective']['value']:.0f} %"


def portal_roc_figure() -> Figure:
    """ROC curves for each material of the scans of the verdict."""
    _, designs = portal_designs()
    stored = json.loads((RESULTS / "portal.json").read_text())["portals"]
    figure, all_axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
    for name, color in zip(designs, PORTAL_COLORS, strict=True):
        for axes, material in zip(all_axes, Config().hidden, strict=True):
            half = stored[name]["metrics"][f"w50 {material} [kg]"]
            label = f"{PORTAL_TITLES.get(name, name)}, {half:.0f} kg"
            axes.step(*stored[name]["roc"][material], color=color, where="post", label=label)
            _decorate(axes, material)
    all_axes[0].set_ylabel("share that is found")
    for axes in all_axes:
        axes.legend(frameon=False, loc="lower right", fontsize=7)
    return figure


def _decorate(axes: Axes, material: str) -> None:
    axes.axvline(0.05, color="0.8", lw=1, zorder=0)
    axes.set_xlabel("rate of false alarms")
    axes.set_title(f"hidden {material}: w50 in the legend", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


ALONG = {"pipe": 1, "furnace": 0}  # axis of the cuts


def industry_scene_figure(task: str) -> Figure:
    """A cut through the object, along the pipe or through an electrode, and three designs."""
    along = ALONG[task]
    problem = build(Config(task=task))
    stored = json.loads((RESULTS / "industry.json").read_text())[task]
    finals = sorted(stored["ratio"], key=lambda name: stored["error_mm"][name]["value"])
    middle = finals[len(finals) // 2]
    theta = torch.tensor(stored["searches"][middle.split()[1]]["theta"], dtype=torch.float64)
    better = stored["better_baseline"]
    designs = {
        "start": problem.space.start,
        f"baseline ({better})": problem.baselines[better],
        "optimized": problem.space.design(theta).detach(),
    }
    figure, all_axes = plt.subplots(
        1,
        3,
        figsize=(9, 3.3 if task == "pipe" else 4.2),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for axes, (name, design) in zip(all_axes, designs.items(), strict=True):
        handles = _cut(axes, task)
        scene = problem.scene(design)
        assert scene is not None
        for box in scene.boxes:
            if box.label.startswith("panels"):
                place, extent, z = box.center[along], box.size[along], box.center[2]
                ends = [place - extent / 2, place + extent / 2]
                axes.plot(ends, [z, z], color="tab:red", lw=2)
        error = {better: better, "optimized": middle}.get(name.split("(")[-1].rstrip(")"))
        text = "" if error is None else f"\n{stored['error_mm'][error]['value']:.3g} mm"
        axes.set_title(name + text, fontsize=10)
        axes.set_xlabel("xy"[along] + " [m]")
        axes.set_aspect("equal")
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_ylabel("z [m]")
    figure.legend(handles=handles, frameon=False, ncols=5, loc="outside upper center")
    return figure


def _cut(axes: Axes, task: str) -> list[Patch]:
    """Materials in the plane through the axis, or through an electrode."""
    geometry = GEOMETRIES[task]()
    along, step = ALONG[task], 0.0025
    bottom, top = geometry.grid.low[2], geometry.grid.high[2]
    low, high = (-1.1, 1.1) if task == "pipe" else (-0.5, 0.5)
    n_along, n_up = round((high - low) / step), round((top - bottom) / step)
    start, shape = (
        ((low, -step / 2), (n_along, 1)) if along == 0 else ((-step / 2, low), (1, n_along))
    )
    cut = Grid((*start, bottom), (step, step, step), (*shape, n_up))
    volumes = geometry.rasterize(geometry.nominal[None], cut)
    handles = []
    for index, material in enumerate(volumes.names[1:], start=1):
        color = ("0.85", "0.35", "tan", "tab:brown", "0.15")[(index - 1) % 5]
        filled = (volumes.voxels[0].squeeze(1 - along) == index).T.double()
        shade = matplotlib.colors.ListedColormap([(0, 0, 0, 0), matplotlib.colors.to_rgba(color)])
        axes.imshow(
            filled, origin="lower", extent=(low, high, bottom, top), cmap=shade, vmin=0, vmax=1
        )
        handles.append(Patch(color=color, label=material))
    axes.set_xlim(min(low, -0.8), max(high, 0.8))
    axes.set_ylim(bottom - 0.45, top + 0.45)
    return [*handles, Patch(color="tab:red", label="panels")]


def pipe_profile_figure() -> Figure:
    """Width of the scattering angle of vertical muons across the pipe, for three radii."""
    geometry = GEOMETRIES["pipe"]()
    x = torch.linspace(-0.22, 0.22, 881, dtype=torch.float64)
    lines = Lines(torch.stack([x, 0 * x]), torch.zeros(2, len(x), dtype=x.dtype), 0.25)
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for radius, color in ((0.130, "0.2"), (0.136, "tab:blue"), (0.142, "tab:red")):
        bodies = geometry.bodies(torch.tensor([[radius]], dtype=torch.float64))
        width = scattering_moments(bodies, lines, 0.25)[0].flatten().clamp_min(0).sqrt() / 3
        axes.plot(x, 1e3 * width, color=color, label=f"{1e3 * (0.150 - radius):.0f} mm of wall")
    axes.set_xlabel("x [m]")
    axes.set_ylabel("width of the angle\nat 3 GeV/c [mrad]")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "pipe_scene": functools.partial(industry_scene_figure, "pipe"),
    "furnace_scene": functools.partial(industry_scene_figure, "furnace"),
    "pipe_profile": pipe_profile_figure,
    "portal_scene": portal_scene_figure,
    "portal_roc": portal_roc_figure,
}


def main(names: list[str]) -> None:
    """Write the pictures beside this file."""
    torch.set_num_threads(1)
    for name in names or list(FIGURES):
        FIGURES[name]().savefig(HERE / f"{name}.png", dpi=DPI, bbox_inches="tight")


if __name__ == "__main__":
    main(sys.argv[1:])
