"""Pseudo-experiments: data drawn from a model, and the coverage of intervals, in batches."""

__all__ = ["Coverage", "draw_data", "interval_coverage"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.inference.asymptotics import likelihood_ratio
from detopt.inference.histfactory import HistFactoryModel


@dataclass(frozen=True)
class Coverage:
    """How often an interval contained the true value.

    Args:
        fraction: Share of pseudo-experiments.
        std_error: Its binomial standard error.
        n_experiments: Their number.
    """

    fraction: float
    std_error: float
    n_experiments: int


def draw_data(
    model: HistFactoryModel,
    parameters: Float[Tensor, "*#batch n"],
    n_experiments: int,
    rng: torch.Generator,
) -> Float[Tensor, "n_experiments *batch data"]:
    """Counts and auxiliary measurements of pseudo-experiments.

    Args:
        model: Model or models.
        parameters: True parameters.
        n_experiments: Number of pseudo-experiments, > 0.
        rng: Source of randomness.

    Returns:
        Data of each; counts are of Poisson, auxiliary measurements as the model says.

    Raises:
        DomainError: `n_experiments` is not above 0, or expected counts are negative.

    Note:
        Not differentiable: counts are integers.
    """
    if n_experiments < 1:
        raise DomainError(f"`n_experiments` must be > 0, got {n_experiments}.")
    with torch.no_grad():
        expected = model.expected_data(parameters)
        expected = expected.expand(n_experiments, *expected.shape)
        if not bool((expected[..., : model.n_bins] >= 0).all()):
            raise DomainError("Expected counts are negative at these parameters. Choose others.")
        gaussian = model.gaussian_data
        width = model.tensors.width.expand(*expected.shape[:-1], len(gaussian))
        noise = torch.randn(width.shape, generator=rng, dtype=width.dtype, device=width.device)
        measured = expected[..., gaussian] + width * noise
        drawn = torch.poisson(expected.clamp(min=0), generator=rng)
        drawn[..., gaussian] = measured
    return drawn


def interval_coverage(
    model: HistFactoryModel,
    parameters: Float[Tensor, " n"],
    n_experiments: int,
    rng: torch.Generator,
    *,
    n_sigma: float = 1.0,
    chunk_size: int = 5_000,
) -> Coverage:
    r"""How often the profile interval contains the true parameter of interest.

    It does where :math:`t_\mu \le n_\sigma^2` at the true value, so no interval need be found.

    Args:
        model: One model.
        parameters: True parameters.
        n_experiments: Number of pseudo-experiments, > 0.
        rng: Source of randomness.
        n_sigma: Standard deviations of the interval, > 0.
        chunk_size: Pseudo-experiments that are fitted at once.

    Returns:
        Coverage; 68.27 % is the limit of large samples for one sigma.

    Raises:
        DomainError: A number is out of range, or a fit fails.

    Note:
        Auxiliary measurements are drawn too. Near a bound of the parameter of interest the
        limit of large samples does not hold.
    """
    if n_sigma <= 0:
        raise DomainError(f"`n_sigma` must be > 0, got {n_sigma}.")
    data = draw_data(model, parameters, n_experiments, rng)
    truth = parameters[..., model.index(model.interest)]
    constant = model.with_inputs(*[tensor.detach() for tensor in model.inputs()])
    inside = 0
    for chunk in data.split(chunk_size):
        ratio = likelihood_ratio(constant, chunk, truth.detach())
        inside += int((ratio <= n_sigma**2).sum())
    fraction = inside / n_experiments
    return Coverage(fraction, math.sqrt(fraction * (1 - fraction) / n_experiments), n_experiments)
