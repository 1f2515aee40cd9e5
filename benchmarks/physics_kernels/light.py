"""Scintillation, Cherenkov light, guides and sensors."""

import torch

from detopt.physics import light_guides, light_yield, photosensors
from physics_kernels.common import BETA, COSINE, PATH, RNG, SHARE, Kernel

INDEX, LENGTH, TIME = (1.45, 1.6), (1.0, 2.0), (0.0, 50.0)
PULSE = 1.0, 10.0  # rise and decay [ns]
LOSS, COUNT = (1e-3, 1e-2), (10.0, 100.0)


KERNELS = {
    "light_yield.quenching": Kernel(light_yield.quenching, (LOSS,)),
    "light_yield.scintillation_photons": Kernel(
        lambda deposit, loss: light_yield.scintillation_photons(deposit, loss, 1e7),
        ((1e-4, 1e-3), LOSS),
    ),
    "light_yield.cherenkov_threshold": Kernel(light_yield.cherenkov_threshold, (INDEX,)),
    "light_yield.cherenkov_angle": Kernel(light_yield.cherenkov_angle, (BETA, INDEX)),
    "light_yield.cherenkov_photons": Kernel(light_yield.cherenkov_photons, (PATH, BETA, INDEX)),
    "light_guides.attenuation": Kernel(light_guides.attenuation, (PATH, LENGTH)),
    "light_guides.bar_escape_fraction": Kernel(light_guides.bar_escape_fraction, (INDEX,)),
    "light_guides.bar_guided_fraction": Kernel(light_guides.bar_guided_fraction, (INDEX,)),
    "light_guides.fibre_trapped_fraction": Kernel(
        light_guides.fibre_trapped_fraction, (INDEX, (1.3, 1.4))
    ),
    "light_guides.guided_photons": Kernel(
        light_guides.guided_photons, (COUNT, SHARE, SHARE, SHARE, (1.0, 5.0))
    ),
    "light_guides.mean_transmission": Kernel(
        light_guides.mean_transmission,
        (LENGTH, LENGTH, COSINE),
        element="an integral over 24 points",
        share=10,
    ),
    "light_guides.propagation_time": Kernel(light_guides.propagation_time, (PATH, INDEX, COSINE)),
    "light_guides.reflection_count": Kernel(light_guides.reflection_count, (LENGTH, PATH, COSINE)),
    "photosensors.sensor_response": Kernel(
        lambda photons: photosensors.sensor_response(photons, 0.3, 1000.0, 0.1), (COUNT,)
    ),
    "photosensors.count_resolution": Kernel(photosensors.count_resolution, (COUNT,)),
    "photosensors.sample_counts": Kernel(
        lambda mean: photosensors.sample_counts(mean, RNG), (COUNT,), draws=1
    ),
    "photosensors.pulse_density": Kernel(
        lambda time: photosensors.pulse_density(time, *PULSE), (TIME,)
    ),
    "photosensors.pulse_cumulative": Kernel(
        lambda time: photosensors.pulse_cumulative(time, *PULSE), (TIME,)
    ),
    "photosensors.first_photon_density": Kernel(
        lambda time, count: photosensors.first_photon_density(time, count, *PULSE), (TIME, COUNT)
    ),
    "photosensors.sample_emission_times": Kernel(
        lambda n, rng: photosensors.sample_emission_times((n,), *PULSE, rng, torch.float32),
        draws=2,
    ),
    "photosensors.time_resolution": Kernel(
        lambda count: photosensors.time_resolution(count, 10.0, 0.1), (COUNT,)
    ),
}
