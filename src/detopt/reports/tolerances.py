"""What each entry of theta is worth at the final design: how far it may move."""

__all__ = ["Tolerance", "tolerances", "worth_words"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detopt.design import DesignSpace, Parameter
from detopt.reports.words import number

TOLERATED = 0.01  # change of the objective that defines a tolerance
FARTHEST = 2.0  # step in theta beyond which a parabola says nothing
NOISE = 0.02  # of the largest curvature: below it the sign of a curvature says nothing
BELIEVED = 0.5  # remaining gain, of the objective, up to which a number is given
LONGEST = 0.5  # step in theta up to which a remaining gain is believed


@dataclass(frozen=True)
class Tolerance:
    """One entry of theta at the final design.

    Args:
        name: Which one.
        gradient: dL/dtheta.
        curvature: d2L/dtheta2.
        change: Largest change of the parameter's values at which the objective is 1 % worse, in
            base units; None where no step within reach costs so much.
        unit: Unit of the change.
    """

    name: str
    gradient: float
    curvature: float
    change: float | None
    unit: str

    @property
    def words(self) -> str:
        """The tolerance with its unit."""
        if self.change is None:
            return "hardly noticed"
        return f"± {number(self.change, 2)} {self.unit}".rstrip()


def tolerances(result: Mapping[str, Any], space: DesignSpace, value: float) -> list[Tolerance]:
    """The tolerance of each entry, one parabola at a time.

    Args:
        result: What a run found.
        space: Its design space.
        value: The objective at the final design, as the optimizer saw it.
    """
    found = result.get("sensitivities") or []
    if len(found) != space.n_free or value == 0:
        return []
    theta = torch.tensor(result["theta"], dtype=torch.float64)
    owners = [parameter for parameter in space.free for _ in range(parameter.n_free)]
    answer = []
    for i, (entry, parameter) in enumerate(zip(found, owners, strict=True)):
        gradient, curvature = entry["gradient"], entry["curvature"]
        if gradient is None or curvature is None:
            continue
        step = _step(gradient, curvature, TOLERATED * abs(value))
        change = None if step > FARTHEST else _moved(space, theta, i, step, gradient, parameter)
        answer.append(Tolerance(entry["name"], gradient, curvature, change, parameter.unit))
    return answer


def _step(gradient: float, curvature: float, change: float) -> float:
    """Step at which slope and curvature together have raised the objective by `change`."""
    slope, bend = abs(gradient), max(curvature, 0.0)
    return 2 * change / max(slope + math.sqrt(slope**2 + 2 * bend * change), 1e-300)


def _moved(
    space: DesignSpace,
    theta: Tensor,
    index: int,
    step: float,
    gradient: float,
    parameter: Parameter,
) -> float:
    """The largest change of the parameter's values for a step of one entry of theta uphill."""
    shift = torch.zeros_like(theta)
    shift[index] = step
    uphill = (1, -1) if gradient == 0 else (math.copysign(1, gradient),)
    with torch.no_grad():
        sides = [space.design(theta + sign * shift)[parameter.name] for sign in uphill]
        middle = space.design(theta)[parameter.name]
    return max(float((side - middle).abs().max()) for side in sides)


def worth_words(found: Sequence[Tolerance], value: float) -> list[str]:
    """What the tolerances say, in sentences.

    Args:
        found: One for each entry of theta.
        value: The objective at the final design, as the optimizer saw it.
    """
    if not found:
        return []
    words = []
    for unit in dict.fromkeys(one.unit for one in found):
        known = [one for one in found if one.unit == unit and one.change is not None]
        tightest = sorted(known, key=lambda one: one.change or 0.0)[:3]
        if tightest:
            listed = ", ".join(f"{one.name} {one.words}" for one in tightest)
            words.append(f"Tightest tolerances for an objective at most 1 % worse: {listed}.")
    n_free = sum(one.change is None for one in found)
    if n_free:
        words.append(
            f"{n_free} of {len(found)} entries are hardly noticed: a step of {FARTHEST:g} in θ "
            "costs less than 1 %. Either the objective does not depend on them, or they press "
            "against a bound, where a step in θ moves little."
        )
    largest = max(abs(one.curvature) for one in found)
    n_bent = sum(one.curvature < -NOISE * largest for one in found)
    if n_bent:
        words.append(
            f"{n_bent} of {len(found)} entries have a negative curvature: along them the design is "
            "not at a minimum, or noise hides it."
        )
    gain = sum(_gain(one) for one in found) / abs(value)
    amount = f"{number(100 * gain, 2)} %" if gain < BELIEVED else "much: the search has not settled"
    words.append(
        f"Rough measure of what is left to gain: steps against the gradient, at most {LONGEST} in "
        f"each entry of θ and taken as independent, would lower the objective by {amount}."
    )
    return words


def _gain(one: Tolerance) -> float:
    """What a damped Newton step along one entry would gain."""
    slope, bend = abs(one.gradient), max(one.curvature, 0.0)
    step = min(slope / bend, LONGEST) if bend > 0 else LONGEST
    return slope * step - 0.5 * bend * step**2
