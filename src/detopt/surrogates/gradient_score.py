"""How well the design gradient of a surrogate agrees with differences of the simulator."""

__all__ = [
    "QUANTITIES",
    "Differences",
    "GradientScore",
    "gradient_score",
    "log_mean",
    "log_resolution",
    "surrogate_gradients",
]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import MethodError
from detopt.random import Seed
from detopt.surrogates.base import ConditionalGenerator

Quantity = Callable[[Tensor], Tensor]
N_BOOTSTRAP, N_NOISE = 200, 2_000


def log_mean(totals: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Logarithm of the mean, such as that of the response."""
    return totals.mean().log()


def log_resolution(totals: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Logarithm of the standard deviation over the mean."""
    return totals.std().log() - totals.mean().log()


QUANTITIES: Mapping[str, Quantity] = {"response": log_mean, "resolution": log_resolution}


@dataclass(frozen=True)
class Differences:
    """What a simulator gave on both sides of some designs, with common random numbers.

    Args:
        theta: The designs.
        step: Distance of a side from its design, in theta.
        totals: The number of each event that is judged, such as the visible energy; for each
            design and each axis, below and above the design.
    """

    theta: Float[Tensor, "k p"]
    step: float
    totals: Float[Tensor, "k p 2 n"]

    def __post_init__(self) -> None:
        k, p = self.theta.shape
        if self.totals.shape[:3] != (k, p, 2) or not self.step > 0:
            raise MethodError(
                f"{k} designs of {p} parameters need totals of ({k}, {p}, 2, events) and a step "
                f"> 0, got {tuple(self.totals.shape)} and {self.step}."
            )

    def gradients(
        self, quantity: Quantity, seed: Seed
    ) -> tuple[Float[Tensor, "k p"], Float[Tensor, "k p"]]:
        """Central differences of a quantity, and their standard errors by bootstrap.

        Events of the two sides are drawn again in pairs, so that what common random numbers gain is
        seen in the errors.
        """
        k, p, _, n = self.totals.shape
        rng = seed.generator()
        found, errors = torch.empty(2, k, p, dtype=torch.float64)
        for i in range(k):
            for j in range(p):
                below, above = self.totals[i, j].double()
                picks = torch.randint(n, (N_BOOTSTRAP, n), generator=rng)
                again = [quantity(above[one]) - quantity(below[one]) for one in picks]
                found[i, j] = (quantity(above) - quantity(below)) / (2 * self.step)
                errors[i, j] = torch.stack(again).std() / (2 * self.step)
        return found, errors


def surrogate_gradients(
    model: ConditionalGenerator,
    theta: Float[Tensor, "k p"],
    quantities: Sequence[Quantity],
    conditions: Callable[[Float[Tensor, "n p"]], Float[Tensor, "n c"]],
    seed: Seed,
    n_drawn: int = 1_500,
    n_repeats: int = 4,
    total: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "q k p"], Float[Tensor, "q k p"]]:
    """Derivatives of quantities of drawn rows in theta, and their standard errors.

    Args:
        model: The surrogate.
        theta: Designs.
        quantities: Functions of the totals of many rows.
        conditions: Conditions of the surrogate at designs, such as theta and the energy.
        seed: Of the drawn rows.
        n_drawn: Rows of a repetition.
        n_repeats: Repetitions with fresh noise, >= 2, whose scatter gives the errors.
        total: The number of each row that is judged; the sum of a row by default.
    """
    found = torch.empty(n_repeats, len(quantities), *theta.shape, dtype=torch.float64)
    for i, at in enumerate(theta):
        for repeat in range(n_repeats):
            leaf = at.clone().requires_grad_()
            with torch.enable_grad():
                given = conditions(leaf.expand(n_drawn, -1))
                rows = model.sample(given, seed.child(i, repeat).generator())
                totals = rows.sum(1) if total is None else total(rows)
                for j, quantity in enumerate(quantities):
                    (slope,) = torch.autograd.grad(quantity(totals), leaf, retain_graph=True)
                    found[repeat, j, i] = slope
    return found.mean(0), found.std(0) / math.sqrt(n_repeats)


@dataclass(frozen=True)
class GradientScore:
    """Agreement of gradients, design by design.

    Attributes:
        cosine: Of the angle between the two gradients.
        cosine_error: What of one less the cosine the errors of both gradients alone would make.
        norm_error: Length of the surrogate's gradient over that of the reference, less one.
        norm_std_error: Standard error of the latter.
        norm_bias: What the reference's noise adds to its own length, over that length.
    """

    cosine: Float[Tensor, " k"]
    cosine_error: Float[Tensor, " k"]
    norm_error: Float[Tensor, " k"]
    norm_std_error: Float[Tensor, " k"]
    norm_bias: Float[Tensor, " k"]


def gradient_score(
    gradient: Float[Tensor, "k p"],
    gradient_error: Float[Tensor, "k p"],
    reference: Float[Tensor, "k p"],
    reference_error: Float[Tensor, "k p"],
    seed: Seed,
) -> GradientScore:
    r"""Direction and length of a gradient beside those of a reference, both with errors.

    .. math::
        \cos = \frac{g \cdot g_0}{|g|\,|g_0|}, \qquad \frac{|g|}{|g_0|} - 1

    Args:
        gradient: Of the surrogate, design by design.
        gradient_error: Its standard errors.
        reference: Of the simulator.
        reference_error: Its standard errors.
        seed: Of the noise with which errors are propagated.

    Raises:
        MethodError: A gradient of the reference is zero.
    """
    if not bool((reference.norm(dim=1) > 0).all()):
        raise MethodError("A gradient of the reference is zero; it has no direction.")
    rng = seed.generator()
    noise = torch.randn(2, N_NOISE, *gradient.shape, generator=rng, dtype=torch.float64)
    moved, other = gradient + gradient_error * noise[0], reference + reference_error * noise[1]
    same = reference + gradient_error * noise[0]
    length = reference.norm(dim=1)
    return GradientScore(
        cosine=torch.cosine_similarity(gradient, reference, dim=1),
        cosine_error=1 - torch.cosine_similarity(same, other, dim=2).mean(0),
        norm_error=gradient.norm(dim=1) / length - 1,
        norm_std_error=(moved.norm(dim=2) / other.norm(dim=2)).std(0),
        norm_bias=(other.norm(dim=2).mean(0) - length) / length,
    )
