r"""The gradient check: is an estimator's gradient the derivative of the objective?

Each of `n_repeats` repetitions draws its own random numbers and differentiates the objective
twice with them: by the estimator, and by central differences. Their paired difference has mean
zero if the estimator is unbiased, whatever the noise that both share. A single verdict a parameter
follows (compare arXiv:2203.13818, figure 3).
"""

__all__ = ["GradientCheck", "Verdict", "check_gradients"]

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.gradients.base import GradientEstimator
from detopt.gradients.finite_differences import FiniteDifferences
from detopt.gradients.pathwise import Pathwise
from detopt.pipeline.evaluation import Evaluation, Request, evaluate
from detopt.pipeline.problem import Problem
from detopt.random import Seed

Z_LIMIT = 3.0  # standard errors
RELATIVE_LIMIT = 0.05  # disagreement below this share of the gradient is accepted
RESOLUTION = (0.25, 0.10)  # shares of the component and of the largest one: where the paired
# difference is known worse than both, the check could not see a bias
HIDDEN = (0.3, 0.3)  # idem: where the estimate itself is, its noise hides the gradient
TAIL_SUSPECT = 5.0  # largest deviation, in medians of all, that asks for a second look, and
TAIL_CERTAIN = 12.0  # the same over both samples: 1e-4 for normal draws, 9 in 10 for 1/u
TAIL_MATTERS = 0.05  # standard error, as a share of the largest component, that a tail needs
DISPLACEMENT = 0.3  # of theta, away from symmetric or kinked starts

Progress = Callable[[int, int], None]


class Verdict(enum.StrEnum):
    """What the check concludes for one parameter."""

    AGREES = "agrees"
    BIASED = "biased"
    ZERO = "zero where it should not be"
    NOISE = "dominated by noise"


@dataclass(frozen=True)
class GradientCheck:
    """Result of the check for one entry of theta.

    Args:
        name: Parameter, with its index in an array.
        estimate: Mean gradient of the estimator, per unit of theta.
        std_error: Its standard error.
        reference: Mean central difference with common random numbers.
        reference_error: Its standard error.
        z: Mean of the paired difference over its standard error.
        verdict: The conclusion.
    """

    name: str
    estimate: float
    std_error: float
    reference: float
    reference_error: float
    z: float
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, which has no NaN and no infinity: they become None."""
        plain = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }
        return plain | {"verdict": str(self.verdict)}


def check_gradients(
    problem: Problem,
    estimator: GradientEstimator | None = None,
    *,
    theta: Float[Tensor, " n_free"] | None = None,
    seed: int = 0,
    n_repeats: int = 24,
    n_events: int | None = None,
    step: float = 0.01,
    progress: Progress | None = None,
) -> list[GradientCheck]:
    """Compare an estimator with central differences, in float64.

    A verdict other than `agrees` is confirmed with fresh random numbers before it is given.

    Args:
        problem: Whose objective is differentiated; made float64 here.
        estimator: Pathwise by default.
        theta: Where; by default near the start, displaced at random from it, since a start often
            has symmetries and kinks that hide errors.
        seed: Of displacement and repetitions.
        n_repeats: Repetitions, >= 8.
        n_events: Events in each evaluation, or None for the problem's own number.
        step: Step of the central differences, in theta.
        progress: Called with the number of evaluations done and their total.

    Returns:
        One result for each entry of theta.

    Raises:
        MethodError: Too few repetitions, or a free parameter is discrete.
    """
    if n_repeats < 8:
        raise MethodError(f"`n_repeats` must be >= 8 to tell noise from bias, got {n_repeats}.")
    if problem.space.has_discrete:
        raise MethodError(
            "A discrete parameter has no gradient to check. Freeze it, for example with `--freeze`."
        )
    estimator = Pathwise() if estimator is None else estimator
    precise = problem.with_dtype(torch.float64)
    root = Seed(seed, "gradient check")
    if theta is None:
        theta = generic_point(precise, root)

    def sample(label: str, done: int) -> tuple[Tensor, Tensor]:
        return _sample(
            precise, estimator, theta, root.child(label), n_repeats, n_events, step, progress, done
        )

    labels = problem.space.labels
    estimates, references = sample("first", 0)
    first = _conclude(labels, estimates, references, _tails(estimates) > TAIL_SUSPECT)
    if all(check.verdict is Verdict.AGREES for check in first):
        return first
    fresh, references = sample("second", 1)
    tails = _tails(torch.cat([estimates, fresh])) > TAIL_CERTAIN
    second = _conclude(labels, fresh, references, tails)
    return [a if a.verdict is Verdict.AGREES else b for a, b in zip(first, second, strict=True)]


def generic_point(problem: Problem, seed: Seed) -> Float[Tensor, " n_free"]:
    """A point near the start that no symmetry singles out."""
    start = problem.space.theta(problem.space.start)
    rng = seed.child("point").generator()
    return start + DISPLACEMENT * torch.randn(len(start), generator=rng, dtype=start.dtype)


def _sample(
    problem: Problem,
    estimator: GradientEstimator,
    theta: Tensor,
    seed: Seed,
    n_repeats: int,
    n_events: int | None,
    step: float,
    progress: Progress | None,
    half: int,
) -> tuple[Tensor, Tensor]:
    """Gradients of all repetitions: by the estimator, and by differences."""
    differences = FiniteDifferences(step=step)
    estimates: list[Tensor] = []
    references: list[Tensor] = []
    for repeat in range(n_repeats):
        stream = ("repeat", repeat)
        for method, found in ((estimator, estimates), (differences, references)):
            answers = _answer(problem, method.requests(theta, stream, n_events), seed)
            found.append(method.combine(answers).gradient)
        if progress is not None:
            progress(half * n_repeats + repeat + 1, (half + 1) * n_repeats)
    return torch.stack(estimates), torch.stack(references)


def _answer(problem: Problem, requests: Sequence[Request], seed: Seed) -> list[Evaluation]:
    # errors come from repetitions here: no bootstrap
    return [evaluate(problem, replace(request, std_error=False), seed) for request in requests]


def _conclude(
    labels: Sequence[str],
    estimates: Float[Tensor, "n_repeats n_free"],
    references: Float[Tensor, "n_repeats n_free"],
    tails: Bool[Tensor, " n_free"],
) -> list[GradientCheck]:
    scale = float(references.mean(dim=0).abs().max())
    return [
        _judge(label, estimates[:, i], references[:, i], scale, bool(tails[i]))
        for i, label in enumerate(labels)
    ]


def _judge(
    label: str,
    estimates: Float[Tensor, " n"],
    references: Float[Tensor, " n"],
    scale: float,
    has_tail: bool,
) -> GradientCheck:
    estimate, std_error = _mean(estimates)
    reference, reference_error = _mean(references)
    difference, difference_error = _mean(estimates - references)
    floor = 1e-9 * max(scale, abs(estimate), 1e-300)
    z = difference / max(difference_error, floor)

    tail = has_tail and std_error > TAIL_MATTERS * scale
    unseen, hidden = (
        max(own * abs(reference), largest * scale) for own, largest in (RESOLUTION, HIDDEN)
    )
    disagrees = abs(z) > Z_LIMIT and abs(difference) > RELATIVE_LIMIT * abs(reference)

    if not bool(torch.isfinite(estimates).all()):
        verdict = Verdict.NOISE
    elif not bool(estimates.any()) and abs(reference) > Z_LIMIT * reference_error:
        verdict = Verdict.ZERO
    elif tail or std_error > hidden:
        verdict = Verdict.NOISE
    elif disagrees:
        verdict = Verdict.BIASED
    elif difference_error > unseen:
        verdict = Verdict.NOISE
    else:
        verdict = Verdict.AGREES
    return GradientCheck(label, estimate, std_error, reference, reference_error, z, verdict)


def _mean(samples: Tensor) -> tuple[float, float]:
    return float(samples.mean()), float(samples.std() / len(samples) ** 0.5)


def _tails(samples: Float[Tensor, "n n_free"]) -> Float[Tensor, " n_free"]:
    """Largest deviation over the median one; where it is large, standard errors mean nothing."""
    deviations = (samples - samples.median(dim=0).values).abs()
    largest = deviations.max(dim=0).values
    return torch.where(largest > 0, largest / deviations.median(dim=0).values, 0.0)
