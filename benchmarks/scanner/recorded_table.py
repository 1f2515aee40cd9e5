"""What the images of recorded muons must be, and what they are: rows of a table."""

import statistics
from typing import Any

from scanner import recorded_simulated

KINDS = ("poca", "asr", "bca")
SETTINGS = {  # of the peer: its defaults first, then its tutorials' and others that suit the sample
    "poca": ("poca", "poca_p", "poca_p70", "poca_p50", "poca_count"),
    "asr": ("asr", "asr_p", "asr_p75", "asr_p90", "asr_p_slow"),
    "bca": ("bca", "bca_p", "bca_p70", "bca_p20"),
}
OUR_SETTINGS = {  # of each part; the first are the defaults
    "poca": ("poca", "poca, angle"),
    "asr": ("asr", "asr, quantile 0.75", "asr, quantile 0.9"),
    "bca": ("bca",),
    "mlem": ("mlem",),
    "learned": ("learned",),
}
FASTER = 5.0
GRADIENT_ERROR = 0.05
SIGNIFICANT = 2.0  # standard errors
MEASURES = {"contrast_to_noise": 1, "centroid_error_mm": -1}  # sign of what is better


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, must be, measured, holds; against the best of the peer's settings for each object.

    At least equal means: not worse by more than two standard errors over resampled muons.
    """
    table = []
    for kind in KINDS:
        table += _against_peer(kind, result)
    images = {**result["ours"], **{f"muograph {k}": v for k, v in result["muograph"].items()}}
    for mine, others in (("mlem", "poca"), ("learned", "poca"), ("learned", "asr")):
        names = [name for name in images if others in name.split(",")[0]]
        for item in result["objects"]:
            value = images[mine]["contrast_to_noise"][item]
            bar = max(images[name]["contrast_to_noise"][item] for name in names)
            what = f"{mine}, {item}, contrast to noise"
            label = {"poca": "the best PoCA", "asr": "the best ASR"}[others]
            table.append((what, f"> {bar:.2f}, {label}", f"{value:.2f}", value > bar))
    for item in result["objects"]:
        told = [
            f"{images[name][measure][item]:.2f}"
            for measure in MEASURES
            for name in ("learned", "mlem")
        ]
        what = f"learned, {item}, beside mlem"
        text = f"contrast {told[0]} and {told[1]}, centroid {told[2]} and {told[3]} mm"
        table.append((what, "for comparison", text, True))
    for name, key in (("mlem", "gradient"), ("learned", "learned_gradient")):
        errors = [abs(e["exact"] / e["differences"] - 1) for e in result[key]]
        table.append(
            (
                f"{name}, derivative in the hits against differences, largest relative error",
                f"<= {GRADIENT_ERROR:g}",
                f"{max(errors):.1e}",
                max(errors) <= GRADIENT_ERROR,
            )
        )
    return table + recorded_simulated.rows(result["simulated"])


def _against_peer(kind: str, result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Rows of one kind of image: quality of the best settings, time of the defaults."""
    ours = {name: result["ours"][name] for name in OUR_SETTINGS[kind]}
    theirs = {k: result["muograph"][k] for k in SETTINGS[kind] if k in result["muograph"]}
    table = []
    for measure, sign in MEASURES.items():
        for item in result["objects"]:

            def score(
                entry: dict[str, Any], measure: str = measure, item: str = item, sign: int = sign
            ) -> float:
                return sign * entry[measure][item]

            name = max(ours, key=lambda one: score(ours[one]))
            rival = max(theirs, key=lambda one: score(theirs[one]))
            mine, bar = ours[name][measure][item], theirs[rival][measure][item]
            error = ours[name]["std_error"][measure][item]
            table.append(
                (
                    f"{name}, {item}, {measure.replace('_', ' ')}",
                    f"{'>=' if sign > 0 else '<='} {bar:.2f}, muograph's {rival}",
                    f"{mine:.2f} +- {error:.2f}",
                    sign * (mine - bar) >= -SIGNIFICANT * error,
                )
            )
    timed = result["timed"]["kinds"][kind]
    default, rival = OUR_SETTINGS[kind][0], SETTINGS[kind][0]
    for what, mine, other in (
        (f"{result['n_muons']:,} muons", ours[default]["cpu_s"], theirs[rival]["cpu_s"]),
        (
            f"{result['timed']['n_muons']:,} muons in {len(timed['ours'])} alternations",
            timed["ours"],
            timed["muograph"],
        ),
    ):
        spent, longer = statistics.median(mine), statistics.median(other)
        table.append(
            (
                f"{kind}, CPU time of muograph's default over ours, {what}",
                f">= {FASTER:g}",
                f"{longer / spent:.0f} ({spent:.2f} s)",
                longer / spent >= FASTER,
            )
        )
    return table
