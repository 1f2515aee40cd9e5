"""Progress of a study on standard error: a bar in a terminal, a line now and then elsewhere."""

__all__ = ["ProgressBar"]

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from detopt.runtime import Round, Study

EVERY = 10.0  # s between lines where there is no terminal


class ProgressBar:
    """Shows what a study does.

    Args:
        study: The study.
        visible: Whether anything is shown.
        console: Where; standard error by default.
    """

    def __init__(self, study: Study, visible: bool = True, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._visible = visible
        self._study = study
        self._task: TaskID | None = None
        self._stage = ""
        self._last = 0.0
        self._facts = ""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (visible and self._console.is_terminal),
        )

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def listen(self, stage: str, done: int, total: int, record: Round | None) -> None:
        """Take the news of the study."""
        kind = stage.split()[0]
        if record is not None:
            self._facts = f"objective {record.value:.4g}"
            if math.isfinite(record.std_error):  # designs that share their events have none
                self._facts += f" ± {record.std_error:.1g}"
            if "cost" in record.terms:
                self._facts += f", cost {record.terms['cost']:.4g}"
        if kind != self._stage:
            self._stage = kind
            self._task = self._bar.add_task(stage, total=total, facts=self._facts)
        assert self._task is not None
        self._bar.update(
            self._task, completed=done, total=total, description=stage, facts=self._facts
        )
        self._line(stage, done, total)

    def _line(self, stage: str, done: int, total: int) -> None:
        if not self._visible or self._console.is_terminal:
            return
        now = time.monotonic()
        if now - self._last >= EVERY or done == total:
            self._last = now
            self._console.print(f"{stage} {done}/{total}  {self._facts}", highlight=False)
