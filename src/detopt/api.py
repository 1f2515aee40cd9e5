"""The package for people: studies with progress bars, plots and reports.

>>> from detopt import Study
>>> study = Study("hump", rounds=2, evaluation_events=600, folder=folder)
>>> result = study.run(progress=False)
>>> sorted(result["objective"])
['baseline', 'final', 'start']
"""

__all__ = ["Study"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detopt.progress import ProgressBar
from detopt.runtime import Round, RunStore, StudyConfig, load_result, load_study
from detopt.runtime import Study as Loop
from detopt.runtime.budget import Limits
from detopt.runtime.finished import read_finished
from detopt.runtime.merging import merge_tasks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from detopt.pipeline import Problem


class Study:
    """Optimize a use case; keep every round; report.

    Args:
        use_case: Name of a use case or path of its file.
        folder: Where the run is kept; `runs/ID` by default. It must not hold a run.
        settings: As in `study.yaml`: `options`, `method`, `method_options`, `rounds`, `events`,
            `seed`, `workers`, `free`, `freeze`, `evaluation_events`, `trackers`,
            `tracker_options`; `parent` is the folder of a finished run, from whose final design
            the study starts.
        database: URL of a database that others share; None for a file in the folder.
        blobs: URL of the files that belong to it.

    Raises:
        DetoptError: A setting is unknown or unusable; nothing is written then.
    """

    def __init__(
        self,
        use_case: str,
        *,
        folder: str | Path | None = None,
        database: str | None = None,
        blobs: str | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(settings.get("parent"), str | Path):
            settings["parent"] = read_finished(Path(settings["parent"])).origin.model_dump()
        config = StudyConfig.make(use_case, **settings)
        target = None if folder is None else Path(folder)
        self._loop = Loop.create(config, target, database=database, blobs=blobs)

    @classmethod
    def from_file(cls, path: str | Path, folder: str | Path | None = None) -> "Study":
        """The study that a YAML file describes."""
        return cls._of(
            Loop.create(load_study(Path(path)), None if folder is None else Path(folder))
        )

    @classmethod
    def resume(cls, folder: str | Path, limits: Limits | None = None) -> "Study":
        """The study in `folder`, after its last complete round; `limits` change its budget."""
        return cls._of(Loop.resume(Path(folder), limits))

    @classmethod
    def from_config(
        cls,
        config: StudyConfig,
        folder: Path | None = None,
        *,
        database: str | None = None,
        blobs: str | None = None,
    ) -> "Study":
        """The study that a checked configuration describes."""
        return cls._of(Loop.create(config, folder, database=database, blobs=blobs))

    @classmethod
    def merge(
        cls,
        runs: Sequence[str | Path],
        *,
        prefer: Sequence[str] = (),
        folder: str | Path | None = None,
        **settings: Any,
    ) -> "Study":
        """The study that judges the designs of several tasks, put together.

        Args:
            runs: Folders of finished runs with a common parent.
            prefer: Where two of them freed the same parameter, whose value counts: `RUN` or
                `RUN:PATTERN`.
            folder: Where the merge is kept.
            settings: Others of the study: `seed`, `evaluation_events`, `workers`.

        Raises:
            DetoptError: They cannot be merged, or not without a rule; nothing is written then.
        """
        tasks = [read_finished(Path(run)) for run in runs]
        config = merge_tasks(tasks, prefer, **settings)
        return cls.from_config(config, None if folder is None else Path(folder))

    @classmethod
    def _of(cls, loop: Loop) -> "Study":
        study = cls.__new__(cls)
        study._loop = loop
        return study

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return self._loop.store.folder

    @property
    def config(self) -> StudyConfig:
        """What the study is."""
        return self._loop.config

    @property
    def problem(self) -> "Problem":
        """The design problem."""
        return self._loop.problem

    @property
    def history(self) -> Sequence[Round]:
        """All rounds so far."""
        return tuple(self._loop.history)

    @property
    def store(self) -> RunStore:
        """The run's folder as a database."""
        return self._loop.store

    @property
    def result(self) -> Mapping[str, Any]:
        """What `result.json` holds.

        Raises:
            CheckpointError: The study has not finished.
        """
        return load_result(self.folder)

    def run(self, progress: bool = True, report: bool = True) -> Mapping[str, Any]:
        """Go on until the end, re-evaluate independently, write the report.

        Args:
            progress: Whether to show a bar on standard error.
            report: Whether to write `report.html`.
        """
        with ProgressBar(self._loop, visible=progress) as bar:
            self._loop.run(bar.listen, publish=self._publish if report else None)
        return self.result

    def _publish(self) -> list[Path]:
        """The report, and the curves where a tracker shows them."""
        made = [self.report()]
        if self.config.trackers:
            made.append(self.folder / "trackers" / "curves.png")
            made[-1].parent.mkdir(exist_ok=True)
            self.plot().savefig(made[-1])
        return made

    def plot(self) -> "Figure":
        """Objective and parameters over the rounds."""
        from detopt.reports import curves  # matplotlib is heavy

        return curves(self.history, self.problem)

    def report(self) -> Path:
        """Write `report.html` and return its path."""
        from detopt.reports import write_report  # matplotlib is heavy

        return write_report(self.folder)
