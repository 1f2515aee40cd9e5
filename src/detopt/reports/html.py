"""The report of a run: one HTML file that needs nothing else."""

__all__ = ["write_report"]

from pathlib import Path

import jinja2

from detopt.pipeline import Problem
from detopt.reports import tables
from detopt.reports.record import load_record
from detopt.reports.sections import SECTIONS
from detopt.reports.words import verdict

FILE = "report.html"
TEMPLATE = Path(__file__).parent / "templates" / "report.html.jinja"


def write_report(folder: Path, problem: Problem | None = None) -> Path:
    """Write `report.html` into a run's folder, from what the folder holds.

    Works at any time: without a result the page shows the rounds so far and says so.

    Args:
        folder: Folder of the run.
        problem: The design problem, where it cannot be built from the study's file.

    Returns:
        Path of the page.

    Raises:
        CheckpointError: The folder holds no run, or it is damaged.
        ConfigError: The study cannot be built again.
    """
    record = load_record(folder, problem)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        record=record,
        title=record.about.partition("\n")[0].rstrip(".") or record.config.use_case,
        verdict=verdict(record.result, len(record.history), record.status),
        facts=tables.facts(record),
        sections=[section for make in SECTIONS if (section := make(record)) is not None],
    )
    path = folder / FILE
    partial = path.with_suffix(".html.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path
