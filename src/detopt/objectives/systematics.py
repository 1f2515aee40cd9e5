r"""How binned events respond to nuisance parameters: three ways, one kind of result.

=====================  ======================================  ==================================
way                    what must be known                      valid where
=====================  ======================================  ==================================
`by_weights`           scores: slopes of the log density       the density is known or learned
`by_transformation`    how a sample moves with a parameter     shares are smooth in the sample
`by_variations`        samples at up and down values           the response is close to linear
=====================  ======================================  ==================================

The first two are exact at the nominal point; the second has a smaller variance where the sample
moves a little, and none of the boundary terms that kinks bring only if the shares have a
continuous slope (a network of ReLU units has not, see `moved_shares`).
"""

__all__ = ["by_transformation", "by_variations", "by_weights", "concatenate", "moved_shares"]

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError
from detopt.objectives.binned_events import BinnedEvents
from detopt.pipeline.slopes import JIT_WARNING

Binning = Callable[[Tensor], Tensor]  # maps samples [events, features] to shares [events, bins]


def by_weights(
    shares: Float[Tensor, "n_events bins"],
    weights: Float[Tensor, " n_events"],
    scores: Float[Tensor, "n_events parameters"],
) -> BinnedEvents:
    r"""Parameters that change how often an event occurs, not what it looks like.

    .. math::
        \frac{\partial w_i}{\partial\theta_a} = w_i\, t_{ia}, \qquad
        t_{ia} = \frac{\partial \ln \nu(x_i)}{\partial \theta_a}

    Args:
        shares: Share of each event in each bin.
        weights: Expected number of events that each would stand for alone.
        scores: Scores :math:`t_{ia}`; for the yield of the event's own class, 1 over that yield.

    Note:
        Unbiased for soft and hard shares alike, since no share is differentiated in the sample.
    """
    none = shares.new_zeros((*shares.shape, 0))
    return BinnedEvents(shares, weights, weights.unsqueeze(-1) * scores, none)


def moved_shares(
    binning: Binning,
    samples: Float[Tensor, "n_events features"],
    directions: Float[Tensor, "n_events features parameters"],
) -> tuple[Float[Tensor, "n_events bins"], Float[Tensor, "n_events bins parameters"]]:
    r"""Shares of samples in bins, and how they change where parameters move the samples.

    .. math::
        \frac{\partial p_{ik}}{\partial\theta_a} = \sum_j \frac{\partial p_k}{\partial x_j}
            \frac{\partial x_{ij}}{\partial \theta_a}

    Forward-mode derivatives, of all parameters that move anything at once.

    Args:
        binning: Maps samples to shares, such as a summary network with a softmax.
        samples: Samples at the nominal point.
        directions: How they move, :math:`\partial x_{ij} / \partial \theta_a`.

    Returns:
        Shares, and their slopes; both can be differentiated in the weights of a network.

    Raises:
        DomainError: The shares do not depend on the samples.

    Note:
        Hard shares have no slope in the sample: use soft ones. Where the slope of the shares
        jumps, as with ReLU units, the slopes are right, but the derivative of their mean in the
        weights of the network misses what moves across the jump, and is biased. Take a smooth
        activation (SiLU, tanh, softplus), or `by_weights`.
    """
    used = [a for a, direction in enumerate(directions.unbind(-1)) if bool(direction.any())]
    if not used:
        shares = binning(samples)
        return shares, shares.new_zeros((*shares.shape, directions.shape[-1]))

    def push(direction: Tensor) -> tuple[Tensor, Tensor]:
        shares, slope = torch.func.jvp(binning, (samples,), (direction,))[:2]
        return shares, slope

    places: Any = (None, 0)  # shares are common to all directions
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", JIT_WARNING, DeprecationWarning)
        together = torch.func.vmap(push, out_dims=places)
        shares, moved = together(directions[..., used].movedim(-1, 0))
    if not bool(moved.any()):
        raise DomainError(
            "The shares do not change with the samples: they are hard, or detached. A "
            "transformation needs a smooth binning."
        )
    slopes = shares.new_zeros((*shares.shape, directions.shape[-1]))
    columns = torch.tensor(used, device=shares.device)
    return shares, slopes.index_copy(-1, columns, moved.movedim(0, -1))


def by_transformation(
    binning: Binning,
    samples: Float[Tensor, "n_events features"],
    directions: Float[Tensor, "n_events features parameters"],
    weights: Float[Tensor, " n_events"],
    weight_slopes: Float[Tensor, "n_events parameters"],
) -> BinnedEvents:
    r"""Parameters that move each sample: :math:`x_i(\theta)`, such as a shift or a scale.

    Args:
        binning: Maps samples to shares, as for `moved_shares`.
        samples: Samples at the nominal point.
        directions: How they move, :math:`\partial x_{ij} / \partial \theta_a`.
        weights: Expected number of events that each would stand for alone.
        weight_slopes: Derivatives of the weights in the parameters, zero where only samples move.

    Raises:
        DomainError: The shares do not depend on the samples.

    Note:
        As for `moved_shares`: right for soft shares with a continuous slope.
    """
    shares, slopes = moved_shares(binning, samples, directions)
    return BinnedEvents(shares, weights, weight_slopes, slopes)


def by_variations(
    shares: Float[Tensor, "n_events bins"],
    weights: Float[Tensor, " n_events"],
    *,
    up: Sequence[tuple[Tensor, Tensor]],
    down: Sequence[tuple[Tensor, Tensor]],
    width: Sequence[float] | None = None,
    weight_slopes: Float[Tensor, "n_events parameters"] | None = None,
) -> BinnedEvents:
    r"""Parameters known from varied samples, as analyses have them: central differences.

    .. math::
        \frac{\partial \nu_k}{\partial \theta_a} \approx
            \frac{\nu_k(\theta_a + \Delta_a) - \nu_k(\theta_a - \Delta_a)}{2 \Delta_a}

    Args:
        shares: Share of each nominal event in each bin.
        weights: Expected number of events that each would stand for alone.
        up: For each varied parameter, shares and weights of the same events at
            :math:`+\Delta_a`. Rows must match the nominal ones.
        down: The same at :math:`-\Delta_a`.
        width: Steps :math:`\Delta_a`, > 0; one by default, which makes the parameter's unit its
            own standard deviation.
        weight_slopes: Slopes of further parameters that change weights alone; they come first.

    Raises:
        DomainError: Numbers of variations, rows or bins do not match, or a step is not above zero.

    Note:
        Slopes are exact to second order in the step. Differentiable in shares and weights of all
        samples. Rows that are matched, event by event, cancel most statistical errors; rows drawn
        independently for each variation are allowed but cost a factor of their variance.
    """
    steps = [1.0] * len(up) if width is None else list(width)
    if not len(up) == len(down) == len(steps):
        raise DomainError(
            f"Each variation needs an up, a down and a step, got {len(up)}, {len(down)} and "
            f"{len(steps)}."
        )
    varied = []
    for number, (high, low, step) in enumerate(zip(up, down, steps, strict=True)):
        if not step > 0:
            raise DomainError(f"The step of variation {number} must be > 0, got {step}.")
        for at, (share, _) in (("up", high), ("down", low)):
            if share.shape != shares.shape:
                raise DomainError(
                    f"The {at} sample of variation {number} has the shape {tuple(share.shape)}, "
                    f"not {tuple(shares.shape)} as the nominal one. Match rows and bins."
                )
        counts = [share * weight.unsqueeze(-1) for share, weight in (high, low)]
        varied.append((counts[0] - counts[1]) / (2 * step))
    return _as_share_slopes(shares, weights, weight_slopes, varied)


def _as_share_slopes(
    shares: Tensor, weights: Tensor, weight_slopes: Tensor | None, varied: Sequence[Tensor]
) -> BinnedEvents:
    """Slopes of counts as slopes of shares, so that weights are as they are."""
    first = weights.new_zeros((len(weights), 0)) if weight_slopes is None else weight_slopes
    none = shares.new_zeros((*shares.shape, first.shape[-1]))
    if bool((weights == 0).any()):
        raise DomainError("A nominal weight is 0, so that its variation has no scale. Drop it.")
    moved = [slope / weights.unsqueeze(-1) for slope in varied]
    slopes = torch.cat([none, torch.stack(moved, dim=-1)], dim=-1) if moved else none
    zero = weights.new_zeros((len(weights), len(moved)))
    return BinnedEvents(shares, weights, torch.cat([first, zero], dim=-1), slopes)


@dataclass(frozen=True)
class ClassifiedEvents(BinnedEvents):
    """Binned events of several classes, each simulated on its own.

    Args:
        strata: Number of the class of each event. Repetitions of the experiment have as many
            events of each class, and so have resampled ones.
    """

    strata: Int[Tensor, " n_events"]


def concatenate(*classes: BinnedEvents) -> ClassifiedEvents:
    """One summary of several classes of events, each normalized to its own number of rows.

    The expected counts of the whole are the sum of those of the classes. Classes with slopes of
    shares and classes without them may be mixed, and a part may hold classes itself. Standard
    errors are those of repetitions with the same number of events of each class.

    Raises:
        DomainError: There are no classes, or numbers of bins or parameters differ.
    """
    shapes = {(c.shares.shape[-1], c.weight_slopes.shape[-1]) for c in classes}
    if len(shapes) != 1:
        raise DomainError(
            f"Classes must have the same bins and parameters, got {sorted(shapes)} (bins, "
            "parameters)."
        )
    n_rows = sum(c.n_rows for c in classes)
    moves = any(c.share_slopes.shape[-1] for c in classes)
    parts = []
    for c in classes:
        factor = n_rows / c.n_rows
        slopes = c.share_slopes
        if moves and not slopes.shape[-1]:
            slopes = c.shares.new_zeros((*c.shares.shape, c.weight_slopes.shape[-1]))
        parts.append((c.shares, factor * c.weights, factor * c.weight_slopes, slopes))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    columns.append(_class_numbers(classes))
    return ClassifiedEvents(*columns)


def _class_numbers(classes: Sequence[BinnedEvents]) -> Int[Tensor, " n_events"]:
    """Numbers of the classes of all events, those inside `ClassifiedEvents` among them."""
    numbers, n_classes = [], 0
    for c in classes:
        own = c.weights.new_zeros(c.n_rows, dtype=torch.long)
        if isinstance(c, ClassifiedEvents):
            own = c.strata.unique(return_inverse=True)[1]
        numbers.append(own + n_classes)
        n_classes += int(own.max()) + 1
    return torch.cat(numbers)
