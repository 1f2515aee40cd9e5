"""`detopt physics`: a quantity of the physics library as a table, a document or a plot."""

__all__ = ["physics", "read_list"]

import difflib
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detopt.cli import output
from detopt.cli.options import Debug, Json
from detopt.errors import ConfigError, NotFoundError, UnitError
from detopt.units import parse

if TYPE_CHECKING:
    from detopt.cli.tables import Request, Table

N_POINTS = 25  # of a span such as "1 MeV to 1 GeV"
N_SMOOTH = 400  # of the lines in a plot
NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s;]*)\s*")
FORMATS = (".pdf", ".png", ".svg")
BASE_UNITS = {"energies": "GeV", "momenta": "GeV", "path": "m", "zenith": "rad"}


def physics(
    quantity: Annotated[
        str,
        typer.Argument(
            help="stopping-power, range, highland, radiation-length, shower-profile, muon-flux "
            "or attenuation"
        ),
    ],
    material: Annotated[
        str | None, typer.Option(help="Materials, such as 'Pb' or 'water, Fe'")
    ] = None,
    particle: Annotated[str | None, typer.Option(help="Name or PDG number")] = None,
    energies: Annotated[
        str | None, typer.Option(help="'10,50,100 MeV' or '1 MeV to 1 GeV'; kinetic for particles")
    ] = None,
    momenta: Annotated[str | None, typer.Option(help="Likewise, instead of energies")] = None,
    path: Annotated[str | None, typer.Option(help="Path lengths, such as '10 cm'")] = None,
    zenith: Annotated[str | None, typer.Option(help="Zenith angles, such as '0,30,60 deg'")] = None,
    model: Annotated[
        str | None, typer.Option(help="Of the muons: guan, shukla_sankrith or gaisser")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="File to draw: .png, .svg or .pdf")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --plot")] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Print or plot a quantity of the physics library, with its formula and source."""
    from detopt.cli.quantities import QUANTITIES, tabulate
    from detopt.cli.tables import Request

    if quantity not in QUANTITIES:
        near = difflib.get_close_matches(quantity, QUANTITIES, 1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise NotFoundError(f"No quantity `{quantity}`.{hint} There are: {', '.join(QUANTITIES)}.")
    taken = QUANTITIES[quantity].options
    texts = {"energies": energies, "momenta": momenta, "path": path, "zenith": zenith}
    given: dict[str, Any] = {
        name: read_list(text, BASE_UNITS[name], name)
        for name, text in texts.items()
        if text is not None
    }
    named = {"material": _names(material), "particle": particle, "model": model}
    given |= {name: value for name, value in named.items() if value is not None}
    for name in given:
        if name not in taken:
            takes = ", ".join(f"--{option}" for option in taken)
            raise ConfigError(f"`{quantity}` takes no --{name}. It takes: {takes}.")
    if plot is not None:
        _require_free(plot, force)

    request = Request(**given)
    table = tabulate(quantity, request)
    if plot is not None:
        dense = _dense(request, table)
        draw(table, table if dense is None else tabulate(quantity, dense), plot)
    if json:
        output.document(_document(quantity, table, plot))
    else:
        _print(table)
        if plot is not None:
            output.created(plot, json=False)


def read_list(text: str, unit: str, option: str) -> list[float]:
    """Numbers in `unit` from a list or a span of quantities.

    Args:
        text: ``"10, 50, 100 MeV"``, where the last unit goes for all that have none, or
            ``"1 MeV to 1 GeV"``, which is cut into 25 points, evenly in the logarithm unless one
            end is 0 or the quantity is an angle.
        unit: Base unit of the result.
        option: Name of the option, for messages.

    Raises:
        UnitError: A quantity does not parse, is negative, or has the wrong dimension.
    """
    span = re.split(r"\s+to\s+", text.strip())
    items = span if len(span) == 2 else text.split(",")
    found = [match for item in items if (match := NUMBER.fullmatch(item))]
    if len(span) > 2 or len(found) < len(items):
        raise UnitError(
            f"Cannot read --{option} {text!r}. Write it like '10, 20 {unit}' or '10 to 20 {unit}'."
        )
    values = [parse(f"{match[1]} {match[2] or found[-1][2]}".strip(), unit) for match in found]
    if min(values) < 0 or (unit == "GeV" and min(values) == 0):
        raise UnitError(f"--{option} must not hold negative or vanishing values, got {text!r}.")
    return _span(values[0], values[1], even=unit == "rad") if len(span) == 2 else values


def _span(low: float, high: float, even: bool) -> list[float]:
    if not low < high:
        raise UnitError(f"A span must increase, got {low:g} to {high:g} in base units.")
    shares = [i / (N_POINTS - 1) for i in range(N_POINTS)]
    if even or low == 0:
        return [low + share * (high - low) for share in shares]
    return [low, *(low * math.exp(s * math.log(high / low)) for s in shares[1:-1]), high]


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigError(f"Cannot read --material {text!r}. Write it like 'Pb' or 'water, Fe'.")
    return list(dict.fromkeys(names))


def _require_free(plot: Path, force: bool) -> None:
    if plot.suffix.lower() not in FORMATS:
        raise ConfigError(f"--plot must end in {', '.join(FORMATS)}, got {str(plot)!r}.")
    if not plot.parent.is_dir():
        raise ConfigError(f"The folder {str(plot.parent)!r} of --plot does not exist. Make it.")
    if plot.exists() and not force:
        raise ConfigError(f"{str(plot)!r} exists. Add --force to replace it.")


def _document(quantity: str, table: "Table", plot: Path | None) -> dict[str, Any]:
    columns = table.columns
    return {
        "quantity": quantity,
        "title": table.title,
        "unit": columns[table.quantity.value].unit,
        "value": table.quantity.value,
        "columns": [column.header for column in columns],
        "units": [column.unit for column in columns],
        "rows": [list(row) for row in zip(*(c.values for c in columns), strict=True)],
        "formula": table.quantity.formula,
        "source": table.quantity.source,
        "plot": None if plot is None else str(plot),
    }


def _print(table: "Table") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as Grid

    grid = Grid(title=escape(table.title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for i, column in enumerate(table.columns):
        unit = f"\n[{column.unit}]" if column.unit else ""
        grid.add_column(
            escape(column.name + unit), justify="right" if i else "left", overflow="fold"
        )
    for row in zip(*(column.values for column in table.columns), strict=True):
        grid.add_row(*(v if isinstance(v, str) else f"{v:.5g}" for v in row))
    console = Console()
    console.print(grid)
    beneath = f"{table.quantity.formula}   Source: {table.quantity.source}."
    console.print(beneath, highlight=False, soft_wrap=True, markup=False)


def _dense(request: "Request", table: "Table") -> "Request | None":
    """The same curves at many points, for the lines between those of the table."""
    if table.quantity.sweep is None:
        return None
    option, place = table.quantity.sweep
    values = table.columns[place].values
    low, high = min(values), max(values)
    if not low < high:
        return None
    shares = [i / N_SMOOTH for i in range(1, N_SMOOTH)]
    if table.quantity.logarithmic and low > 0:
        between = [low * math.exp(share * math.log(high / low)) for share in shares]
    else:
        between = [low + share * (high - low) for share in shares]
    others: dict[str, Any] = {"momenta": None} if option == "energies" else {}
    return replace(request, **{**others, option: sorted({low, *values, *between, high})})


def draw(table: "Table", smooth: "Table", path: Path) -> None:
    """Write the plot of a table: points, and lines of the same curves at many more."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from detopt.reports import style

    with style.look():
        figure = Figure(figsize=(5.6, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(table.title)
        if table.quantity.x == 0:
            _bars(axes, table)
        else:
            _curves(axes, table, smooth)
        figure.savefig(path, dpi=200)


def _bars(axes: Any, table: "Table") -> None:
    from detopt.reports import style

    names, column = table.columns[0].values, table.columns[table.quantity.y]
    places = range(len(names))
    axes.barh(places, column.values, color=style.FINAL, height=0.65)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlabel(_label(column.header))
    if style.log_if_wide(axes, column.values, "x"):
        axes.set_xlim(min(column.values) / 2, max(column.values) * 3)
    text = {"textcoords": "offset points", "va": "center", "fontsize": 7.5, "color": style.INK}
    for place, value in zip(places, column.values, strict=True):
        number = f"{value:.4g}" if value < 1e4 else f"{value:.0f}"
        axes.annotate(number, (value, place), (3, 0), **text)


def _curves(axes: Any, table: "Table", smooth: "Table") -> None:
    from detopt.reports import style

    x, y = table.columns[table.quantity.x], table.columns[table.quantity.y]
    points, lines = _by_curve(table), _by_curve(smooth)
    for (name, line), color in zip(lines.items(), style.colors(len(lines)), strict=True):
        (low, _), (high, _) = points[name][0], points[name][-1]
        within = [point for point in line if low <= point[0] <= high]
        axes.plot(*zip(*within, strict=True), color=color, label=name)
        if table is not smooth and len(points[name]) <= N_POINTS:
            axes.plot(*zip(*points[name], strict=True), "o", color=color, markersize=3.5)
    if table is smooth:
        for line in axes.lines:
            line.set_marker("o")
    axes.set_xlabel(_label(x.header))
    axes.set_ylabel(_label(y.header))
    if table.quantity.logarithmic:
        for column, axis, name in ((x, axes.xaxis, "x"), (y, axes.yaxis, "y")):
            if style.log_if_wide(axes, column.values, name):
                _powers(axis, column.values)
    else:
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    if len(lines) > 1 or table.columns[0].name != "material":
        axes.legend(title=table.columns[0].header)
    else:
        axes.set_title(f"{table.title} in {next(iter(lines))}")


def _by_curve(table: "Table") -> dict[str, list[tuple[float, float]]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    x, y = table.columns[table.quantity.x].values, table.columns[table.quantity.y].values
    for name, *point in zip(table.columns[0].values, x, y, strict=True):
        curves.setdefault(name, []).append((point[0], point[1]))
    return {name: sorted(points) for name, points in curves.items()}


def _powers(axis: Any, values: list[float]) -> None:
    """Powers of ten on an axis whose numbers would be long."""
    from matplotlib.ticker import LogFormatterMathtext, LogLocator

    if max(values) >= 1e5 or 0 < min(values) < 1e-3:
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_major_formatter(LogFormatterMathtext())


def _label(header: str) -> str:
    """A header as matplotlib sets it: raised exponents, lowered indices."""
    raised = re.sub(r"(?<=[a-z])([23])\b", r"$^\1$", header)
    return re.sub(r"\bX0\b", r"$X_0$", raised)
