"""What commands print: tables for people, or one JSON document."""

__all__ = [
    "compared",
    "counter",
    "created",
    "facts",
    "find_folder",
    "findings",
    "gradient_table",
    "listing",
    "result",
    "run_folder",
    "runs",
    "say",
    "shown",
    "tokens",
]

import contextlib
import json as json_module
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from detopt.cli.family import judged, print_artifacts, print_family, setting
from detopt.errors import DetoptError, NotFoundError
from detopt.runtime.constraints import broken_words, doubtful_words

if TYPE_CHECKING:
    from detopt.gradients import GradientCheck
    from detopt.testing import Finding

DEFAULT_RUNS = Path("runs")
NARROW = 14  # letters of a column that stay together
COLORS = {"agrees": "green", "biased": "red", "zero where it should not be": "red"}
ADVICE = {
    "biased": "Biased: if a smaller --step makes both agree, the differences were wrong. Otherwise "
    "look for hard cuts and draws that depend on the parameter, or take another --estimator.",
    "zero where it should not be": "Zero: the parameter is cut off from the graph, by `detach`, a "
    "comparison, or a conversion to numbers.",
    "dominated by noise": "Dominated by noise: more --events, or --extra repetitions of the "
    "estimator, tell more. A heavy tail needs another estimator.",
}


def say(text: str) -> None:
    """A line on standard error."""
    Console(stderr=True).print(text, highlight=False, soft_wrap=True, markup=False)


def _line(text: str) -> None:
    Console().print(text, highlight=False, soft_wrap=True, markup=False)


def document(data: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json_module.dumps(_plain(data), indent=2) + "\n")


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def find_folder(identifier: str) -> Path | None:
    """The folder of a run, by its path or by its name below `runs/`, if there is one."""
    folders = (Path(identifier), Path("runs") / identifier)
    return next((folder for folder in folders if folder.is_dir()), None)


def run_folder(identifier: str) -> Path:
    """The folder of a run, by its path or by its name below `runs/`."""
    folder = find_folder(identifier)
    if folder is not None:
        return folder
    known = [path.parent.name for path in sorted(_run_files(Path("runs")))]
    there = f"There are: {', '.join(known)}." if known else "There is none below `runs/`."
    raise NotFoundError(f"No run `{identifier}`. {there}")


def _run_files(folder: Path) -> list[Path]:
    """What says that a folder holds a run, of its own or in a shared store."""
    return [*folder.glob("*/study.sqlite"), *folder.glob("*/store.json")]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=escape(title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def facts(title: str, rows: Iterable[Sequence[str]]) -> None:
    """A table of names and values."""
    _table(title, ("", ""), [[escape(cell) for cell in row] for row in rows])


def listing(data: Mapping[str, list[dict[str, str]]], json: bool) -> None:
    """Use cases and methods."""
    if json:
        document(data)
        return
    for title, rows in data.items():
        _table(
            title.replace("_", " "), ("name", ""), [(row["name"], row["summary"]) for row in rows]
        )


def result(data: Mapping[str, Any], folder: Path, json: bool) -> None:
    """What a study found."""
    if json:
        document({**data, "folder": str(folder)})
        return
    rows = []
    for label, objective, price in judged(data):
        low, high = (_digits(objective[end]) for end in ("low", "high"))
        interval = f"[{low}, {high}]" if low and high else ""
        rows.append((escape(label), _digits(objective["value"]), interval, _digits(price)))
    _table(
        f"{data['objective_name']}, {data['evaluation_events']} fresh events",
        ("design", "objective", "95 % interval", "cost"),
        rows,
    )
    for name, why in data.get("failures", {}).items():
        _line(f"The simulation of the design `{name}` failed: {why}")
    for name in data.get("constraints", {}):
        if words := broken_words(data, name):
            _line(f"The design `{name}` breaks {words}.")
        if words := doubtful_words(data, name):
            _line(f"The events leave open whether the design `{name}` keeps {words}.")
    for name, why in data.get("without_interval", {}).items():
        _line(f"The design `{name}` has no interval: {why}")
    _line(f"Report: {folder / 'report.html'}")


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def compared(
    data: Mapping[str, Any],
    note: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    remarks: Iterable[str],
    json: bool,
) -> None:
    """How methods compare, and where tables and figures lie."""
    if json:
        document(data)
        return
    _line(note)
    lines = list(rows)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        longest = max(len(line[i]) for line in [columns, *lines])
        table.add_column(column, overflow="fold", min_width=min(longest, NARROW))
    for row in lines:
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)
    for remark in remarks:
        _line(remark)
    _line(f"Tables and figures: {data['folder']}")


def findings(items: "Iterable[Finding]", json: bool) -> "list[Finding]":
    """Findings of the conformance suite, as they come."""
    console = Console(stderr=json)
    kept = []
    for item in items:
        kept.append(item)
        mark = "[green]passed[/]" if item.passed else "[red]FAILED[/]"
        console.print(f"{mark}  {item.check}" + (f": {escape(item.detail)}" if item.detail else ""))
    if json:
        document([vars(item) for item in kept])
    return kept


def gradient_table(checks: "Sequence[GradientCheck]", json: bool) -> None:
    """The gradient check, a row a parameter."""
    if json:
        document([check.as_dict() for check in checks])
        return
    _table(
        "gradient per unit of theta",
        ("parameter", "estimate", "std error", "differences", "std error", "z", "verdict"),
        [
            (
                escape(check.name),
                f"{check.estimate:.4g}",
                f"{check.std_error:.1g}",
                f"{check.reference:.4g}",
                f"{check.reference_error:.1g}",
                f"{check.z:.1f}",
                f"[{COLORS.get(check.verdict, 'yellow')}]{check.verdict}[/]",
            )
            for check in checks
        ],
    )
    for verdict, advice in ADVICE.items():
        if any(check.verdict == verdict for check in checks):
            _line(advice)


@contextlib.contextmanager
def counter(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def created(path: Path, json: bool) -> None:
    """A file that was written."""
    if json:
        document({"path": str(path)})
    else:
        _line(f"Wrote {path}")


def shown(data: Mapping[str, Any], json: bool) -> None:
    """What a run is."""
    if json:
        document(data)
        return
    config = data["config"]
    _table(
        f"{data['study']}: {data['status']}",
        ("setting", ""),
        [
            ("folder", escape(data["folder"])),
            *((key, escape(setting(value))) for key, value in config.items()),
            ("rounds done", f"{data['rounds']} of {config['rounds']}"),
            *([("evaluations of other runs", str(data["shared"]))] if data["shared"] else []),
        ],
    )
    if data["result"] is not None:
        result(data["result"], Path(data["folder"]), json=False)
    print_artifacts(data["artifacts"])
    print_family(data["lineage"], data["study"])


def tokens(rows: Sequence[Mapping[str, Any]], json: bool) -> None:
    """Who has tokens of a run."""
    if json:
        document(list(rows))
        return
    _table(
        "tokens",
        ("digest", "note", "trust", "until", ""),
        [
            (
                str(row["digest"])[:12],
                escape(str(row["note"])),
                str(row["trust"]),
                datetime.fromtimestamp(float(row["expires"]), UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "revoked" if row["revoked"] else "",
            )
            for row in rows
        ],
    )


def runs(folder: Path, json: bool) -> None:
    """All runs below a folder."""
    from detopt.runtime import RunStore, load_result

    if not folder.is_dir() and folder != DEFAULT_RUNS:  # the usual one comes with the first run
        raise NotFoundError(f"There is no folder {folder}. Name the folder that holds the runs.")
    rows = []
    for path in sorted(_run_files(folder)):
        value = None
        try:
            with contextlib.closing(RunStore(path.parent)) as store:
                status, rounds = store.status, len(store.rounds())
            if status == "finished":
                value = load_result(path.parent)["objective"]["final"]["value"]
        except DetoptError:  # one bad folder is no reason to hide the others
            status, rounds = "damaged", 0
        rows.append(
            {"study": path.parent.name, "status": status, "rounds": rounds, "objective": value}
        )
    if json:
        document(rows)
        return
    _table(
        f"runs below {folder}",
        ("run", "status", "rounds", "objective"),
        [
            (
                escape(str(row["study"])),
                str(row["status"]),
                str(row["rounds"]),
                "" if row["objective"] is None else f"{row['objective']:.5g}",
            )
            for row in rows
        ],
    )
