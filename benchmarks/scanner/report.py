"""The table of bars, and the page of results."""

import math
from collections.abc import Callable
from typing import Any

Row = tuple[str, str, str, bool]  # what, measured, bar, met
INTRODUCTION = """# Muon scanner: measured against its bars

Written by `benchmarks/muon_scanner.py`; all numbers are in `muon_scanner.json`.

"""


def rows(results: dict[str, Any]) -> list[Row]:
    """The bars of all rows that were measured."""
    found: list[Row] = []
    for name, function in TABLE.items():
        if name in results:
            found += function(results[name])
    for name, result in results.items():
        for what, bar, measured, met in result.get("table", []):
            found.append((f"{name}: {what}", measured, bar, met))
    return found


def table(results: dict[str, Any]) -> str:
    """The bars as a table in Markdown."""
    lines = ["| what | measured | bar | met |", "| --- | --- | --- | --- |"]
    for what, measured, bar, met in rows(results):
        lines.append(f"| {what} | {measured} | {bar} | {'yes' if met else 'NO'} |")
    return "\n".join(lines)


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    parts = [INTRODUCTION + table(results) + "\n", _machines(results)]
    parts += [function(results[name]) for name, function in SECTIONS.items() if name in results]
    return "\n".join(part.strip() + "\n" for part in parts)


def _speed(row: dict[str, Any]) -> list[Row]:
    theirs = row["peer"]["us_per_muon"]["median"]
    found = []
    for entry in row["ours"]:
        n = entry["volumes_in_graph"]
        graph = "one volume of 1,000 muons" if n == 1 else f"{n} volumes of 1,000 muons in a graph"
        us = entry["us_per_muon"]["median"]
        text = f"{us:.1f} us of CPU a muon, peer {theirs:.0f}: {entry['ratio']:.0f} x less"
        name = f"step of `std250`, {entry['physics']} physics, {graph}"
        found.append((name, text, "300 x (aim 1,000 x)", entry["ratio"] >= 300))
    return found


def _memory(row: dict[str, Any]) -> list[Row]:
    peak = row["batch"]["peak_mib"]
    scaling = row["scaling"]
    forward = ", ".join(f"{e['forward_us_per_muon']:.2f}" for e in scaling)
    gradient = ", ".join(f"{e['us_per_muon']:.2f}" for e in scaling)
    muons = ", ".join(f"{e['muons']:.0e}" for e in scaling)
    found = [
        ("10,000 muons in a batch, peak above import", f"{peak:.0f} MiB", "1 GiB", peak < 1024),
        (
            f"time linear in muons ({muons}), evaluation",
            f"{forward} us a muon",
            "equal within 20 %",
            row["spread_forward"] <= 0.2,
        ),
        (
            "the same with gradient (graphs kept up to 64,000, events up to 128,000)",
            f"{gradient} us a muon",
            "equal within 20 % where events are drawn twice",
            row["spread_gradient"] <= 0.2,
        ),
    ]
    for name, entry in row["voxels"].items():
        what = f"20x20x20 against 10x10x6 voxels, {name} in a graph"
        found.append((what, f"{entry['ratio']:.2f} x the time", "4 x", entry["ratio"] <= 4))
    return found


def _gradients(row: dict[str, Any]) -> list[Row]:
    return [
        (
            f"gradients, `{case['task']}`, {case['budget']} budget",
            f"{case['within']} of {case['parameters']} parameters within; "
            f"{case['verdicts'].get('dominated by noise', 0)} of them too noisy to tell more",
            "all within 5 % or 3 standard errors",
            case["within"] == case["parameters"],
        )
        for case in row["cases"]
    ]


def _scattering(row: dict[str, Any]) -> list[Row]:
    spread, difference = row["largest_spread"], row["largest_difference_to_highland"]
    return [
        ("rms angle for 1, 10, 100 steps", f"{100 * spread:.2f} % apart", "1 %", spread <= 0.01),
        ("rms angle against Highland", f"{100 * difference:.2f} %", "2 %", difference <= 0.02),
    ]


def _verdict(row: dict[str, Any]) -> list[Row]:
    error = row["error_m"]
    found = []
    for key, what, bar in (
        ("final_over_baseline", "better baseline", 0.95),
        ("final_over_cma", "best of CMA-ES", 1.03),
    ):
        if not row[key]:
            continue
        best, ratios = row[key]["best"], row[key]["ratios"]
        other = error[best]
        for name, ratio in ratios.items():
            mine = error[name]
            met = ratio["value"] <= bar
            if key == "final_over_baseline":
                met = met and mine["high"] < other["low"]
            text = (
                f"{1e3 * mine['value']:.2f} [{1e3 * mine['low']:.2f}, {1e3 * mine['high']:.2f}] mm "
                f"against {1e3 * other['value']:.2f} [{1e3 * other['low']:.2f}, "
                f"{1e3 * other['high']:.2f}]: {ratio['value']:.3f} "
                f"[{ratio['low']:.3f}, {ratio['high']:.3f}]"
            )
            seed = name.removeprefix("final ")
            found.append((f"ladle, seed {seed} over {what} ({best})", text, f"{bar}", met))
    return found


def _same_bits(row: dict[str, Any]) -> list[Row]:
    found = []
    for what in ("again", "two workers", "killed and resumed"):
        same = all(row[size][what] for size in ("few chunks", "many chunks"))
        found.append((f"same bits: {what}", "equal" if same else "different", "equal", same))
    return found


def _imports(row: dict[str, Any]) -> list[Row]:
    return [
        (
            f"import of `{name}` over torch",
            f"{cpu:.2f} s of CPU ({row['added_wall_s'][name]:.2f} s of wall time, cores shared)",
            "1.5 s",
            cpu <= 1.5,
        )
        for name, cpu in row["added_cpu_s"].items()
    ]


def _bad_input(row: dict[str, Any]) -> list[Row]:
    n = len(row["cases"])
    text = f"{row['passed']} of {n} cases"
    return [("bad input: one line, exit code 2, nothing written", text, "all", row["passed"] == n)]


def _machines(results: dict[str, Any]) -> str:
    machines = {str(row["machine"]): row["machine"] for row in results.values() if "machine" in row}
    lines = ["## Machine", ""]
    for one in machines.values():
        names = [n for n, row in results.items() if row.get("machine") == one]
        facts = ", ".join(f"{key} {value}" for key, value in one.items())
        lines.append(f"- {', '.join(names)}: {facts}")
    lines += ["", "One thread; CPU time. The cores are shared with other work."]
    return "\n".join(lines)


def _speed_section(row: dict[str, Any]) -> str:
    peer = row["peer"]
    lines = [
        "## Speed",
        "",
        f"TomOpt {peer['version']} (torch {peer['torch']}, Python {peer['python']}), configuration "
        f"`std250`, in {row['alternations']} alternations with detopt in one run; medians.",
        "",
        "What differs in the physics. TomOpt applies Highland's logarithm to each step of 1 cm, "
        "without beta, energy loss or absorption; detopt takes the logarithm of the whole path, so "
        "that one exact step a layer of voxels is enough, looks up the material at 4 points of it, "
        "and loses energy. *Peer's physics* is detopt with steps of 1 cm, one look-up a step and "
        "no energy loss. TomOpt's panels have sigmoid edges 0.5 wide and a hit of every muon, "
        "detopt's have edges of 5 cm. TomOpt takes the squared error of the radiation length, "
        "detopt the error of its logarithm after a linear correction. detopt's time holds the "
        "making of the volume, TomOpt's does not; TomOpt goes in batches of 250 muons, its best.",
        "",
        "Where detopt's time goes (share of the time inside operators; our physics):",
    ]
    for name, entry in row["profile"].items():
        top = ", ".join(f"{e['operator']} {100 * e['share']:.0f} %" for e in entry["top"][:8])
        lines += ["", f"- {name}, {entry['operator_calls']} calls a step: {top}"]
    lines += [
        "",
        "With one volume of 1,000 muons the limit is the cost of calling some thousand operators "
        "(1 to 3 us each, and about 9 us for each step of the way back), whatever they do. With 16 "
        "volumes it is the passes over memory of elementwise operators, and erf, exp and the "
        "normal random numbers.",
    ]
    return "\n".join(lines)


def _gradient_section(row: dict[str, Any]) -> str:
    lines = [
        "## Gradients",
        "",
        f"float64, {row['repeats']} repetitions of {row['scans']} scans with common random "
        "numbers, at a point displaced from the bad start. Worst z of each array, and the relative "
        "difference of its gradient as a vector (a large z with a tiny difference is the error of "
        "the central difference itself):",
        "",
        "| task, budget | parameter | largest z | relative difference |",
        "| --- | --- | --- | --- |",
    ]
    for case in row["cases"]:
        for name, group in case["groups"].items():
            z, relative = group["largest_z"], group["relative_difference"]
            lines.append(
                f"| {case['task']}, {case['budget']} | {name} | {z:.1f} | {100 * relative:.2g} % |"
            )
    return "\n".join(lines)


def _scattering_section(row: dict[str, Any]) -> str:
    lines = [
        "## Scattering",
        "",
        f"10 cm, vertical muons, energy loss off, {row['muons']} muons, rms plane angle in mrad:",
        "",
        "| material | GeV/c | 1 step | 10 | 100 | Highland |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in row["rows"]:
        numbers = (*one["rms_mrad"].values(), one["highland_mrad"])
        angles = " | ".join(f"{angle:.3f}" for angle in numbers)
        lines.append(f"| {one['material']} | {one['momentum_gev']:g} | {angles} |")
    return "\n".join(lines)


def _ladle_section(row: dict[str, Any]) -> str:
    lines = [
        "## Ladle",
        "",
        "Studies with the recommended settings from the bad start, without the re-evaluation:",
        "",
        "| seed | rounds | evaluations | CPU s | wall s | own verdict over the better baseline |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for seed, one in sorted(row["studies"].items(), key=lambda item: int(item[0])):
        ratio = one["ratio"]
        interval = f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
        lines.append(
            f"| {seed} | {one['rounds']} | {one['evaluations']} | {one['cpu_s']:.0f} | "
            f"{one['wall_s']:.0f} | {interval} |"
        )
    return "\n".join(lines)


def _search_section(row: dict[str, Any]) -> str:
    lines = ["CMA-ES on the hard-edged simulation:", ""]
    for one in row["searches"].values():
        note = f" {one['note']}" if one.get("note") else ""
        lines.append(
            f"- from the start `{one['start']}`: {one['evaluations']} evaluations of "
            f"{one['scans']} scans, {one['cpu_s']:.0f} s of CPU.{note}"
        )
    return "\n".join(lines)


def _verdict_section(row: dict[str, Any]) -> str:
    lines = [
        f"Hard-edged error of the fill height on the same {row['volumes']} fresh volumes:",
        "",
        "| design | error [mm] | 95 % interval | cost |",
        "| --- | --- | --- | --- |",
    ]
    for name, error in row["error_m"].items():
        value, low, high = (1e3 * error[key] for key in ("value", "low", "high"))
        if math.isfinite(value):
            lines.append(
                f"| {name} | {value:.2f} | {low:.2f} to {high:.2f} | {row['cost'][name]:.3f} |"
            )
    return "\n".join(lines)


def _bad_input_section(row: dict[str, Any]) -> str:
    lines = ["## Bad input", ""]
    lines += [
        f"- {case['case']} ({'passed' if case['passed'] else 'FAILED'}, exit code "
        f"{case['exit_code']}): {case['message']}"
        for case in row["cases"]
    ]
    return "\n".join(lines)


TABLE: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "speed": _speed,
    "memory": _memory,
    "gradients": _gradients,
    "scattering": _scattering,
    "verdict": _verdict,
    "same_bits": _same_bits,
    "import_time": _imports,
    "bad_input": _bad_input,
}
SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "speed": _speed_section,
    "gradients": _gradient_section,
    "scattering": _scattering_section,
    "ladle": _ladle_section,
    "cma": _search_section,
    "verdict": _verdict_section,
    "bad_input": _bad_input_section,
}
