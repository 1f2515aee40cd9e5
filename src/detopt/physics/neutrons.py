"""Beams of cold neutrons: kinematics, absorption, optics of apertures, background.

Lengths, wavelengths too, are in metres, times in nanoseconds, energies in GeV. The parts:

- `detopt.physics.neutron_absorption`: wavelength, speed, gravity, the 1/v law;
- `detopt.physics.neutron_beams`: apertures in closed form, Gaussian and sharp;
- `detopt.physics.neutron_rays`: apertures by rays, absorption there, background.
"""

__all__ = [
    "GaussianBeam",
    "Rays",
    "absorbed_fraction",
    "absorbed_shares",
    "absorption_coefficient",
    "absorption_cross_section",
    "aperture_background",
    "aperture_survival",
    "beam_divergence",
    "beam_profile",
    "beam_size",
    "cumulative_transmission",
    "gaussian_divergence",
    "gaussian_source",
    "gravity_drop",
    "kl_divergence",
    "material_absorption",
    "neutron_energy",
    "neutron_speed",
    "sample_rays",
    "through_apertures",
]

from detopt.physics.neutron_absorption import (
    absorbed_fraction,
    absorption_coefficient,
    absorption_cross_section,
    gravity_drop,
    material_absorption,
    neutron_energy,
    neutron_speed,
)
from detopt.physics.neutron_beams import (
    GaussianBeam,
    beam_divergence,
    beam_profile,
    beam_size,
    cumulative_transmission,
    gaussian_divergence,
    gaussian_source,
    kl_divergence,
    through_apertures,
)
from detopt.physics.neutron_rays import (
    Rays,
    absorbed_shares,
    aperture_background,
    aperture_survival,
    sample_rays,
)
