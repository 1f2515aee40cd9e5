"""Photon cross sections of the elements, in barn per atom against the energy in GeV."""

__all__ = ["PhotonElement", "klein_nishina", "photon_element"]

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics._collision import ELECTRON_MASS
from detopt.physics._medium import load_data
from detopt.physics._spline import UniformSpline

KEV = 1e-6  # GeV
CLASSICAL_AREA = 0.0794078  # barn, the squared classical electron radius; CODATA 2018
THRESHOLD = 2 * ELECTRON_MASS  # of pair production, GeV


@dataclass(frozen=True)
class PhotonElement:
    """Cross sections of one element, as splines in ln E of smooth parts."""

    pair_charge: float  # Z (Z + 1)
    edges: tuple[tuple[float, float], ...]  # energy [GeV] and logarithm of the jump
    smooth_photoelectric: UniformSpline
    smooth_compton: UniformSpline
    smooth_rayleigh: UniformSpline
    smooth_pair: UniformSpline

    def photoelectric(self, energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Absorption by a bound electron [barn]."""
        logarithm = self.smooth_photoelectric(torch.log(energy))
        for edge, jump in self.edges:
            logarithm = logarithm + jump * (energy >= edge)
        return torch.exp(logarithm)

    def compton(self, energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Incoherent scattering [barn]."""
        return torch.exp(self.smooth_compton(torch.log(energy)))

    def rayleigh(self, energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Coherent scattering [barn]."""
        return torch.exp(self.smooth_rayleigh(torch.log(energy)))

    def pair(self, energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Pair production in the field of the nucleus and of the electrons [barn]."""
        opening = (1 - THRESHOLD / energy).clamp(min=0.0) ** 3
        return self.pair_charge * opening * torch.exp(self.smooth_pair(torch.log(energy)))


def klein_nishina(energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""Cross section of a photon with a free electron at rest [barn].

    .. math::
        \sigma = 2\pi r_e^2 \left\{\frac{1 + a}{a^2} \left[\frac{2(1 + a)}{1 + 2a}
            - \frac{\ln(1 + 2a)}{a}\right] + \frac{\ln(1 + 2a)}{2a}
            - \frac{1 + 3a}{(1 + 2a)^2}\right\}, \qquad a = E/m_e

    Args:
        energy: Photon energy [GeV], above 1 keV (cancellation grows below).

    References:
        O. Klein and Y. Nishina, Z. Phys. 52 (1929) 853.
    """
    a = energy / ELECTRON_MASS
    log = torch.log1p(2 * a)
    first = (1 + a) / a**2 * (2 * (1 + a) / (1 + 2 * a) - log / a)
    return 2 * math.pi * CLASSICAL_AREA * (first + log / (2 * a) - (1 + 3 * a) / (1 + 2 * a) ** 2)


@functools.cache
def photon_element(atomic_number: int) -> PhotonElement:
    """Cross sections of the element of that atomic number."""
    raw = load_data("photons.json")
    row = raw["elements"][str(atomic_number)]
    start, step = math.log(raw["start"] * KEV), raw["step"]
    n_low = len(row["compton"])
    high = {name: _polynomials(rows, atomic_number) for name, rows in raw["high"].items()}
    above = step * torch.arange(high["pair"].shape[0], dtype=torch.float64)
    energy = torch.exp(start + step * (n_low - 1) + above)
    free = torch.log(klein_nishina(energy))
    edges = tuple((energy * KEV, jump) for energy, jump in row["edges"])

    def join(name: str, trend: Tensor) -> UniformSpline:
        low = torch.tensor(row[name], dtype=torch.float64)
        shape = high[name] + trend
        return UniformSpline.through(start, step, torch.cat([low, low[-1] + shape[1:] - shape[0]]))

    return PhotonElement(
        pair_charge=atomic_number * (atomic_number + 1.0),
        edges=edges,
        smooth_photoelectric=join("photoelectric", -above),
        smooth_compton=join("compton", free),
        smooth_rayleigh=join("rayleigh", -2 * above),
        smooth_pair=UniformSpline.through(start + step * (n_low - 1), step, high["pair"]),
    )


def _polynomials(rows: Any, atomic_number: int) -> Float[Tensor, " n"]:
    coefficients = torch.tensor(rows, dtype=torch.float64)
    powers = torch.arange(coefficients.shape[1], dtype=torch.float64)
    return coefficients @ math.log(atomic_number) ** powers
