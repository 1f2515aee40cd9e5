r"""Slopes: how a summary answers to the nuisance parameters.

The derivative of every summary field with respect to every nuisance parameter, at the nominal
values, with the random numbers held fixed:

.. math:: S_{ia} = \frac{\partial s_i(\theta, \nu)}{\partial \nu_a} \Big|_{\nu = \nu(\theta)}

It is a function of the design as the summary is, and its own gradient in the design is exact: a
profiled uncertainty depends on the design through it.
"""

__all__ = ["SLOPES", "SummaryWithSlopes", "summarize_with_slopes"]

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.errors import DetoptError, MethodError
from detopt.pipeline.nuisances import Nuisances
from detopt.pipeline.outcome import Summary

SLOPES = ("forward", "differences")
JIT_WARNING = ".*torch.jit.script.*"  # torch warns of its own forward-mode rules
Stages = Callable[[Design], Summary]


@dataclass(frozen=True)
class SummaryWithSlopes(Summary):
    """A summary and its derivatives with respect to the nuisance parameters.

    Args:
        values: The summary at the nominal values.
        slopes: For each floating-point field, in order, its derivatives: the field's shape with a
            last dimension for the nuisance parameters.
    """

    values: Summary
    slopes: Mapping[str, Float[Tensor, "n_rows *shape n_nuisances"]]

    @property
    def n_rows(self) -> int:
        """Number of independent rows."""
        return self.values.n_rows

    def tensors(self) -> list[Tensor]:
        """The fields of the summary, then their slopes."""
        return [*self.values.tensors(), *self.slopes.values()]

    def replace(self, tensors: Sequence[Tensor]) -> "SummaryWithSlopes":
        """The same kind of summary with other tensors."""
        n_slopes = len(self.slopes)
        slopes = dict(zip(self.slopes, tensors[-n_slopes:], strict=True))
        return SummaryWithSlopes(self.values.replace(tensors[:-n_slopes]), slopes)


def summarize_with_slopes(
    stages: Stages, nuisances: Nuisances, design: Design, rng: torch.Generator, method: str
) -> SummaryWithSlopes:
    """The summary that `stages` make of an augmented design, with its slopes.

    Args:
        stages: Maps a design that holds the nuisance parameters to a summary; draws from `rng`.
        nuisances: The nuisance parameters.
        design: What is chosen.
        rng: Generator that `stages` draws from: every pass begins where it stands now.
        method: "forward" for forward-mode differentiation, all nuisance parameters at once; or
            "differences" for central differences with common random numbers, two passes each, for
            stages that cannot be differentiated so, or whose steps and cuts hide a dependence.

    Raises:
        MethodError: The stages cannot be differentiated forward, or the summary has no
            floating-point field.
    """
    if method == "forward":
        return _forward(stages, nuisances, design)
    return _differences(stages, nuisances, design, rng)


def _forward(stages: Stages, nuisances: Nuisances, design: Design) -> SummaryWithSlopes:
    nominal = nuisances.nominal(design)
    found: list[tuple[Summary, list[bool]]] = []

    def run(values: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        summary = stages(nuisances.augment(design, values))
        tensors = summary.tensors()
        _floating(summary)
        is_float = [tensor.is_floating_point() for tensor in tensors]
        found.append((summary, is_float))
        exact = [tensor for tensor, real in zip(tensors, is_float, strict=True) if not real]
        return tuple(t for t, real in zip(tensors, is_float, strict=True) if real), tuple(exact)

    def push(direction: Tensor) -> Any:
        return torch.func.jvp(run, (nominal,), (direction,), has_aux=True)

    directions = torch.eye(len(nominal), dtype=nominal.dtype, device=nominal.device)
    places: Any = (None, 0, None)  # values and exact fields are common to all directions
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", JIT_WARNING, DeprecationWarning)
            values, slopes, exact = torch.func.vmap(push, randomness="same", out_dims=places)(
                directions
            )
    except DetoptError:
        raise
    except (NotImplementedError, RuntimeError) as error:
        raise MethodError(
            "The stages cannot be differentiated forward with respect to the nuisance parameters. "
            f'Take `slopes="differences"`. Torch says: {error}'
        ) from error
    summary, is_float = found[0]
    reals, others = iter(values), iter(exact)
    whole = summary.replace([next(reals) if real else next(others) for real in is_float])
    last = [slope.movedim(0, -1) for slope in slopes]
    return SummaryWithSlopes(whole, dict(zip(_floating(whole), last, strict=True)))


def _differences(
    stages: Stages, nuisances: Nuisances, design: Design, rng: torch.Generator
) -> SummaryWithSlopes:
    nominal, steps = nuisances.nominal(design), nuisances.steps(design)
    begin = rng.get_state()
    center = stages(nuisances.augment(design, nominal))
    end = rng.get_state()
    sort = [t.is_floating_point() for t in center.tensors()]

    def side(values: Tensor) -> list[Tensor]:
        rng.set_state(begin)
        tensors = stages(nuisances.augment(design, values)).tensors()
        return [t for t, is_float in zip(tensors, sort, strict=True) if is_float]

    columns = []
    for direction, step in zip(torch.diag(steps), steps, strict=True):
        pairs = zip(side(nominal + direction), side(nominal - direction), strict=True)
        columns.append([(up - down) / (2 * step) for up, down in pairs])
    rng.set_state(end)
    slopes = [torch.stack(column, dim=-1) for column in zip(*columns, strict=True)]
    return SummaryWithSlopes(center, dict(zip(_floating(center), slopes, strict=True)))


def _floating(summary: Summary) -> list[str]:
    """Names of the fields that have slopes."""
    fields = [field.name for field in dataclasses.fields(summary)]
    names = [
        name
        for name, tensor in zip(fields, summary.tensors(), strict=True)
        if tensor.is_floating_point()
    ]
    if not names:
        raise MethodError(
            f"{type(summary).__name__} has no floating-point field, so it has no slopes."
        )
    return names
