r"""The gradient check: is an estimator's gradient the derivative of the objective?

Each of `n_repeats` repetitions draws its own random numbers and differentiates the objective
twice with them: by the estimator, and by central differences. Their paired difference has mean
zero if the estimator is unbiased, whatever the noise that both share. A single verdict a parameter
follows (compare arXiv:2203.13818, figure 3).

Differences cost two evaluations a parameter, a gradient costs about three in all. Where the noise
that both share hides the gradient, further repetitions of the estimator alone resolve it: they
give the mean, while the paired differences go on telling the bias.
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
TAIL_CERTAIN = 12.0  # the same over both samples: 1e-4 for normal draws, 9 in 10 for 1/u;
TAIL_REPEATS = 48  # times the root of their number over this: the largest outweighs all others
TAIL_MATTERS = 0.05  # standard error, as a share of the largest component, that a tail needs
DISPLACEMENT = 0.3  # of theta, away from symmetric or kinked starts

INSIDE = 0.5  # of the way to a limit that it would cross

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
        reference: Mean central difference with common random numbers; or, where that is more
            precise, the mean of all estimates less the mean paired difference.
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
    n_extra: int = 0,
    n_events: int | None = None,
    step: float = 0.01,
    progress: Progress | None = None,
) -> list[GradientCheck]:
    """Compare an estimator with central differences, in float64.

    A verdict other than `agrees` is confirmed with fresh random numbers before it is given.

    Args:
        problem: Whose objective is differentiated; made float64 here.
        estimator: Pathwise by default.
        theta: Where, within the limits; by default near the start, displaced at random from it,
            since a start often has symmetries and kinks that hide errors. Sides that would break
            a limit are drawn back onto it.
        seed: Of displacement and repetitions.
        n_repeats: Repetitions, >= 8.
        n_extra: Most repetitions of the estimator alone, in blocks of `n_repeats`, while the
            noise hides the gradient of a parameter.
        n_events: Events in each evaluation, or None for the problem's own number.
        step: Step of the central differences, in theta.
        progress: Called with the number of repetitions done and their total.

    Returns:
        One result for each entry of theta.

    Raises:
        MethodError: Too few repetitions, or a free parameter is discrete.
    """
    if n_extra < 0:
        raise MethodError(f"`n_extra` must be >= 0, got {n_extra}.")
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

    draws = _Draws(precise, estimator, FiniteDifferences(step=step), theta, n_events)
    labels = problem.space.labels

    def sample(label: str, before: int) -> _Sample:
        def step_done(done: int, total: int) -> None:
            if progress is not None:
                progress(before + done, before + total)

        return draws.sample(root.child(label), n_repeats, n_extra, step_done)

    one = sample("first", 0)
    first = _conclude(labels, one, _suspects(one))
    if all(check.verdict is Verdict.AGREES for check in first):
        return first
    two = sample("second", len(one.estimates))
    second = _conclude(labels, two, _outweigh(torch.cat([one.estimates, two.estimates])))
    return [a if a.verdict is Verdict.AGREES else b for a, b in zip(first, second, strict=True)]


def generic_point(problem: Problem, seed: Seed) -> Float[Tensor, " n_free"]:
    """A point near the start that no symmetry singles out, inside the limits."""
    start = problem.space.theta(problem.space.start)
    rng = seed.child("point").generator()
    point = start + DISPLACEMENT * torch.randn(len(start), generator=rng, dtype=start.dtype)
    if problem.space.allows(point):
        return point
    return torch.lerp(start, problem.space.admit(point, start), INSIDE)


@dataclass(frozen=True)
class _Sample:
    """Gradients of repetitions.

    Args:
        paired: By the estimator, where there are differences with the same random numbers.
        references: Those differences.
        extra: By the estimator alone.
    """

    paired: Float[Tensor, "n_repeats n_free"]
    references: Float[Tensor, "n_repeats n_free"]
    extra: Float[Tensor, "n_extra n_free"]

    @property
    def estimates(self) -> Float[Tensor, "n n_free"]:
        return torch.cat([self.paired, self.extra])

    def derivative(self) -> tuple[Float[Tensor, " n_free"], Float[Tensor, " n_free"]]:
        """The derivative without the estimator's bias, and its standard error.

        The mean of all estimates less that of the paired differences, which has the estimator as a
        control variate; or the mean of the differences where its error is less.
        """
        plain, plain_error = _mean(self.references)
        n, n_all = len(self.paired), len(self.estimates)
        if n_all == n:
            return plain, plain_error
        bias = self.paired - self.references
        shared = self.paired / n_all - bias / n  # each paired repetition's part
        variance = n * shared.var(0) + self.extra.var(0) * (n_all - n) / n_all**2
        controlled = self.estimates.mean(0) - bias.mean(0)
        better = variance.sqrt() < plain_error
        return (
            torch.where(better, controlled, plain),
            torch.where(better, variance.sqrt(), plain_error),
        )


@dataclass(frozen=True)
class _Draws:
    """Draws repetitions of both gradients at one point."""

    problem: Problem
    estimator: GradientEstimator
    differences: FiniteDifferences
    theta: Tensor
    n_events: int | None

    def sample(self, seed: Seed, n_repeats: int, n_extra: int, progress: Progress) -> _Sample:
        """Paired repetitions, and further ones of the estimator while its noise hides it."""
        paired, references = [], []
        for repeat in range(n_repeats):
            paired.append(self._gradient(self.estimator, ("repeat", repeat), seed))
            references.append(self._gradient(self.differences, ("repeat", repeat), seed))
            progress(repeat + 1, n_repeats)
        found = _Sample(torch.stack(paired), torch.stack(references), torch.stack(paired)[:0])
        while len(found.extra) < n_extra and bool(_hidden(found, _suspects(found)).any()):
            start, block = len(found.extra), []
            for repeat in range(start, min(start + n_repeats, n_extra)):
                block.append(self._gradient(self.estimator, ("extra", repeat), seed))
                progress(n_repeats + repeat + 1, n_repeats + n_extra)
            found = replace(found, extra=torch.cat([found.extra, torch.stack(block)]))
        return found

    def _gradient(
        self, method: GradientEstimator, stream: tuple[str, int], seed: Seed
    ) -> Float[Tensor, " n_free"]:
        space = self.problem.space
        requests = [
            replace(request, theta=space.admit(request.theta, self.theta))
            for request in method.requests(self.theta, stream, self.n_events)
        ]
        return method.combine(_answer(self.problem, requests, seed)).gradient


def _answer(problem: Problem, requests: Sequence[Request], seed: Seed) -> list[Evaluation]:
    # errors come from repetitions here: no bootstrap
    return [evaluate(problem, replace(request, std_error=False), seed) for request in requests]


def _limits(
    share: tuple[float, float], derivative: Float[Tensor, " n_free"]
) -> Float[Tensor, " n_free"]:
    """Errors above which a gradient is not seen: shares of its size and of the largest one."""
    own, largest = share
    size = derivative.abs().nan_to_num(0, 0, 0)
    return torch.maximum(own * size, largest * size.max())


def _suspects(sample: _Sample) -> Bool[Tensor, " n_free"]:
    """Where a tail may make the standard error meaningless."""
    return (_tails(sample.paired) > TAIL_SUSPECT) | _outweigh(sample.estimates)


def _hidden(sample: _Sample, tails: Bool[Tensor, " n_free"]) -> Bool[Tensor, " n_free"]:
    """Where noise hides the gradient: less of it does where there may be a tail."""
    reference = sample.derivative()[0]
    scale = reference.abs().nan_to_num(0, 0, 0).max()
    _, error = _mean(sample.estimates)
    return (tails & (error > TAIL_MATTERS * scale)) | (error > _limits(HIDDEN, reference))


def _conclude(
    labels: Sequence[str], sample: _Sample, tails: Bool[Tensor, " n_free"]
) -> list[GradientCheck]:
    estimate, error = _mean(sample.estimates)
    reference, reference_error = sample.derivative()
    difference, difference_error = _mean(sample.paired - sample.references)
    scale = reference.abs().nan_to_num(0, 0, 0).max()
    floor = 1e-9 * torch.maximum(scale, estimate.abs()).clamp_min(1e-300)
    z = difference / torch.maximum(difference_error, floor)

    infinite = ~torch.cat([sample.estimates, sample.references]).isfinite().all(0)
    zero = ~sample.estimates.any(0) & (reference.abs() > Z_LIMIT * reference_error)
    hidden = _hidden(sample, tails)
    disagrees = (z.abs() > Z_LIMIT) & (difference.abs() > RELATIVE_LIMIT * reference.abs())
    unseen = difference_error > _limits(RESOLUTION, reference)

    def verdict(i: int) -> Verdict:
        for found, name in (
            (infinite, Verdict.NOISE),
            (zero, Verdict.ZERO),
            (hidden, Verdict.NOISE),
            (disagrees, Verdict.BIASED),
            (unseen, Verdict.NOISE),
        ):
            if found[i]:
                return name
        return Verdict.AGREES

    return [
        GradientCheck(
            label,
            float(estimate[i]),
            float(error[i]),
            float(reference[i]),
            float(reference_error[i]),
            float(z[i]),
            verdict(i),
        )
        for i, label in enumerate(labels)
    ]


def _mean(samples: Float[Tensor, "n n_free"]) -> tuple[Tensor, Tensor]:
    return samples.mean(0), samples.std(0) / len(samples) ** 0.5


def _tails(samples: Float[Tensor, "n n_free"]) -> Float[Tensor, " n_free"]:
    """Largest deviation over the median one; where it is large, standard errors mean nothing."""
    deviations = (samples - samples.median(dim=0).values).abs()
    largest = deviations.max(dim=0).values
    return torch.where(largest > 0, largest / deviations.median(dim=0).values, 0.0)


def _outweigh(samples: Float[Tensor, "n n_free"]) -> Bool[Tensor, " n_free"]:
    """Where the square of one deviation is more than the sum of all others."""
    limit = TAIL_CERTAIN * math.sqrt(max(1.0, len(samples) / TAIL_REPEATS))
    return _tails(samples) > limit
