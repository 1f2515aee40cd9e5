"""How figures look: one palette safe for color-blind readers, plain axes, and SVG for a page."""

__all__ = [
    "BASELINE",
    "FINAL",
    "INK",
    "MUTED",
    "START",
    "band",
    "colors",
    "log_if_wide",
    "look",
    "svg",
]

import contextlib
import html
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito, https://jfly.uni-koeln.de/color, without the yellow that white paper swallows
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, INK, MUTED = "#CC79A7", "#56B4E9", "#222222", "#767676"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK, "#8C6D1F")
BACKDROP = ("#6E7781", ORANGE, "#8C6D1F", "#7F9C96", "#A58AA8")
START, FINAL, BASELINE = MUTED, BLUE, VERMILION

WIDE = 5.0  # ratio of largest to smallest above which an axis is logarithmic
FAMILY = "DejaVu Sans"
STACK = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"

LOOK: dict[Any, Any] = {
    "font.family": FAMILY,
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9A9A9A",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.5,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
    "svg.fonttype": "none",
    "svg.hashsalt": "detopt",
    "text.usetex": False,
}


@contextlib.contextmanager
def look() -> Iterator[None]:
    """Within this context figures look like the report's; the user's own settings come back."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(LOOK)
        yield


def colors(n: int) -> list[str]:
    """`n` colors: the palette while it lasts, a dark-to-light scale beyond."""
    return _take(PALETTE, n)


def backdrop(n: int) -> list[str]:
    """`n` quiet colors for what stands behind."""
    return _take(BACKDROP, n)


def _take(palette: Sequence[str], n: int) -> list[str]:
    if n <= len(palette):
        return list(palette[:n])
    scale = mpl.colormaps["viridis"](np.linspace(0, 0.9, n))
    return [mpl.colors.to_hex(color) for color in scale]


def band(
    axes: Axes,
    x: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    color: str,
    alpha: float = 0.18,
) -> None:
    """A translucent band."""
    axes.fill_between(x, low, high, color=color, alpha=alpha, linewidth=0)


def log_if_wide(axes: Axes, values: Sequence[float], axis: str = "y") -> bool:
    """Make an axis logarithmic, with plain numbers, where positive values span a factor of 5."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite or min(finite) <= 0 or max(finite) / min(finite) < WIDE:
        return False
    (axes.set_yscale if axis == "y" else axes.set_xscale)("log")
    target = axes.yaxis if axis == "y" else axes.xaxis
    decades = np.log10(max(finite) / min(finite))
    subs = (1.0, 2.0, 5.0) if decades < 3 else (1.0,)
    target.set_major_locator(LogLocator(subs=subs, numticks=12))
    target.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    target.set_minor_formatter(NullFormatter())
    return True


def svg(figure: Figure, alt: str, key: str) -> str:
    """The figure as an inline SVG element without width, so that it fits its column.

    Args:
        figure: What to draw.
        alt: What a reader would see, in words.
        key: Makes the ids of this figure differ from those of others on the page.
    """
    buffer = io.StringIO()
    with look():
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=none)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\n\s*", "\n", text)
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'href="#', f'href="#{key}-', text)
    text = re.sub(r"url\(#", f"url(#{key}-", text)
    text = re.sub(rf"'{FAMILY}'[^;\"]*", STACK, text)
    head, _, body = text.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head.removeprefix("<svg"))
    label = html.escape(alt, quote=True)
    return f'<svg role="img" aria-label="{label}" class="figure"{head}>{body}'
