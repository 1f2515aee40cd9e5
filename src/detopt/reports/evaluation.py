"""The independent verdict as figures: intervals, predicted against true, sensitivities."""

__all__ = ["drawn_words", "interval_figure", "scatter_figure", "sensitivity_figure"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from detopt.reports import style
from detopt.reports.words import number, unit_of

HEAVY = 3_000  # points above which a scatter plot is stored as an image
FEW = 20  # distinct abscissae up to which means are drawn
MOST = 40  # bars in a chart


def interval_figure(rows: Mapping[str, Mapping[str, float | None]], objective_name: str) -> Figure:
    """A dot and its 95 % interval for each design that has one."""
    known = {name: _numbers(row) for name, row in rows.items() if None not in row.values()}
    with style.look():
        figure = Figure(figsize=(9.0, 0.95 + 0.34 * len(known)), layout="constrained")
        axes = figure.add_subplot()
        ends = [row[key] for row in known.values() for key in ("value", "low", "high")]
        style.log_if_wide(axes, ends, "x")
        for i, (name, row) in enumerate(known.items()):
            color = {"start": style.START, "final": style.FINAL}.get(name, style.BASELINE)
            errors = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
            axes.errorbar(
                [row["value"]], [i], xerr=errors, color=color, marker="o", markersize=6, capsize=4
            )
        if "final" in known:
            low, high = known["final"]["low"], known["final"]["high"]
            axes.axvspan(low, high, color=style.FINAL, alpha=0.12, linewidth=0)
        axes.set_yticks(range(len(known)), list(known))
        axes.set_ylim(len(known) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(objective_name)
    return figure


def _numbers(row: Mapping[str, float | None]) -> dict[str, float]:
    return {key: float(value) for key, value in row.items() if value is not None}


def scatter_figure(plot: Mapping[str, Any]) -> Figure:
    """Points y against x, and y - x beside it where y = x is the ideal."""
    x, y = np.array(plot["x"], dtype=float), np.array(plot["y"], dtype=float)
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    with style.look():
        diagonal = bool(plot.get("diagonal"))
        figure = Figure(figsize=(9.0 if diagonal else 5.5, 3.8), layout="constrained")
        left = figure.add_subplot(1, 1 + diagonal, 1)
        _points(left, x, y)
        left.set_xlabel(plot["x_label"])
        left.set_ylabel(plot["y_label"])
        left.set_title(plot["title"])
        if diagonal and len(x):
            ends = [min(x.min(), y.min()), max(x.max(), y.max())]
            left.plot(ends, ends, color=style.INK, linestyle="--", linewidth=1, label="ideal")
            left.legend(loc="upper left")
            right = figure.add_subplot(1, 2, 2)
            _points(right, x, y - x)
            right.axhline(0, color=style.INK, linestyle="--", linewidth=1)
            rms = float(np.sqrt(np.mean((y - x) ** 2)))
            unit = unit_of(plot["y_label"])[1]
            right.set_title(
                f"Difference from the truth (rms {number(rms, 3)} {unit}".rstrip() + ")"
            )
            right.set_xlabel(plot["x_label"])
            right.set_ylabel(f"difference [{unit}]" if unit else "difference")
    return figure


def _points(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    axes.scatter(x, y, s=9, color=style.SKY, alpha=0.35, linewidth=0, rasterized=len(x) > HEAVY)
    levels = np.unique(x)
    if not 1 < len(levels) <= FEW or len(x) < 4 * len(levels):
        return
    groups = [y[x == level] for level in levels]
    axes.errorbar(
        levels,
        [group.mean() for group in groups],
        yerr=[group.std() for group in groups],
        color=style.FINAL,
        marker="o",
        markersize=4,
        capsize=3,
        linestyle="none",
        label="mean ± standard deviation",
    )


def drawn_words(sensitivities: Sequence[Mapping[str, Any]]) -> list[str]:
    """That a figure has no place for all entries, where it has none."""
    n_known = sum(None not in (s["gradient"], s["curvature"]) for s in sensitivities)
    if n_known <= MOST:
        return []
    return [f"Drawn are the {MOST} of {n_known} entries with the largest numbers."]


def _kept(sensitivities: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Entries with finite numbers; the steepest and most curved where there are many."""
    finite = [s for s in sensitivities if None not in (s["gradient"], s["curvature"])]
    if len(finite) <= MOST:
        return finite
    worth = sorted(finite, key=lambda s: -max(abs(s["gradient"]), abs(s["curvature"])))
    chosen = {s["name"] for s in worth[:MOST]}
    return [s for s in finite if s["name"] in chosen]


def sensitivity_figure(sensitivities: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Gradient and curvature of each entry of theta; bars of one parameter share a color."""
    kept = _kept(sensitivities)
    if not kept:
        return None
    groups = list(dict.fromkeys(s["name"].partition("[")[0] for s in kept))
    shades = dict(zip(groups, style.colors(len(groups)), strict=True))
    bars = [shades[s["name"].partition("[")[0]] for s in kept]
    with style.look():
        figure = Figure(figsize=(9.0, 0.9 + 0.17 * len(kept)), layout="constrained")
        left = figure.add_subplot(1, 2, 1)
        right = figure.add_subplot(1, 2, 2, sharey=left)
        for axes, key, title in (
            (left, "gradient", "Gradient dL/dθ"),
            (right, "curvature", "Curvature d²L/dθ²"),
        ):
            axes.barh(range(len(kept)), [s[key] for s in kept], color=bars, height=0.75)
            axes.axvline(0, color=style.INK, linewidth=0.8)
            axes.set_title(title)
            axes.grid(axis="y", visible=False)
            axes.ticklabel_format(axis="x", scilimits=(-2, 3), useMathText=True)
            axes.xaxis.set_major_locator(MaxNLocator(6))
        left.set_yticks(range(len(kept)), [s["name"] for s in kept], fontsize=7)
        left.set_ylim(len(kept) - 0.4, -0.6)
        right.tick_params(labelleft=False)
    return figure
