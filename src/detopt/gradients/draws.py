r"""A discrete draw inside a simulation, differentiated in a way of one's choice.

The simulation hands over what follows the draw as a function, `continuation`, so that one word
decides how the draw is treated:

- `score`: the outcome is sampled, the score function follows its probability;
- `exact`: what follows is computed for every outcome, and summed with the probabilities;
- `measure_valued`: what follows is computed for a pair of outcomes, whose weighted difference is
  the derivative;
- `straight_through`: the outcome has the derivative of its mean; biased;
- `naive`: the outcome has no derivative; biased.
"""

__all__ = ["UNBIASED", "WAYS", "Way", "draw_through"]

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError, MethodError
from detopt.gradients.discrete import DiscreteDistribution
from detopt.gradients.score import Baseline, Draws

Way = Literal["naive", "score", "exact", "measure_valued", "straight_through"]
WAYS: tuple[str, ...] = get_args(Way)
UNBIASED = frozenset({"score", "exact", "measure_valued"})


def draw_through(
    distribution: DiscreteDistribution,
    continuation: Callable[[Tensor], Tensor],
    way: Way,
    rng: torch.Generator,
    *,
    baseline: Baseline = "mean",
    features: Float[Tensor, "n_rows n_features"] | None = None,
) -> Float[Tensor, "n_rows *columns"]:
    r"""Values of rows that draw, with a derivative that follows the draw.

    .. math::
        \text{exact:}\ \sum_k p_k f(k), \qquad
        \text{measure-valued:}\ f(k) + (w - [w])\,[f(k') - f(k)], \qquad
        \text{score:}\ f(k) + [f(k) - b]\,(\ln p_k - [\ln p_k])

    Args:
        distribution: What each row draws.
        continuation: Maps outcomes to values, row by row. Its own random numbers are best drawn
            before, so that both outcomes of a pair share them.
        way: How the draw is differentiated.
        rng: For the draw.
        baseline: Of the score function, see `Draws.attach`.
        features: For a cross-fitted baseline.

    Returns:
        Values of the sampled outcomes; for `exact`, their conditional mean.

    Raises:
        MethodError: No such way.
        DomainError: The values are not row by row, or `exact` meets infinitely many outcomes.

    Note:
        `UNBIASED` names the ways whose derivative has the right mean. `exact` costs a continuation
        for every outcome, `measure_valued` two, the others one. `straight_through` and `naive` are
        right only where the value is linear in the outcome, or does not depend on it.
    """
    if way not in WAYS:
        raise MethodError(f"`way` must be one of {', '.join(WAYS)}, got {way!r}.")
    if way == "exact":
        parts = [
            _weigh(_values(continuation, outcome, distribution), probability)
            for outcome, probability in distribution.outcomes()
        ]
        return torch.stack(parts).sum(0)

    outcome = distribution.sample(rng)
    if way == "straight_through":
        return _values(continuation, distribution.relax(outcome), distribution)
    values = _values(continuation, outcome, distribution)
    if way == "measure_valued":
        other, weight = distribution.partner(outcome, rng)
        with torch.no_grad():
            difference = _values(continuation, other, distribution) - values
        return values + _weigh(difference, weight - weight.detach())
    if way == "score":
        draws = Draws(distribution.n_rows)
        draws.record(distribution.log_probability(outcome))
        return draws.attach(values, baseline, features)
    return values


def _values(
    continuation: Callable[[Tensor], Tensor], outcome: Tensor, distribution: DiscreteDistribution
) -> Tensor:
    values = continuation(outcome)
    if values.ndim < 1 or len(values) != distribution.n_rows:
        raise DomainError(
            f"What follows a draw of {distribution.n_rows} rows must give a value for each, got "
            f"the shape {tuple(values.shape)}."
        )
    return values


def _weigh(values: Tensor, weight: Tensor) -> Tensor:
    return values * weight.reshape(-1, *[1] * (values.ndim - 1))
