"""Quantiles and modes of the distributions of Landau and Vavilov, from the shipped table."""

__all__ = ["landau_quantile", "mean", "mode", "vavilov_quantile"]

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.physics import _medium
from detopt.physics._spline import UniformSpline

EULER = 0.5772156649015329
OFFSET = 6.0  # of lambda in the logarithm of the tables
GAUSSIAN_KAPPA = 10.0  # above it the shape no longer changes


def landau_quantile(score: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""Quantile of Landau's distribution at a standard-normal score.

    Args:
        score: Score :math:`z`, at the probability :math:`\Phi(z)`.

    Returns:
        :math:`\lambda`, with its most probable value at -0.2228.

    Note:
        Cubic spline to 1e-3 for :math:`|z| < 4`. The distribution has no mean.

    References:
        L. Landau, J. Phys. USSR 8 (1944) 201.
    """
    return torch.exp(_landau_table()(score)) - OFFSET


def vavilov_quantile(
    score: Float[Tensor, "*batch"],
    kappa: Float[Tensor, "*#batch"],
    beta_squared: Float[Tensor, "*#batch"],
) -> Float[Tensor, "*batch"]:
    r"""Quantile of Vavilov's distribution at a standard-normal score.

    Args:
        score: Score :math:`z`, at the probability :math:`\Phi(z)`.
        kappa: :math:`\kappa = \xi/W`, > 0.
        beta_squared: Squared velocity, 0 to 1.

    Returns:
        Landau's variable :math:`\lambda`.

    Note:
        Within 1 % for :math:`10^{-4} < \kappa < 10`; held at the lower end below (rarer knock-on
        electrons are left out), a rescaled shape above. Differentiable in all arguments.

    References:
        P. V. Vavilov, Sov. Phys. JETP 5 (1957) 749.
    """
    table = _quantile_table()
    row, share = _locate(torch.log(kappa.clamp(max=GAUSSIAN_KAPPA)), table)
    position = (score - table.start) / table.step
    cell = position.detach().floor().clamp(0, table.n_cells - 1)
    cubics = table.coefficients.to(dtype=score.dtype, device=score.device)
    if row.dim() == 0 and beta_squared.dim() == 0:  # one layer: blend the table, not the samples
        blended = _blend(cubics[row], cubics[row + 1], share, beta_squared)
        parts = blended.index_select(0, cell.long().flatten()).reshape(*cell.shape, 4)
    else:
        index = row * table.n_cells + cell.long()
        flat = cubics.reshape(-1, 3, 4)
        lower, upper = (
            flat.index_select(0, (index + k * table.n_cells).flatten()).reshape(*index.shape, 3, 4)
            for k in range(2)
        )
        parts = _blend(lower, upper, share[..., None, None], beta_squared[..., None])
    shape = torch.exp(_cubic(parts, position - cell)) - OFFSET

    beyond = (kappa / GAUSSIAN_KAPPA).clamp(min=1.0)
    centre = mean(kappa, beta_squared)
    at_end = centre + torch.log(beyond)  # mean at kappa = 10, and at kappa itself below it
    return centre + (shape - at_end) / beyond.sqrt()


def mean(
    kappa: Float[Tensor, "*#batch"], beta_squared: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*#batch"]:
    """Mean of Landau's variable."""
    return EULER - 1 - beta_squared - torch.log(kappa)


def mode(
    kappa: Float[Tensor, "*#batch"], beta_squared: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*#batch"]:
    """Most probable value of Landau's variable."""
    lowest, middle, highest = _mode_tables()
    at = torch.log(kappa)
    return _parabola(lowest(at), middle(at), highest(at), beta_squared)


def _parabola(low: Tensor, middle: Tensor, high: Tensor, x: Tensor) -> Tensor:
    """The parabola through values at x = 0, 1/2 and 1."""
    rise = high - low
    bend = 2 * (high - 2 * middle + low)
    return low + x * (rise + bend * (x - 1))


def _locate(
    logarithm: Float[Tensor, "*batch"], table: "_QuantileTable"
) -> tuple[Int[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Row of ln kappa in the table, and the share of the next one."""
    index = (logarithm - table.kappa_start) / table.kappa_step
    row = index.detach().floor().clamp(0, table.coefficients.shape[0] - 2)
    return row.long(), (index - row).clamp(0.0, 1.0)


def _blend(lower: Tensor, upper: Tensor, share: Tensor, beta_squared: Tensor) -> Tensor:
    """Cubics between two kappas, at a velocity; the last axes are velocity and power."""
    low, middle, high = torch.lerp(lower, upper, share).unbind(dim=-2)
    return _parabola(low, middle, high, beta_squared)


def _cubic(
    coefficients: Float[Tensor, "*batch 4"], offset: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Value of cubics in their cell, straight outside of it."""
    c3, c2, c1, c0 = coefficients.unbind(dim=-1)
    inside = offset.clamp(0.0, 1.0)
    slope = (3 * c3 * inside + 2 * c2) * inside + c1
    return ((c3 * inside + c2) * inside + c1) * inside + c0 + slope * (offset - inside)


@dataclass(frozen=True)
class _QuantileTable:
    """Cubics in the score for each kappa, at three velocities."""

    start: float
    step: float
    kappa_start: float
    kappa_step: float
    n_cells: int
    coefficients: Float[Tensor, "kappa cells 3 4"]


@functools.cache
def _quantile_table() -> _QuantileTable:
    raw = _medium.load_data("straggling.json")
    values = torch.tensor(raw["quantiles"], dtype=torch.float64)
    n_kappa, n_velocities, n_scores = values.shape
    splines = [
        UniformSpline.through(raw["start"], raw["step"], row).coefficients
        for row in values.reshape(-1, n_scores)
    ]
    cubics = torch.stack(splines).reshape(n_kappa, n_velocities, n_scores - 1, 4)
    return _QuantileTable(
        start=raw["start"],
        step=raw["step"],
        kappa_start=raw["kappa_start"],
        kappa_step=raw["kappa_step"],
        n_cells=n_scores - 1,
        coefficients=cubics.transpose(1, 2).contiguous(),
    )


@functools.cache
def _landau_table() -> UniformSpline:
    raw = _medium.load_data("straggling.json")
    values = torch.tensor(raw["landau"], dtype=torch.float64)
    return UniformSpline.through(raw["start"], raw["step"], values)


@functools.cache
def _mode_tables() -> tuple[UniformSpline, ...]:
    """Splines of the mode against ln kappa, at the squared velocities 0, 1/2 and 1."""
    raw = _medium.load_data("straggling.json")
    values = torch.tensor(raw["mode"], dtype=torch.float64)
    return tuple(
        UniformSpline.through(raw["kappa_start"], raw["kappa_step"], column)
        for column in values.unbind(dim=-1)
    )
