"""Gradient descent over categories: choices are drawn, and their odds follow the objective."""

__all__ = ["GumbelSoftmax"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.design import Categorical, DesignSpace, Integer
from detopt.errors import MethodError
from detopt.gradients import GradientEstimate, GradientEstimator, Pathwise
from detopt.optimizers.gradient_descent import GradientDescent
from detopt.optimizers.relaxed_categorical import RelaxedCategorical
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed


@dataclass(frozen=True)
class _DrawnChoices(GradientEstimator):
    """The gradient of the mean objective over choices with softmax odds, see `GumbelSoftmax`."""

    inner: GradientEstimator
    blocks: tuple[tuple[int, int], ...]  # coordinates of `Categorical` parameters
    drawn: Bool[Tensor, " n_free"]  # coordinates of all drawn choices
    n_draws: int
    seed: Seed

    accepts_discrete = True

    def _noise(self, like: Tensor, stream: tuple[int | str, ...]) -> Float[Tensor, "n_draws n"]:
        rng = self.seed.child(*stream).generator()
        uniform = torch.rand(self.n_draws, len(like), generator=rng, dtype=torch.float64)
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-12, 1 - 1e-12)))
        return torch.where(self.drawn, gumbel, 0.0)

    def requests(
        self, theta: Float[Tensor, " n_free"], stream: tuple[int | str, ...], n_events: int | None
    ) -> list[Request]:
        """What the inner estimator needs at each draw, with common random numbers.

        Each draw has a stream of its own for what the estimator draws, such as directions; the
        events are those of the round.
        """
        n_own = len(stream) + 2
        return [
            replace(request, stream=(*stream, *request.stream[n_own:]))
            for i, row in enumerate(self._noise(theta, stream))
            for request in self.inner.requests(theta + row, (*stream, "draw", i), n_events)
        ]

    def combine(self, evaluations: Sequence[Evaluation]) -> GradientEstimate:
        """Mean over the draws; the odds of `Categorical` choices by their score.

        The draws share their events: their mean has the error of one draw by events, beside that
        of the choices, which differ. Scores of `Categorical` choices weigh differences of draws, in
        which the events mostly cancel: their error is that of the choices alone, as is that of
        an estimator that cannot tell its own.
        """
        n_each = len(evaluations) // self.n_draws
        parts = [evaluations[i * n_each : (i + 1) * n_each] for i in range(self.n_draws)]
        estimates = [self.inner.combine(part) for part in parts]
        first = evaluations[0].request
        added = len(self.inner.requests(first.theta, (), None)[0].stream)  # by the estimator
        stream = first.stream[: len(first.stream) - added]
        theta = first.theta - self._noise(first.theta, stream)[0]
        values = torch.tensor([estimate.value for estimate in estimates], dtype=torch.float64)
        others = (values.sum() - values) / (self.n_draws - 1)
        rows = torch.stack([estimate.gradient.to(torch.float64) for estimate in estimates])
        shared = torch.stack([e.gradient_std_error.to(torch.float64) for e in estimates])
        shared = shared.nan_to_num(nan=0.0)
        for low, high in self.blocks:
            shared[:, low:high] = 0.0
            odds = torch.softmax(theta[low:high], dim=0)
            for i, part in enumerate(parts):
                chosen = torch.zeros_like(odds)
                chosen[part[0].request.theta[low:high].argmax()] = 1.0
                rows[i, low:high] = (values[i] - others[i]) * (chosen - odds)
        errors = torch.tensor([e.value_std_error for e in estimates], dtype=torch.float64)
        return GradientEstimate(
            value=float(values.mean()),
            value_std_error=float((values.var() / self.n_draws + errors.mean() ** 2).sqrt()),
            gradient=rows.mean(dim=0),
            gradient_std_error=(rows.var(dim=0) / self.n_draws + shared.mean(dim=0) ** 2).sqrt(),
            n_evaluations=sum(estimate.n_evaluations for estimate in estimates),
        )


class GumbelSoftmax(GradientDescent):
    r"""Descend the mean objective over drawn choices, in their odds and the continuous part.

    A choice is drawn as :math:`\arg\max_k (\theta_k + G_k)` with Gumbel noise G, whose odds are
    :math:`p = \mathrm{softmax}(\theta)`; every simulation has one choice of each. The gradient in
    the logits of a `RelaxedCategorical` is the straight-through one of the problem, biased and
    of low variance. That of a `Categorical`, which the problem only sees as an index, is the score
    function's, unbiased, with the mean of the other draws as the baseline:

    .. math::
        g_k = \frac{1}{n} \sum_i \Big(L_i - \frac{1}{n-1} \sum_{j \ne i} L_j\Big)
            (\delta_{k, c_i} - p_k)

    The continuous part follows any estimator, averaged over the draws. The rest is `Adam`. The
    recommended choices are the most probable ones. It finds a local optimum of the odds; where the
    combinations are few, `enumeration` is safer.

    Args:
        space: Design space, without whole numbers.
        n_rounds: Rounds that are planned.
        estimator: How the objective of drawn choices is differentiated; pathwise by default.
        n_events: Events in each evaluation, or None for the problem's own number.
        learning_rate: At the start, in units of theta, > 0.
        max_norm: Longest gradient, in medians of the past norms, > 0.
        n_draws: Draws of the choices in a round, >= 2.
        seed: Seed of the draws.

    References:
        E. Jang, S. Gu and B. Poole, arXiv:1611.01144. W. Kool et al., ICLR workshop (2019).
    """

    rule = torch.optim.Adam
    default_rate = 0.1
    rule_settings: ClassVar[Mapping[str, Any]] = {"betas": (0.9, 0.9)}
    accepts_discrete = True
    accepts_limits = False

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        estimator: GradientEstimator | None = None,
        n_events: int | None = None,
        learning_rate: float | None = None,
        max_norm: float = 5.0,
        n_draws: int = 8,
        seed: int = 0,
    ) -> None:
        inner = Pathwise() if estimator is None else estimator
        super().__init__(space, n_rounds, inner, n_events, learning_rate, max_norm)
        if not isinstance(n_draws, int) or n_draws < 2:
            raise MethodError(f"`n_draws` must be a whole number >= 2, got {n_draws!r}.")
        whole = [p.name for p in space.free if isinstance(p, Integer)]
        if whole:
            raise MethodError(
                f"GumbelSoftmax cannot choose the whole numbers {', '.join(whole)}. Freeze them, "
                "or take enumeration, bayesian or cma."
            )
        blocks, drawn, position = [], torch.zeros(space.n_free, dtype=torch.bool), 0
        for parameter in space.free:
            end = position + parameter.n_free
            if isinstance(parameter, (Categorical, RelaxedCategorical)):
                drawn[position:end] = True
            if isinstance(parameter, Categorical):
                blocks.append((position, end))
            position = end
        if not bool(drawn.any()):
            raise MethodError("The space has no free category to draw. Take adam.")
        stream = Seed(int(seed)).child("gumbel")
        self.estimator = _DrawnChoices(inner, tuple(blocks), drawn, n_draws, stream)
