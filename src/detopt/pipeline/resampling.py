"""Standard errors and intervals by resampling the independent rows of a summary."""

__all__ = ["bootstrap", "objectives", "resampled", "standard_errors"]

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline.outcome import Outcome, Summary
from detopt.pipeline.problem import Problem
from detopt.random import Seed
from detopt.threads import one_thread

N_BOOTSTRAP = 64  # resamplings for the standard error of a round: 9 % precise


def bootstrap(
    problem: Problem, summary: Summary, design: Design, seed: Seed, n_samples: int = N_BOOTSTRAP
) -> Float[Tensor, " n_samples"]:
    """The objective of resampled rows: its distribution over repetitions of the experiment."""
    return objectives(resampled(problem, summary, design, seed, n_samples))


def resampled(
    problem: Problem, summary: Summary, design: Design, seed: Seed, n_samples: int = N_BOOTSTRAP
) -> list[Outcome]:
    """Outcomes of rows drawn with replacement: their distribution over repetitions."""
    rng = seed.child("bootstrap").generator()
    outcomes = []
    with one_thread(), torch.no_grad():
        for _ in range(n_samples):
            index = _resampling(summary, rng)
            outcomes.append(problem.judge(summary.rows(index), design))
    return outcomes


def _resampling(summary: Summary, rng: torch.Generator) -> Tensor:
    """Rows drawn with replacement, within each of the `strata` that the summary may have."""
    strata = getattr(summary, "strata", None)
    if strata is None:
        return torch.randint(summary.n_rows, (summary.n_rows,), generator=rng)
    groups = [(strata == number).nonzero().flatten() for number in strata.unique()]
    return torch.cat(
        [group[torch.randint(len(group), group.shape, generator=rng)] for group in groups]
    )


def objectives(outcomes: Sequence[Outcome]) -> Float[Tensor, " n_samples"]:
    """The objective of each outcome, in float64."""
    return torch.stack([outcome.objective.to(torch.float64) for outcome in outcomes])


def standard_errors(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Of each of several objectives, by name."""
    return {
        name: float(torch.stack([one.objectives[name] for one in outcomes]).double().std())
        for name in outcomes[0].objectives
    }
