r"""The media of electromagnetic showers as the GFLASH parametrization sees them.

Lengths are in metres, energies in GeV, densities in g/cm3. The critical energy of GFLASH is not
that of the Review of Particle Physics. The media here use the former, because the coefficients
were fitted with it.
"""

__all__ = ["Medium", "gflash_critical_energy", "homogeneous"]

from dataclasses import dataclass, fields, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors
from detopt.physics.materials import Material

CRITICAL_SCALE = 2.66e-3  # GeV; GFLASH, as in Geant4
CRITICAL_POWER = 1.1  # dimensionless; idem
SCATTERING_ENERGY = 21.2052e-3  # GeV, sqrt(4 pi / alpha) m_e; PDG
CM = 0.01  # m


@dataclass(frozen=True)
class Medium:
    """What a shower sees of a homogeneous or finely layered medium.

    Attributes:
        radiation_length: Radiation length [m].
        moliere_radius: Molière radius [m].
        critical_energy: Critical energy in the sense of GFLASH [GeV].
        atomic_number: Atomic number, averaged with the masses.
        cell_thickness: Thickness of one passive and one active layer in radiation lengths,
            GFLASH's inverse sampling frequency 1/F_S; 0 for a homogeneous medium.
        transition: One minus the ratio e/mip of the active layers; 0 for a homogeneous medium.
        sampling: Whether passive and active layers alternate.
    """

    radiation_length: Values
    moliere_radius: Values
    critical_energy: Values
    atomic_number: Values
    cell_thickness: Values = 0.0
    transition: Values = 0.0
    sampling: bool = False

    def with_axis(self) -> "Medium":
        """The same with an axis of length 1 behind that of the designs, for depths or spots."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors: dict[str, Any] = {
            name: x[..., None] for name, x in values.items() if isinstance(x, Tensor)
        }
        return replace(self, **tensors)


def gflash_critical_energy(
    radiation_length: Values, density: Values, z_over_a: Values
) -> Float[Tensor, "*batch"]:
    r"""Critical energy as GFLASH defines it.

    .. math::
        E_c = 2.66\,\mathrm{MeV} \left(X_0 \frac{Z}{A}\right)^{1.1}, \qquad X_0 \text{ in g/cm2}

    Args:
        radiation_length: Radiation length [m].
        density: Density [g/cm3].
        z_over_a: Electrons per atomic mass [mol/g].

    Returns:
        Critical energy [GeV].

    Raises:
        DomainError: A Python number is not positive.

    Note:
        1 to 8 % below Rossi's critical energy, which `materials` holds. Differentiable.

    References:
        G. Grindhammer and S. Peters, hep-ex/0001020; Geant4 11, GFlashHomoShowerParameterisation.
    """
    require_positive(radiation_length=radiation_length, density=density, z_over_a=z_over_a)
    radiation_length, density, z_over_a = as_tensors(radiation_length, density, z_over_a)
    depth = radiation_length * density / CM
    return CRITICAL_SCALE * (depth * z_over_a) ** CRITICAL_POWER


def homogeneous(material: Material) -> Medium:
    """The medium of a shower in one material, with GFLASH's critical energy and Molière radius."""
    critical = gflash_critical_energy(
        material.radiation_length, material.density, material.z_over_a
    ).item()
    return Medium(
        radiation_length=material.radiation_length,
        moliere_radius=material.radiation_length * SCATTERING_ENERGY / critical,
        critical_energy=critical,
        atomic_number=material.atomic_number,
    )
