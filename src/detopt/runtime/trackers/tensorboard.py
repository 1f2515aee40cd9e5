"""TensorBoard: event files in the run's folder."""

__all__ = ["TensorBoardTracker"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from detopt.optional import require
from detopt.runtime.trackers.base import TrackedRun, Tracker


class Options(BaseModel):
    """Options of the tracker `tensorboard`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = Field(
        None, description="Folder in which each run has one; null: that of the run"
    )


class TensorBoardTracker(Tracker):
    """Event files, which `tensorboard --logdir runs` shows."""

    Options: ClassVar[type[BaseModel]] = Options

    def start(self, run: TrackedRun) -> None:
        """Open a file of events; the configuration is a text."""
        require("tensorboard", extra="trackers", purpose="The tracker `tensorboard`")
        from torch.utils.tensorboard import SummaryWriter

        above = self.options.folder
        folder = run.folder if above is None else above / f"{run.name}-{run.key[:6]}"
        self._writer: Any = SummaryWriter(str(folder))
        self._step = 0
        if not run.resumed:
            lines = [f"| {key} | {value} |" for key, value in run.config.items()]
            table = "\n".join(["| setting | value |", "| --- | --- |", *lines])
            self._writer.add_text("study", table)
        self._writer.flush()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Scalars."""
        self._step = step
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def attach(self, path: Path, name: str) -> None:
        """Images of figures; TensorBoard keeps no other files."""
        if path.suffix == ".png":
            from matplotlib.image import imread

            self._writer.add_image(name, imread(path), self._step, dataformats="HWC")

    def finish(self, status: str) -> None:
        """Close the file."""
        self._writer.add_text("status", status, self._step)
        self._writer.close()
