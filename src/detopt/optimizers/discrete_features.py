"""A design as a network sees it: continuous coordinates, whole numbers, and choices one by one."""

__all__ = ["DiscreteFeatures"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Categorical, DesignSpace, Integer


class DiscreteFeatures:
    """Features of theta, and the designs that differ in one discrete parameter.

    Args:
        space: Design space.

    Attributes:
        continuous: Which coordinates of theta are continuous.
        n: Number of features.
    """

    def __init__(self, space: DesignSpace) -> None:
        self.space = space
        self.continuous = torch.ones(space.n_free, dtype=torch.bool)
        self._discrete: list[tuple[int, int, Categorical | Integer]] = []
        position = 0
        for parameter in space.free:
            end = position + parameter.n_free
            if isinstance(parameter, Categorical | Integer):
                self.continuous[position:end] = False
                self._discrete.append((position, end, parameter))
            position = end
        self.n = space.n_free

    def of(self, theta: Float[Tensor, "k n_free"]) -> Float[Tensor, "k n"]:
        """Theta itself, choices as 0 and 1, and whole numbers as such; differentiable in theta."""
        pieces = torch.where(self.continuous, theta, 0.0)
        for first, end, parameter in self._discrete:
            value = parameter.decode(theta[:, first:end])
            if isinstance(parameter, Categorical):
                part = torch.nn.functional.one_hot(value.long(), end - first).to(theta)
            else:
                part = value[:, None].to(theta)
            pieces = torch.cat([pieces[:, :first], part, pieces[:, end:]], dim=1)
        return pieces

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """Between designs, in their continuous coordinates."""
        away: Tensor = torch.where(self.continuous, one - other, 0.0).norm(dim=-1)
        return away

    def neighbors(
        self, theta: Float[Tensor, " n_free"], most: int, rng: torch.Generator
    ) -> list[Float[Tensor, " n_free"]]:
        """Designs that differ from `theta` in one choice or by one; some of them if too many."""
        found = []
        for first, end, parameter in self._discrete:
            others = self._others(theta, first, end, parameter)
            found += [self._with(theta, first, end, one) for one in others]
        order = torch.randperm(len(found), generator=rng)[:most].tolist()
        return [found[i] for i in sorted(order)]

    def exchanged(
        self, theta: Float[Tensor, " n_free"], probability: float, rng: torch.Generator
    ) -> Float[Tensor, " n_free"]:
        """Theta, with a random other choice at one place with this probability."""
        if not self._discrete or float(torch.rand((), generator=rng)) >= probability:
            return theta
        neighbors = self.neighbors(theta, 10**6, rng)
        if not neighbors:
            return theta
        return neighbors[int(torch.randint(len(neighbors), (), generator=rng))]

    @staticmethod
    def _others(
        theta: Tensor, first: int, end: int, parameter: Categorical | Integer
    ) -> list[Tensor]:
        """Coordinates of the other choices, or of the numbers next to the present one."""
        value = parameter.decode(theta[first:end])
        if isinstance(parameter, Categorical):
            values = [torch.tensor(float(i)) for i in range(end - first) if i != int(value)]
        else:
            near = (int(value) - 1, int(value) + 1)
            values = [torch.tensor(float(i)) for i in near if parameter.low <= i <= parameter.high]
        return [parameter.encode(one.double()) for one in values]

    @staticmethod
    def _with(theta: Tensor, first: int, end: int, piece: Tensor) -> Tensor:
        other = theta.clone()
        other[first:end] = piece
        return other
