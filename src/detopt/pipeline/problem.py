"""The design problem: a design space and what maps a design to an outcome."""

__all__ = ["FunctionProblem", "Problem"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design, DesignSpace
from detopt.errors import DesignError, DomainError
from detopt.pipeline.outcome import Outcome, Summary
from detopt.pipeline.pictures import Scatter, Scene

RESERVED = {"start", "final"}  # names of designs that every study has
SETTINGS = ("on_failure", "objective_names", "constraint_names")
ProblemT = TypeVar("ProblemT", bound="Problem")


class Problem(ABC):
    """A design space, and an objective that is estimated from random events.

    The objective is a function of a `Summary` whose rows are independent; a summary of many
    events is made in chunks of `chunk_size`, each from a random stream of its own.

    Attributes:
        space: All designs that may be built.
        n_events: Events in an evaluation, unless the caller says otherwise.
        chunk_size: Events that are simulated at once; part of the definition of the random
            numbers, so it is fixed with the problem.
        baselines: Designs of humans to compare with, by name.
        dtype: Precision of the simulation.
        objective_name: What the objective is, with its unit, for people.
        objective_names: All objectives that an outcome names, where there are several.
        constraint_names: All constraints that an outcome names.
        on_failure: What a simulation that fails leads to: `stop` the study, or `skip` the design.
    """

    space: DesignSpace
    n_events: int
    chunk_size: int
    baselines: Mapping[str, Design]
    dtype: torch.dtype
    objective_name: str
    objective_names: tuple[str, ...] = ()
    constraint_names: tuple[str, ...] = ()
    on_failure: Literal["stop", "skip"] = "stop"

    @abstractmethod
    def summarize(self, design: Design, n_events: int, rng: torch.Generator) -> Summary:
        """Simulate, reconstruct and analyze one chunk of events."""

    @abstractmethod
    def judge(self, summary: Summary, design: Design) -> Outcome:
        """Objective, terms, cost and metrics of a design from the summary of all its events."""

    def cost(self, design: Design) -> Float[Tensor, ""] | None:  # noqa: ARG002 (optional)
        """Cost of a design in the study's currency, or None where there is no cost."""
        return None

    @property
    def data_labels(self) -> tuple[str, ...]:
        """Origin of data that results must name, such as those of Geant4; none by default."""
        return ()

    @abstractmethod
    def with_space(self, space: DesignSpace) -> "Problem":
        """The same problem over another space, such as one with frozen parameters."""

    def _settings_to(self, other: ProblemT) -> ProblemT:
        """`other` with what was set on this problem itself beside the arguments of its class."""
        for name in SETTINGS:
            if name in vars(self):
                setattr(other, name, getattr(self, name))
        return other

    def with_dtype(self, dtype: torch.dtype) -> "Problem":
        """The same problem in another precision."""
        import copy

        other = copy.copy(self)
        other.dtype = dtype
        return other

    @property
    def reference(self) -> "Problem":
        """The problem that judges final designs: the hard-edged or full simulation if any."""
        return self

    def scene(self, design: Design) -> Scene | None:  # noqa: ARG002 (an optional view)
        """What the instrument looks like, or None."""
        return None

    def diagnose(self, summary: Summary) -> Sequence[Scatter]:  # noqa: ARG002 (idem)
        """Pictures of the reconstruction's quality, such as predicted against true."""
        return ()

    def _check(self) -> None:
        """Refuse what no study could use."""
        if self.n_events < 1:
            raise DomainError(f"`n_events` must be >= 1, got {self.n_events}.")
        if self.chunk_size < 1:
            raise DomainError(f"`chunk_size` must be >= 1, got {self.chunk_size}.")
        for name, design in self.baselines.items():
            if name in RESERVED:
                raise DesignError(f"A baseline cannot be called `{name}`. Choose another name.")
            self.space.check(design)


_WANTED = (
    "The function must give one real number for each event, a tensor of the shape ({n},) of "
    "float32 or float64, got {got}. Do not average over the events, and convert what counts."
)


@dataclass(frozen=True)
class Values(Summary):
    """A value for each event; the objective is their mean."""

    value: Float[Tensor, " n_events"]


@dataclass
class FunctionProblem(Problem):
    """The mean of a function of design and events: no stages.

    Args:
        space: All designs that may be built.
        function: Maps (design, number of events, generator) to one value an event.
        price: Maps a design to its cost, if it has one.
        n_events: Events in an evaluation.
        chunk_size: Events that are simulated at once.
        baselines: Designs of humans to compare with.
        objective_name: What the mean is, with its unit.
        dtype: Precision of the simulation.
        view: Maps a design to a picture of it.
    """

    space: DesignSpace
    function: Callable[[Design, int, torch.Generator], Tensor]
    price: Callable[[Design], Tensor] | None = None
    n_events: int = 1_000
    chunk_size: int = 10_000
    baselines: Mapping[str, Design] = field(default_factory=dict)
    objective_name: str = "objective"
    dtype: torch.dtype = torch.float32
    view: Callable[[Design], Scene] | None = None

    def __post_init__(self) -> None:
        self._check()

    def summarize(self, design: Design, n_events: int, rng: torch.Generator) -> Values:
        """The function's value for each event.

        Raises:
            DomainError: The function does not give one real number for each event.
        """
        found = self.function(design, n_events, rng)
        if not isinstance(found, Tensor):
            raise DomainError(_WANTED.format(n=n_events, got=f"a {type(found).__name__}"))
        if found.shape != (n_events,) or not found.is_floating_point():
            got = f"{tuple(found.shape)} of {str(found.dtype).removeprefix('torch.')}"
            raise DomainError(_WANTED.format(n=n_events, got=got))
        return Values(found)

    def judge(self, summary: Summary, design: Design) -> Outcome:
        """The mean over the events."""
        assert isinstance(summary, Values)
        return Outcome(summary.value.mean(), cost=self.cost(design))

    def cost(self, design: Design) -> Float[Tensor, ""] | None:
        """What `price` says."""
        return None if self.price is None else self.price(design)

    def with_space(self, space: DesignSpace) -> "FunctionProblem":
        """The same function over another space."""
        import dataclasses

        return self._settings_to(dataclasses.replace(self, space=space))

    def scene(self, design: Design) -> Scene | None:
        """The picture that `view` makes."""
        return None if self.view is None else self.view(design)
