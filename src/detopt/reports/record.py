"""What a run's folder holds, read once for everything that a report shows."""

__all__ = ["Record", "Track", "load_record", "tracks"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detopt import usecases
from detopt.design import Design, DesignSpace
from detopt.design.parameters import Parameter
from detopt.pipeline import Problem
from detopt.runtime import Round, RunStore, StudyConfig, load_result, load_study
from detopt.runtime.result import FILE


@dataclass(frozen=True)
class Record:
    """A run as its folder tells it.

    Args:
        folder: Where it lies.
        study: Name of the run.
        status: `running`, `interrupted` or `finished`.
        config: What was to be done.
        about: What the use case says of itself.
        problem: The design problem, built again.
        history: All rounds so far.
        result: `result.json`, or None before the end.
        events: Fewest and most events of the evaluations, or None before the first.
    """

    folder: Path
    study: str
    status: str
    config: StudyConfig
    about: str
    problem: Problem
    history: Sequence[Round]
    result: Mapping[str, Any] | None
    events: tuple[int, int] | None = None

    @property
    def best_baseline(self) -> str | None:
        """The baseline to compare with: the best one, or the first while nothing is judged."""
        if self.result is not None:
            best = self.result.get("best_baseline")
            return None if best is None else str(best)
        return next(iter(self.problem.baselines), None)

    @property
    def last(self) -> str:
        """What the last design is called."""
        return "latest" if self.result is None else "final"

    @property
    def designs(self) -> dict[str, Design]:
        """Start, final (or latest) and the baseline to compare with, by name."""
        space, parent = self.problem.space, self.config.parent
        merges = parent is not None and self.config.merged
        found = {"start": parent.values if parent and merges else space.start}
        if self.result is not None:
            found["final"] = _design(self.result["design"]["final"])
        elif self.history:
            found["latest"] = space.design(self.history[-1].theta).detach()
        name = self.best_baseline
        if name is not None:
            parts = {part.label: part.values for part in self.config.merged}
            found[name] = {**self.problem.baselines, **parts}[name]
        return found


def load_record(folder: Path, problem: Problem | None = None) -> Record:
    """Read a run; `problem` is built from the study where it is not given.

    Raises:
        CheckpointError: The folder holds no run, or it is damaged.
        ConfigError: The study cannot be built again.
    """
    store = RunStore(folder)
    config = load_study(folder / "study.yaml", complete=True)
    try:
        return Record(
            folder=folder,
            study=store.id,
            status=store.status,
            config=config,
            about=(usecases.load(config.use_case).module.__doc__ or "").strip(),
            problem=config.recipe.make() if problem is None else problem,
            history=store.rounds(),
            result=load_result(folder) if (folder / FILE).is_file() else None,
            events=store.store.event_range(store.id),
        )
    finally:
        store.close()


def _design(numbers: Mapping[str, Any]) -> Design:
    return Design(
        {name: torch.as_tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    )


@dataclass(frozen=True)
class Track:
    """One parameter over the rounds.

    Args:
        parameter: Which one.
        values: A row for each round, a column for each element, in base units.
    """

    parameter: Parameter
    values: np.ndarray

    @property
    def names(self) -> list[str]:
        """A name for each element."""
        return element_names(self.parameter)


def element_names(parameter: Parameter) -> list[str]:
    """`name`, or `name[i]`, or `name[i, j]`: one for each element of the value."""
    shape = tuple(parameter.start_value.shape)
    if not shape:
        return [parameter.name]
    return [f"{parameter.name}[{', '.join(map(str, index))}]" for index in np.ndindex(*shape)]


def tracks(history: Sequence[Round], space: DesignSpace) -> list[Track]:
    """The free parameters over the rounds, in physical units."""
    if not history:
        return []
    theta = torch.stack([record.theta for record in history]).to(torch.float64)
    with torch.no_grad():
        design = space.design(theta)
    return [
        Track(parameter, design[parameter.name].reshape(len(history), -1).numpy())
        for parameter in space.free
    ]
