"""Gradients of a smoothed objective from values alone, along random directions."""

__all__ = ["GaussianSmoothing"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.gradients.base import GradientEstimate, GradientEstimator
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed

Directions = Literal["orthogonal", "gaussian"]
Guide = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GaussianSmoothing(GradientEstimator):
    r"""Antithetic pairs along random directions, all with the same random events.

    .. math::
        \nabla_\theta\, \mathbb{E}_\varepsilon[L(\theta + \sigma\varepsilon)]
            = \mathbb{E}_\varepsilon\!\left[\varepsilon\,
              \frac{L(\theta + \sigma\varepsilon) - L(\theta - \sigma\varepsilon)}{2\sigma}\right],
            \qquad \varepsilon \sim \mathcal{N}(0, 1)

    The number of evaluations, :math:`2 n + 1` for n pairs, does not depend on the number of
    parameters; the noise does: with `gaussian` directions the relative variance for d parameters
    is (d + 1) / n. Directions that are `orthogonal` within blocks of d, and all of length
    :math:`\sigma\sqrt{d}`, smooth over a ball in place of a normal distribution, and leave the
    relative variance d / n - 1 of a block, none if it is complete.

    A guide measures its own directions by one pair each, and leaves the orthogonal complement to
    the random ones. If it is near the gradient, such as the derivative of a surrogate or of a
    simulation without its discrete draws, hardly any noise is left; if it is not, nothing is lost
    but the pairs. The mean is the same with every guide, to the order of :math:`\sigma^2`.

    Args:
        sigma: Width :math:`\sigma` of the smoothing in the flat coordinates, > 0. The bias against
            the objective itself grows with its square.
        n_pairs: Number of random pairs, >= 1.
        directions: "orthogonal" or, in a space without limits, "gaussian".
        guide: Maps theta to directions of any length, one a row, which need not be orthogonal.
        seed: Of the directions.

    Raises:
        MethodError: An argument is out of range.

    References:
        Y. Nesterov and V. Spokoiny, Found. Comput. Math. 17 (2017) 527; N. Maheswaranathan et al.,
        arXiv:1806.10230 (guides); K. Choromanski et al., arXiv:1804.02395 (orthogonal directions).
    """

    sigma: float = 0.05
    n_pairs: int = 4
    directions: Directions = "orthogonal"
    guide: Guide | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise MethodError(f"`sigma` must be > 0, got {self.sigma}.")
        if self.n_pairs < 1:
            raise MethodError(f"`n_pairs` must be >= 1, got {self.n_pairs}.")
        if self.directions not in get_args(Directions):
            known = ", ".join(get_args(Directions))
            raise MethodError(f"`directions` must be one of {known}, got {self.directions!r}.")

    def requests(
        self, theta: Float[Tensor, " n_free"], stream: tuple[int | str, ...], n_events: int | None
    ) -> list[Request]:
        """The center, the pairs of the guide, and the random pairs."""
        n_free = len(theta)
        basis = self._basis(theta)
        rng = Seed("directions", self.seed, *stream).generator()
        random = _random(n_free, self.n_pairs, self.directions, basis, rng).to(theta)
        steps = self.sigma * torch.cat([basis, random])
        points = [theta + sign * step for step in steps for sign in (1, -1)]
        return [
            Request(theta, stream, n_events=n_events),
            *(Request(point, stream, n_events=n_events, std_error=False) for point in points),
        ]

    def allowed_requests(
        self,
        space: DesignSpace,
        theta: Float[Tensor, " n_free"],
        stream: tuple[int | str, ...],
        n_events: int | None,
    ) -> list[Request]:
        """The same, with designs that the limits of the space allow.

        Raises:
            MethodError: Directions are `gaussian`, and the space has limits: the length of a
                direction is its weight, and is lost where a design is moved inwards.
        """
        if self.directions == "gaussian" and space.limits:
            names = ", ".join(limit.name for limit in space.limits)
            raise MethodError(
                f"Gaussian directions are biased where designs beyond the limits of {names} are "
                "moved inwards. Set `directions` to orthogonal."
            )
        return super().allowed_requests(space, theta, stream, n_events)

    def combine(self, evaluations: Sequence[Evaluation]) -> GradientEstimate:
        """Slopes along the directions, put together.

        A side that was moved inwards, because the design there is not allowed, counts where it is.
        The standard error is that of the random directions, from the scatter of the pairs, or of
        the blocks of orthogonal ones; it is NaN where there are fewer than two.
        """
        center, *sides = evaluations
        values = torch.tensor([side.value for side in sides], dtype=torch.float64).reshape(-1, 2)
        at = torch.stack([side.request.theta for side in sides]).reshape(len(values), 2, -1)
        half = (at[:, 0] - at[:, 1]) / 2
        rise = (values[:, 0] - values[:, 1]) / 2
        n_guided = len(values) - self.n_pairs
        n_random = half.shape[1] - n_guided
        slopes = half * (rise / half.square().sum(1).clamp_min(1e-300))[:, None]
        terms = slopes[n_guided:] * n_random
        if self.directions == "gaussian":
            terms = half[n_guided:] * (rise[n_guided:] / self.sigma**2)[:, None]
        size = max(n_random, 1) if self.directions == "orthogonal" else 1
        return GradientEstimate(
            value=center.value,
            value_std_error=center.std_error,
            gradient=slopes[:n_guided].sum(0) + terms.mean(0),
            gradient_std_error=_std_error(terms, size),
            n_evaluations=len(evaluations),
        )

    def _basis(self, theta: Tensor) -> Float[Tensor, "n_guides n_free"]:
        """An orthonormal basis of the guide's directions."""
        if self.guide is None:
            return theta.new_zeros(0, len(theta))
        found = self.guide(theta).detach().to(theta)
        rows = found.reshape(-1, found.shape[-1])
        if rows.shape[1] != len(theta) or not bool(torch.isfinite(rows).all()):
            raise MethodError(
                f"`guide` must give finite directions of {len(theta)} entries, got the shape "
                f"{tuple(found.shape)}."
            )
        sizes: Tensor
        basis: Tensor
        _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
        return basis[sizes > 1e-9 * sizes.max().clamp_min(1e-300)]


def _random(
    n_free: int, n_pairs: int, directions: Directions, basis: Tensor, rng: torch.Generator
) -> Float[Tensor, "n_pairs n_free"]:
    """Directions outside the guide's, of mean square length equal to their number."""
    normal = torch.randn(n_pairs, n_free, generator=rng, dtype=torch.float64)
    wide = basis.to(torch.float64)
    normal = normal - (normal @ wide.T) @ wide
    size = n_free - len(basis)
    if size == 0:
        return torch.zeros_like(normal)
    if directions == "gaussian":
        return normal
    blocks = [
        torch.linalg.qr(normal[first : first + size].T).Q.T for first in range(0, n_pairs, size)
    ]
    scaled: Tensor = size**0.5 * torch.cat(blocks)
    return scaled


def _std_error(terms: Float[Tensor, "n_pairs n_free"], size: int) -> Float[Tensor, " n_free"]:
    """Of the mean of the terms, which are independent in blocks of `size`."""
    n_blocks = len(terms) // size
    if n_blocks < 2:
        return torch.full_like(terms[0], torch.nan)
    means = terms[: n_blocks * size].reshape(n_blocks, size, -1).mean(1)
    error: Tensor = means.std(0) / n_blocks**0.5
    return error
