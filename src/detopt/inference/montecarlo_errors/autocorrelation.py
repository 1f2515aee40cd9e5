r"""Sums of products of a time series with itself, :math:`\sum_i x_i x_{i+t}`.

Only the first lags matter to an error, so the series is cut into blocks as long as the largest
lag. One short Fourier transform of each block, padded with zeros, gives its products with itself
and with the next block. The sums are exact; the cost grows as n log(lags), in cache.
"""

__all__ = ["lag_sums", "pair_counts"]

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 1 << 17  # numbers that are transformed at once: about what a cache holds


def lag_sums(series: Float[Tensor, "*batch n"], n_lags: int) -> Float[Tensor, "*batch n_lags_1"]:
    r"""Products of a series with itself, for the lags 0 to `n_lags`.

    .. math::
        s_t = \sum_{i=1}^{n-t} x_i\, x_{i+t}

    Args:
        series: The series :math:`x`.
        n_lags: Largest lag; sums of lags beyond n are 0.

    Note:
        Differentiable. Works in the precision of the series: give it float64.
    """
    n = series.shape[-1]
    block = 1 << max(n_lags - 1, 0).bit_length()  # the next power of two
    rows = series.reshape(-1, n)
    at_once = max(1, CHUNK // max(n, block))
    sums = [_block_sums(part, block) for part in rows.split(at_once)]
    return torch.cat(sums)[:, : n_lags + 1].reshape(*series.shape[:-1], n_lags + 1)


def _block_sums(rows: Float[Tensor, "rows n"], block: int) -> Float[Tensor, "rows lags"]:
    """Lags 0 to `block`."""
    n = rows.shape[-1]
    count = -(-n // block)
    padded = torch.nn.functional.pad(rows, (0, count * block - n))
    spectra = torch.fft.rfft(padded.reshape(len(rows), count, block), n=2 * block)
    own = (spectra.real.square() + spectra.imag.square()).sum(dim=1)
    # a block that starts `block` later has its spectrum times (-1)^frequency
    sign = torch.ones(block + 1, dtype=rows.dtype, device=rows.device)
    sign[1::2] = -1
    following = torch.linalg.vecdot(spectra[:, :-1], spectra[:, 1:], dim=1)
    sums: Tensor = torch.fft.irfft(own + sign * following, n=2 * block)
    return sums[:, : block + 1]


def pair_counts(positions: Int[Tensor, " n"], n_lags: int) -> Float[Tensor, " n_lags_1"]:
    """Number of pairs of measurements at each lag from 0 to `n_lags`.

    Args:
        positions: Where there is a measurement, ascending from 0.
        n_lags: Largest lag.
    """
    length = int(positions[-1]) + 1
    if length == len(positions):
        lags = torch.arange(n_lags + 1, dtype=torch.float64, device=positions.device)
        return (length - lags).clamp(min=0)
    present = torch.zeros(length, dtype=torch.float64, device=positions.device)
    present[positions] = 1
    return lag_sums(present, n_lags).round()
