"""The Bragg-Kleeman rule: ranges of therapy protons as a power law.

Energies are in GeV, depths in metres of water.
"""

__all__ = ["bragg_kleeman_energy", "bragg_kleeman_range", "range_straggling"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics._domain import require_positive
from detopt.physics._tensors import TensorLike, as_tensor, as_tensors

COEFFICIENT = 0.0022  # cm/MeV^p, protons in water; Bortfeld 1997
EXPONENT = 1.77  # dimensionless; idem
STRAGGLING_COEFFICIENT = 0.012  # cm^(1 - 0.935); idem
STRAGGLING_EXPONENT = 0.935  # dimensionless; idem
MEV = 1e3  # in a GeV
CM = 100.0  # in a metre


def bragg_kleeman_range(
    kinetic_energy: TensorLike,
    coefficient: float = COEFFICIENT,
    exponent: float = EXPONENT,
) -> Float[Tensor, "*batch"]:
    r"""Range of a proton in water, :math:`R = a T^p`.

    Args:
        kinetic_energy: Kinetic energy :math:`T` [GeV], > 0.
        coefficient: :math:`a` [cm/MeV^p].
        exponent: :math:`p`.

    Returns:
        Range [m].

    Raises:
        DomainError: A Python number is not > 0.

    Note:
        Within 1.2 % of the ranges of ICRU Report 49 from 50 to 230 MeV. See `csda_range` for
        other particles, materials and energies.

    References:
        T. Bortfeld, Med. Phys. 24 (1997) 2024; W. H. Bragg and R. Kleeman, Phil. Mag. 10 (1905)
        318.
    """
    require_positive(kinetic_energy=kinetic_energy, coefficient=coefficient, exponent=exponent)
    return coefficient * (as_tensor(kinetic_energy) * MEV) ** exponent / CM


def bragg_kleeman_energy(
    kinetic_energy: TensorLike,
    depth: TensorLike,
    coefficient: float = COEFFICIENT,
    exponent: float = EXPONENT,
) -> Float[Tensor, "*batch"]:
    r"""Energy of a proton at a depth in water, :math:`T(z) = ((R - z)/a)^{1/p}`.

    Args:
        kinetic_energy: Kinetic energy on entering [GeV], > 0.
        depth: Depth :math:`z` [m], >= 0.
        coefficient: :math:`a` [cm/MeV^p].
        exponent: :math:`p`.

    Returns:
        Kinetic energy [GeV]; 0, with zero gradient, beyond the range.

    Raises:
        DomainError: A Python number is out of its range.
    """
    require_positive(kinetic_energy=kinetic_energy, coefficient=coefficient, exponent=exponent)
    energy, where = as_tensors(kinetic_energy, depth)
    left = (bragg_kleeman_range(energy, coefficient, exponent) - where) * CM
    stopped = left <= 0
    residual = (torch.where(stopped, 1.0, left) / coefficient) ** (1 / exponent) / MEV
    return torch.where(stopped, torch.zeros_like(left), residual)


def range_straggling(depth: TensorLike) -> Float[Tensor, "*batch"]:
    r"""Gaussian width of the range of a proton in water, :math:`\sigma = 0.012 R^{0.935}` (cm).

    Args:
        depth: Mean range :math:`R` [m], > 0.

    Returns:
        Width [m].

    Raises:
        DomainError: The range is a Python number that is not > 0.

    References:
        T. Bortfeld, Med. Phys. 24 (1997) 2024.
    """
    require_positive(depth=depth)
    return STRAGGLING_COEFFICIENT * (as_tensor(depth) * CM) ** STRAGGLING_EXPONENT / CM
