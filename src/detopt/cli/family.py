"""What the commands print of the relatives of a run."""

__all__ = [
    "describe",
    "differences",
    "judged",
    "print_artifacts",
    "print_family",
    "setting",
    "tree",
]

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

SHORT = 12  # letters of a digest
MERGE = "merge"  # what the method of a merge is called


def print_family(data: Mapping[str, Any], own: str) -> None:
    """A tree of runs, each with its design, what it freed, and its objective."""
    if data["parent"] is None and not data["children"]:
        return
    console = Console()
    console.print("lineage", style="italic")
    for line in tree(data, own):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def tree(data: Mapping[str, Any], own: str) -> list[str]:
    """A line for each run, its children below it; the run itself has a mark."""
    mark = " <- this run" if data["run"] == own else ""
    lines = [", ".join([data["run"], *describe(data)]) + mark]
    for i, child in enumerate(data["children"]):
        last = i == len(data["children"]) - 1
        first, *others = tree(child, own)
        lines.append(("└── " if last else "├── ") + first)
        lines += [("    " if last else "│   ") + line for line in others]
    return lines


def describe(one: Mapping[str, Any]) -> list[str]:
    """What is known of a run, in a few words each."""
    words = [one["change"]] if one["change"] else []
    if one["objective"] is not None and one["objective"]["value"] is not None:
        words.append(f"objective {interval(one['objective'])}")
    if one["design"] is not None:
        words.append(f"design {one['design'][:SHORT]}")
    if one["status"] != "finished":
        words.append(one["status"])
    if one["created"] is not None:
        words.append(datetime.fromtimestamp(one["created"], UTC).strftime("%Y-%m-%d %H:%M UTC"))
    words += [f"on {' and '.join(one['machines'])}"] if one["machines"] else []
    return words


def interval(numbers: Mapping[str, float | None]) -> str:
    """A number with its 95 % interval."""
    value, low, high = (numbers[key] for key in ("value", "low", "high"))
    if value is None:
        return "unknown"
    return f"{value:.5g}" + ("" if low is None or high is None else f" [{low:.5g}, {high:.5g}]")


def print_artifacts(rows: Sequence[Mapping[str, Any]]) -> None:
    """What runs keep, by digest."""
    if not rows:
        return
    console = Console()
    widths = [max(len(row[key]) for row in rows) for key in ("run", "name")]
    console.print("artifacts", style="italic")
    for row in rows:
        size = "" if row["size"] is None else f"  {row['size']} bytes"
        line = f"{row['run']:{widths[0]}}  {row['name']:{widths[1]}}  {row['digest']}{size}"
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def setting(value: Any) -> str:
    """A setting of a study, without the numbers of designs."""
    if isinstance(value, Mapping) and {"run", "digest"} <= value.keys():
        return f"{value['run']}, design {value['digest'][:SHORT]}"
    if isinstance(value, list):
        return f"[{', '.join(setting(x) if isinstance(x, Mapping) else repr(x) for x in value)}]"
    return str(value)


def judged(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], float | None]]:
    """The designs of a result with objective and cost: all of a merge, else the best baseline."""
    merges = data["method"] == MERGE
    labels = {"start": "parent", "final": "merged"} if merges else {}
    for name in ("start", "baseline", "final"):
        if name == "baseline" and merges:
            for other, one in data["baselines"].items():
                yield other, one["objective"], one["cost"]
        elif data["objective"][name] is not None:
            label = f"baseline ({data['best_baseline']})" if name == "baseline" else name
            yield labels.get(name, label), data["objective"][name], data["cost"][name]


def differences(found: Mapping[str, Mapping[str, float | None]], breaks: str = "") -> list[str]:
    """Whether a merged design is better than each other one, a line each.

    Args:
        found: Merged minus other, by the other's name.
        breaks: The constraints that the merged design breaks, in words; it is not better then.
    """
    lines = []
    for name, one in found.items():
        label = "the parent" if name == "start" else name
        low, high = one["low"], one["high"]
        if low is None or high is None:
            lines.append(f"merged - {label}: unknown, a simulation failed")
            continue
        better = f"lower, but it breaks {breaks}" if breaks else "better"
        said = better if high < 0 else "worse" if low > 0 else "no difference is shown"
        lines.append(f"merged - {label}: {interval(one)}, {said}")
    return lines
