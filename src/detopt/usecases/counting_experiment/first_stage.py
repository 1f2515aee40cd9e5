r"""The usual first stage: the instrument that is best for counting in a mass window.

Signal and background in a window around the signal, whose width is optimized for each design, give

.. math::
    Z = \frac{S}{\sqrt{S + B + (\Delta B)^2 + (\Delta S)^2}}

with the uncertainties of the energy scale, of the peak's normalization and of the efficiency
in :math:`\Delta B` and :math:`\Delta S` where they are asked for. What the data outside the window
tell is left out: that is what makes it a first stage.
"""

__all__ = ["counting_figure", "first_stage"]

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.errors import DomainError
from detopt.usecases.counting_experiment.config import Config, Instrument
from detopt.usecases.counting_experiment.problem import (
    CONTINUUM_MEAN,
    CONTINUUM_START,
    LOWEST_SHARE,
    PEAK_MASS,
    PEAK_REACH,
    PEAK_WIDTH,
    SIGNAL_MASS,
)

HALF_WIDTHS = (0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5)  # of the window, in resolutions
N_POINTS = 400  # of each background's true mass, at equal steps of probability


def counting_figure(
    shares: Float[Tensor, " 3"], config: Config, systematic: bool
) -> Float[Tensor, ""]:
    """The significance-like figure Z of the best window, see above.

    Args:
        shares: Shares of the budget: area, resolution, calibration.
        config: Options of the use case.
        systematic: Whether systematic uncertainties are included.
    """
    instrument = Instrument(config)
    design = Design({"shares": shares})
    resolution = instrument.resolution(design)
    background = instrument.background_acceptance(design)
    half_widths = torch.tensor(HALF_WIDTHS, dtype=shares.dtype) * resolution
    quantile = (torch.arange(N_POINTS, dtype=shares.dtype) + 0.5) / N_POINTS
    peak_mass = PEAK_MASS + PEAK_WIDTH / 2 * torch.tan(math.pi * PEAK_REACH * (quantile - 0.5))
    continuum_mass = CONTINUUM_START - CONTINUUM_MEAN * torch.log1p(-quantile)

    def inside(mass: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        """Share of the events within each window."""
        offset = (mass * scale / SIGNAL_MASS).log().reshape(-1, 1)
        upper, lower = ((sign * half_widths - offset) / resolution for sign in (1, -1))
        share: Tensor = (torch.special.ndtr(upper) - torch.special.ndtr(lower)).mean(dim=0)
        return share

    signal_mass = torch.full((1,), SIGNAL_MASS, dtype=shares.dtype)
    signal = config.signal * instrument.coverage(design) * inside(signal_mass)
    peak = config.peak * background * inside(peak_mass)
    continuum = config.continuum * background * inside(continuum_mass)
    variance = signal + peak + continuum
    if systematic:
        width = instrument.scale_width(design)
        up, down = (config.peak * background * inside(peak_mass, 1 + s * width) for s in (1, -1))
        variance = (
            variance
            + ((up - down) / 2).square()
            + (config.peak_width * peak).square()
            + (instrument.efficiency_width(design) * signal).square()
        )
    figures: Tensor = signal / variance.sqrt()
    return figures.max()


def first_stage(
    config: Config, systematic: bool, calibration: float | None = None, n_steps: int = 40
) -> Sequence[float]:
    """Shares of the budget with the best figure, from a scan.

    Args:
        config: Options of the use case.
        systematic: Whether the figure includes systematic uncertainties.
        calibration: Share of the calibration, where it is fixed beforehand.
        n_steps: Steps of the scan of each share.

    Raises:
        DomainError: The calibration leaves no room for the other two shares.
    """
    if calibration is not None and not LOWEST_SHARE <= calibration <= 1 - 2 * LOWEST_SHARE:
        raise DomainError(
            f"`calibration` must lie between {LOWEST_SHARE:g} and {1 - 2 * LOWEST_SHARE:g}, got "
            f"{calibration:g}."
        )
    room = 1 - 3 * LOWEST_SHARE
    steps = [LOWEST_SHARE + room * i / n_steps for i in range(n_steps + 1)]
    best, best_figure = (1 / 3, 1 / 3, 1 / 3), -math.inf
    choices = steps if calibration is None else [calibration]
    for area, third in itertools.product(steps, choices):
        second = 1 - area - third
        if second < LOWEST_SHARE:
            continue
        shares = (area, second, third)
        figure = counting_figure(torch.tensor(shares, dtype=torch.float64), config, systematic)
        if float(figure) > best_figure:
            best, best_figure = shares, float(figure)
    return best
