"""Networks whose weights are part of the design.

A summary network that is optimized together with an instrument is a function of weights that the
design holds. So one study moves detector, network and binning; `freeze` makes two stages of it;
and every optimizer, store and check treats weights as it treats positions.
"""

__all__ = ["DesignNetwork"]

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detopt.design import Continuous, Design, Real
from detopt.errors import DomainError
from detopt.random import Seed


class DesignNetwork(nn.Module):
    r"""A perceptron that reads its weights from the design.

    .. math::
        h_0 = x, \quad h_{l+1} = \tanh(W_l h_l + b_l), \quad f = W_L h_L + b_L

    Args:
        sizes: Number of inputs, of units in each hidden layer, and of outputs.
        name: Beginning of the names of its parameters in the design.

    Raises:
        DomainError: There are fewer than two sizes, or one is below 1.

    Note:
        The parameters of the module itself are never used: they say shapes and nothing else.
        Differentiable in inputs and weights, forward and backward.
    """

    def __init__(self, sizes: tuple[int, ...], name: str = "network") -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise DomainError(f"`sizes` must be two or more numbers >= 1, got {sizes}.")
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(sizes):
            layers += [nn.Linear(n_in, n_out, device="meta"), nn.Tanh()]
        self.name = name
        self.layers = nn.Sequential(*layers[:-1])
        self.shapes = {key: tuple(value.shape) for key, value in self.layers.named_parameters()}

    def forward(self, inputs: Float[Tensor, "*batch n_in"], design: Design) -> Tensor:
        """The outputs, with the weights that `design` holds; `"*batch n_out"`."""
        weights = {key: design[self.parameter_name(key)] for key in self.shapes}
        outputs: Tensor = torch.func.functional_call(self.layers, weights, (inputs,))
        return outputs

    def parameter_name(self, key: str) -> str:
        """Name in the design of the module's parameter `key`, such as `network_0_weight`."""
        return f"{self.name}_{key.replace('.', '_')}"

    def parameters_of_design(
        self, seed: int, *, scale: float = 0.1, last: float = 1.0, group: str = "summary"
    ) -> list[Continuous]:
        r"""The weights as design parameters, with a random start.

        Weights start at :math:`\mathcal{N}(0, 1/n_\mathrm{in})`, biases at zero.

        Args:
            seed: Of the start.
            scale: Change of a weight that counts as one in theta, > 0.
            last: Factor for the weights of the last layer; a small one starts near zero.
            group: Group of the parameters, for `DesignSpace.freeze`.
        """
        rng = Seed(seed, "network").generator()
        keys = list(self.shapes)
        found = []
        for key in keys:
            shape = self.shapes[key]
            start = torch.zeros(shape, dtype=torch.float64)
            if len(shape) == 2:
                noise = torch.randn(shape, generator=rng, dtype=torch.float64)
                start = noise / math.sqrt(shape[1]) * (last if key == keys[-2] else 1.0)
            name = self.parameter_name(key)
            found.append(
                Continuous(name, start.tolist(), Real(scale), group=group, description="Weights")
            )
        return found
