"""A black box as a design problem: any callable that maps a design to numbers."""

__all__ = ["BlackBox", "failed", "plain_design"]

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Categorical, Design, DesignSpace, Integer
from detopt.errors import ConfigError, MethodError, SimulationError
from detopt.pipeline import Outcome, Problem, Summary
from detopt.simulators.answers import Answers, Names, read_answer
from detopt.simulators.calls import Call, perform

N_SEEDS = 2**31  # of a simulation: a range that every language and file format holds


@dataclass
class BlackBox(Problem):
    """A problem whose simulation is a callable without a derivative.

    The callable is handed the design as plain numbers: a float or nested lists for a continuous
    parameter, an int, or the name of a choice. It may take `seed` (a whole number below 2^31),
    `n_events` and `units` by name. It answers with

    - a number, or one value for each event, whose mean is the objective; or
    - a mapping with `objective` and `std_error`, `objectives`, `constraints` (violated where > 0)
      and `metrics`, where each quantity is a number, `{"value": ..., "std_error": ...}`, or one
      value for each event. Without `objective` it is the sum of `objectives`.

    An exception and an unusable answer become a `SimulationError` with seed and design.

    >>> from detopt.design import Continuous, Interval
    >>> space = DesignSpace([Continuous("gap", 0.3, Interval(0.1, 1.0), "m")])
    >>> problem = BlackBox(space, lambda design: (design["gap"] - 0.5) ** 2)
    >>> problem.n_events
    1

    Args:
        space: All designs that may be built.
        simulator: The callable, a `Command` or a `Container`.
        n_events: Events in an evaluation.
        chunk_size: Events in one call, at most.
        objectives: Names of all objectives, where there are several.
        constraints: Names of all constraints.
        metrics: Names of the metrics to keep.
        on_failure: What a failed simulation leads to: `stop` the study, or `skip` the design.
        baselines: Designs of humans to compare with.
        price: Maps a design to its cost, if it has one.
        objective_name: What the objective is, with its unit.
        dtype: Precision of the design that is handed over.

    Note:
        Not differentiable: a pathwise gradient is refused. Take a method that needs none, such as
        `local_surrogate` or `cma`, or another gradient estimator. A callable that must go to
        worker processes has to be picklable: a function of a module, not a lambda.

    Raises:
        DomainError: `n_events` or `chunk_size` is below 1.
        ConfigError: A name is used twice, or there is a single name of an objective.
    """

    space: DesignSpace
    simulator: Callable[..., object]
    n_events: int = 1
    chunk_size: int = 10_000
    objectives: Sequence[str] = ()
    constraints: Sequence[str] = ()
    metrics: Sequence[str] = ()
    on_failure: Literal["stop", "skip"] = "stop"
    baselines: Mapping[str, Design] = field(default_factory=dict)
    price: Callable[[Design], Tensor] | None = None
    objective_name: str = "objective"
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        self._check()
        if self.on_failure not in ("stop", "skip"):
            raise ConfigError(f"`on_failure` must be stop or skip, got {self.on_failure!r}.")
        if len(self.objectives) == 1:
            raise ConfigError("A single objective needs no name: leave `objectives` empty.")
        self.names = Names(tuple(self.objectives), tuple(self.constraints), tuple(self.metrics))
        if len(set(self.names.columns)) != len(self.names.columns):
            raise ConfigError(
                "The names of objectives, constraints and metrics must differ from each other and "
                f"from `objective`, got {', '.join(self.names.columns[1:])}."
            )
        self.objective_names = self.names.objectives
        self.constraint_names = self.names.constraints

    def summarize(self, design: Design, n_events: int, rng: torch.Generator) -> Answers:
        """One call of the simulation.

        Raises:
            MethodError: Somebody wants its derivative.
            SimulationError: The call failed, or its answer is unusable.
        """
        if torch.is_grad_enabled() and any(value.requires_grad for value in design.values()):
            raise MethodError(
                "A black box has no pathwise gradient. Take a method that needs none, such as "
                "local_surrogate or cma, or another estimator, such as finite_differences."
            )
        call = self.call(design, n_events, rng)
        try:
            return self.read(perform(self.simulator, call), call)
        except SimulationError as error:
            raise failed(error, call) from error

    def call(self, design: Design, n_events: int, rng: torch.Generator) -> Call:
        """What the simulation is asked."""
        units = {parameter.name: parameter.unit for parameter in self.space.parameters}
        seed = int(torch.randint(N_SEEDS, (), generator=rng))
        return Call(plain_design(self.space, design), seed, n_events, units)

    def read(self, raw: object, call: Call) -> Answers:
        """What the simulation said, checked.

        Raises:
            SimulationError: It is unusable.
        """
        return read_answer(raw, self.names, call.n_events, call.seed)

    def judge(self, summary: Summary, design: Design) -> Outcome:
        """Averages over all events."""
        assert isinstance(summary, Answers)
        means = dict(zip(self.names.columns, summary.means(), strict=True))
        return Outcome(
            means["objective"],
            cost=self.cost(design),
            objectives={name: means[name] for name in self.names.objectives},
            constraints={name: means[name] for name in self.names.constraints},
            metrics={name: means[name] for name in self.names.metrics},
        )

    def cost(self, design: Design) -> Float[Tensor, ""] | None:
        """What `price` says."""
        return None if self.price is None else self.price(design)

    def with_space(self, space: DesignSpace) -> "BlackBox":
        """The same simulation over another space."""
        return dataclasses.replace(self, space=space)


def plain_design(space: DesignSpace, design: Mapping[str, Tensor]) -> dict[str, Any]:
    """A design as numbers, lists and names of choices."""
    numbers: dict[str, Any] = {}
    for parameter in space.parameters:
        value: Any = design[parameter.name].detach().tolist()
        if isinstance(parameter, Categorical):
            value = parameter.choices[round(value)]
        elif isinstance(parameter, Integer):
            value = round(value)
        numbers[parameter.name] = value
    return numbers


def failed(error: SimulationError, call: Call) -> SimulationError:
    """An error that says for which call."""
    return SimulationError(f"{error} ({call})")
