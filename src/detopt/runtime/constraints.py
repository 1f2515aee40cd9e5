"""Which constraints the designs of a result break, and by how much."""

__all__ = ["broken", "broken_words"]

from collections.abc import Mapping
from typing import Any


def broken(result: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """The constraints that a design breaks in the re-evaluation.

    Args:
        result: What `result.json` holds; an old one knows no constraints.
        name: Of the design.

    Returns:
        By how much (all above zero), in the constraint's own unit, by name; None where that is no
        finite number.
    """
    found = (result.get("constraints") or {}).get(name) or {}
    return {key: value for key, value in found.items() if value is None or value > 0}


def broken_words(result: Mapping[str, Any], name: str) -> str:
    """What `broken` says, in words; empty where the design keeps all constraints."""
    return " and ".join(
        f"the constraint “{key}” " + ("by no finite number" if value is None else f"by {value:.4g}")
        for key, value in broken(result, name).items()
    )
