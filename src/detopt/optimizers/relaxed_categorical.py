"""A category as weights of its choices: hard values, smooth gradients."""

__all__ = ["RelaxedCategorical"]

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from detopt.design import Parameter
from detopt.errors import DesignError
from detopt.relax import straight_through

TOLERANCE = 1e-5  # of a weight from 0 or 1: float32 designs


@dataclass(frozen=True)
class RelaxedCategorical(Parameter):
    r"""One of several named choices, as one weight for each: 1 for the chosen, 0 for the others.

    A problem multiplies the weights with the properties of the choices, such as the radiation
    lengths of materials, and so is always simulated with one choice. The gradient is that of the
    soft weights :math:`\mathrm{softmax}(\theta / T)` (straight through).

    Args:
        name: Name in the design, a Python identifier.
        choices: Names of the choices, which must differ.
        start: The choice that the search starts from.
        temperature: :math:`T`, > 0: a low one is less biased and noisier.
        group: Parts that are frozen together.
        description: One line for people.

    Raises:
        DesignError: The choices are the same, the start is none of them, or the temperature is
            not positive.

    Note:
        The gradient is biased: it asks what a little of another choice would do, and no design has
        that. `gumbel_softmax` averages it over drawn choices; `enumeration` needs none.

    References:
        E. Jang, S. Gu and B. Poole, arXiv:1611.01144. C. Maddison et al., arXiv:1611.00712.
    """

    name: str
    choices: tuple[str, ...]
    start: str
    temperature: float = 0.5
    group: str = ""
    description: str = ""
    unit = ""
    is_discrete = False

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise DesignError(f"A parameter's name must be a Python identifier, got {self.name!r}.")
        if len(set(self.choices)) != len(self.choices):
            raise DesignError(f"The choices of `{self.name}` must differ.")
        if self.start not in self.choices:
            raise DesignError(
                f"The start of `{self.name}` must be one of {', '.join(self.choices)}; got "
                f"{self.start!r}."
            )
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise DesignError(
                f"The temperature of `{self.name}` must be > 0, got {self.temperature}."
            )

    @property
    def start_value(self) -> Tensor:
        """Weights of the start (float64)."""
        return one_hot(torch.tensor(self.choices.index(self.start)), self.n_free).double()

    @property
    def n_free(self) -> int:
        """One logit for each choice."""
        return len(self.choices)

    def starting_at(self, value: Tensor) -> "RelaxedCategorical":
        """The same choices, whose search starts at the chosen one of `value`."""
        return replace(self, start=self.choices[int(value.argmax())])

    def decode(self, theta: Float[Tensor, "*batch n_free"]) -> Float[Tensor, "*batch n_free"]:
        """Weights: those of the largest logit, with the gradient of the soft ones."""
        hard = one_hot(theta.detach().argmax(dim=-1), self.n_free).to(theta)
        return straight_through(hard, torch.softmax(theta / self.temperature, dim=-1))

    def encode(self, value: Tensor) -> Float[Tensor, " n_free"]:
        """Logits that prefer the choice with the weight 1."""
        return value.to(torch.float64).round()

    def violation(self, value: Tensor) -> str | None:
        """What is wrong with the weights."""
        whole = value.round()
        if value.shape != (self.n_free,) or not bool(torch.isfinite(value).all()):
            return f"must be {self.n_free} weights, got {value.tolist()}"
        single = bool((whole >= 0).all()) and float(whole.sum()) == 1
        if not single or float((value - whole).abs().max()) > TOLERANCE:
            return f"must have one weight of 1 and 0 elsewhere, got {value.tolist()}"
        return None
