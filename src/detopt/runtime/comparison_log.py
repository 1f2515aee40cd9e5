"""Finished runs of a comparison in a file, so that one that was interrupted goes on."""

__all__ = ["ComparisonLog", "run_key"]

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from detopt.runtime.config import StudyConfig
from detopt.runtime.identity import fingerprint
from detopt.runtime.race import Plan, Run, run_from_dict

FILE = "runs.jsonl"


def run_key(label: str, config: StudyConfig, plan: Plan) -> str:
    """What determines the numbers of a run: method, options, seed, plan, and files by content."""
    text = repr((label, fingerprint(config), asdict(plan)))
    return hashlib.sha256(text.encode()).hexdigest()


class ComparisonLog:
    """One line of JSON for each finished run; a line that was cut short is left out.

    Args:
        folder: Where the file lies, or None to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._runs: dict[str, Run] = {}
        if self._path is not None and self._path.exists():
            for line in self._path.read_text().splitlines():
                entry = _read(line)
                if entry is not None:
                    self._runs[entry["key"]] = run_from_dict(entry["run"])

    def get(self, key: str) -> Run | None:
        """The finished run of that key."""
        return self._runs.get(key)

    def add(self, key: str, run: Run) -> None:
        """Keep a finished run."""
        self._runs[key] = run
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": key, "run": run.as_dict()}, allow_nan=False)
        with self._path.open("a") as file:  # a line cut short before ends here
            file.write(f"\n{line}\n")

    def remove(self) -> None:
        """Delete the file: everything is kept elsewhere."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _read(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and {"key", "run"} <= entry.keys() else None
