"""Inference: what must hold, and what was measured; prints a table, writes JSON and Markdown.

    python benchmarks/inference.py                        all parts, about half an hour
    python benchmarks/inference.py --only gamma profile   some; the others stay as they are
    python benchmarks/inference.py --quick                small versions, written nowhere
    python benchmarks/inference.py --only design --stored     compare what a part measured before

Each part is a module of `inference_parts` with `run(quick)`, which measures, and `rows(result)`,
which compares. Times are CPU times of one thread.
"""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before torch is imported

import torch

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results" / "inference.json"
PARTS = {  # what the user types: module
    "inferno": "inferno",
    "profile": "profile_likelihood",
    "gradient": "detached",
    "gamma": "gamma",
    "design": "counting",
    "pairs": "tau_pairs",
}
Row = tuple[str, str, str, bool]
INTRODUCTION = """# Inference: what must hold, and what was measured

`python benchmarks/inference.py` makes this file. Times are CPU times of one thread; the cores were
shared with other work, which makes them longer than on a quiet machine. `profile`, `gradient` and
`gamma` were measured by that command. Runs of `inferno` (one to ten seeds a variant), `design` and
`pairs` (five seeds each, paired, at equal compute) take long: they were made by their modules in
`benchmarks/inference_parts` and are kept, seed by seed, in `inferno.json`,
`counting_experiment.json` and `tau_pairs.json`; the option `--stored` compares them here. A row
that says "no" is a shortfall.
"""


def main() -> int:
    """Run the chosen parts; the exit status says whether all their rows hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small versions, written nowhere")
    parser.add_argument("--stored", action="store_true", help="measure nothing again")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(FOLDER))
    tables: dict[str, list[Row]] = {}
    for part in chosen.only:
        module = importlib.import_module(f"inference_parts.{PARTS[part]}")
        if chosen.stored and not hasattr(module, "RESULTS"):
            parser.error(f"`{part}` stores its rows alone: leave `--stored` out")
        stored = chosen.stored and json.loads(module.RESULTS.read_text())
        tables[part] = [tuple(row) for row in module.rows(stored or module.run(chosen.quick))]
        print(markdown({part: tables[part]}), flush=True)
    if not chosen.quick:
        store(tables)
    return 0 if all(row[-1] for table in tables.values() for row in table) else 1


def store(tables: dict[str, list[Row]]) -> None:
    """Replace the parts that were measured, and write the whole table."""
    known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known |= {part: [list(row) for row in table] for part, table in tables.items()}
    ordered = {part: known[part] for part in PARTS if part in known}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(f"{INTRODUCTION}\n{markdown(ordered)}")


def markdown(tables: dict[str, Any]) -> str:
    """One table for each part."""
    blocks = []
    for part, table in tables.items():
        lines = [f"## {part}", "", "| what | must be | measured | holds |", "|---|---|---|---|"]
        lines += [f"| {a} | {b} | {c} | {'yes' if holds else 'no'} |" for a, b, c, holds in table]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


if __name__ == "__main__":
    sys.exit(main())
