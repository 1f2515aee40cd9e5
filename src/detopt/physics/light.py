"""Light in detectors, from the particle to the count.

Lengths are in metres, energies in GeV, times in nanoseconds. The parts, one idea a module:

- `detopt.physics.light_yield`: scintillation with quenching, and the Cherenkov effect;
- `detopt.physics.light_guides`: trapping in bars and fibres, attenuation, time of flight;
- `detopt.physics.photosensors`: response, counts, pulses, timing.
"""

__all__ = [
    "BIRKS_POLYSTYRENE",
    "attenuation",
    "bar_escape_fraction",
    "bar_guided_fraction",
    "cherenkov_angle",
    "cherenkov_photons",
    "cherenkov_threshold",
    "count_resolution",
    "fibre_trapped_fraction",
    "first_photon_density",
    "guided_photons",
    "mean_transmission",
    "propagation_time",
    "pulse_cumulative",
    "pulse_density",
    "quenching",
    "reflection_count",
    "sample_counts",
    "sample_emission_times",
    "scintillation_photons",
    "sensor_response",
    "time_resolution",
]

from detopt.physics.light_guides import (
    attenuation,
    bar_escape_fraction,
    bar_guided_fraction,
    fibre_trapped_fraction,
    guided_photons,
    mean_transmission,
    propagation_time,
    reflection_count,
)
from detopt.physics.light_yield import (
    BIRKS_POLYSTYRENE,
    cherenkov_angle,
    cherenkov_photons,
    cherenkov_threshold,
    quenching,
    scintillation_photons,
)
from detopt.physics.photosensors import (
    count_resolution,
    first_photon_density,
    pulse_cumulative,
    pulse_density,
    sample_counts,
    sample_emission_times,
    sensor_response,
    time_resolution,
)
