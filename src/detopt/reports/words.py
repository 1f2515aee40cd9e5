"""Numbers and verdicts in plain words."""

__all__ = ["Verdict", "duration", "interval", "number", "unit_of", "verdict"]

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detopt.runtime.constraints import broken_words, doubtful_words

LARGE = 1e7  # from here on numbers are written with a power of ten
SAME = 1e-6  # relative difference of costs that counts as none


@dataclass(frozen=True)
class Verdict:
    """What came out.

    Args:
        kind: `better`, `worse`, `undecided`, `forbidden` (it breaks a constraint) or `unfinished`.
        sentence: In one sentence.
        remark: What else must be said.
    """

    kind: str
    sentence: str
    remark: str = ""


def number(value: float | None, digits: int = 4) -> str:
    """A number with `digits` significant digits."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}g}"
    if "e+" in text and abs(value) < LARGE:
        text = f"{float(text):.0f}"
    elif "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def interval(data: Mapping[str, float | None], unit: str = "") -> str:
    """`value unit [low, high]`, as precise as the interval is wide."""
    value, low, high = (data.get(key) for key in ("value", "low", "high"))
    gap = f" {unit}" if unit else ""
    if value is None or low is None or high is None or not high > low:
        return f"{number(value)}{gap}"
    decimals = max(0, math.ceil(-math.log10((high - low) / 8)))
    if decimals > 6:
        return f"{number(value)}{gap} [{number(low)}, {number(high)}]"
    a, b, c = (f"{x:.{decimals}f}".replace("-", "−") for x in (value, low, high))
    return f"{a}{gap} [{b}, {c}]"


def unit_of(name: str) -> tuple[str, str]:
    """Name and unit of `name [unit]`."""
    match = re.fullmatch(r"(.*?)\s*\[([^\]]*)\]", name)
    return (match[1], match[2]) if match else (name, "")


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.3g} min" if minutes < 120 else f"{minutes / 60:.3g} h"


def verdict(result: Mapping[str, Any] | None, n_rounds: int, status: str) -> Verdict:
    """What a run says about its final design, honestly."""
    if result is None:
        return Verdict(
            "unfinished",
            f"This run is not finished (status: {status}): {n_rounds} rounds so far, and no "
            "independent re-evaluation yet.",
            "The curves show the optimizer's own noisy estimates. They are no verdict.",
        )
    best = result.get("best_baseline")
    key = "start" if best is None else "baseline"
    why = result.get("failures", {}).get("final")
    if why is not None:
        return Verdict(
            "undecided",
            f"The simulation of the optimized design failed in the re-evaluation: {why}",
            "Nothing can be said about this design.",
        )
    objective, unit = result["objective"], unit_of(result["objective_name"])[1]
    other = "of the start" if best is None else f"of the best baseline “{best}”"
    final, base = objective["final"], objective[key]
    kind, ratio = _compare(result, final, base)
    sentence = (
        f"The optimized design reaches {interval(final, unit)} against {interval(base, unit)} "
        f"{other}{_cost_words(result['cost'], key)}{ratio}"
    )
    endings = {
        "better": ".",
        "worse": ". It is worse.",
        "undecided": ". At 95 % confidence neither is better.",
    }
    remark = (
        "" if best is None else f"The search started from {interval(objective['start'], unit)}."
    )
    breaks = broken_words(result, "final")
    if breaks:
        return Verdict("forbidden", f"{sentence}. But it breaks {breaks}: it is no answer.", remark)
    breaks = broken_words(result, "start" if best is None else best)
    also = f" Beware: {other.removeprefix('of ')} breaks {breaks}." if breaks else ""
    if doubt := doubtful_words(result, "final"):
        also += f" The fresh events leave open whether it keeps {doubt}."
    return Verdict(kind, sentence + endings[kind] + also, remark)


def _compare(
    result: Mapping[str, Any], final: Mapping[str, Any], base: Mapping[str, Any]
) -> tuple[str, str]:
    """Better, worse or undecided: by the paired ratio where it has a sense, or by intervals."""
    if None in (*final.values(), *base.values()):
        return "undecided", ""
    ratio = result.get("ratio")
    positive = min(final["low"], base["low"]) > 0
    if ratio and positive and None not in ratio.values():
        kind = "better" if ratio["high"] < 1 else "worse" if ratio["low"] > 1 else "undecided"
        return kind, f": ratio {interval(ratio)}"
    if final["high"] < base["low"]:
        return "better", ""
    return ("worse" if final["low"] > base["high"] else "undecided"), ""


def _cost_words(cost: Mapping[str, float | None], key: str) -> str:
    mine, other = cost.get("final"), cost.get(key)
    if mine is None or other is None:
        return ""
    if abs(mine - other) <= SAME * max(abs(mine), abs(other)):
        return " at equal cost"
    return f", at a cost of {number(mine)} against {number(other)}"
