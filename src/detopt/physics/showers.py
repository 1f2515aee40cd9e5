r"""Showers in calorimeters: electromagnetic, in stacks of layers, hadronic.

Lengths are in metres, energies in GeV; depths in radiation lengths (electromagnetic) or nuclear
interaction lengths (hadronic), radii in Molière radii. The parts, one idea a module:

- `detopt.physics.shower_media`: what a shower sees of a material;
- `detopt.physics.electromagnetic_showers`: longitudinal mean and fluctuations (GFLASH);
- `detopt.physics.shower_containment`: profile, containment, leakage and its tail;
- `detopt.physics.shower_radial`: radial spread;
- `detopt.physics.shower_spots`: showers as spots in three dimensions;
- `detopt.physics.shower_stacks`: stacks of layers and their average medium;
- `detopt.physics.sampling_showers`: layer energies and resolution;
- `detopt.physics.hadronic_showers`: hadrons.
"""

__all__ = [
    "AVERAGE",
    "INDIVIDUAL",
    "TAIL_GROWTH_GEANT4",
    "TAIL_GROWTH_PAPER",
    "HadronShape",
    "Layer",
    "LongitudinalCoefficients",
    "LongitudinalShape",
    "Medium",
    "PhotonTail",
    "RadialShape",
    "Response",
    "ShapeFluctuations",
    "Spots",
    "Stack",
    "contained_fraction",
    "containment_depth",
    "deposit_in_layers",
    "e_over_mip",
    "em_fraction",
    "energy_resolution",
    "fluctuated_em_fraction",
    "fluctuated_shape",
    "gflash_critical_energy",
    "hadron_contained_fraction",
    "hadron_containment_depth",
    "hadron_layer_energies",
    "hadron_leakage",
    "hadron_profile",
    "hadron_shape",
    "hadron_shower_maximum",
    "homogeneous",
    "lateral_containment",
    "leakage",
    "longitudinal_profile",
    "mean_layer_energies",
    "mean_shape",
    "photon_tail",
    "pion_response",
    "radial_containment",
    "radial_profile",
    "radial_quantile",
    "radial_shape",
    "relative_depth",
    "response",
    "rossi_shape",
    "sample_conversion_depth",
    "sample_em_fraction",
    "sample_hadron_layer_energies",
    "sample_layer_energies",
    "sample_shape",
    "sample_spots",
    "sampling_fraction",
    "sampling_term",
    "shape_fluctuations",
    "shower_maximum",
    "spot_count",
    "stack_medium",
    "stack_sampling_term",
]

from detopt.physics.electromagnetic_showers import (
    AVERAGE,
    INDIVIDUAL,
    LongitudinalCoefficients,
    LongitudinalShape,
    ShapeFluctuations,
    fluctuated_shape,
    mean_shape,
    rossi_shape,
    sample_conversion_depth,
    sample_shape,
    shape_fluctuations,
    shower_maximum,
)
from detopt.physics.hadronic_showers import (
    HadronShape,
    em_fraction,
    fluctuated_em_fraction,
    hadron_contained_fraction,
    hadron_containment_depth,
    hadron_layer_energies,
    hadron_leakage,
    hadron_profile,
    hadron_shape,
    hadron_shower_maximum,
    pion_response,
    sample_em_fraction,
    sample_hadron_layer_energies,
)
from detopt.physics.sampling_showers import (
    Response,
    deposit_in_layers,
    energy_resolution,
    mean_layer_energies,
    response,
    sample_layer_energies,
    sampling_term,
    stack_sampling_term,
)
from detopt.physics.shower_containment import (
    PhotonTail,
    contained_fraction,
    containment_depth,
    leakage,
    longitudinal_profile,
    photon_tail,
)
from detopt.physics.shower_media import (
    Medium,
    gflash_critical_energy,
    homogeneous,
)
from detopt.physics.shower_radial import (
    TAIL_GROWTH_GEANT4,
    TAIL_GROWTH_PAPER,
    RadialShape,
    lateral_containment,
    radial_containment,
    radial_profile,
    radial_quantile,
    radial_shape,
    relative_depth,
)
from detopt.physics.shower_spots import (
    Spots,
    sample_spots,
    spot_count,
)
from detopt.physics.shower_stacks import (
    Layer,
    Stack,
    e_over_mip,
    sampling_fraction,
    stack_medium,
)
