"""Curves over the rounds: objective and parameters."""

__all__ = ["curves", "objective_figure", "parameter_figure", "rounds_axis"]

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from detopt.design import Design, DesignSpace
from detopt.design.parameters import Categorical
from detopt.pipeline import Problem
from detopt.reports import style
from detopt.reports.record import Track, tracks
from detopt.runtime import Round

WINDOW = 0.1  # of the rounds: width of the window behind the bands of parameters
MANY = 8  # elements up to which each line has a color and a name of its own


def curves(history: Sequence[Round], problem: Problem) -> Figure:
    """Objective and parameters over the rounds, the parameters in physical units.

    Args:
        history: Rounds of a run.
        problem: What was optimized; it gives names, units and the meaning of theta.
    """
    with style.look():
        shown = tracks(history, problem.space)
        rows = 1 + math.ceil(len(shown) / 2)
        figure = Figure(figsize=(9.0, 2.9 + 2.5 * (rows - 1)), layout="constrained")
        grid = figure.add_gridspec(rows, 2)
        _objective(figure.add_subplot(grid[0, :]), history, problem.objective_name)
        for i, track in enumerate(shown):
            axes = figure.add_subplot(grid[1 + i // 2, i % 2])
            _parameter(axes, track, {})
            rounds_axis(axes)
    return figure


def objective_figure(
    history: Sequence[Round], objective_name: str, result: Mapping[str, Any] | None = None
) -> Figure:
    """The objective with its standard error, and where the independent verdicts lie."""
    with style.look():
        figure = Figure(figsize=(9.0, 3.4), layout="constrained")
        axes = figure.add_subplot()
        extra = _verdict_lines(axes, len(history), result) if result is not None else []
        _objective(axes, history, objective_name, extra)
        axes.legend(loc="best")
    return figure


def _objective(
    axes: Axes, history: Sequence[Round], objective_name: str, extra: Sequence[float] = ()
) -> None:
    x = [record.number + 1.0 for record in history]
    y = np.array([record.value for record in history], dtype=float)
    error = np.nan_to_num(np.array([record.std_error for record in history], dtype=float))
    log = style.log_if_wide(axes, [*y.tolist(), *extra])
    low = np.maximum(y - error, y / 3) if log else y - error
    style.band(axes, x, low.tolist(), (y + error).tolist(), style.FINAL)
    axes.plot(
        x,
        y,
        color=style.FINAL,
        marker="o",
        markersize=2.5,
        label="during optimization ± standard error",
    )
    axes.set_ylabel(objective_name)
    axes.set_title("Objective")
    rounds_axis(axes)


def _verdict_lines(axes: Axes, n_rounds: int, result: Mapping[str, Any]) -> list[float]:
    objective = result["objective"]
    shown = []
    base = objective.get("baseline")
    if base is not None and None not in base.values():
        axes.axhspan(base["low"], base["high"], color=style.BASELINE, alpha=0.15, linewidth=0)
        name = f"baseline “{result['best_baseline']}”, re-evaluated, 95 % interval"
        axes.axhline(base["value"], color=style.BASELINE, linestyle="--", linewidth=1.2, label=name)
        shown += [float(base[key]) for key in ("value", "low", "high")]
    final = objective["final"]
    if None in final.values():
        return shown
    x = n_rounds + max(1.0, 0.02 * n_rounds)
    axes.errorbar(
        [x],
        [final["value"]],
        yerr=[[final["value"] - final["low"]], [final["high"] - final["value"]]],
        color=style.INK,
        marker="D",
        markersize=4.5,
        capsize=3,
        linestyle="none",
        label="final design, re-evaluated, 95 % interval",
    )
    return [*shown, *(float(final[key]) for key in ("value", "low", "high"))]


def parameter_figure(
    history: Sequence[Round], space: DesignSpace, marks: Mapping[str, Design]
) -> Figure:
    """Every free parameter over the rounds.

    Args:
        history: Rounds of a run.
        space: Design space.
        marks: Final design and baseline by name; drawn as symbols at the right end.
    """
    with style.look():
        shown = tracks(history, space)
        rows = max(1, math.ceil(len(shown) / 2))
        figure = Figure(figsize=(9.0, 2.6 * rows + 0.25), layout="constrained")
        for i, track in enumerate(shown):
            axes = figure.add_subplot(rows, 2, i + 1)
            _parameter(axes, track, marks)
            rounds_axis(axes)
        if shown:
            figure.legend(handles=_key(marks), loc="outside lower center", ncols=4)
    return figure


def _key(marks: Mapping[str, Design]) -> list[Artist]:
    """What lines, bands and symbols stand for."""
    symbols = [
        Line2D(
            [], [], color=style.INK, linestyle="none", marker=marker, markersize=size, label=name
        )
        for name, marker, size in zip(marks, "D_", (4, 9), strict=False)
    ]
    line = Line2D([], [], color=style.INK, label="during the search")
    shade = Patch(facecolor=style.INK, alpha=0.18, label="range in a tenth of the rounds")
    return [line, shade, *symbols]


def _title(track: Track) -> str:
    unit = track.parameter.unit
    return f"{track.parameter.name} [{unit}]" if unit else track.parameter.name


def _parameter(axes: Axes, track: Track, marks: Mapping[str, Design]) -> None:
    """Lines, symbols for the designs `marks`, and then names beside the ends."""
    names = [name.removeprefix(track.parameter.name) for name in track.names]
    _lines(axes, track.values)
    _marks(axes, track, marks)
    _name_ends(axes, track.values[-1], names, len(track.values))
    axes.set_title(_title(track))
    if isinstance(track.parameter, Categorical):
        choices = track.parameter.choices
        axes.set_yticks(range(len(choices)), choices)


def _lines(axes: Axes, values: np.ndarray) -> None:
    """A line with its band for each column."""
    n_rounds, n_lines = values.shape
    x = np.arange(1.0, n_rounds + 1)
    low, high = _visited(values)
    alpha = 0.18 * min(1.0, MANY / n_lines)
    for i, color in enumerate(style.colors(n_lines)):
        style.band(axes, x.tolist(), low[:, i].tolist(), high[:, i].tolist(), color, alpha)
        axes.plot(x, values[:, i], color=color, linewidth=1.3)


def _visited(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value within a window around each round."""
    half = max(1, round(WINDOW * len(values) / 2))
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    low = np.stack([window.min(axis=0) for window in windows])
    return low, np.stack([window.max(axis=0) for window in windows])


def _name_ends(axes: Axes, ends: np.ndarray, names: Sequence[str], n_rounds: int) -> None:
    """Names beside the ends of the lines, while there are few."""
    if not 1 < len(ends) <= MANY:
        return
    low, high = axes.get_ylim()
    places = _spread(((ends - low) / (high - low)).tolist(), gap=0.085)
    for color, end, place, name in zip(style.colors(len(ends)), ends, places, names, strict=True):
        axes.annotate(
            name,
            (n_rounds, end),
            xytext=(1.045, place),
            textcoords="axes fraction",
            color=color,
            fontsize=7.5,
            va="center",
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0.6},
        )


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """The same places, moved apart until they are `gap` from each other."""
    order = np.argsort(places, kind="stable")
    moved = np.array(places, dtype=float)[order]
    for _ in range(200):
        short = gap - np.diff(moved)
        if len(short) == 0 or short.max() <= 1e-6:
            break
        push = np.maximum(short, 0) / 2
        moved[:-1] -= push
        moved[1:] += push
    answer = np.empty_like(moved)
    answer[order] = moved
    return [float(value) for value in answer]


def _marks(axes: Axes, track: Track, marks: Mapping[str, Design]) -> None:
    """Values of named designs as symbols at the right end."""
    x = len(track.values) * 1.0
    palette = style.colors(track.values.shape[1])
    for name, marker in zip(marks, "D_", strict=False):
        values = marks[name][track.parameter.name].reshape(-1).tolist()
        axes.scatter(
            [x] * len(values),
            values,
            c=palette,
            marker=marker,
            s=16 if marker == "D" else 90,
            zorder=3,
            clip_on=False,
        )


def rounds_axis(axes: Axes) -> None:
    """Label the axis of rounds, with whole numbers."""
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
