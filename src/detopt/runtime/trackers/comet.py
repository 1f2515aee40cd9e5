"""Comet: with COMET_API_KEY on its server, otherwise in offline archives."""

__all__ = ["CometTracker"]

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from detopt.optional import require
from detopt.runtime.trackers.base import TrackedRun, Tracker

SILENT = (
    "log_code",
    "log_graph",
    "log_git_metadata",
    "log_git_patch",
    "log_env_details",
    "log_env_gpu",
    "log_env_host",
    "log_env_cpu",
    "log_env_network",
    "log_env_disk",
    "parse_args",
    "auto_param_logging",
    "auto_metric_logging",
    "auto_log_co2",
)


class Options(BaseModel):
    """Options of the tracker `comet`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = Field("detopt", description="Project")
    workspace: str | None = Field(None, description="Workspace; null: that of the key")
    tags: list[str] = Field(default_factory=list, description="Tags")
    mode: Literal["online", "offline"] | None = Field(
        None, description="null: online where COMET_API_KEY is set"
    )


class CometTracker(Tracker):
    """Experiments of Comet; what was offline is sent by `comet upload`."""

    Options: ClassVar[type[BaseModel]] = Options

    def start(self, run: TrackedRun) -> None:
        """Begin or go on with an experiment; neither code nor facts of the machine are sent."""
        comet = require("comet_ml", extra="trackers", purpose="The tracker `comet`")
        run.folder.mkdir(parents=True, exist_ok=True)
        chosen = self.options
        known = "online" if os.environ.get("COMET_API_KEY") else "offline"
        self._experiment: Any = comet.start(
            project_name=chosen.project,
            workspace=chosen.workspace,
            experiment_key=run.key,
            mode="get_or_create" if run.resumed else "create",
            online=(chosen.mode or known) == "online",
            experiment_config=comet.ExperimentConfig(
                name=run.name,
                tags=chosen.tags,
                offline_directory=os.environ.get("COMET_OFFLINE_DIRECTORY") or str(run.folder),
                display_summary_level=0,
                auto_output_logging="",
                **dict.fromkeys(SILENT, False),
            ),
        )
        if not run.resumed:
            self._experiment.log_parameters(dict(run.config))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics."""
        self._experiment.log_metrics(dict(metrics), step=step)

    def attach(self, path: Path, name: str) -> None:
        """An image, or an asset."""
        if path.suffix == ".png":
            self._experiment.log_image(str(path), name=name)
        else:
            self._experiment.log_asset(str(path), file_name=name)

    def finish(self, status: str) -> None:
        """Write or send the rest."""
        self._experiment.log_other("status", status)
        self._experiment.end()
