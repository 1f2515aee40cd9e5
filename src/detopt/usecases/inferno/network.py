"""The summary network as a function of weights that belong to the design."""

__all__ = ["ACTIVATIONS", "GROUP", "network_parameters", "scores_of_bins"]

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Continuous, Real
from detopt.random import Seed

GROUP = "summary"
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
}


def network_parameters(sizes: Sequence[int], seed: Seed, width: float = 1.0) -> list[Continuous]:
    """Weights and biases of dense layers, uniform within width/sqrt(inputs), as design parameters.

    Args:
        sizes: Inputs, hidden units and outputs.
        seed: Of the weights that the search starts from.
        width: Their largest size, times the square root of the number of inputs.
    """
    rng = seed.child("network").generator()
    parameters = []
    for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
        for kind, shape in (("weight", (n_out, n_in)), ("bias", (n_out,))):
            uniform = 2 * torch.rand(shape, generator=rng, dtype=torch.float64) - 1
            start = width * uniform / n_in**0.5
            text = f"{kind.capitalize()} of layer {layer}"
            name = f"{kind}_{layer}"
            parameters.append(
                Continuous(name, start.tolist(), Real(), group=GROUP, description=text)
            )
    return parameters


def scores_of_bins(
    weights: Mapping[str, Tensor], features: Float[Tensor, "n_events features"], activation: str
) -> Float[Tensor, "n_events bins"]:
    """Outputs of the network: a score for each bin.

    Args:
        weights: `weight_0`, `bias_0` and so on; other entries are ignored.
        features: What is measured.
        activation: Key of `ACTIVATIONS`.
    """
    n_layers = sum(name.startswith("weight_") for name in weights)
    value = features
    for layer in range(n_layers):
        value = torch.nn.functional.linear(
            value, weights[f"weight_{layer}"], weights[f"bias_{layer}"]
        )
        if layer < n_layers - 1:
            value = ACTIVATIONS[activation](value)
    return value
