"""Black-box methods: what must hold, and what was measured; prints a table, writes JSON.

    python benchmarks/black_box.py                        all parts, about half an hour
    python benchmarks/black_box.py --only suite branching  some; the others stay as they are
    python benchmarks/black_box.py --quick                small versions, written nowhere

Each part is a module of `black_box_parts` with `run(quick)`, which measures, and `rows(result)`,
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
RESULTS = FOLDER / "results" / "black_box.json"
PARTS = {  # what the user types: module
    "suite": "shirobokov",
    "branching": "branching",
    "placement": "placement",
    "tracker": "tracker",
    "lgso": "lgso",
}
Row = tuple[str, str, str, bool]


def main() -> int:
    """Run the chosen parts; the exit status says whether all their rows hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small versions, written nowhere")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(FOLDER))
    tables: dict[str, list[Row]] = {}
    for part in chosen.only:
        module = importlib.import_module(f"black_box_parts.{PARTS[part]}")
        tables[part] = [tuple(row) for row in module.rows(module.run(chosen.quick))]
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
    RESULTS.with_suffix(".md").write_text(markdown(ordered) + "\n")


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
