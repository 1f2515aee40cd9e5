"""What a validated surrogate looks like beside its simulator."""

__all__ = ["surrogate_figure"]

import math

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from detopt.reports import style
from detopt.surrogates.validation import Validation

BINS, TAIL = 40, 0.002
COLUMNS = 3


def surrogate_figure(
    found: Validation, real: Float[Tensor, "n f"], drawn: Float[Tensor, "n f"], label: str = ""
) -> Figure:
    """Histograms of all features, closure in bins of the conditions, and areas of classifiers.

    Args:
        found: The validation.
        real: Features of the simulator.
        drawn: Features of the surrogate.
        label: What the simulator was, for the caption.
    """
    with style.look():
        n_panels = len(found.features) + 2
        n_rows = math.ceil(n_panels / COLUMNS)
        figure = Figure(figsize=(10.0, 2.7 * n_rows + 0.3), layout="constrained")
        axes = figure.subplots(n_rows, COLUMNS, squeeze=False).flatten()
        for i, name in enumerate(found.features):
            _histogram(axes[i], real[:, i], drawn[:, i], name, float(found.separation[i]))
        axes[0].legend(frameon=False)
        _closure(axes[n_panels - 2], found)
        _areas(axes[n_panels - 1], found)
        for rest in axes[n_panels:]:
            rest.set_visible(False)
        figure.supxlabel(label, fontsize=8, color=style.MUTED)
    return figure


def _histogram(axes: Axes, real: Tensor, drawn: Tensor, name: str, separation: float) -> None:
    low, high = (float(real.quantile(q)) for q in (TAIL, 1 - TAIL))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1).tolist()
    shares = [np.full(len(rows), 1 / len(rows)) for rows in (real, drawn)]  # outside `edges` too
    axes.hist(
        real.numpy(), edges, weights=shares[0], color=style.START, alpha=0.35, label="simulator"
    )
    axes.hist(
        drawn.numpy(),
        edges,
        weights=shares[1],
        histtype="step",
        color=style.FINAL,
        label="surrogate",
    )
    axes.set(xlabel=name, yticks=[], title=f"separation {separation:.4f}")


def _closure(axes: Axes, found: Validation) -> None:
    """Error of each mean against its standard error, all bins."""
    pulls = (found.closure / found.closure_error.clamp(min=1e-300)).flatten(0, 2)
    colors = style.colors(2)
    for i, name in enumerate(("mean", "width")):
        values = pulls[:, i].sort().values
        share = torch.linspace(0, 1, len(values))
        axes.plot(values.numpy(), share.numpy(), color=colors[i], label=name)
    normal = torch.linspace(-3, 3, 61)
    axes.plot(normal, torch.special.ndtr(normal), color=style.MUTED, ls=":", label="normal")
    axes.set(xlabel="closure error / its standard error", ylabel="share of bins", xlim=(-8, 8))
    axes.legend(frameon=False, fontsize=8)


def _areas(axes: Axes, found: Validation) -> None:
    pairs = [(found.low, found.low_floor), (found.high, found.high_floor)]
    for i, (name, color) in enumerate((("surrogate", style.FINAL), ("simulator", style.START))):
        areas = [pair[i] for pair in pairs]
        axes.errorbar(
            [0 + 0.1 * i, 1 + 0.1 * i],
            [one.area for one in areas],
            [one.std_error for one in areas],
            fmt="o",
            color=color,
            label=f"{name} against simulator",
        )
    axes.axhline(0.5, color=style.MUTED, lw=0.8)
    axes.set(xticks=[0, 1], ylabel="area under the curve", xlim=(-0.5, 1.6), ylim=(0.45, 1.0))
    axes.set_xticklabels(["all columns", "features"])
    axes.legend(frameon=False, fontsize=8)
