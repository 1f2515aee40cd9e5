r"""The mixture of the INFERNO benchmark: samples, scores, and how parameters move samples.

==========  ===============================  ====================  ======
component   :math:`(x_0, x_1)`               :math:`x_2`           yield
==========  ===============================  ====================  ======
signal      normal, mean m, unit covariance  exponential, rate 2   s = 50
background  normal, mean (2 + r, 0),         exponential,          b = 1000
            covariance diag(5, 9)            rate lambda = 3
==========  ===============================  ====================  ======

The text of the paper has the mean (1, 1); the published code and table have (0, 0).
"""

__all__ = ["BACKGROUND", "Events", "Mixture", "NAMES", "SIGNAL", "VARIATIONS"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.pipeline import Source

NAMES = ("s", "r", "lambda", "b")  # all parameters, that of interest first
SIGNAL, BACKGROUND = 50.0, 1000.0  # nominal yields s and b
SIGNAL_RATE, BACKGROUND_RATE = 2.0, 3.0  # of x2
BACKGROUND_MEAN = 2.0  # of x0
BACKGROUND_VARIANCES = (5.0, 9.0)  # of x0 and x1
VARIATIONS = {"r": 0.4, "lambda": 1.0}  # one standard deviation of the auxiliary measurements


@dataclass(frozen=True)
class Events:
    r"""Simulated events: as many of signal as of background.

    Args:
        features: What is measured.
        signal_share: Probability :math:`q` that an event like this is signal, in a sample of both
            classes in equal numbers; 1 or 0 where the class is known.
    """

    features: Float[Tensor, "n_events 3"]
    signal_share: Float[Tensor, " n_events"]

    @property
    def weights(self) -> Float[Tensor, " n_events"]:
        """Expected events that each would stand for alone: yield over share of its class."""
        signal, background = self._parts
        return signal + background

    @property
    def weight_slopes(self) -> Float[Tensor, "n_events 4"]:
        r"""Derivatives of the weights in (s, r, lambda, b) at the nominal point.

        .. math::
            \left(\frac{w_s}{s},\; w_b \frac{x_0 - 2}{5},\;
                w_b \Bigl(\frac{1}{\lambda} - x_2\Bigr),\; \frac{w_b}{b}\right)
        """
        signal, background = self._parts
        shift = (self.features[:, 0] - BACKGROUND_MEAN) / BACKGROUND_VARIANCES[0]
        rate = 1 / BACKGROUND_RATE - self.features[:, 2]
        columns = [signal / SIGNAL, background * shift, background * rate, background / BACKGROUND]
        return torch.stack(columns, dim=-1)

    @property
    def yield_slopes(self) -> Float[Tensor, "n_events 4"]:
        """The same without parameters that move samples."""
        signal, background = self._parts
        zero = torch.zeros_like(signal)
        return torch.stack([signal / SIGNAL, zero, zero, background / BACKGROUND], dim=-1)

    @property
    def directions(self) -> Float[Tensor, "n_events 3 4"]:
        r"""How samples move: :math:`x_0 \to x_0 + r` and :math:`x_2 \to 3 x_2 / \lambda`.

        Only background moves; an event that may be either moves by its share of background.
        """
        share = self.background_share
        moves = self.features.new_zeros((len(self.features), 3, 4))
        moves[:, 0, 1] = share
        moves[:, 2, 2] = -share * self.features[:, 2] / BACKGROUND_RATE
        return moves

    def varied(self, name: str, deviations: float) -> Float[Tensor, "n_events 3"]:
        """Features as background has them with one parameter away from its nominal value.

        Args:
            name: Key of `VARIATIONS`.
            deviations: How far, in standard deviations of the auxiliary measurement.
        """
        shift = deviations * VARIATIONS[name]
        x0, x1, x2 = self.features.unbind(-1)
        if name == "r":
            return torch.stack([x0 + shift, x1, x2], dim=-1)
        return torch.stack([x0, x1, x2 * (BACKGROUND_RATE / (BACKGROUND_RATE + shift))], dim=-1)

    @property
    def background_share(self) -> Float[Tensor, " n_events"]:
        """Share of background in what each event stands for."""
        signal, background = self._parts
        return background / (signal + background)

    @property
    def _parts(self) -> tuple[Tensor, Tensor]:
        """Weights of signal and background."""
        signal, background = self.signal_share, 1 - self.signal_share
        return SIGNAL * signal / signal.mean(), BACKGROUND * background / background.mean()


class Mixture(Source[Events]):
    """Draws signal and background events in equal numbers.

    Args:
        signal_mean: Mean of the first two features of the signal.
    """

    def __init__(self, signal_mean: float = 0.0) -> None:
        super().__init__()
        self.signal_mean = signal_mean

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Events:
        """Draw events; the first half is signal.

        Raises:
            DomainError: There is no room for both classes.
        """
        if n_events < 2:
            raise DomainError(f"`n_events` must be >= 2 for both classes, got {n_events}.")
        n_signal = n_events // 2
        plane = torch.randn(n_events, 2, generator=rng, dtype=dtype)
        decay = torch.empty(n_events, 1, dtype=dtype).exponential_(generator=rng)
        width = plane.new_tensor(BACKGROUND_VARIANCES).sqrt()
        signal = plane[:n_signal] + self.signal_mean
        background = plane[n_signal:] * width + plane.new_tensor([BACKGROUND_MEAN, 0.0])
        decay = torch.cat([decay[:n_signal] / SIGNAL_RATE, decay[n_signal:] / BACKGROUND_RATE])
        features = torch.cat([torch.cat([signal, background]), decay], dim=-1)
        return Events(features, (torch.arange(n_events) < n_signal).to(dtype))
