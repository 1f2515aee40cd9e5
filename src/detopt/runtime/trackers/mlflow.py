"""MLflow: the server of MLFLOW_TRACKING_URI, otherwise a SQLite file beside the runs."""

__all__ = ["MLflowTracker"]

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from detopt.optional import require
from detopt.runtime.trackers.base import TrackedRun, Tracker

KEY = "detopt.key"
MOST = 6_000  # letters of a parameter
PARAMS, METRICS = 100, 1_000  # that a server takes at a time
STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class Options(BaseModel):
    """Options of the tracker `mlflow`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str | None = Field(
        None, description="Of server or database; null: MLFLOW_TRACKING_URI, or a file"
    )
    experiment: str = Field("detopt", description="Experiment")

    @field_validator("uri")
    @classmethod
    def _no_secret(cls, uri: str | None) -> str | None:
        if uri is not None and urlsplit(uri).password is not None:
            raise ValueError("it holds a password; give that by MLFLOW_TRACKING_PASSWORD")
        return uri


class MLflowTracker(Tracker):
    """Runs of MLflow."""

    Options: ClassVar[type[BaseModel]] = Options

    def start(self, run: TrackedRun) -> None:
        """Begin a run of an experiment, or go on with it."""
        mlflow = require("mlflow", extra="trackers", purpose="The tracker `mlflow`")
        given = self.options.uri or os.environ.get("MLFLOW_TRACKING_URI")
        files = None if given else _shared(run.folder) / "mlflow-files"
        self._entities = mlflow.entities
        self._client: Any = mlflow.MlflowClient(
            given or f"sqlite:///{_shared(run.folder) / 'mlflow.db'}"
        )
        experiment = self._experiment(self.options.experiment, files)
        found = self._client.search_runs([experiment], f"tags.`{KEY}` = '{run.key}'")
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        made = self._client.create_run(experiment, run_name=run.name, tags={KEY: run.key})
        self._id = made.info.run_id
        params = [
            self._entities.Param(_name(key), str(value)[:MOST]) for key, value in run.config.items()
        ]
        for first in range(0, len(params), PARAMS):
            self._client.log_batch(self._id, params=params[first : first + PARAMS])

    def _experiment(self, name: str, files: Path | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = None if files is None else files.as_uri()
        return str(self._client.create_experiment(name, artifact_location=place))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics, in one request."""
        now = int(time.time() * 1_000)
        made = [self._entities.Metric(_name(k), v, now, step) for k, v in metrics.items()]
        for first in range(0, len(made), METRICS):
            self._client.log_batch(self._id, metrics=made[first : first + METRICS])

    def attach(self, path: Path, name: str) -> None:  # noqa: ARG002 (it keeps the file's name)
        """An artifact."""
        self._client.log_artifact(self._id, str(path))

    def finish(self, status: str) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._id, STATUS[status])


def _shared(folder: Path) -> Path:
    """Where runs are: a database for all of them, so that they can be compared."""
    return folder.parents[2]


def _name(text: str) -> str:
    """MLflow's names have letters, digits and some signs."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in text)
