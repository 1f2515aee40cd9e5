r"""Lower bounds on the information that a readout holds about what is to be measured.

The mutual information of a quantity :math:`t` and its readout :math:`z`,

.. math:: I(t; z) = \mathrm{E}\left[\ln \frac{p(t, z)}{p(t)\, p(z)}\right],

rates an instrument without a choice of reconstruction or task. It is not known for a simulator, but
it has lower bounds that a critic :math:`f(t, z)` tightens when it is trained. All are in nats.
Maximize a bound in the critic and in the design together. At the best critic the slope of the
bound in the design is that of the information, where the bound is tight. A critic that is wrong by
a small amount makes the value wrong to second order, but the slope to first: check a slope with
more training, and quote the value alone.

A bound takes the matrix of scores :math:`f_{ij} = f(t_i, z_j)` of n pairs: matched pairs lie on
the diagonal, all others are pairs of the product of the marginals.

References:
    B. Poole et al., On variational bounds of mutual information, arXiv:1905.06922.
    J. Song and S. Ermon, arXiv:1910.06222 (variance of the bounds).
"""

__all__ = [
    "JointCritic",
    "NormalPosterior",
    "SeparableCritic",
    "barber_agakov_bound",
    "donsker_varadhan_bound",
    "info_nce_bound",
    "nwj_bound",
    "train_critic",
]

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detopt.errors import ConfigError, DomainError

Bound = Callable[[Tensor], Tensor]
Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


def info_nce_bound(scores: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
    r"""InfoNCE: how well matched pairs are told from the others of a batch.

    .. math::
        I \ge \mathrm{E}\left[\frac{1}{n} \sum_i \left(f_{ii}
            - \ln \frac{1}{n} \sum_j e^{f_{ij}}\right)\right] \le \ln n

    Args:
        scores: Scores :math:`f_{ij}` of pairs.

    Raises:
        DomainError: Fewer than two pairs, a matrix that is not square, NaN or infinity.

    Note:
        Low variance; the mean is a lower bound for any critic. It cannot exceed :math:`\ln n`: for
        the best critic it is low by about
        :math:`\frac{1}{2n} (\mathrm{E}_{p(t, z)}[e^{f}] - 1)`, with
        :math:`e^f = p(t, z) / p(t) p(z)`, which grows exponentially with the information. A
        function of one argument added to the scores,
        :math:`f + c(t)`, changes nothing. Differentiable in the scores.

    References:
        A. van den Oord, Y. Li and O. Vinyals, arXiv:1807.03748.
    """
    _require_scores(scores)
    matched = scores.diagonal(dim1=-2, dim2=-1)
    return (matched - scores.logsumexp(-1)).mean(-1) + math.log(scores.shape[-1])


def nwj_bound(scores: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
    r"""The bound of Nguyen, Wainwright and Jordan, unbiased for its own mean.

    .. math::
        I \ge \frac{1}{n} \sum_i f_{ii} - \frac{1}{n (n - 1)} \sum_{i \ne j} e^{f_{ij} - 1}

    Args:
        scores: Scores of pairs.

    Raises:
        DomainError: As for `info_nce_bound`.

    Note:
        A lower bound in the mean for any critic, and tight for
        :math:`f = 1 + \ln p(t, z) / p(t) p(z)`. The variance of its second term grows
        exponentially with the information, as :math:`(e^I - 1) / n^2` at least for the best
        critic: use it for a few nats only. Differentiable in the scores.

    References:
        X. Nguyen, M. J. Wainwright and M. I. Jordan, arXiv:0809.0853.
    """
    _require_scores(scores)
    matched = scores.diagonal(dim1=-2, dim2=-1).mean(-1)
    return matched - (_log_mean_of_others(scores) - 1).exp()


def donsker_varadhan_bound(scores: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
    r"""The bound of Donsker and Varadhan.

    .. math::
        I \ge \frac{1}{n} \sum_i f_{ii} - \ln \frac{1}{n (n - 1)} \sum_{i \ne j} e^{f_{ij}}

    Args:
        scores: Scores of pairs.

    Raises:
        DomainError: As for `info_nce_bound`.

    Note:
        Never below `nwj_bound` of the same scores, and unchanged by a constant added to them. The
        logarithm of a mean is low in the mean, so the estimate is **high**, by half the relative
        variance of the mean: on few pairs it is no lower bound. Train with it, or take many pairs.
        Its variance grows as that of `nwj_bound`. Differentiable in the scores.

    References:
        M. D. Donsker and S. R. S. Varadhan, Comm. Pure Appl. Math. 36 (1983) 183;
        M. I. Belghazi et al., arXiv:1801.04062.
    """
    _require_scores(scores)
    return scores.diagonal(dim1=-2, dim2=-1).mean(-1) - _log_mean_of_others(scores)


def barber_agakov_bound(
    log_posterior: Float[Tensor, "*batch n"], entropy: Tensor | float
) -> Float[Tensor, "*batch"]:
    r"""The bound of Barber and Agakov: how well a posterior predicts the truth.

    .. math:: I \ge H(t) + \frac{1}{n} \sum_i \ln q(t_i \mid z_i)

    Args:
        log_posterior: Logarithm of the density :math:`q` at the truth of each event.
        entropy: Entropy :math:`H(t)` of what is measured [nat], known from the source and without
            dependence on the design.

    Raises:
        DomainError: No events, NaN or infinity.

    Note:
        A lower bound in the mean for every normalized :math:`q`, low by the mean
        Kullback-Leibler divergence of :math:`q` from the true posterior. Unbiased for its own mean,
        with a variance that does not grow with the information. Without the entropy, which is a
        constant, it is the usual log-likelihood loss of a regression, so it can be trained where
        the entropy is unknown. Differentiable in both.

    References:
        D. Barber and F. Agakov, Advances in Neural Information Processing Systems 16 (2003).
    """
    if log_posterior.ndim == 0 or log_posterior.shape[-1] == 0:
        raise DomainError("`log_posterior` holds no events. Give the density at one at least.")
    if not bool(log_posterior.isfinite().all()):
        raise DomainError(
            "`log_posterior` must be finite. Look for a posterior without density at the truth."
        )
    return log_posterior.mean(-1) + entropy


class SeparableCritic(nn.Module):
    r"""Scores :math:`f_{ij} = \frac{1}{\sqrt m}\, g(t_i) \cdot h(z_j)` from two networks.

    Args:
        n_truth: Features of what is measured.
        n_readout: Features of the readout.
        rng: Generator of the initial weights.
        n_embedding: Length :math:`m` of the two embeddings.
        width: Units of each of two hidden layers.

    Note:
        Costs 2n passes of a network for n x n scores.
    """

    def __init__(
        self,
        n_truth: int,
        n_readout: int,
        rng: torch.Generator,
        n_embedding: int = 16,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.truth = _perceptron([n_truth, width, width, n_embedding], rng)
        self.readout = _perceptron([n_readout, width, width, n_embedding], rng)
        self.scale = n_embedding**-0.5

    def forward(
        self, truth: Float[Tensor, "*batch n a"], readout: Float[Tensor, "*batch n b"]
    ) -> Float[Tensor, "*batch n n"]:
        """Scores of all pairs."""
        scores: Tensor = self.truth(truth) @ self.readout(readout).mT * self.scale
        return scores

    if TYPE_CHECKING:
        __call__ = forward


class JointCritic(nn.Module):
    r"""Scores :math:`f_{ij} = f(t_i, z_j)` from one network of both.

    Args:
        n_truth: Features of what is measured.
        n_readout: Features of the readout.
        rng: Generator of the initial weights.
        width: Units of each of two hidden layers.

    Note:
        More general than `SeparableCritic`, at the price of n x n passes.
    """

    def __init__(self, n_truth: int, n_readout: int, rng: torch.Generator, width: int = 64) -> None:
        super().__init__()
        self.network = _perceptron([n_truth + n_readout, width, width, 1], rng)

    def forward(
        self, truth: Float[Tensor, "*batch n a"], readout: Float[Tensor, "*batch n b"]
    ) -> Float[Tensor, "*batch n n"]:
        """Scores of all pairs."""
        n = truth.shape[-2]
        rows = truth.unsqueeze(-2).expand(*truth.shape[:-1], n, -1)
        columns = readout.unsqueeze(-3).expand(*readout.shape[:-1], n, -1)
        scores: Tensor = self.network(torch.cat([rows, columns], -1)).squeeze(-1)
        return scores

    if TYPE_CHECKING:
        __call__ = forward


class NormalPosterior(nn.Module):
    r"""A posterior with independent normal components, for `barber_agakov_bound`.

    .. math::
        \ln q(t \mid z) = -\sum_k \left[\frac{(t_k - \mu_k(z))^2}{2 \sigma_k(z)^2}
            + \ln \sigma_k(z) + \frac{1}{2} \ln 2\pi\right]

    Args:
        n_truth: Features of what is measured.
        n_readout: Features of the readout.
        rng: Generator of the initial weights.
        width: Units of each of two hidden layers.
    """

    def __init__(self, n_truth: int, n_readout: int, rng: torch.Generator, width: int = 64) -> None:
        super().__init__()
        self.network = _perceptron([n_readout, width, width, 2 * n_truth], rng)

    def forward(
        self, truth: Float[Tensor, "*batch n a"], readout: Float[Tensor, "*batch n b"]
    ) -> Float[Tensor, "*batch n"]:
        """Logarithm of the density at the truth of each event."""
        mean, log_width = self.network(readout).chunk(2, dim=-1)
        pulls = (truth - mean) * (-log_width).exp()
        terms: Tensor = pulls.square() / 2 + log_width + math.log(2 * math.pi) / 2
        return -terms.sum(-1)

    if TYPE_CHECKING:
        __call__ = forward


def train_critic(
    critic: nn.Module,
    draw: Draw,
    bound: Bound,
    rng: torch.Generator,
    n_steps: int = 1000,
    n_pairs: int = 256,
    learning_rate: float = 1e-3,
) -> list[float]:
    """Maximizes a bound in the weights of a critic, with fresh pairs in every step.

    Args:
        critic: Maps (truth, readout) to what the bound takes; it is changed in place.
        draw: Maps (number of pairs, generator) to matched rows of truth and readout.
        bound: One of the bounds; for `barber_agakov_bound` with the entropy bound in.
        rng: Generator of the pairs.
        n_steps: Steps of Adam, with a learning rate that falls to zero as a cosine.
        n_pairs: Pairs a step.
        learning_rate: First learning rate.

    Returns:
        The bound in each step. Values of the last steps are not biased by the fit, since the
        pairs are fresh; an estimate to quote takes more pairs from another stream.

    Raises:
        ConfigError: A number that is not positive.
        DomainError: A score is not finite.

    Note:
        The design, if `draw` depends on one, is left alone here. A joint optimization adds the
        weights to the design.
    """
    for name, value in (
        ("n_steps", n_steps),
        ("n_pairs", n_pairs),
        ("learning_rate", learning_rate),
    ):
        if not value > 0:
            raise ConfigError(f"`{name}` must be > 0, got {value}.")
    optimizer = torch.optim.Adam(critic.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    history = []
    for _ in range(n_steps):
        with torch.no_grad():
            truth, readout = draw(n_pairs, rng)
        optimizer.zero_grad()
        reached = bound(critic(truth, readout))
        (-reached).backward()
        optimizer.step()
        schedule.step()
        history.append(reached.item())
    return history


def _require_scores(scores: Tensor) -> None:
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2] or scores.shape[-1] < 2:
        raise DomainError(
            "`scores` must be a square matrix of at least 2 pairs, got the shape "
            f"{tuple(scores.shape)}."
        )
    if not bool(scores.isfinite().all()):
        raise DomainError("`scores` must be finite. Lower the learning rate of the critic.")


def _log_mean_of_others(scores: Tensor) -> Tensor:
    """Logarithm of the mean exponential over pairs that are not matched."""
    n = scores.shape[-1]
    matched = torch.eye(n, dtype=torch.bool, device=scores.device)
    others = scores.masked_fill(matched, -torch.inf).flatten(-2)
    return others.logsumexp(-1) - math.log(n * (n - 1))


def _perceptron(sizes: list[int], rng: torch.Generator) -> nn.Sequential:
    """Layers with ReLU between, initial weights uniform as those of `nn.Linear`."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, n_in, n_out)
        for tensor in (layer.weight, layer.bias):
            nn.init.uniform_(tensor, -(n_in**-0.5), n_in**-0.5, generator=rng)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
