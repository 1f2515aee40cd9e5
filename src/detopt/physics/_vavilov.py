"""Quantiles and modes of the distributions of Landau and Vavilov, from the shipped table."""

__all__ = ["deviation", "landau_quantile", "mean", "mode", "vavilov_quantile"]

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.physics import _medium
from detopt.physics._fused import Partials, fused
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
    return mean(kappa, beta_squared) + deviation(score, kappa, beta_squared)


def deviation(
    score: Float[Tensor, "*batch"],
    kappa: Float[Tensor, "*#batch"],
    beta_squared: Float[Tensor, "*#batch"],
) -> Float[Tensor, "*batch"]:
    """`vavilov_quantile` less the mean."""
    one_layer = kappa.dim() == 0 and beta_squared.dim() == 0
    logarithm = torch.log(kappa)
    within = logarithm.clamp(_quantile_table().kappa_start, math.log(GAUSSIAN_KAPPA))
    if score.dtype == torch.float32 and not one_layer:
        shape = fused(_shape_and_slopes, _shape, score, within, beta_squared)
    else:
        shape = _shape(score, within, beta_squared)
    # the mean at kappa = 10, and at kappa itself below it, is the centre of the shape
    beyond = (logarithm - math.log(GAUSSIAN_KAPPA)).clamp(min=0.0)
    at_end = EULER - 1 - beta_squared - logarithm + beyond
    return (shape - at_end) * torch.exp(-beyond / 2)


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


def _shape(score: Tensor, logarithm: Tensor, beta_squared: Tensor) -> Tensor:
    """Quantile of the tabulated distributions, at ln kappa."""
    table = _quantile_table()
    row, share = _locate(logarithm, table)
    position = (score - table.start) / table.step
    cell = position.detach().floor().nan_to_num().clamp(0, table.n_cells - 1)
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
    return torch.exp(_cubic(parts, position - cell)) - OFFSET


def _shape_and_slopes(
    needs: bool, score: Tensor, logarithm: Tensor, beta_squared: Tensor
) -> Partials:
    """`_shape` of vectors, from one look-up of each coefficient."""
    table = _quantile_table()
    share = (logarithm - table.kappa_start).div_(table.kappa_step)
    row = share.floor().clamp_(0, len(table.coefficients) - 2)
    share = share.sub_(row)
    offset = (score - table.start).div_(table.step)
    cell = offset.floor().clamp_(0, table.n_cells - 1)
    inside = offset.sub_(cell).clamp(0.0, 1.0)
    outside = offset.sub_(inside)
    index = cell.add_(row, alpha=table.n_cells).nan_to_num_().int()
    upper = index + table.n_cells
    columns = _columns(score.dtype, score.device)

    values, rises, slopes = [], [], []
    for velocity in range(3):
        low, low_slope = _taken(columns[velocity], index, inside)
        high, high_slope = _taken(columns[velocity], upper, inside)
        steeper = high_slope.sub_(low_slope)
        rises.append(high.sub_(low).addcmul_(steeper, outside))
        values.append(low.addcmul_(low_slope, outside).addcmul_(rises[-1], share))
        slopes.append(low_slope.addcmul_(steeper, share))
    low, middle, high = values
    shifted = torch.exp(_parabola(low, middle, high, beta_squared))
    if not needs:
        return shifted - OFFSET, ()

    by_score = (
        _parabola(slopes[0], slopes[1], slopes[2], beta_squared).mul_(shifted).div_(table.step)
    )
    by_row = (
        _parabola(rises[0], rises[1], rises[2], beta_squared).mul_(shifted).div_(table.kappa_step)
    )
    bend = high - 2 * middle + low
    by_velocity = (high - low).addcmul_(bend, 2 * beta_squared - 1, value=2)
    return shifted - OFFSET, (by_score, by_row, by_velocity.mul_(shifted))


def _taken(columns: Tensor, index: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Value and slope of cubics, the coefficients of which stand in rows by falling power."""
    c3, c2, c1, c0 = (column.index_select(0, index) for column in columns)
    outer = torch.addcmul(c2, c3, offset)
    value = torch.addcmul(c1, outer, offset)
    slope = torch.addcmul(outer, c3, offset).mul_(offset).add_(value)  # by Horner's rule
    return c0.addcmul_(value, offset), slope


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
    row = index.detach().floor().nan_to_num().clamp(0, table.coefficients.shape[0] - 2)
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


@functools.lru_cache(maxsize=8)
def _columns(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "3 4 cells"]:
    """The coefficients of `_quantile_table`, each of them in a row."""
    rows = _quantile_table().coefficients.flatten(0, 1).permute(1, 2, 0)
    return rows.to(device, dtype).contiguous()


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
