"""What a black box may answer, checked, and as rows that can be resampled.

An answer is a number, one value for each event, or a mapping with the keys of `KEYS`. Every
quantity in it is a number, a mapping of `value` and `std_error`, or one value for each event.
"""

__all__ = ["KEYS", "Answers", "Names", "read_answer"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import SimulationError
from detopt.pipeline import Summary

KEYS = ("objective", "std_error", "objectives", "constraints", "metrics", "seed", "n_events")
N_ROWS = 64  # that stand for an answer with a standard error
OBJECTIVE = "objective"


@dataclass(frozen=True)
class Names:
    """What an answer must name.

    Args:
        objectives: All objectives, where there are several.
        constraints: All constraints.
        metrics: Further numbers that are kept; others are left out.
    """

    objectives: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `Answers`: the objective, then all others in order."""
        return (OBJECTIVE, *self.objectives, *self.constraints, *self.metrics)


@dataclass(frozen=True)
class Answers(Summary):
    r"""Answers as independent rows.

    One value for each event makes a row for each event. A number with a standard error
    :math:`\sigma` makes :math:`R` rows :math:`v + \sigma \sqrt{R}\, u_i`, where the fixed scores
    :math:`u_i` have mean 0 and variance 1, so that resampling the rows gives :math:`\sigma` back.
    A number without one makes a single row.

    Args:
        value: What the simulation said.
        noise: What resampling adds; its sum over the rows of one answer is 0.
        weight: Events that a row stands for.
    """

    value: Float[Tensor, "n_rows n_columns"]
    noise: Float[Tensor, "n_rows n_columns"]
    weight: Float[Tensor, " n_rows"]

    def means(self) -> Float[Tensor, " n_columns"]:
        """Each column, averaged over all events."""
        share = self.weight / self.weight.sum()
        return share @ self.value + share @ self.noise


@dataclass(frozen=True)
class _Quantity:
    """A number, with a standard error or one value for each event, or with both.

    Args:
        value: The number.
        std_error: Of it; beside events, what they do not show.
        events: One value for each event, whose mean is the number.
    """

    value: float
    std_error: float | None = None
    events: Sequence[float] | None = None


def read_answer(raw: object, names: Names, n_events: int, seed: int) -> Answers:
    """The answer `raw` of a simulation, checked.

    Args:
        raw: What the simulation gave back.
        names: What it must name.
        n_events: Events that were wanted.
        seed: Seed that was given.

    Raises:
        SimulationError: A quantity is missing, not finite, of the wrong type, or has not one value
            for each event; an objective or constraint has a name that the problem does not know.
    """
    answer: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {OBJECTIVE: raw}
    _refuse_keys(answer)
    _refuse_mismatch(answer, n_events, seed)
    found = {
        **_group(answer, "objectives", names.objectives, n_events),
        **_group(answer, "constraints", names.constraints, n_events),
        **_group(answer, "metrics", names.metrics, n_events, strict=False),
    }
    found[OBJECTIVE] = _objective(answer, names, found, n_events)
    return _rows([found[column] for column in names.columns], n_events)


def _refuse_keys(answer: Mapping[str, Any]) -> None:
    unknown = [str(key) for key in answer if key not in KEYS]
    if unknown:
        raise SimulationError(
            f"The answer has the unknown key `{unknown[0]}`. It may have: {', '.join(KEYS)}."
        )


def _refuse_mismatch(answer: Mapping[str, Any], n_events: int, seed: int) -> None:
    """Refuse an answer that says itself that it belongs to another call."""
    for key, wanted in (("n_events", n_events), ("seed", seed)):
        if key in answer and answer[key] != wanted:
            raise SimulationError(
                f"The answer is for {key} = {answer[key]!r}, but {wanted} was wanted."
            )


def _group(
    answer: Mapping[str, Any],
    key: str,
    wanted: Sequence[str],
    n_events: int,
    strict: bool = True,
) -> dict[str, _Quantity]:
    given = answer.get(key, {})
    if not isinstance(given, Mapping):
        raise SimulationError(f"`{key}` must be a mapping of names to numbers, got {given!r}.")
    missing = [name for name in wanted if name not in given]
    unknown = [str(name) for name in given if name not in wanted] if strict else []
    if missing:
        raise SimulationError(
            f"`{key}` lacks `{missing[0]}`. It has: {', '.join(given) or 'none'}."
        )
    if unknown:
        raise SimulationError(
            f"`{key}` has `{unknown[0]}`, which the problem does not know. List it in the "
            f"problem's `{key}`, or leave it out of the answer."
        )
    return {name: _quantity(f"{key}.{name}", given[name], n_events) for name in wanted}


def _objective(
    answer: Mapping[str, Any], names: Names, found: Mapping[str, _Quantity], n_events: int
) -> _Quantity:
    if OBJECTIVE in answer:
        quantity = _quantity(OBJECTIVE, answer[OBJECTIVE], n_events)
        if "std_error" not in answer:
            return quantity
        if quantity.events is not None or quantity.std_error is not None:
            raise SimulationError("The standard error of the objective is given twice. Give one.")
        return _Quantity(quantity.value, _error("std_error", answer["std_error"]))
    if not names.objectives:
        raise SimulationError("The answer lacks `objective`.")
    if "std_error" in answer:
        raise SimulationError("The answer has `std_error` without `objective`. Give both.")
    return _total([found[name] for name in names.objectives], n_events)


def _total(parts: Sequence[_Quantity], n_events: int) -> _Quantity:
    """The sum, event by event where a part is; parts that are not count alike in each event."""
    errors = [part.std_error for part in parts if part.std_error is not None]
    std_error = math.hypot(*errors) if errors else None
    value = _sum(OBJECTIVE, [part.value for part in parts])
    if all(part.events is None for part in parts):
        return _Quantity(value, std_error)
    columns = [part.events or [part.value] * n_events for part in parts]
    return _Quantity(value, std_error, [_sum(OBJECTIVE, row) for row in zip(*columns, strict=True)])


def _quantity(name: str, given: object, n_events: int) -> _Quantity:
    plain = given.tolist() if hasattr(given, "tolist") else given  # numpy and torch
    if isinstance(plain, Mapping):
        if set(plain) - {"value", "std_error"} or "value" not in plain:
            raise SimulationError(
                f"`{name}` must be a number, a list of {n_events} values, or a mapping of `value` "
                f"and `std_error`; got the keys {', '.join(map(str, plain))}."
            )
        error = plain.get("std_error")
        own = None if error is None else _error(f"{name}.std_error", error)
        return _Quantity(_number(f"{name}.value", plain["value"]), own)
    if not isinstance(plain, list | tuple):
        return _Quantity(_number(name, plain))
    if len(plain) != n_events:
        raise SimulationError(
            f"`{name}` has {len(plain)} values, but {n_events} events were wanted: give one value "
            "for each event, or a single number."
        )
    values = [_number(f"{name}[{i}]", value) for i, value in enumerate(plain)]
    return _Quantity(_sum(name, values) / n_events, None, values if n_events > 1 else None)


def _number(name: str, value: object) -> float:
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise SimulationError(f"`{name}` must be a number, got {_short(plain)}.")
    try:
        number = float(plain)
    except OverflowError as error:
        raise SimulationError(
            f"`{name}` is too large: an integer of {int(plain).bit_length()} bits."
        ) from error
    if not math.isfinite(number):
        raise SimulationError(f"`{name}` is not finite: {number}.")
    return number


def _sum(name: str, values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError as error:
        raise SimulationError(f"The values of `{name}` are too large for their sum.") from error


def _error(name: str, value: object) -> float:
    number = _number(name, value)
    if number < 0:
        raise SimulationError(f"`{name}` must be >= 0, got {number:g}.")
    return number


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _rows(quantities: Sequence[_Quantity], n_events: int) -> Answers:
    by_event = any(one.events is not None for one in quantities)
    with_error = any(one.std_error for one in quantities)
    n_rows = n_events if by_event else N_ROWS if with_error else 1
    value = torch.tensor([one.value for one in quantities], dtype=torch.float64)
    value = value.expand(n_rows, -1).clone()
    noise = torch.zeros_like(value)
    for i, one in enumerate(quantities):
        if one.events is not None:
            value[:, i] = torch.tensor(one.events, dtype=torch.float64)
        if one.std_error:
            noise[:, i] = one.std_error * n_rows**0.5 * _scores(n_rows, i)
    weight = torch.full((n_rows,), n_events / n_rows, dtype=torch.float64)
    return Answers(value, noise, weight)


def _scores(n_rows: int, column: int) -> Float[Tensor, " n_rows"]:
    """Fixed numbers with mean 0 and variance 1, unlike those of the other columns."""
    rng = torch.Generator().manual_seed(column)
    drawn = torch.randn(n_rows, generator=rng, dtype=torch.float64)
    centered = drawn - drawn.mean()
    return centered / centered.square().mean().sqrt()
