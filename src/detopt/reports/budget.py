"""What a design costs, and how a fixed total is shared."""

__all__ = ["cost_figure", "share_figure", "shared_parameters"]

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from detopt.design import Continuous, Design, DesignSpace, FixedSum
from detopt.reports import style
from detopt.reports.figures import rounds_axis
from detopt.reports.record import element_names
from detopt.runtime import Round


def cost_figure(
    history: Sequence[Round],
    budget: float | None,
    baseline: float | None,
    *,
    wide: bool = False,
) -> Figure:
    """Cost of the design over the rounds, with the budget and the baseline's cost."""
    with style.look():
        figure = Figure(figsize=(9.0 if wide else 4.4, 2.9), layout="constrained")
        axes = figure.add_subplot()
        pairs = [(r.number + 1, r.terms["cost"]) for r in history if "cost" in r.terms]
        if pairs:
            x, y = zip(*pairs, strict=True)
            axes.plot(x, y, color=style.FINAL, linewidth=4, alpha=0.5, label="design")
        if budget is not None:
            axes.axhline(budget, color=style.INK, linestyle="--", linewidth=1.1, label="budget")
        if baseline is not None:
            axes.axhline(baseline, color=style.BASELINE, linestyle=":", label="baseline")
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.45 * axes.get_ylim()[1])
        axes.set_title("Cost")
        axes.legend(loc="upper right")
        rounds_axis(axes)
    return figure


def shared_parameters(space: DesignSpace) -> list[Continuous]:
    """The parameters that share out a fixed total."""
    return [
        parameter
        for parameter in space.parameters
        if isinstance(parameter, Continuous) and isinstance(parameter.domain, FixedSum)
    ]


def share_figure(parameter: Continuous, designs: Mapping[str, Design]) -> Figure:
    """How each design shares the total of `parameter` among its elements."""
    names = [name.removeprefix(parameter.name) for name in element_names(parameter)]
    shades = dict(zip(designs, (style.START, style.FINAL, style.BASELINE), strict=False))
    with style.look():
        figure = Figure(figsize=(4.4, 2.9), layout="constrained")
        axes = figure.add_subplot()
        x = np.arange(len(names))
        width = 0.8 / len(designs)
        for i, (name, design) in enumerate(designs.items()):
            values = design[parameter.name].reshape(-1).tolist()
            axes.bar(
                x + (i - (len(designs) - 1) / 2) * width,
                values,
                width,
                label=name,
                color=shades.get(name, style.INK),
            )
        if len(names) <= 16:
            axes.set_xticks(x, names)
        axes.grid(axis="x", visible=False)
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        axes.set_title(f"Shares: {parameter.name}{unit}")
        axes.margins(y=0.25)
        axes.legend(loc="upper center", ncols=3)
    return figure
