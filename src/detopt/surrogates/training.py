"""How a network is trained: random batches, and a learning rate that falls to zero."""

__all__ = ["Training", "batches", "descend", "final_loss", "perceptron", "ridge", "scheduled"]

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from detopt.errors import MethodError

PENALTIES = tuple(10.0**power for power in range(-6, 3))  # of the ridge that are tried, over n


@dataclass(frozen=True)
class Training:
    """Effort and speed of a fit.

    Args:
        n_steps: Steps from a random start, >= 1.
        n_warm_steps: Steps from an earlier fit, >= 1.
        batch: Rows in a step, >= 2.
        learning_rate: At the start, > 0.
        weight_decay: Of AdamW, >= 0.

    Raises:
        MethodError: A number is out of range.
    """

    n_steps: int = 300
    n_warm_steps: int = 100
    batch: int = 1_024
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        for name, lowest in (("n_steps", 1), ("n_warm_steps", 1), ("batch", 2)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= lowest):
                raise MethodError(f"`{name}` must be a whole number >= {lowest}, got {value!r}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise MethodError(f"`learning_rate` must be > 0, got {self.learning_rate}.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise MethodError(f"`weight_decay` must be >= 0, got {self.weight_decay}.")


def batches(n_rows: int, size: int, rng: torch.Generator) -> Iterator[Int[Tensor, " size"]]:
    """Indices of random rows, without end; each row once before any row comes again."""
    while True:
        order = torch.randperm(n_rows, generator=rng)
        for first in range(0, max(n_rows - size, 0) + 1, size):
            yield order[first : first + size]


def scheduled(
    parameters: Iterable[nn.Parameter], training: Training, n_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW whose rate falls as a half cosine over `n_steps`."""
    rule = torch.optim.AdamW(
        parameters, lr=training.learning_rate, weight_decay=training.weight_decay
    )
    return rule, torch.optim.lr_scheduler.CosineAnnealingLR(rule, n_steps)


def descend(
    network: nn.Module,
    loss: Callable[[Int[Tensor, " size"]], Float[Tensor, ""]],
    n_rows: int,
    n_steps: int,
    training: Training,
    rng: torch.Generator,
    longest: float = math.inf,
) -> float:
    """Lower the loss of random batches.

    Args:
        network: Whose weights are changed.
        loss: Of the rows with these indices.
        n_rows: Number of rows.
        n_steps: Number of batches.
        training: Batch, learning rate and weight decay.
        rng: Where the batches come from.
        longest: Norm to which a longer gradient is cut.

    Returns:
        The loss at the end.
    """
    network.requires_grad_(True)
    rule, rate = scheduled(network.parameters(), training, n_steps)
    size = min(training.batch, n_rows)
    losses = []
    for rows in itertools.islice(batches(n_rows, size, rng), n_steps):
        value = loss(rows)
        rule.zero_grad()
        value.backward()
        if math.isfinite(longest):
            nn.utils.clip_grad_norm_(network.parameters(), longest)
        rule.step()
        rate.step()
        losses.append(float(value.detach()))
    return final_loss(losses)


def final_loss(losses: Sequence[float]) -> float:
    """Mean over the last tenth of the steps."""
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def perceptron(n_in: int, hidden: tuple[int, ...], n_out: int) -> nn.Sequential:
    """A smooth network whose last layer starts at zero."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((n_in, *hidden)):
        layers += [nn.Linear(before, after), nn.SiLU()]
    last = nn.Linear((n_in, *hidden)[-1], n_out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def ridge(inputs: Float[Tensor, "n c"], outputs: Float[Tensor, "n d"]) -> Float[Tensor, "c d"]:
    r"""Slopes of a linear regression, shrunk as far as the data say.

    .. math::
        B = (X^{\mathsf T} X + \lambda)^{-1} X^{\mathsf T} Y

    with the :math:`\lambda` of each output that makes the data most probable, its noise being
    estimated as well.

    Args:
        inputs: :math:`X`, with columns of mean zero.
        outputs: :math:`Y`, idem.

    Note:
        The penalty is the best of a coarse grid. Not differentiable.

    References:
        C. M. Bishop, Pattern Recognition and Machine Learning (2006), section 3.5.
    """
    n = len(inputs)
    values, axes = torch.linalg.eigh(inputs.T @ inputs)
    values = values.clamp(min=0)
    along = axes.T @ (inputs.T @ outputs)
    total = outputs.square().sum(dim=0)
    penalties = n * torch.tensor(PENALTIES, dtype=inputs.dtype)
    stretched = values + penalties[:, None]
    left = total - (along.square() / stretched[:, :, None]).sum(dim=1)
    left = torch.maximum(left, 1e-12 * total + 1e-300)
    volume = (1 + values / penalties[:, None]).log().sum(dim=1)
    evidence = -n / 2 * (left / n).log() - volume[:, None] / 2
    best = penalties[evidence.argmax(dim=0)]
    slopes: Tensor = axes @ (along / (values[:, None] + best))
    return slopes
