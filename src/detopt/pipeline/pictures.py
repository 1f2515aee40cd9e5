"""What can be looked at, as plain data: scenes of boxes and scatter plots.

Problems describe what there is to see; `detopt.reports` draws it.
"""

__all__ = ["Box", "Scatter", "Scene"]

from collections.abc import Sequence
from dataclasses import dataclass

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Box:
    """A cuboid with edges along the axes.

    Args:
        center: Center [m].
        size: Full edge lengths [m].
        label: Boxes of one label share a color and an entry in the legend.
        opacity: From 0, invisible, to 1.
    """

    center: Vector
    size: Vector
    label: str
    opacity: float = 0.3


@dataclass(frozen=True)
class Scene:
    """Boxes, with z pointing up."""

    boxes: Sequence[Box]


@dataclass(frozen=True)
class Scatter:
    """Points y against x, such as predicted against true.

    Args:
        x: Abscissae.
        y: Ordinates.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        title: One line.
        diagonal: Whether y = x is the ideal.
    """

    x: Sequence[float]
    y: Sequence[float]
    x_label: str
    y_label: str
    title: str
    diagonal: bool = False
