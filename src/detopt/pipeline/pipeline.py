"""A problem made of the five stages."""

__all__ = ["Pipeline"]

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from detopt.design import Design, DesignSpace
from detopt.errors import ConfigError, DesignError
from detopt.pipeline.nuisances import TREATMENTS, Nuisances
from detopt.pipeline.outcome import Outcome, Summary
from detopt.pipeline.pictures import Scatter, Scene
from detopt.pipeline.problem import Problem
from detopt.pipeline.slopes import SLOPES, summarize_with_slopes
from detopt.pipeline.stages import Analysis, Objective, Reconstruction, Simulator, Source

N_REMEMBERED = 8  # chunks whose events are kept


@dataclass
class Pipeline(Problem):
    """Source, simulator, reconstruction, analysis and objective, over a design space.

    Args:
        space: All designs that may be built.
        source: Draws what enters.
        simulator: Response of the instrument, differentiable.
        reconstruction: Estimates from readout.
        analysis: Statistics from estimates.
        objective: The number to minimize.
        hard: The same pipeline with the hard-edged simulation, which judges final designs.
        n_events: Events in an evaluation.
        chunk_size: Events that are simulated at once.
        baselines: Designs of humans to compare with.
        price: Maps a design to its cost, if it has one.
        objective_name: What the objective is, with its unit.
        dtype: Precision of the simulation.
        view: Maps a design to a picture of it.
        diagnostics: Maps a summary to plots of the reconstruction's quality.
        nuisances: What the instrument does not know about itself, if it is modelled; stages and
            objective find it in the design.
        treatment: "fixed" (nominal values), "marginalized" (a draw for each of `n_events`) or
            "profiled" (nominal values, and the objective gets a `SummaryWithSlopes`).
        slopes: How slopes are made: "forward", or "differences" for stages with steps or cuts.
        constraint_names: All constraints that the objective's outcome names, so that a method
            which cannot keep them is refused.

    Raises:
        DesignError: A nuisance parameter is called as a design parameter, or the hard pipeline
            has others.
        ConfigError: No such treatment or slopes, or the hard pipeline has other constraints.
        DomainError: A free nuisance parameter cannot be marginalized.
    """

    space: DesignSpace
    source: Source[Any]
    simulator: Simulator[Any, Any]
    reconstruction: Reconstruction[Any, Any]
    analysis: Analysis[Any, Any, Any]
    objective: Objective[Any]
    hard: "Pipeline | None" = None
    n_events: int = 1_000
    chunk_size: int = 10_000
    baselines: Mapping[str, Design] = field(default_factory=dict)
    price: Callable[[Design], Tensor] | None = None
    objective_name: str = "objective"
    dtype: torch.dtype = torch.float32
    view: Callable[[Design], Scene] | None = None
    diagnostics: Callable[[Summary], Sequence[Scatter]] | None = None
    nuisances: Nuisances | None = None
    treatment: str = "fixed"
    slopes: str = "forward"
    constraint_names: tuple[str, ...] = ()
    _memory: "_Memory" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._memory = _Memory()
        self._check()
        self._check_nuisances()
        self._check_hard_constraints()

    def summarize(self, design: Design, n_events: int, rng: torch.Generator) -> Summary:
        """Run the first four stages on a chunk of events.

        Events do not depend on the design, so those of the last random streams are kept: designs
        that share their random numbers, as finite differences do, share the work.
        """
        events = self._memory.events(self.source, n_events, rng, self.dtype)

        def stages(design: Design) -> Summary:
            readout = self.simulator(events, design, rng)
            estimate = self.reconstruction(readout, design)
            summary = self.analysis(estimate, events)
            assert isinstance(summary, Summary)
            return summary

        if self.nuisances is None:
            return stages(design)
        if self.treatment == "fixed":
            return stages(self.nuisances.augment(design))
        if self.treatment == "marginalized":
            return stages(self.nuisances.draw(design, n_events, rng))
        return summarize_with_slopes(stages, self.nuisances, design, rng, self.slopes)

    def judge(self, summary: Summary, design: Design) -> Outcome:
        """Run the last stage; it sees the nominal values of the nuisance parameters.

        Raises:
            ConfigError: The outcome's constraints are not those of `constraint_names`.
        """
        whole = design if self.nuisances is None else self.nuisances.augment(design)
        outcome = self.objective(summary, whole)
        _refuse_undeclared(outcome.constraints, self.constraint_names)
        return outcome

    def cost(self, design: Design) -> Tensor | None:
        """What `price` says."""
        return None if self.price is None else self.price(design)

    def with_space(self, space: DesignSpace) -> "Pipeline":
        """The same stages over another space."""
        hard = None if self.hard is None else self.hard.with_space(space)
        return self._settings_to(dataclasses.replace(self, space=space, hard=hard))

    @property
    def reference(self) -> Problem:
        """The hard-edged pipeline, or this one where there is none."""
        return self if self.hard is None else self.hard

    @property
    def data_labels(self) -> tuple[str, ...]:
        """Those of source and simulator, here and in the hard pipeline."""
        hard = () if self.hard is None else self.hard.data_labels
        return tuple(dict.fromkeys((*self.source.data_labels, *self.simulator.data_labels, *hard)))

    def scene(self, design: Design) -> Scene | None:
        """The picture that `view` makes."""
        return None if self.view is None else self.view(design)

    def diagnose(self, summary: Summary) -> Sequence[Scatter]:
        """The plots that `diagnostics` makes."""
        return () if self.diagnostics is None else self.diagnostics(summary)

    def _check_nuisances(self) -> None:
        """Refuse nuisance parameters that stages could not tell apart or treat."""
        if self.treatment not in TREATMENTS:
            known = ", ".join(TREATMENTS)
            raise ConfigError(f"`treatment` must be one of {known}, got {self.treatment!r}.")
        if self.slopes not in SLOPES:
            raise ConfigError(f"`slopes` must be one of {', '.join(SLOPES)}, got {self.slopes!r}.")
        names = [] if self.nuisances is None else self.nuisances.names
        if self.hard is not None:
            others = [] if self.hard.nuisances is None else self.hard.nuisances.names
            if names != others or self.treatment != self.hard.treatment:
                raise DesignError(
                    "The hard pipeline must have the same nuisance parameters and treatment, got "
                    f"{', '.join(others) or 'none'} ({self.hard.treatment}) beside "
                    f"{', '.join(names) or 'none'} ({self.treatment})."
                )
        if self.nuisances is None:
            return
        for parameter in self.space.parameters:
            if parameter.name in names:
                raise DesignError(
                    f"`{parameter.name}` is a design parameter and a nuisance parameter. Rename "
                    "one of them."
                )
        if self.treatment == "marginalized":
            self.nuisances.draw(self.space.start, 1, torch.Generator())
        else:
            self.nuisances.widths(self.space.start)

    def _check_hard_constraints(self) -> None:
        """Refuse a search for constraints that the verdict does not know, or the reverse."""
        if self.hard is not None and set(self.hard.constraint_names) != set(self.constraint_names):
            raise ConfigError(
                "The hard pipeline must have the same `constraint_names`, got "
                f"{', '.join(self.hard.constraint_names) or 'none'} beside "
                f"{', '.join(self.constraint_names) or 'none'}."
            )


def _refuse_undeclared(found: Mapping[str, Tensor], declared: Sequence[str]) -> None:
    """A constraint that nobody declared would be ignored by methods that cannot keep it."""
    if set(found) == set(declared):
        return
    listed = "".join(f'"{name}", ' for name in found).rstrip()
    raise ConfigError(
        f"The outcome has the constraints {', '.join(found) or 'none'}, and the pipeline declares "
        f"{', '.join(declared) or 'none'}. Say `constraint_names=({listed})` in `Pipeline`."
    )


class _Memory:
    """The events of the last few random streams, with the generator's state behind them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], tuple[Any, Tensor]] = OrderedDict()

    def events(
        self, source: Source[Any], n_events: int, rng: torch.Generator, dtype: torch.dtype
    ) -> Any:
        """What the source draws from here; afterwards the generator stands where it would."""
        before = rng.get_state()
        key = (id(source), n_events, dtype, before.numpy().tobytes())
        if key in self._kept:
            self._kept.move_to_end(key)
            events, after = self._kept[key]
            rng.set_state(after)
            return events
        events = source(n_events, rng, dtype)
        self._kept[key] = (events, rng.get_state())
        while len(self._kept) > N_REMEMBERED:
            self._kept.popitem(last=False)
        return events

    def __deepcopy__(self, memo: dict[int, object]) -> "_Memory":
        return _Memory()

    def __reduce__(self) -> tuple[type["_Memory"], tuple[()]]:
        return _Memory, ()
