"""One stage without derivative in a differentiable pipeline: differences for it alone."""

__all__ = ["differentiate_stage"]

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from detopt.design import Design
from detopt.errors import MethodError


def differentiate_stage(
    stage: Callable[[Design, torch.Generator], Tensor],
    design: Design,
    steps: Mapping[str, float],
    rng: torch.Generator,
) -> Tensor:
    r"""What a stage gives, with a derivative in the design from central differences of the stage.

    .. math::
        y = f(\theta) + \sum_i \frac{f(\theta + h_i e_i) - f(\theta - h_i e_i)}{2 h_i}\,
            (\theta_i - [\theta_i])

    with :math:`[\cdot]` for what is held fixed. All calls share their random numbers; the stages
    before and after keep their own derivatives.

    Args:
        stage: Maps a design and a generator to a floating-point tensor of a fixed shape. It may
            call any program; what else it takes from earlier stages must not depend on the design.
        design: The design, with its graph.
        steps: Step :math:`h_i` of each entry that the stage depends on, in the unit of the entry.
        rng: Of the stage; it is left where one call leaves it.

    Returns:
        The output of the stage.

    Raises:
        MethodError: No steps are given, or one is not > 0.
        NotFoundError: The design has no entry of that name.

    Note:
        Costs two calls for each number that is named, and nothing where no derivative is wanted.
        Biased by :math:`h^2 f'''/6`. Where the stage draws discrete outcomes, the noise of each row
        grows as :math:`1/\sqrt{h}`; `draw_through` is better there.
    """
    _check(steps)
    before = rng.get_state()

    def call(changed: Design) -> Tensor:
        rng.set_state(before)
        with torch.no_grad():
            return stage(changed, rng)

    fixed = design.detach()
    wanted = [name for name in steps if design[name].requires_grad and torch.is_grad_enabled()]
    slopes = {
        name: [
            (call(up) - call(down)) / (2 * steps[name])
            for up, down in _neighbours(fixed, name, steps[name])
        ]
        for name in wanted
    }
    output = call(fixed)
    for name, columns in slopes.items():
        change = (design[name] - fixed[name]).reshape(-1)
        for i, slope in enumerate(columns):
            output = output + slope * change[i]
    return output


def _check(steps: Mapping[str, float]) -> None:
    if not steps:
        raise MethodError("`steps` must name the entries of the design that the stage depends on.")
    for name, step in steps.items():
        if not (math.isfinite(step) and step > 0):
            raise MethodError(f"The step of `{name}` must be > 0, got {step}.")


def _neighbours(design: Design, name: str, step: float) -> Sequence[tuple[Design, Design]]:
    """Designs up and down in each number of an entry."""
    value = design[name]
    pairs = []
    for i in range(value.numel()):
        change = torch.zeros_like(value)
        change.view(-1)[i] = step
        pairs.append((_with(design, name, value + change), _with(design, name, value - change)))
    return pairs


def _with(design: Design, name: str, value: Tensor) -> Design:
    return Design({**design, name: value})
