"""Density effect: how the polarization of a medium limits the loss of fast particles."""

__all__ = ["DensityEffect"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Step of x0 and x1 of a gas with C-bar: (upper limit of C-bar, x0, x1); Sternheimer & Peierls 1971
GAS_STEPS = (
    (10.0, 1.6, 4.0),
    (10.5, 1.7, 4.0),
    (11.0, 1.8, 4.0),
    (11.5, 1.9, 4.0),
    (12.25, 2.0, 4.0),
    (13.804, 2.0, 5.0),
)
TWO_LN_10 = 2 * math.log(10)


@dataclass(frozen=True)
class DensityEffect:
    r"""Sternheimer's fit of the density-effect correction :math:`\delta`.

    .. math::
        \delta(x) = \begin{cases}
            2 x \ln 10 - \bar C                & x \ge x_1 \\
            2 x \ln 10 - \bar C + a (x_1-x)^k  & x_0 \le x < x_1 \\
            \delta_0\, 10^{2(x - x_0)}         & x < x_0
        \end{cases} \qquad x = \log_{10}\beta\gamma

    References:
        R. M. Sternheimer, M. J. Berger and S. M. Seltzer, At. Data Nucl. Data Tables 30 (1984) 261.
    """

    a: float  # dimensionless, as all of them
    k: float
    x0: float
    x1: float
    cbar: float
    delta0: float = 0.0

    @classmethod
    def from_plasma(
        cls, mean_excitation_energy: float, plasma_energy: float, gas: bool
    ) -> "DensityEffect":
        r"""The general recipe for a medium that has not been fitted.

        Args:
            mean_excitation_energy: :math:`I` [GeV].
            plasma_energy: :math:`\hbar\omega_p` [GeV].
            gas: Whether the medium is a gas.

        Note:
            The smallest loss is that of a fit within 3 %.

        References:
            R. M. Sternheimer and R. F. Peierls, Phys. Rev. B 3 (1971) 3681.
        """
        cbar = 2 * math.log(mean_excitation_energy / plasma_energy) + 1
        if gas:
            steps = [(x0, x1) for limit, x0, x1 in GAS_STEPS if cbar < limit]
            x0, x1 = steps[0] if steps else (0.326 * cbar - 2.5, 5.0)
        elif mean_excitation_energy < 100e-9:
            x0, x1 = (0.2 if cbar < 3.681 else 0.326 * cbar - 1.0), 2.0
        else:
            x0, x1 = (0.2 if cbar < 5.215 else 0.326 * cbar - 1.5), 3.0
        return cls(a=(cbar - TWO_LN_10 * x0) / (x1 - x0) ** 3, k=3.0, x0=x0, x1=x1, cbar=cbar)

    def delta(self, beta_gamma: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        r"""The correction :math:`\delta` at :math:`\beta\gamma`, differentiable.

        Note:
            Its derivative jumps at :math:`x_0`.
        """
        x = torch.log10(beta_gamma)
        gap = (self.x1 - x).clamp(min=0.0)
        asymptote = TWO_LN_10 * x - self.cbar
        curve = asymptote + self.a * gap**self.k
        below = self.delta0 * 10 ** (2 * (x.clamp(max=self.x0) - self.x0))

        return torch.where(x < self.x0, below, curve)
