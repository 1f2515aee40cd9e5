"""Figures of a comparison of methods: objective against calls and CPU time, fronts."""

__all__ = ["comparison_figure", "pareto_figure", "write_comparison"]

import itertools
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detopt.reports import style
from detopt.reports.comparison_tables import csv_text, text
from detopt.runtime.comparison_result import Comparison, Spread

NARROW, WIDE = 30, 100  # letters of a label in a line, and of a row of the legend
MANY = 3  # pairs of objectives in a row of a figure
NOT_REACHED = 1.06  # where seeds that missed the target are drawn, in budgets


def comparison_figure(found: Comparison) -> Figure:
    """Objective against calls and against CPU time, and calls to the target.

    Lines are medians over the seeds, bands the middle 68 %. In the panel of CPU time each point is
    a checkpoint: the same number of calls for all methods.
    """
    shown = _shown(found)
    with_target = found.plan.target is not None
    with style.look():
        size = (9.0, 5.0 + 0.4 * len(shown) if with_target else 3.9)
        figure = Figure(figsize=size, layout="constrained")
        heights = [3.4, 0.6 + 0.4 * len(shown)] if with_target else [1.0]
        rows = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        left, right = figure.add_subplot(rows[0, 0]), figure.add_subplot(rows[0, 1])
        _values(left, found, against_cpu=False)
        _values(right, found, against_cpu=True)
        if with_target:
            _targets(figure.add_subplot(rows[1, :]), found)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=_columns(labels))
    return figure


def pareto_figure(found: Comparison) -> Figure:
    """Fronts of every pair of objectives, and the hypervolume against calls.

    A front is that of the seed with the largest hypervolume, evaluated with fresh events. With
    more than two objectives its projections are shown.
    """
    pairs = list(itertools.combinations(range(len(found.objective_names)), 2))
    with style.look():
        n_rows = math.ceil((len(pairs) + 1) / MANY) if len(pairs) > 1 else 1
        n_columns = min(MANY, len(pairs) + 1)
        figure = Figure(figsize=(9.0, 3.5 * n_rows + 0.4), layout="constrained")
        grid = figure.add_gridspec(n_rows, n_columns)
        places = [
            figure.add_subplot(grid[i // n_columns, i % n_columns]) for i in range(len(pairs) + 1)
        ]
        for axes, (x, y) in zip(places, pairs, strict=False):
            _fronts(axes, found, x, y)
        _volumes(places[-1], found)
        handles, labels = places[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=_columns(labels))
    return figure


def write_comparison(found: Comparison, folder: Path) -> list[Path]:
    """Write everything, tables and figures into a folder; the paths."""
    written = [found.save(folder)]
    for name, content in (("comparison.txt", text(found)), ("comparison.csv", csv_text(found))):
        written.append(folder / name)
        written[-1].write_text(content, encoding="utf-8")
    if not _shown(found):
        return written
    figures = {"comparison": comparison_figure(found)}
    if found.reference:
        figures["pareto"] = pareto_figure(found)
    for name, figure in figures.items():
        for suffix in ("png", "svg"):
            written.append(folder / f"{name}.{suffix}")
            with style.look():
                figure.savefig(written[-1], metadata={"Date": None} if suffix == "svg" else None)
    return written


def _shown(found: Comparison) -> list[tuple[str, str]]:
    """Methods that ran, with their colors; a color belongs to a place in the list."""
    palette = style.colors(len(found.methods))
    pairs = zip(found.methods, palette, strict=True)
    return [(method, color) for method, color in pairs if found.of(method)]


def _columns(labels: Sequence[str]) -> int:
    longest = max(len(line) for label in labels for line in label.split("\n"))
    return max(1, min(len(labels), WIDE // (longest + 6)))


def _wrapped(label: str) -> str:
    return textwrap.fill(label, NARROW, break_long_words=False)


def _values(axes: Axes, found: Comparison, against_cpu: bool) -> None:
    every: list[float] = []
    x_every: list[float] = []
    for method, color in _shown(found):
        spreads = found.values(method)
        grid = [found.plan.budget * i / found.plan.n_checkpoints for i in range(len(spreads))]
        x = [spread.median for spread in found.cpu(method)] if against_cpu else grid
        if against_cpu:  # before its first round a method took no time
            known = [i for i, value in enumerate(x) if value > 0]
            spreads, x = [spreads[i] for i in known], [x[i] for i in known]
            x_every += x
        _line(axes, x, spreads, color, method)
        every += [end for one in spreads for end in (one.low, one.high)]
    style.log_if_wide(axes, every)
    if against_cpu:
        style.log_if_wide(axes, x_every, axis="x")
    if found.plan.target is not None:
        axes.axhline(found.plan.target, color=style.INK, linewidth=0.9, linestyle=":")
    axes.set_xlabel("CPU time of simulation and method [s]" if against_cpu else "calls")
    axes.set_ylabel(found.objective_name)
    axes.set_title("Objective against CPU time" if against_cpu else "Objective against calls")


def _line(
    axes: Axes, x: Sequence[float], spreads: Sequence[Spread], color: str, label: str
) -> None:
    low, high = [one.low for one in spreads], [one.high for one in spreads]
    style.band(axes, x, low, high, color, alpha=0.15)
    middle = [one.median for one in spreads]
    axes.plot(x, middle, color=color, marker="o", markersize=2.5, label=_wrapped(label))


def _targets(axes: Axes, found: Comparison) -> None:
    shown = _shown(found)
    missed = NOT_REACHED * found.plan.budget
    for place, (method, color) in enumerate(shown):
        calls = [run.to_target for run in found.of(method)]
        reached = [one for one in calls if one is not None]
        jitter = np.linspace(-0.18, 0.18, len(calls)) if len(calls) > 1 else np.zeros(1)
        for one, shift in zip(calls, jitter.tolist(), strict=True):
            axes.plot(
                missed if one is None else one,
                place + shift,
                marker=">" if one is None else "o",
                markersize=4.5,
                color=color,
                markerfacecolor="none" if one is None else color,
                linestyle="none",
                alpha=0.75,
            )
        if 2 * len(reached) > len(calls):
            ordered = sorted(math.inf if one is None else one for one in calls)
            middle = Spread.of(ordered).median
            axes.plot([middle] * 2, [place - 0.32, place + 0.32], color=color, linewidth=2.0)
    axes.set_yticks(range(len(shown)), [_wrapped(method) for method, _ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(-0.02 * found.plan.budget, 1.1 * found.plan.budget)
    axes.axvline(found.plan.budget, color=style.MUTED, linewidth=0.8)
    axes.set_xlabel("calls; dots are seeds, the bar their median, open triangles did not reach it")
    axes.set_title(f"Calls until the objective is {found.plan.target:g} or lower")


def _fronts(axes: Axes, found: Comparison, x: int, y: int) -> None:
    palette = dict(_shown(found))
    both = len(found.objective_names) == 2
    for front in found.fronts():
        points = sorted((point[x], point[y]) for point in front.points)
        if not points:
            continue
        across, up = zip(*points, strict=True)
        color = palette[front.method]
        axes.plot(across, up, linestyle="none", marker="o", markersize=3.5, color=color, alpha=0.8)
        if both:
            axes.step(across, up, where="post", color=color, linewidth=0.9, alpha=0.6)
    axes.plot(found.reference[x], found.reference[y], marker="x", color=style.INK, markersize=6)
    axes.annotate(
        "reference",
        (found.reference[x], found.reference[y]),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=7.5,
    )
    axes.set_xlabel(found.objective_names[x])
    axes.set_ylabel(found.objective_names[y])
    axes.set_title("Fronts, with fresh events" if both else "Fronts, projected")


def _volumes(axes: Axes, found: Comparison) -> None:
    for method, color in _shown(found):
        spreads = found.volumes(method)
        grid = [found.plan.budget * i / found.plan.n_checkpoints for i in range(len(spreads))]
        _line(axes, grid, spreads, color, method)
    axes.set_xlabel("calls")
    axes.set_ylabel("hypervolume")
    axes.set_title("Hypervolume, larger is better")
