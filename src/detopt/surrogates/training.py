"""How a network is trained: random batches, a learning rate that falls, and held-out rows."""

__all__ = ["Descent", "Progress", "Training", "batches", "perceptron", "ridge", "scheduled"]

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from detopt.errors import MethodError

Progress = Callable[[int, int], None]  # steps that are done, and all of them
FEWEST_HELD = 2  # rows
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
        held_out: Share of the rows that are not learned from but tell when to stop, in [0, 1).
        check_every: Steps between two looks at the held-out rows, >= 1.
        patience: Looks without a better loss after which a fit stops, >= 1. The weights of the best
            look are kept.

    Raises:
        MethodError: A number is out of range.
    """

    n_steps: int = 300
    n_warm_steps: int = 100
    batch: int = 1_024
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    held_out: float = 0.0
    check_every: int = 50
    patience: int = 10

    def __post_init__(self) -> None:
        whole = {"n_steps": 1, "n_warm_steps": 1, "batch": 2, "check_every": 1, "patience": 1}
        for name, lowest in whole.items():
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= lowest):
                raise MethodError(f"`{name}` must be a whole number >= {lowest}, got {value!r}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise MethodError(f"`learning_rate` must be > 0, got {self.learning_rate}.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise MethodError(f"`weight_decay` must be >= 0, got {self.weight_decay}.")
        if not 0 <= self.held_out < 1:
            raise MethodError(f"`held_out` must be in [0, 1), got {self.held_out}.")


def batches(n_rows: int, size: int, rng: torch.Generator) -> Iterator[Int[Tensor, " size"]]:
    """Indices of random rows, without end; each row once before any row comes again."""
    while True:
        order = torch.randperm(n_rows, generator=rng)
        for first in range(0, max(n_rows - size, 0) + 1, size):
            yield order[first : first + size]


def scheduled(
    parameters: Iterable[nn.Parameter],
    training: Training,
    n_steps: int,
    betas: tuple[float, float] = (0.9, 0.999),
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW whose rate falls as a half cosine over `n_steps`."""
    rule = torch.optim.AdamW(
        parameters, lr=training.learning_rate, betas=betas, weight_decay=training.weight_decay
    )
    return rule, torch.optim.lr_scheduler.CosineAnnealingLR(rule, n_steps)


@dataclass(frozen=True)
class Descent:
    """One fit: how long, with which random numbers, and who is told.

    Args:
        training: Batch, learning rate, weight decay and held-out rows.
        n_steps: Steps, at most.
        rng: Where batches and noise come from.
        progress: Is told the steps that are done, and all of them.
    """

    training: Training
    n_steps: int
    rng: torch.Generator
    progress: Progress | None = None

    def descend(
        self,
        network: nn.Module,
        loss: Callable[[Int[Tensor, " size"]], Float[Tensor, ""]],
        n_rows: int,
        longest: float = math.inf,
    ) -> float:
        """Lower the loss of random batches.

        Args:
            network: Whose weights are changed.
            loss: Of the rows with these indices.
            n_rows: Number of rows.
            longest: Norm to which a longer gradient is cut.

        Returns:
            The loss at the end; see `improve`.
        """
        network.requires_grad_(True)
        rule, rate = scheduled(network.parameters(), self.training, self.n_steps)

        def step(rows: Int[Tensor, " size"]) -> float:
            value = loss(rows)
            rule.zero_grad()
            value.backward()
            if math.isfinite(longest):
                nn.utils.clip_grad_norm_(network.parameters(), longest)
            rule.step()
            rate.step()
            return float(value.detach())

        return self.improve(network, step, loss, n_rows)

    def improve(
        self,
        network: nn.Module,
        step: Callable[[Int[Tensor, " size"]], float],
        score: Callable[[Int[Tensor, " size"]], Float[Tensor, ""]],
        n_rows: int,
    ) -> float:
        """Make steps with random batches, until the held-out rows say that it is enough.

        Args:
            network: Whose weights are changed.
            step: Changes them with the rows with these indices; its loss.
            score: Loss of held-out rows, which is to be low.
            n_rows: Number of rows.

        Returns:
            The lowest loss of the held-out rows, with the weights of which the network is left;
            without such rows the loss of the last tenth of the steps.

        Raises:
            MethodError: A loss is not finite.
        """
        n_held = round(n_rows * self.training.held_out)
        held, kept = None, None
        if min(n_held, n_rows - n_held) >= FEWEST_HELD:
            held, kept = torch.randperm(n_rows, generator=self.rng).split([n_held, n_rows - n_held])
        n_kept = n_rows if kept is None else len(kept)
        losses, watch = [], _Watch(network)
        found = batches(n_kept, min(self.training.batch, n_kept), self.rng)
        for i, rows in enumerate(itertools.islice(found, self.n_steps)):
            losses.append(step(rows if kept is None else kept[rows]))
            if not math.isfinite(losses[-1]):
                raise MethodError(
                    f"The loss of step {i + 1} is {losses[-1]}. Lower `learning_rate`, or look for "
                    "extreme rows."
                )
            if self.progress is not None:
                self.progress(i + 1, self.n_steps)
            is_look = (i + 1) % self.training.check_every == 0 or i + 1 == self.n_steps
            if held is not None and is_look:
                watch.look(self._held_loss(score, held))
                if watch.n_worse >= self.training.patience:
                    break
        last = losses[-max(1, len(losses) // 10) :]
        return sum(last) / len(last) if held is None else watch.restore()

    def _held_loss(
        self, score: Callable[[Int[Tensor, " size"]], Float[Tensor, ""]], held: Tensor
    ) -> float:
        """The same noise at each look."""
        with torch.no_grad(), _repeated(self.rng):
            pieces = held.split(self.training.batch)
            return sum(float(score(one)) * len(one) for one in pieces) / len(held)


class _Watch:
    """Weights at the best look."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.best, self.n_worse = network, math.inf, 0
        self.weights: dict[str, Tensor] = {}

    def look(self, loss: float) -> None:
        self.n_worse += 1
        if loss < self.best:
            self.best, self.n_worse = loss, 0
            self.weights = {k: v.detach().clone() for k, v in self.network.state_dict().items()}

    def restore(self) -> float:
        if self.weights:
            self.network.load_state_dict(self.weights)
        return self.best


@contextmanager
def _repeated(rng: torch.Generator) -> Iterator[None]:
    """Inside, the generator always gives the same numbers; outside, as if nothing had been."""
    before = rng.get_state()
    rng.manual_seed(0)
    try:
        yield
    finally:
        rng.set_state(before)


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
