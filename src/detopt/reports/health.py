"""How well a gradient was known over the rounds."""

__all__ = ["Health", "gradient_figure", "health", "health_words"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detopt.reports import style
from detopt.reports.figures import rounds_axis
from detopt.reports.words import number
from detopt.runtime import Round

RESOLVED = 2.0  # standard errors from which an entry of the gradient counts as known


@dataclass(frozen=True)
class Health:
    """How well the gradient is known, round by round.

    Args:
        rounds: Numbers, from 1.
        norm: Length of the gradient in theta.
        noise: Length of its standard error; NaN where it is not known.
        resolved: Share of its entries beyond two standard errors; NaN likewise.
    """

    rounds: np.ndarray
    norm: np.ndarray
    noise: np.ndarray
    resolved: np.ndarray


def health(history: Sequence[Round]) -> Health | None:
    """Health of the gradient, or None where the method uses none."""
    rows = []
    for record in history:
        if record.gradient is None:
            continue
        gradient = record.gradient.numpy()
        error = np.full_like(gradient, np.nan)
        if record.gradient_std_error is not None:
            error = record.gradient_std_error.numpy()
        known = bool(np.isfinite(error).all())
        share = float(np.mean(np.abs(gradient) > RESOLVED * error)) if known else math.nan
        noise = float(np.linalg.norm(error))
        rows.append((record.number + 1, float(np.linalg.norm(gradient)), noise, share))
    return Health(*np.array(rows, dtype=float).T) if rows else None


def gradient_figure(found: Health) -> Figure:
    """Norm and, where it is known, noise, their ratio, and the share of resolved entries."""
    known = bool(np.isfinite(found.noise).any())
    with style.look():
        figure = Figure(figsize=(9.0, 2.9), layout="constrained")
        left = figure.add_subplot(1, 3 if known else 1, 1)
        left.plot(found.rounds, found.norm, color=style.FINAL, label="norm of the gradient")
        left.set_title("Gradient and noise" if known else "Norm of the gradient")
        if known:
            left.plot(found.rounds, found.noise, color=style.BASELINE, label="its standard error")
            left.legend(loc="best")
            _ratio(figure.add_subplot(1, 3, 2), found)
            _share(figure.add_subplot(1, 3, 3), found)
        style.log_if_wide(left, [*found.norm.tolist(), *found.noise.tolist()])
        for axes in figure.axes:
            rounds_axis(axes)
    return figure


def _ratio(axes: Axes, found: Health) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = found.norm / found.noise
    axes.plot(found.rounds, ratio, color=style.INK)
    style.log_if_wide(axes, [*ratio.tolist(), 1.0])
    axes.axhline(1, color=style.MUTED, linestyle=":")
    axes.set_title("Signal-to-noise ratio")


def _share(axes: Axes, found: Health) -> None:
    axes.plot(found.rounds, 100 * found.resolved, color=style.INK)
    axes.set_ylim(0, 104)
    axes.set_title("Entries resolved at 2σ [%]")


def health_words(found: Health) -> list[str]:
    """What the health of the gradient says, in sentences."""
    if not np.isfinite(found.noise).any():
        return [
            "The standard error of the gradient is not known: it needs more than one chunk of "
            "events in an evaluation, and a generative surrogate gives none."
        ]
    noisy = np.isfinite(found.noise) & (found.noise > 0)
    if not noisy.any():
        return ["The gradient has no noise: every chunk of events gave the same."]
    ratio = found.norm[noisy] / found.noise[noisy]
    part = max(1, len(ratio) // 4)
    first, last = (float(np.median(piece)) for piece in (ratio[:part], ratio[-part:]))
    share = 100 * float(np.median(found.resolved[noisy][-part:]))
    return [
        f"Median signal-to-noise ratio: {number(first, 2)} in the first quarter of the rounds, "
        f"{number(last, 2)} in the last, where {number(share, 2)} % of the entries are resolved "
        "at two standard errors."
    ]
