"""Whether a classifier can tell drawn rows from real ones."""

__all__ = ["TwoSample", "area_under_curve", "calibrated", "two_sample"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from detopt.errors import MethodError
from detopt.random import Seed
from detopt.surrogates.training import Descent, Training, perceptron

CLASSIFIER = Training(n_steps=2_000, batch=500, learning_rate=1e-3, held_out=0.2, patience=8)
HIDDEN = (128, 128)
FOLDS, FEWEST = 2, 40  # rows
SURE = 1e-3  # a calibrated probability is this far from 0 and 1 at least


@dataclass(frozen=True)
class TwoSample:
    """What a classifier found.

    Attributes:
        area: Area under its receiver operating characteristic on rows that it did not learn from:
            0.5 where drawn and real rows are alike, 1 where they are always told apart.
        std_error: From the number of rows and the scatter of repeated trainings.
        divergence: Lower bound of the Jensen-Shannon divergence [nat], from 0 to ln 2.
    """

    area: float
    std_error: float
    divergence: float


def area_under_curve(scores: Float[Tensor, " n"], real: Bool[Tensor, " n"]) -> float:
    """Probability that a real row has a higher score than a drawn one; ties count one half."""
    values, place = scores.unique(return_inverse=True)
    drawn = torch.zeros(len(values), dtype=torch.float64).index_add(0, place, (~real).double())
    below = drawn.cumsum(0) - drawn / 2
    n_pairs = int(real.sum()) * int((~real).sum())
    return float(below[place][real].sum()) / n_pairs


def calibrated(
    scores: Float[Tensor, " n"], real: Bool[Tensor, " n"], at: Float[Tensor, " m"]
) -> Float[Tensor, " m"]:
    """Probability of a real row at a score, by isotonic regression.

    Args:
        scores: Of rows whose kind is known.
        real: Whether they are real.
        at: Scores where the probability is wanted.

    References:
        R. E. Barlow et al., Statistical Inference under Order Restrictions (1972).
    """
    known, place = scores.unique(return_inverse=True)  # rows of one score have one probability
    sums = torch.zeros(len(known), dtype=torch.float64).index_add(0, place, real.double())
    numbers = place.bincount(minlength=len(known))
    blocks: list[tuple[float, int]] = []  # sum and number
    for total, number in zip(sums.tolist(), numbers.tolist(), strict=True):
        while blocks and blocks[-1][0] * number >= total * blocks[-1][1]:
            before, n_before = blocks.pop()
            total, number = total + before, number + n_before
        blocks.append((total, number))
    sizes = torch.tensor([number for _, number in blocks])
    levels = torch.tensor([total / number for total, number in blocks], dtype=torch.float64)
    ends = scores.sort().values[sizes.cumsum(0) - 1]
    return levels[torch.searchsorted(ends, at).clamp(max=len(levels) - 1)]


def two_sample(
    real: Float[Tensor, "n d"],
    drawn: Float[Tensor, "m d"],
    seed: Seed,
    n_repeats: int = 3,
    training: Training = CLASSIFIER,
) -> TwoSample:
    """Train classifiers of real against drawn rows, and test them on others.

    Row i of both must belong to the same conditions, which may stand in its columns: the two are
    always in the same half. One half teaches and the other one tests, in turns; a part of the
    teaching half says when to stop.

    Args:
        real: Rows of the simulator.
        drawn: Rows of the surrogate.
        seed: Of halves and weights.
        n_repeats: Trainings of each half.
        training: Effort of a training.

    Raises:
        MethodError: The numbers of rows differ or are below 40.

    Note:
        An area below 0.5 by more than its error hints at rows that are in both halves.

    References:
        D. Lopez-Paz and M. Oquab, arXiv:1610.06545; C. Krause et al., arXiv:2410.21611.
    """
    n = len(real)
    if real.shape != drawn.shape or n < FEWEST:
        raise MethodError(
            f"A test takes as many drawn as real rows, {FEWEST} at least, got {len(drawn)} and {n}."
        )
    areas, gains = [], []
    for repeat in range(n_repeats):
        rng = seed.child(repeat).generator()
        halves = torch.randperm(n, generator=rng).tensor_split(FOLDS)
        for taught, tested in (halves, halves[::-1]):
            area, gain = _trial((real[taught], drawn[taught]), (real[tested], drawn[tested]),
                                rng, training)  # fmt: skip
            areas.append(area)
            gains.append(gain)
    found = torch.tensor(areas, dtype=torch.float64)
    sampling = math.sqrt((2 * n + 1) / (12 * n * n))
    scatter = float(found.std()) / math.sqrt(len(found)) if len(found) > 1 else 0.0
    return TwoSample(float(found.mean()), math.hypot(sampling, scatter), sum(gains) / len(gains))


def _trial(
    taught: tuple[Tensor, Tensor],
    tested: tuple[Tensor, Tensor],
    rng: torch.Generator,
    training: Training,
) -> tuple[float, float]:
    """Area, and divergence, of one training."""
    rows = torch.cat(taught)
    center, width = rows.mean(0), rows.std(0)
    width = torch.where(width > 0, width, torch.ones_like(width))

    def scaled(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        kind = torch.arange(2).repeat_interleave(len(pair[0])) == 0
        return ((torch.cat(pair) - center) / width).float(), kind

    (inputs, kind), (unseen, truth) = scaled(taught), scaled(tested)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
        network = perceptron(rows.shape[1], HIDDEN, 1)

        def loss(chosen: Tensor) -> Tensor:
            return cross_entropy(network(inputs[chosen])[:, 0], kind[chosen].float())

        Descent(training, training.n_steps, rng).descend(network, loss, len(rows))
    with torch.no_grad():
        scores = network(unseen)[:, 0]
    return area_under_curve(scores, truth), _divergence(scores, truth)


def _divergence(scores: Tensor, real: Tensor) -> float:
    """ln(2) less the cross-entropy of probabilities, calibrated on one half of the rows."""
    first = torch.arange(len(scores)) % 2 == 0
    total = 0.0
    for known in (first, ~first):
        p = calibrated(scores[known], real[known], scores[~known]).clamp(SURE, 1 - SURE)
        total += float(torch.where(real[~known], p.log(), torch.log1p(-p)).mean()) / 2
    return math.log(2) + total
