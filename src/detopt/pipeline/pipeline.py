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
from detopt.pipeline.outcome import Outcome, Summary
from detopt.pipeline.pictures import Scatter, Scene
from detopt.pipeline.problem import Problem
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
    _memory: "_Memory" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._memory = _Memory()
        self._check()

    def summarize(self, design: Design, n_events: int, rng: torch.Generator) -> Summary:
        """Run the first four stages on a chunk of events.

        Events do not depend on the design, so those of the last random streams are kept: designs
        that share their random numbers, as finite differences do, share the work.
        """
        events = self._memory.events(self.source, n_events, rng, self.dtype)
        readout = self.simulator(events, design, rng)
        estimate = self.reconstruction(readout, design)
        summary = self.analysis(estimate, events)
        assert isinstance(summary, Summary)
        return summary

    def judge(self, summary: Summary, design: Design) -> Outcome:
        """Run the last stage."""
        return self.objective(summary, design)

    def cost(self, design: Design) -> Tensor | None:
        """What `price` says."""
        return None if self.price is None else self.price(design)

    def with_space(self, space: DesignSpace) -> "Pipeline":
        """The same stages over another space."""
        hard = None if self.hard is None else self.hard.with_space(space)
        return dataclasses.replace(self, space=space, hard=hard)

    @property
    def reference(self) -> Problem:
        """The hard-edged pipeline, or this one where there is none."""
        return self if self.hard is None else self.hard

    def scene(self, design: Design) -> Scene | None:
        """The picture that `view` makes."""
        return None if self.view is None else self.view(design)

    def diagnose(self, summary: Summary) -> Sequence[Scatter]:
        """The plots that `diagnostics` makes."""
        return () if self.diagnostics is None else self.diagnostics(summary)


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
