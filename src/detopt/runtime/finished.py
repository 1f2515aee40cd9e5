"""A run that has ended, as others may build on it: from its folder, or from a shared store."""

__all__ = ["FinishedRun", "fetch_finished", "read_finished"]

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from detopt.design import Design
from detopt.errors import CheckpointError
from detopt.runtime.config import StudyConfig, load_study
from detopt.runtime.digests import design_digest
from detopt.runtime.identity import problem_digest
from detopt.runtime.origin import Origin
from detopt.runtime.result import FILE, load_result
from detopt.runtime.sources import STUDY, StoreSource
from detopt.runtime.storage import Store
from detopt.runtime.store import write_whole


@dataclass(frozen=True)
class FinishedRun:
    """What a run was, and what it found.

    Args:
        name: Of the run.
        config: What was to be done.
        result: What `result.json` holds.
    """

    name: str
    config: StudyConfig
    result: Mapping[str, Any]

    @property
    def numbers(self) -> dict[str, Any]:
        """The final design, as plain numbers."""
        return dict(self.result["design"]["final"])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the final design."""
        return design_digest(self.numbers)

    @cached_property
    def problem(self) -> str:
        """SHA-256 of the problem."""
        return problem_digest(self.config.use_case, self.config.options)

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Names of the parameters that were free."""
        return tuple(parameter.name for parameter in self.config.recipe.make().space.free)

    @property
    def origin(self) -> Origin:
        """The final design, for a study that starts from it."""
        return Origin(run=self.name, digest=self.digest, problem=self.problem, design=self.numbers)

    @property
    def design(self) -> Design:
        """The final design (float64)."""
        return self.origin.values


def read_finished(folder: Path) -> FinishedRun:
    """The run in a folder.

    Raises:
        CheckpointError: It has no result yet, or is damaged.
        ConfigError: Its study cannot be read.
    """
    config = load_study(folder / STUDY, complete=True)
    return _checked(FinishedRun(folder.resolve().name, config, load_result(folder)))


@contextlib.contextmanager
def fetch_finished(store: Store, run_id: str) -> Iterator[FinishedRun]:
    """A run of a store; its input files are there as long as the block takes.

    Raises:
        CheckpointError: There is no such run, or it has no result yet.
    """
    store.run(run_id)
    artifacts = store.artifacts(run_id)
    if FILE not in artifacts:
        raise CheckpointError(
            f"The run {run_id} in {store.database.url} has no result yet. Let it finish first."
        )
    with tempfile.TemporaryDirectory(prefix="detopt-") as name:
        for path, data in StoreSource(store).inputs(run_id).items():
            write_whole(Path(name) / path, data)
        config = load_study(Path(name) / STUDY, complete=True)
        result = json.loads(store.blobs.get(artifacts[FILE]))
        yield _checked(FinishedRun(run_id, config, result))


def _checked(run: FinishedRun) -> FinishedRun:
    try:
        found = run.digest
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"The result of {run.name} holds no final design.") from error
    assert found
    return run
