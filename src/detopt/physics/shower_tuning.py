r"""Fits the coefficients of `tuned_showers` to layer energies of a full simulation.

>>> from detopt.physics import materials
>>> from detopt.physics.shower_stacks import Layer, Stack
>>> iron, plastic = materials.get("Fe"), materials.get("polystyrene")
>>> stack = Stack.of([Layer(iron, 0.02), Layer(plastic, 0.005, active=True)] * 12)
>>> LayerSample(stack, 10.0, torch.rand(50, 24)).n_showers
50
"""

__all__ = ["LayerSample", "ShowerMoments", "fit_tuning", "shower_moments"]

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import least_squares
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics.shower_stacks import Stack, stack_medium
from detopt.physics.tuned_sampling import sampling_noise
from detopt.physics.tuned_showers import (
    ShowerTuning,
    expected_layer_energies,
    load_tuning,
    tuned_shape,
)

N_NODES = 5  # of the mean over shapes, for each of the two normals; exact to 0.2 %
LEAST_SHARE = 5e-4  # of the energy, or of the visible one: layers below it are left out
SHARE_FLOOR = 1e-4  # likewise: what the fit leaves of a layer with little energy
MEAN_FLOOR, WIDTH_FLOOR, LAYER_FLOOR = 0.015, 0.03, 0.2  # relative: no fit is better than this
LAYER_WEIGHT = 0.25  # of the widths of single layers
FAR = 4.0  # standard deviations, from where a deviation counts linearly
TRIMMED = 0.01  # of the showers: the farthest, such as those with a photonuclear reaction
TRIMMED_WIDTH = 0.96164  # standard deviation of a normal distribution without them
LEAST_SIZE = 0.1  # of a coefficient, for the size of its steps
PULL = 0.03  # to the start, for a change by the size of a coefficient
TOLERANCE = 1e-4  # of the sum, where the search ends


@dataclass(frozen=True)
class LayerSample:
    """Simulated showers of one energy in one stack.

    Attributes:
        stack: The layers.
        energy: Energy of the incident electrons [GeV].
        deposit: Energy in each layer, active or not [GeV].
    """

    stack: Stack
    energy: float
    deposit: Float[Tensor, "n_showers layers"]

    @property
    def n_showers(self) -> int:
        """How many showers there are."""
        return len(self.deposit)

    @functools.cached_property
    def moments(self) -> "ShowerMoments":
        """Their means and widths."""
        deposit = self.deposit.double() / self.energy
        visible = deposit[:, self.stack.active_mask].sum(1)
        distance = (visible - visible.median()).abs()
        kept = visible[distance.argsort()[: len(visible) - int(TRIMMED * len(visible))]]
        width = kept.std() / TRIMMED_WIDTH
        return ShowerMoments(deposit.mean(0), deposit.var(0), visible.mean(), width / kept.mean())

    def counted(self, least: float = LEAST_SHARE) -> Bool[Tensor, " layers"]:
        """Which layers hold more than a share of the energy, or active ones of the visible one."""
        moments = self.moments
        share = torch.where(self.stack.active_mask, moments.mean / moments.visible, moments.mean)
        return share > least


@dataclass(frozen=True)
class ShowerMoments:
    """Means and widths of showers, in units of the incident energy.

    Attributes:
        mean: Mean energy of each layer.
        variance: Its variance from shower to shower.
        visible: Mean energy of all active layers.
        resolution: Relative standard deviation of their sum.
    """

    mean: Float[Tensor, " layers"]
    variance: Float[Tensor, " layers"]
    visible: Float[Tensor, ""]
    resolution: Float[Tensor, ""]


def shower_moments(
    stack: Stack, energy: float, tuning: ShowerTuning | None = None
) -> ShowerMoments:
    """Means and widths by the coefficients: the mean over shapes is a Gauss-Hermite sum.

    Args:
        stack: The layers.
        energy: Energy of the electrons [GeV].
        tuning: Coefficients; those of the package by default.

    Note:
        Differentiable in the thicknesses and the coefficients.
    """
    tuning = load_tuning() if tuning is None else tuning
    normals, weights = _normals()
    each = torch.full((len(weights),), energy, dtype=torch.float64)
    shape = tuned_shape(each, stack_medium(stack), normals, tuning)
    deposit = expected_layer_energies(stack, each, shape, tuning)
    noise = sampling_noise(stack, each, shape, deposit, tuning)
    share = deposit / energy
    visible = share[:, stack.active_mask].sum(1)
    noisy = share[:, noise.seen]
    together = torch.einsum("ni,nij,nj->n", noisy, noise.covariance, noisy)
    average, mean = weights @ share, weights @ visible
    width = torch.sqrt(weights @ ((visible - mean).square() + together))
    own = weights @ (noisy.square() * noise.variance)
    variance = (weights @ (share - average).square()).index_add(0, noise.seen, own)
    return ShowerMoments(average, variance, mean, width / mean)


def fit_tuning(
    samples: Sequence[LayerSample], start: ShowerTuning | None = None, n_iterations: int = 40
) -> ShowerTuning:
    r"""Coefficients with which means and widths agree with simulated showers.

    The sum over all samples of

    .. math::
        \left\langle h\left(\frac{m_i - \hat m_i}{\hat m_i}\right)\right\rangle
        + \frac{(\ln r/\hat r)^2}{4 \epsilon_r^2}
        + \frac14 \frac{\langle (\ln v_i/\hat v_i)^2 \rangle}{2 \epsilon_v^2}

    is minimized: :math:`m_i` are mean energies of layers, :math:`r` the relative resolution of the
    visible energy, :math:`v_i` variances of active layers. Errors are those of the sample and a
    floor of 1.5, 3 and 20 %, for layers with little energy also 0.01 % of the energy, or of the
    visible one; :math:`h` is Huber's loss. A weak pull to the start, :math:`(0.03\, \Delta/s)^2`
    for a change by :math:`\Delta` of a coefficient of size :math:`s`, holds those that the samples
    do not know.

    Args:
        samples: Simulated showers, of different stacks and energies.
        start: Where the search begins; the coefficients of the package by default.
        n_iterations: Steps of the search (Gauss-Newton in a trust region), at most.

    Returns:
        Coefficients, as numbers.

    Raises:
        DomainError: There is no sample, a sample has less than three showers, or no layer of a
            stack is active.

    References:
        P. J. Huber, Ann. Math. Statist. 35 (1964) 73; for the search M. A. Branch, T. F. Coleman
        and Y. Li, SIAM J. Sci. Comput. 21 (1999) 1.
    """
    _check(samples)
    start = load_tuning() if start is None else start
    names, numbers = [field.name for field in fields(start)], start.numbers()
    sizes = [len(numbers[name]) for name in names]
    theta = np.array(list(itertools.chain(*numbers.values())))
    scale = np.maximum(np.abs(theta), LEAST_SIZE)

    def tuning(step: np.ndarray) -> ShowerTuning:
        pieces = np.split(theta + scale * step, np.cumsum(sizes)[:-1])
        return ShowerTuning.read(dict(zip(names, pieces, strict=True)))

    def residuals(step: np.ndarray) -> np.ndarray:
        now = tuning(step)
        with torch.no_grad():
            parts = [_residuals(sample, now) for sample in samples]
        return np.append(torch.cat(parts).numpy(), PULL * step)

    found = least_squares(residuals, np.zeros_like(theta), ftol=TOLERANCE, max_nfev=n_iterations)
    return ShowerTuning.read(tuning(found.x).numbers())


def _residuals(sample: LayerSample, tuning: ShowerTuning) -> Float[Tensor, " residuals"]:
    """What `fit_tuning` sums over the samples, as square roots."""
    found, true = shower_moments(sample.stack, sample.energy, tuning), sample.moments
    n, counted = sample.n_showers, sample.counted()
    mean, variance = true.mean[counted], true.variance[counted]
    little = SHARE_FLOOR * torch.where(sample.stack.active_mask, true.visible, 1.0)[counted]
    error = torch.sqrt(variance / n + (MEAN_FLOOR * mean).square() + little.square())
    pull = (found.mean[counted] - mean) / error
    huber = torch.nn.functional.huber_loss(
        pull, torch.zeros_like(pull), reduction="none", delta=FAR
    )
    means = torch.sign(pull) * torch.sqrt(huber / len(pull))
    width = torch.log(found.resolution / true.resolution)
    width = width / (2 * math.sqrt(1 / (2 * n) + WIDTH_FLOOR**2))
    layers = counted & sample.stack.active_mask
    widths = torch.log(found.variance[layers] / true.variance[layers])
    weight = LAYER_WEIGHT / (2 * len(widths) * (4 / n + LAYER_FLOOR**2))
    return torch.cat([means, width[None], math.sqrt(weight) * widths])


@functools.cache
def _normals() -> tuple[Float[Tensor, "nodes 2"], Float[Tensor, " nodes"]]:
    """Pairs of normals and their weights, for means over both."""
    nodes, weights = (torch.from_numpy(one) for one in np.polynomial.hermite_e.hermegauss(N_NODES))
    weights = weights / weights.sum()
    return torch.cartesian_prod(nodes, nodes), torch.cartesian_prod(weights, weights).prod(1)


def _check(samples: Sequence[LayerSample]) -> None:
    if not samples:
        raise DomainError("A fit needs at least one sample, got none.")
    for sample in samples:
        if sample.n_showers < 3:
            raise DomainError(f"A sample needs at least 3 showers, got {sample.n_showers}.")
        if not any(sample.stack.active):
            raise DomainError("No layer of a sample is active. Set `active` of some layers.")
