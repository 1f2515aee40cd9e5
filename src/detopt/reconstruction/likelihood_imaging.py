"""Maximum-likelihood image of the scattering density, by expectation maximization (ML-EM)."""

__all__ = ["LikelihoodImaging", "likelihood_image"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.reconstruction.images import ScatteringImage
from detopt.reconstruction.poca_imaging import AIR, DENSITY_UNIT, poca_image
from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.scattering_likelihood import ScatteringSystem, log_likelihood
from detopt.reconstruction.tracks import LineFit
from detopt.reconstruction.voxel_grid import Grid

TAILS_KNOWN = 5.5  # fits Molière's angle for 1e4 to 1e6 collisions, which give 5.1 to 6.1
TAILS_UNKNOWN = 1.2  # momenta of the sea-level spectrum, taken to be one: ln(1/p^2) spreads by 2
FLOOR_WEIGHT = 0.1  # crossings
START = 0.01  # of the mean density of the PoCA image: where it shows nothing
NEWTON = 6  # steps inside a step of the iteration
POLISH = 50  # steps of Newton's method, at most, before a derivative is taken
STANDING = 1e-8  # change of a logarithm that ends them
FLATTEST = 1e-6  # least curvature
MOST_ENTRIES = 2_000  # voxels, for a derivative
LONGEST = 100.0  # extrapolation of the acceleration, in steps

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LikelihoodImaging:
    r"""How an image is found by likelihood.

    Args:
        iterations: Most evaluations of the likelihood.
        tolerance: The iteration ends when no logarithm of a density moves by more in a step.
        roughness: Typical difference of the logarithm of the density between neighbours; the
            smoother the image is to be, the smaller. `inf` asks for nothing.
        degrees: Degrees of freedom of the distribution of angles (Student's t), `inf` for normal;
            None: 5.5, which has Molière's tails, or 1.2 where the momentum is not known.
        floor: Density towards which the weight of a tenth of a crossing draws each voxel, so that
            none falls for ever [rad2/m].

    Raises:
        DomainError: A number is out of range.
    """

    iterations: int = 60
    tolerance: float = 1e-3
    roughness: float = 2.0
    degrees: float | None = None
    floor: float = AIR

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise DomainError(f"`iterations` must be >= 1, got {self.iterations}.")
        for name in ("tolerance", "roughness", "floor"):
            if not getattr(self, name) > 0:
                raise DomainError(f"`{name}` must be > 0, got {getattr(self, name):g}.")
        if self.degrees is not None and not self.degrees > 0:
            raise DomainError(f"`degrees` must be > 0, got {self.degrees:g}.")

    def degrees_for(self, tracks: MuonTracks) -> float | None:
        """Degrees of freedom for these muons; None for the normal distribution."""
        if self.degrees is None:
            return TAILS_KNOWN if tracks.momentum_known else TAILS_UNKNOWN
        return None if math.isinf(self.degrees) else self.degrees


def likelihood_image(
    tracks: MuonTracks,
    grid: Grid,
    options: LikelihoodImaging | None = None,
    progress: Progress | None = None,
) -> ScatteringImage:
    r"""Most probable scattering density, from angles and offsets of all muons.

    It maximizes the likelihood of `scattering_likelihood` times a prior,

    .. math::
        \ln P = \ln L - \frac{1}{10} \sum_j \left(\ln \lambda_j
            + \frac{\lambda_f}{\lambda_j}\right)
            - \frac{1}{\rho} \sum_{j \sim k} \ln \cosh \ln \frac{\lambda_j}{\lambda_k}

    with the `floor` :math:`\lambda_f` and the `roughness` :math:`\rho`; the last term smooths noise
    but spares edges, for it grows no faster than the logarithm of their contrast. Were the
    scattering in each voxel known, the likelihood would have its maximum in closed form; its
    expectation gives

    .. math::
        \hat\lambda_j = \lambda_j
            + \frac{\lambda_j^2}{N_j} \frac{\partial \ln L}{\partial \lambda_j}

    for :math:`N_j` crossings in two planes, and each step raises :math:`\ln P`. Steps are
    extrapolated where that raises it further.

    Args:
        tracks: The muons.
        grid: The voxels.
        options: How.
        progress: Told the evaluations done, and the most there may be.

    Returns:
        Scattering density at 3 GeV/c [mrad2/cm]; its counts are crossings.

    Raises:
        DomainError: A derivative is wanted for more than 2,000 voxels.

    Note:
        Differentiable in the tracks, where they carry a graph, by implicit differentiation at the
        maximum, which is then found to the precision of float64; for a few hundred voxels.

    References:
        L. J. Schultz et al., IEEE Trans. Image Process. 16 (2007) 1985; A. R. De Pierro, IEEE
        Trans. Med. Imaging 14 (1995) 132, for the prior in each step; R. Varadhan and C. Roland,
        Scand. J. Stat. 35 (2008) 335, for the extrapolation.
    """
    chosen = LikelihoodImaging() if options is None else options
    inputs = _inputs(tracks)
    needs_derivative = any(tensor.requires_grad for tensor in inputs)
    if needs_derivative and grid.n_voxels > MOST_ENTRIES:
        raise DomainError(
            f"A derivative of {grid.n_voxels:,} voxels is out of reach. Take at most "
            f"{MOST_ENTRIES:,}, or detach the tracks."
        )
    system = ScatteringSystem(tracks, grid, chosen.degrees_for(tracks))
    iteration = _Iteration(system, grid, chosen)
    start = poca_image(tracks, grid).values.detach().numpy().reshape(-1) / DENSITY_UNIT
    found = torch.from_numpy(iteration.run(_start(start), progress))
    if needs_derivative:
        found = _attached(found, tracks, grid, chosen, inputs)
    return ScatteringImage(
        grid,
        (found.exp() * DENSITY_UNIT).to(tracks.momentum.dtype).reshape(grid.shape),
        torch.from_numpy(system.crossings).reshape(grid.shape),
        "scattering density at 3 GeV",
        "mrad2/cm",
    )


def _start(density: np.ndarray) -> np.ndarray:
    """Logarithms of the densities to start from."""
    mean = max(float(density.clip(min=0).mean()), AIR)
    start: np.ndarray = np.log(density.clip(min=START * mean))
    return start


class _Iteration:
    """Steps of the expectation maximization, in the logarithms of the densities."""

    def __init__(self, system: ScatteringSystem, grid: Grid, options: LikelihoodImaging) -> None:
        self.system = system
        self.options = options
        self.shape = grid.shape
        self.crossings = 2.0 * system.crossings  # in two planes
        self.coupling = 1 / options.roughness

    def step(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """The next logarithms, and the logarithm of the posterior at those given."""
        density = np.exp(x)
        value, gradient = self.system.evaluate(density)
        value -= FLOOR_WEIGHT * float((x + self.options.floor / density).sum())
        moment = self.crossings * density + density * density * gradient
        moment = moment.clip(min=0) + FLOOR_WEIGHT * self.options.floor
        count = self.crossings + FLOOR_WEIGHT
        y = np.log(moment / count)
        if self.coupling == 0:
            return y, value
        # minimum of count y + moment exp(-y) + coupling sum_k w_k (y - (x + x_k) / 2)^2
        rough, weights, centers = _neighbours(x, self.shape)
        value -= self.coupling * rough
        weights, centers = 2 * self.coupling * weights, 2 * self.coupling * centers
        y = (count * y + centers) / (count + weights)
        for _ in range(NEWTON):
            rest = moment * np.exp(-y)
            slope = count - rest + weights * y - centers
            y = y - (slope / (rest + weights)).clip(-2, 2)
        return y, value

    def run(self, x: np.ndarray, progress: Progress | None) -> np.ndarray:
        """Steps with extrapolation, until the logarithms stand."""
        total = self.options.iterations
        done = 0
        while done < total:
            x1, _ = self.step(x)
            x2, value = self.step(x1)
            first, change = x1 - x, x2 - 2 * x1 + x
            bend = max(float(np.linalg.norm(change)), 1e-300)
            length = min(float(np.linalg.norm(first)) / bend, LONGEST)
            done += 2
            if length > 1:
                far = x + 2 * length * first + length * length * change
                x3, farther = self.step(far.clip(x2 - 5, x2 + 5))
                done += 1
                x = x3 if farther >= value else x2
            else:
                x = x2
            if progress is not None:
                progress(min(done, total), total)
            if float(np.abs(x2 - x1).max()) < self.options.tolerance:
                break
        return x


def _neighbours(x: np.ndarray, shape: tuple[int, int, int]) -> tuple[float, np.ndarray, np.ndarray]:
    r"""Sum of ln cosh over the pairs of neighbours, and a parabola that lies above it.

    Between :math:`x_j` and :math:`x_k` its weight is :math:`\tanh(d)/d` with their difference d;
    the weights and the weighted middles are summed over the neighbours of each voxel.
    """
    cube = x.reshape(shape)
    weights, centers = np.zeros_like(cube), np.zeros_like(cube)
    rough = 0.0
    for axis in range(3):
        line, weight, center = (np.moveaxis(a, axis, 0) for a in (cube, weights, centers))
        apart = np.abs(line[1:] - line[:-1])
        rough += float((np.logaddexp(apart, -apart) - math.log(2)).sum())
        pull = np.tanh(apart) / apart.clip(min=1e-9)
        pull[apart < 1e-9] = 1.0
        middle = pull * (line[1:] + line[:-1]) / 2
        for side in (slice(1, None), slice(None, -1)):
            weight[side] += pull
            center[side] += middle
    return rough, weights.reshape(-1), centers.reshape(-1)


def _inputs(tracks: MuonTracks) -> list[Tensor]:
    """All tensors that the likelihood depends on."""
    fits = (tracks.above, tracks.below)
    parts = [
        (fit.position, fit.slope, fit.arm, fit.centroid_variance, fit.slope_variance)
        for fit in fits
    ]
    return [*parts[0], *parts[1], tracks.momentum]


def _attached(
    found: Float[Tensor, " n"],
    tracks: MuonTracks,
    grid: Grid,
    options: LikelihoodImaging,
    inputs: list[Tensor],
) -> Float[Tensor, " n"]:
    """The maximum with its derivative, after Newton's method has made it exact."""
    from detopt.inference.implicit import attach_root  # heavy: only for a derivative

    degrees = options.degrees_for(tracks)
    coupling = 1 / options.roughness

    def posterior(x: Tensor, *tensors: Tensor) -> Tensor:
        rebuilt = MuonTracks(
            LineFit(*tensors[:5]), LineFit(*tensors[5:10]), tracks.reference, tensors[10]
        )
        value = log_likelihood(x.exp(), rebuilt, grid, degrees)
        value = value - FLOOR_WEIGHT * (x + options.floor * (-x).exp()).sum()
        cube = x.reshape(grid.shape)
        apart = torch.cat([cube.diff(dim=axis).reshape(-1) for axis in range(3)])
        rough = torch.logaddexp(apart, -apart) - math.log(2)
        return value - coupling * rough.sum()

    def slope(x: Tensor, *tensors: Tensor) -> Tensor:
        with torch.enable_grad():
            if not x.requires_grad:
                x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(posterior(x, *tensors), x, create_graph=True)
        return gradient

    fixed = [tensor.detach() for tensor in inputs]
    x = found.detach().to(torch.float64)
    for _ in range(POLISH):
        move, stands = _newton(lambda at: slope(at, *fixed), lambda at: posterior(at, *fixed), x)
        x = x + move
        if stands:
            break
    return attach_root(slope, x, *inputs)


def _newton(
    slope: Callable[[Tensor], Tensor],
    value: Callable[[Tensor], Tensor],
    x: Float[Tensor, " n"],
) -> tuple[Float[Tensor, " n"], bool]:
    """A step of Newton's method that does not lower a function, and whether it was the last.

    The curvatures count by their absolute values, so that the step leads upwards everywhere.
    """
    point = x.clone().requires_grad_()
    gradient = slope(point)
    rows = [torch.autograd.grad(entry, point, retain_graph=True)[0] for entry in gradient]
    curvatures, ways = torch.linalg.eigh(torch.stack(rows))
    along = ways.mT @ gradient.detach()
    move = (ways @ (along / curvatures.abs().clamp_min(FLATTEST))).clamp(-2, 2)
    size = float(move.abs().max())
    if size < STANDING:
        return move, True
    with torch.no_grad():
        before = value(x)
        while float(move.abs().max()) > STANDING and value(x + move) < before:
            move = move / 2
    return move, False
