"""Measure the muon scanner against its bars; prints a table, writes JSON and a page.

    python benchmarks/muon_scanner.py                      all rows, about 3 hours of one core
    python benchmarks/muon_scanner.py --only speed memory  some rows; the others stay as they are
    python benchmarks/muon_scanner.py --quick              small versions of all, written nowhere

The row `speed` needs the peer's environment, see `benchmarks/peers/README.md`, and its Python as
`--peer /tmp/peers/tomopt/bin/python`; without it the row is refused.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

from scanner import (
    bad_input,
    gradients,
    imports,
    ladle,
    memory,
    reproducible,
    scattering,
    search,
    speed,
)
from scanner.common import BENCHMARKS, Setting, machine
from scanner.report import page, table

ROWS = {
    "speed": speed.run,
    "memory": memory.run,
    "gradients": gradients.run,
    "scattering": scattering.run,
    "ladle": ladle.run,
    "cma": search.run,
    "same_bits": reproducible.run,
    "import_time": imports.run,
    "bad_input": bad_input.run,
}
LAST = "verdict"  # needs the rows ladle and cma
PARTS = (  # modules of `scanner` with `run(quick)` and `rows(result)`
    "portal",
    "recorded",
    "momentum",
    "industry",
    "absorption",
    "arrangement",
    "realism",
)
RESULTS = BENCHMARKS / "results" / "muon_scanner.json"


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    torch.set_num_threads(1)
    setting = Setting(
        quick=arguments.quick,
        scratch=arguments.scratch.resolve(),
        peer=arguments.peer,
        starts=tuple(arguments.starts),
        seeds=tuple(arguments.seeds),
    )
    setting.scratch.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for name in arguments.only or (*ROWS, LAST, *PARTS):
        if name in PARTS:
            row = _part(name, setting.quick)
        elif name == LAST:
            known = results if setting.quick else _read(arguments.out)
            row = ladle.judge(setting, known)
        else:
            row = ROWS[name](setting)
        row["machine"] = machine()
        results[name] = _merged(results.get(name, {}), row)
        if not setting.quick:
            results = _write(arguments.out, {name: row})
    json.dump(results, sys.stdout, indent=1)
    sys.stdout.write("\n\n" + table(results) + "\n")
    return 0


def _part(name: str, quick: bool) -> dict[str, Any]:
    """A part's numbers, and its rows: what, must be, measured, holds."""
    module = importlib.import_module(f"scanner.{name}")
    result = module.run(quick)
    return {"result": result, "table": [list(row) for row in module.rows(result)]}


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the muon scanner against its bars.")
    parser.add_argument(
        "--only", nargs="+", choices=(*ROWS, LAST, *PARTS), metavar="ROW", default=[]
    )
    parser.add_argument("--quick", action="store_true", help="small versions, written nowhere")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to merge rows into")
    parser.add_argument("--scratch", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--peer", type=Path, help="Python of the peer's environment")
    parser.add_argument("--starts", nargs="+", choices=search.STARTS, default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[])
    return parser.parse_args(argv)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _write(path: Path, rows: dict[str, Any]) -> dict[str, Any]:
    """Merge rows into the file, and write the page beside it."""
    results = _merged(_read(path), rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(results))
    return results


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The new over the old; parts of a row (`studies`, `searches`) are kept side by side."""
    result = dict(old)
    for key, value in new.items():
        kept = key in ROWS or key in {LAST, "studies", "searches"}
        inner = kept and isinstance(value, dict) and isinstance(old.get(key), dict)
        joins = inner and (key in {"studies", "searches", "ladle", "cma"})
        result[key] = _merged(old[key], value) if joins else value
    return result


if __name__ == "__main__":
    sys.exit(main())
