r"""Gradients of programs that branch at random.

Particles of a `ParticleBank` make Bernoulli trials with probabilities p(theta): to interact, to
split, to be absorbed. The objective of a row is a function F of sums over its particles. With the
score function each trial carries :math:`\nabla p / p` or :math:`-\nabla p / (1 - p)`, times F minus
a baseline; how much noise is left is a question of the baseline alone.
"""

__all__ = ["BRANCHING_BASELINES", "BranchingBaseline", "Trials", "attach_branching"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detopt.errors import MethodError
from detopt.gradients.particle_bank import ParticleBank
from detopt.gradients.score import cross_fitted, leave_one_out

BranchingBaseline = Literal["none", "mean", "leave_subtree_out", "cross_fitted", "martingale"]
BRANCHING_BASELINES: tuple[str, ...] = get_args(BranchingBaseline)
RowValue = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trials:
    """What the particles of a bank tried; the trials of each particle in the order of time.

    Args:
        particle: Index of the particle in the bank.
        probability: Of success, with its derivative.
        success: What happened.
        if_success: Prediction, before the trial, of the sums over the particle and its descendants
            after a success; only the baseline `martingale` needs it.
        if_failure: The same after a failure.
    """

    particle: Int[Tensor, " n_trials"]
    probability: Float[Tensor, " n_trials"]
    success: Bool[Tensor, " n_trials"]
    if_success: Float[Tensor, "n_trials n_tallies"] | None = None
    if_failure: Float[Tensor, "n_trials n_tallies"] | None = None


def attach_branching(
    bank: ParticleBank,
    trials: Trials,
    value: RowValue,
    baseline: BranchingBaseline = "leave_subtree_out",
    features: Float[Tensor, "n_particles n_features"] | None = None,
) -> Float[Tensor, " n_rows"]:
    r"""Values of the rows, with a derivative that follows all trials.

    With S the sums over a row, :math:`S_j` those over particle j and its descendants and
    :math:`R_j = S - S_j` the rest, a trial of particle j has the weight

    - `none`: :math:`F(S)`;
    - `mean`: :math:`F(S)` less the mean of the other rows;
    - `leave_subtree_out`: :math:`F(S) - F(R_j)`, less its mean over the particles of the same
      generation in other rows, where F of an empty rest counts as 0 if it does not exist;
    - `cross_fitted`: :math:`F(S) - F(R_j + \hat S_j)`, with a prediction :math:`\hat S_j` that is
      linear in `features` and fitted for each generation to other rows;
    - `martingale`: with predictions Q after success and failure of every trial, the expectation
      over the trial itself is exact, and the noise of later trials is taken out as far as Q
      knows it:

    .. math::
        \nabla p\,[F(R_j + Q^1) - F(R_j + Q^0)]
        + \nabla \ln p\,[F(S) - F(R_j + Q) - F'(R_j + Q) \cdot D], \qquad
        D = \sum_{\text{later}} Q - (p\,Q^1 + (1 - p)\,Q^0)

    D sums over all later trials of the particle and its descendants; each of its terms has mean
    zero given what came before, whatever the predictions are. So all five have the same mean; poor
    predictions cost noise and nothing else.

    Args:
        bank: The particles. Where their tallies have a derivative of their own, it is kept.
        trials: What they tried.
        value: Maps sums (..., n_tallies) to values (...) of the objective, differentiable.
        baseline: See above.
        features: What is known of a particle at its birth, for `cross_fitted`.

    Returns:
        F(S) of each row; the mean over rows has the gradient of the expectation.

    Raises:
        MethodError: No such baseline, or features are missing, or predictions where a derivative
            is wanted.

    Note:
        A success must have p > 0 and a failure p < 1, which sampling ensures.

    References:
        J. Schulman et al., arXiv:1506.05254 (leaving out what a draw does not influence); M. Kagan
        and L. Heinrich, arXiv:2308.16680 (branching showers).
    """
    if baseline not in BRANCHING_BASELINES:
        raise MethodError(
            f"`baseline` must be one of {', '.join(BRANCHING_BASELINES)}, got {baseline!r}."
        )
    if baseline == "cross_fitted" and features is None:
        raise MethodError("A cross-fitted baseline needs `features` of the particles.")
    values = value(bank.row_sums(bank.tallies))
    if not trials.probability.requires_grad:
        return values
    if baseline == "martingale" and (trials.if_success is None or trials.if_failure is None):
        raise MethodError("The baseline `martingale` needs `if_success` and `if_failure`.")
    with torch.no_grad():
        if baseline == "martingale":
            slope = _martingale(bank, trials, value, values)
        else:
            advantage = _advantage(bank, value, values, baseline, features)
            slope = advantage[trials.particle] * _score(trials)
    change = slope * (trials.probability - trials.probability.detach())
    return values.index_add(0, bank.row[trials.particle], change)


def _score(trials: Trials) -> Tensor:
    """Derivative of the log-probability of what happened with respect to p."""
    p = trials.probability.detach()
    return torch.where(trials.success, p, p - 1).reciprocal()


def _advantage(
    bank: ParticleBank,
    value: RowValue,
    values: Tensor,
    baseline: BranchingBaseline,
    features: Tensor | None,
) -> Float[Tensor, " n_particles"]:
    if baseline == "none":
        return values[bank.row]
    if baseline == "mean":
        return (values - leave_one_out(values))[bank.row]
    subtree = bank.subtree_sums(bank.tallies)
    rest = bank.row_sums(bank.tallies)[bank.row] - subtree
    if baseline == "cross_fitted":
        assert features is not None
        predicted = _by_generation(bank, subtree, features.detach())
        return values[bank.row] - value(rest + predicted)
    without = value(rest)
    found = values[bank.row] - torch.where(torch.isfinite(without), without, 0.0)
    return found - _by_generation(bank, found, found.new_zeros(len(found), 0))


def _by_generation(bank: ParticleBank, targets: Tensor, features: Tensor) -> Tensor:
    """Predictions from the particles of the same generation in other rows."""
    predicted = torch.zeros_like(targets)
    for generation in bank.generation.unique():
        own = bank.generation == generation
        predicted[own] = cross_fitted(targets[own], features[own], bank.row[own])
    return predicted


def _martingale(
    bank: ParticleBank, trials: Trials, value: RowValue, values: Tensor
) -> Float[Tensor, " n_trials"]:
    """Derivative of the objective of a row with respect to the probability of each trial."""
    assert trials.if_success is not None
    assert trials.if_failure is not None
    success, failure = trials.if_success.detach(), trials.if_failure.detach()
    p, happened = trials.probability.detach()[:, None], trials.success[:, None]
    taken = torch.where(happened, success, failure)
    surprise = taken - (p * success + (1 - p) * failure)

    rest = bank.row_sums(bank.tallies)[bank.row] - bank.subtree_sums(bank.tallies)
    rest = rest[trials.particle]
    expected, slope = _value_and_slope(value, rest + taken)
    other = value(rest + torch.where(happened, failure, success))
    difference = torch.where(trials.success, expected - other, other - expected)
    later = (slope * _later(bank, trials.particle, surprise)).sum(-1)
    residual = values[bank.row[trials.particle]] - expected - later
    return difference + residual * _score(trials)


def _value_and_slope(value: RowValue, sums: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = sums.detach().requires_grad_()
        found = value(leaf)
        (slope,) = torch.autograd.grad(found.sum(), leaf)
    return found.detach(), slope


def _later(bank: ParticleBank, particle: Tensor, surprise: Tensor) -> Tensor:
    """Sums over the later trials of the same particle, and over all of its descendants."""
    own = surprise.new_zeros(bank.n_particles, surprise.shape[1]).index_add(0, particle, surprise)
    order = torch.sort(particle, stable=True).indices
    running = surprise.new_zeros(len(particle), surprise.shape[1], dtype=torch.float64)
    running[order] = surprise[order].to(torch.float64).cumsum(0)
    before = running[order]
    count = torch.bincount(particle, minlength=bank.n_particles)
    last = (count.cumsum(0) - 1).clamp_min(0)
    after = (before[last][particle] - running).to(surprise)
    return after + (bank.subtree_sums(own) - own)[particle]
