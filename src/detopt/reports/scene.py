"""Drawings of an instrument: in space, from the side and from above.

Boxes are drawn from back to front in an order that is right for boxes that do not overlap, and
from the inside out for nested ones; matplotlib alone would sort them by their centers.
"""

__all__ = ["scene_figure"]

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

from detopt.pipeline import Box, Scene
from detopt.reports import style

ELEVATION, AZIMUTH = 16.0, -58.0  # degrees; where the camera stands
THIN = 0.02  # of the scene's size: a box below it is drawn as a plate
QUIET = 0.25  # opacity below which a box is background
CROWD = 300  # boxes above which the exact order of drawing gives way to a quick one
AXES = "xyz"
CORNERS = list(itertools.product((0, 1), repeat=3))


def scene_figure(scene: Scene | Mapping[str, Scene]) -> Figure:
    """One scene, or several side by side, seen in the same way and on the same scale.

    Args:
        scene: What to draw, or scenes by title.
    """
    scenes = {"": scene} if isinstance(scene, Scene) else dict(scene)
    with style.look():
        palette = _palette(list(scenes.values()))
        limits = _limits(list(scenes.values()))
        size = limits[1] - limits[0]
        width = 9.6 if len(scenes) > 2 else 4.0 * len(scenes)
        column = width / len(scenes)
        flat = [0.77 * column * size[k] / size[0] for k in (2, 1)]
        heights = np.array([0.98 * column, flat[0], flat[1]])
        total = float(heights.sum()) + 2.35
        figure = Figure(figsize=(width, total))
        tops = total - 0.3 - np.array([0, heights[0] + 0.35, heights[0] + heights[1] + 1.0])
        bottoms = (tops - heights) / total
        for i, (title, one) in enumerate(scenes.items()):
            left, share = i / len(scenes), 1 / len(scenes)
            figure.text(left + share / 2, 1 - 0.22 / total, title, ha="center", weight="bold")
            tall = heights[0] / total
            place = (left - 0.175 * share, bottoms[0] - 0.14 * tall, 1.28 * share, 1.28 * tall)
            solid = figure.add_axes(place, projection="3d")
            assert isinstance(solid, Axes3D)
            _draw_solid(solid, one, limits, palette)
            for row, (h, v) in ((1, (0, 2)), (2, (0, 1))):
                place = (left + 0.19 * share, bottoms[row], 0.77 * share, heights[row] / total)
                _draw_flat(figure.add_axes(place), one, limits, palette, (h, v))
        handles = [
            Patch(facecolor=mpl.colors.to_rgba(color, 0.3), edgecolor=color, label=label)
            for label, color in palette.items()
        ]
        figure.legend(handles=handles, loc="lower center", ncols=min(6, len(handles)))
    return figure


def _palette(scenes: Collection[Scene]) -> dict[str, str]:
    """Strong colors for the instrument, quiet ones for what is hardly opaque."""
    boxes = [box for scene in scenes for box in scene.boxes]
    strong = list(dict.fromkeys(box.label for box in boxes if box.opacity >= QUIET))
    quiet = [x for x in dict.fromkeys(box.label for box in boxes) if x not in strong]
    colors = [*style.colors(len(strong)), *style.backdrop(len(quiet))]
    return dict(zip([*strong, *quiet], colors, strict=True))


def _edges(box: Box) -> np.ndarray:
    """Lowest and highest corner, as two rows [m]."""
    center, half = np.array(box.center), np.array(box.size) / 2
    return np.stack([center - half, center + half])


def _limits(scenes: Collection[Scene]) -> np.ndarray:
    """Lowest and highest corner of everything, with a margin [m]."""
    edges = [_edges(box) for scene in scenes for box in scene.boxes]
    if not edges:
        return np.array([[-0.5] * 3, [0.5] * 3])
    low, high = np.min(edges, axis=(0, 1)), np.max(edges, axis=(0, 1))
    margin = 0.04 * float((high - low).max())
    return np.stack([low - margin, high + margin])


def _draw_solid(axes: Axes3D, scene: Scene, limits: np.ndarray, palette: Mapping[str, str]) -> None:
    axes.computed_zorder = False
    axes.patch.set_visible(False)  # it reaches beyond its column: labels are clipped by it
    axes.set_proj_type("ortho")
    axes.view_init(ELEVATION, AZIMUTH)
    size = limits[1] - limits[0]
    axes.set_box_aspect(tuple(size / size.max()), zoom=0.74)
    for k, name in enumerate(AXES):
        getattr(axes, f"set_{name}lim")(*limits[:, k])
        axis = getattr(axes, f"{name}axis")
        axis.set_major_locator(_ticks((1, 4), size[k] / size.max()))
        axis.set_pane_color((1, 1, 1, 0))
        axis.set_tick_params(pad=-2, labelsize=7)
        getattr(axes, f"set_{name}label")(f"{name} [m]", labelpad=-3, fontsize=8)
    thin = THIN * float(size.max())
    for order, box in enumerate(_back_to_front(scene.boxes)):
        _draw_box(axes, box, palette[box.label], thin, 10 + 2 * order)


def _ticks(number: tuple[int, int], share: float) -> MaxNLocator:
    """Fewer ticks along an axis that is short beside the longest one: they would touch."""
    least, most = number
    return MaxNLocator(max(least, round(most * min(1.0, 2 * share))), min_n_ticks=least)


def _camera() -> np.ndarray:
    """Direction from the scene to the camera."""
    elevation, azimuth = np.radians([ELEVATION, AZIMUTH])
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def _draw_box(axes: Axes3D, box: Box, color: str, thin: float, zorder: int) -> None:
    """Faces toward the camera filled, their edges strong, the hidden edges faint."""
    edges = _edges(box)
    flat = [k for k in range(3) if box.size[k] < thin]
    fill = mpl.colors.to_rgba(color, box.opacity)
    if flat:
        faces = [_face(edges, flat[0], 1)]
    else:
        faces = [_face(edges, k, int(_camera()[k] > 0)) for k in range(3)]
        hidden = [_face(edges, k, int(_camera()[k] <= 0)) for k in range(3)]
        loops = [np.vstack([face, face[:1]]) for face in hidden]
        faint = mpl.colors.to_rgba(color, 0.35)
        axes.add_collection3d(Line3DCollection(loops, colors=faint, linewidths=0.6, zorder=zorder))
    drawn = Poly3DCollection(faces, facecolors=fill, edgecolors=color, linewidths=1.1)
    drawn.set_zorder(zorder + 1)
    axes.add_collection3d(drawn)


def _face(edges: np.ndarray, axis: int, side: int) -> np.ndarray:
    """The corners of one face, around it."""
    others = [k for k in range(3) if k != axis]
    corners = np.empty((4, 3))
    for row, (i, j) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
        corners[row, axis] = edges[side, axis]
        corners[row, others[0]] = edges[i, others[0]]
        corners[row, others[1]] = edges[j, others[1]]
    return corners


def _back_to_front(boxes: Sequence[Box]) -> list[Box]:
    """The boxes in an order in which each may be painted over those before it."""
    depth = [float(np.dot(box.center, _camera())) for box in boxes]
    waiting = sorted(range(len(boxes)), key=depth.__getitem__)
    if len(boxes) > CROWD:
        return [boxes[i] for i in waiting]
    edges = [_edges(box) for box in boxes]
    behind = {i: {j for j in waiting if j != i and _hides(edges[i], edges[j])} for i in waiting}
    order = []
    while waiting:
        free = (i for i in waiting if not behind[i].intersection(waiting))
        following = next(free, waiting[0])
        waiting.remove(following)
        order.append(boxes[following])
    return order


def _hides(front: np.ndarray, back: np.ndarray) -> bool:
    """Whether one box must be painted after another."""
    camera = _camera()
    before = (front[0] >= back[1]) & (camera > 0) | (front[1] <= back[0]) & (camera < 0)
    after = (back[0] >= front[1]) & (camera > 0) | (back[1] <= front[0]) & (camera < 0)
    if before.any() or after.any():
        return bool(before.any() and not after.any())
    inside = (back[0] >= front[0]).all() and (back[1] <= front[1]).all()
    return bool(inside and not np.array_equal(front, back))


def _draw_flat(
    axes: Axes,
    scene: Scene,
    limits: np.ndarray,
    palette: Mapping[str, str],
    view: tuple[int, int],
) -> None:
    """A projection along the axis that `view` leaves out."""
    h, v = view
    thin = THIN * float((limits[1] - limits[0]).max())
    counts = Counter(box.label for box in scene.boxes)
    for box in sorted(scene.boxes, key=lambda box: -box.size[h] * box.size[v]):
        color, corner = palette[box.label], _edges(box)[0]
        plate = min(box.size[h], box.size[v]) < thin
        patch = Rectangle(
            (corner[h], corner[v]),
            box.size[h],
            box.size[v],
            facecolor=mpl.colors.to_rgba(
                color, 1 - (1 - 0.6 * box.opacity) ** (1 / counts[box.label])
            ),
            edgecolor=mpl.colors.to_rgba(color, 0.9),
            linewidth=1.6 if plate else 1.0,
        )
        axes.add_patch(patch)
    axes.set_xlim(*limits[:, h])
    axes.set_ylim(*limits[:, v])
    axes.set_aspect("equal")
    size = limits[1] - limits[0]
    axes.xaxis.set_major_locator(_ticks((2, 5), size[h] / size.max()))
    axes.yaxis.set_major_locator(_ticks((2, 5), size[v] / size.max()))
    axes.set_xlabel(f"{AXES[h]} [m]", labelpad=1)
    axes.set_ylabel(f"{AXES[v]} [m]", labelpad=1)
    axes.set_title("from the side" if v == 2 else "from above", fontweight="normal", fontsize=8)
