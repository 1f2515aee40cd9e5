"""Weights & Biases: with WANDB_API_KEY on its server, otherwise in offline files."""

__all__ = ["WandbTracker"]

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from detopt.optional import require
from detopt.runtime.trackers.base import TrackedRun, Tracker


class Options(BaseModel):
    """Options of the tracker `wandb`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = Field("detopt", description="Project")
    entity: str | None = Field(None, description="User or team; null: that of the key")
    group: str | None = Field(None, description="Group of runs")
    tags: list[str] = Field(default_factory=list, description="Tags")
    mode: Literal["online", "offline"] | None = Field(
        None, description="null: WANDB_MODE, or online where WANDB_API_KEY is set"
    )


class WandbTracker(Tracker):
    """Runs of Weights & Biases; what was offline is sent by `wandb sync`."""

    Options: ClassVar[type[BaseModel]] = Options

    def start(self, run: TrackedRun) -> None:
        """Begin or go on with a run; neither code nor facts of the machine are sent."""
        wandb = require("wandb", extra="trackers", purpose="The tracker `wandb`")
        run.folder.mkdir(parents=True, exist_ok=True)
        chosen = self.options
        known = "online" if os.environ.get("WANDB_API_KEY") else "offline"
        self._wandb = wandb
        self._run: Any = wandb.init(
            project=chosen.project,
            entity=chosen.entity,
            group=chosen.group,
            tags=chosen.tags,
            mode=chosen.mode or os.environ.get("WANDB_MODE") or known,
            dir=str(run.folder),
            id=run.key,
            name=run.name,
            resume="allow" if run.resumed else None,
            config=dict(run.config),
            save_code=False,
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                silent=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """A row of the history."""
        self._run.log(dict(metrics), step=step)

    def attach(self, path: Path, name: str) -> None:
        """An image, or a file of the run."""
        if path.suffix == ".png":
            self._run.log({name: self._wandb.Image(str(path))})
        else:
            self._run.save(str(path), base_path=str(path.parent), policy="now")

    def finish(self, status: str) -> None:
        """Write or send the rest."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=1 if status == "failed" else 0)
