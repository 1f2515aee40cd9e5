"""Which constraints the designs of a result break, and by how much."""

__all__ = ["broken", "broken_words", "doubtful_words"]

from collections.abc import Mapping, Sequence
from typing import Any


def broken(result: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """The constraints that a design breaks in the re-evaluation.

    Args:
        result: What `result.json` holds; an old one knows no constraints.
        name: Of the design.

    Returns:
        By how much (all above zero), in the constraint's own unit, by name; None where it is no
        finite number.
    """
    found = (result.get("constraints") or {}).get(name) or {}
    return {key: value for key, value in found.items() if value is None or value > 0}


def broken_words(result: Mapping[str, Any], name: str) -> str:
    """What `broken` says, in words; empty where the design keeps all constraints."""
    return " and ".join(
        f"the constraint “{key}” by "
        + ("no finite number" if value is None else f"{value:.4g}{_ends(result, name, key)}")
        for key, value in broken(result, name).items()
    )


def doubtful_words(result: Mapping[str, Any], name: str) -> str:
    """Constraints that a design keeps, but not at all values of their 95 % intervals, in words."""
    values = (result.get("constraints") or {}).get(name) or {}
    doubtful = {
        key: values[key]
        for key, (_, high) in _intervals(result, name).items()
        if high is not None and high > 0 and values.get(key) is not None and values[key] <= 0
    }
    return " and ".join(
        f"the constraint “{key}”, which must not be above 0 and is "
        f"{value:.4g}{_ends(result, name, key)}"
        for key, value in doubtful.items()
    )


def _intervals(result: Mapping[str, Any], name: str) -> Mapping[str, Sequence[float | None]]:
    return (result.get("constraint_intervals") or {}).get(name) or {}


def _ends(result: Mapping[str, Any], name: str, key: str) -> str:
    low, high = _intervals(result, name).get(key, (None, None))
    return "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
