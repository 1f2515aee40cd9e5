"""Runs the parts of a benchmark, compares them with what must hold, and keeps the tables.

Each part is a module with `run(quick)`, which measures, and `rows(result)`, which compares.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before torch is imported

import argparse
import fcntl
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

RESULTS = Path(__file__).resolve().parent / "results"
Row = tuple[str, str, str, bool]


@dataclass(frozen=True)
class Benchmark:
    """A script, its parts and its tables.

    Args:
        name: Of the files of the results; the parts are modules of the package `NAME_parts`.
        documentation: Docstring of the script.
        parts: What the user types, and the module.
        introduction: Of the file of the tables.
        can_compare_stored: Whether some parts keep what they measured in files of their own.
    """

    name: str
    documentation: str | None
    parts: Mapping[str, str]
    introduction: str
    can_compare_stored: bool = False

    def main(self) -> int:
        """Run the parts that the command line names; the exit status says whether all rows hold."""
        parser = argparse.ArgumentParser(description=(self.documentation or "").partition("\n")[0])
        parser.add_argument("--only", nargs="+", choices=self.parts, default=list(self.parts))
        parser.add_argument("--quick", action="store_true", help="small versions, written nowhere")
        if self.can_compare_stored:
            parser.add_argument("--stored", action="store_true", help="measure nothing again")
        chosen = parser.parse_args()
        torch.set_num_threads(1)
        holds = True
        for part in chosen.only:
            module = importlib.import_module(f"{self.name}_parts.{self.parts[part]}")
            stored = self.can_compare_stored and chosen.stored
            if stored and not hasattr(module, "RESULTS"):
                parser.error(f"`{part}` stores its rows alone: leave `--stored` out")
            table = _measure(module, chosen.quick, stored)
            print(markdown({part: table}), flush=True)
            holds = holds and all(row[-1] for row in table)
            if not chosen.quick:
                self.store({part: table})
        return 0 if holds else 1

    def store(self, tables: Mapping[str, list[Row]]) -> None:
        """Replace the parts that were measured; others may be stored by another run meanwhile."""
        path = RESULTS / f"{self.name}.json"
        with path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known: dict[str, Any] = json.loads(file.read() or "{}")
            known |= {part: [list(row) for row in table] for part, table in tables.items()}
            ordered = {part: known[part] for part in self.parts if part in known}
            text = json.dumps(ordered, indent=1) + "\n"
            file.truncate(0)
            file.write(text)
            file.flush()
            path.with_suffix(".md").write_text(f"{self.introduction}\n{markdown(ordered)}")


def _measure(module: ModuleType, quick: bool, stored: bool) -> list[Row]:
    result = json.loads(module.RESULTS.read_text()) if stored else module.run(quick)
    return [tuple(row) for row in module.rows(result)]


def markdown(tables: Mapping[str, Any]) -> str:
    """One table for each part."""
    blocks = []
    for part, table in tables.items():
        lines = [f"## {part}", "", "| what | must be | measured | holds |", "|---|---|---|---|"]
        lines += [f"| {a} | {b} | {c} | {'yes' if holds else 'no'} |" for a, b, c, holds in table]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)
