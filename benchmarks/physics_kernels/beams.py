"""Cosmic muons, beams and cold neutrons."""

from typing import Any

import torch
from torch import Tensor

from detopt.physics import (
    beams,
    fluxes,
    materials,
    neutron_absorption,
    neutron_beams,
    neutron_rays,
)
from physics_kernels.common import MOMENTUM, PATH, RNG, SHARE, Kernel, fixed, vector

ZENITH, DEPTH = (0.3, 1.0), (1e5, 5e5)
FLUX = fluxes.MuonFlux(fluxes.guan_intensity)
SPECTRUM = "an integral over 513 energies"
BEAM = beams.Beam(vector(1.0)[0], 0.01, 1e-3, 1e-4)
ANGSTROM = (1e-10, 1e-9)  # m
SPEED = (4e-7, 4e-6)  # m/ns
ABSORBER = materials.get("Cd")
N_APERTURES = 5
Z = torch.linspace(1.0, 5.0, N_APERTURES)  # m
OPENING = (0.01, 0.05, N_APERTURES)  # m
OF_APERTURES = f"a line of {N_APERTURES} apertures"
SOURCE = neutron_beams.gaussian_source(vector(0.01)[0], vector(0.001)[0])
PLANE, N_RAYS, N_POINTS = 10.0, 100, 50
RAYS = neutron_rays.sample_rays(N_RAYS, 0.01, 0.001, RNG, torch.float32)
OFFSETS = torch.linspace(-0.1, 0.1, N_POINTS)


def _behind(widths: Tensor) -> Any:
    beam = neutron_beams.through_apertures(SOURCE, Z.expand_as(widths), widths)
    return beam.precision, beam.transmission


def _beam(size: Tensor, divergence: Tensor) -> neutron_beams.GaussianBeam:
    return neutron_beams.gaussian_source(size, divergence)


WIDTHS = (PATH, (1e-3, 1e-2))


KERNELS = {
    "muon_flux.MuonFlux, sample": Kernel(FLUX.sample, draws=2, barred=True),
    "muon_flux.MuonFlux, sample_zenith": Kernel(
        lambda energy: FLUX.sample_zenith(energy.detach(), RNG), (MOMENTUM,), draws=1
    ),
    "fluxes.guan_intensity": Kernel(fluxes.guan_intensity, (MOMENTUM, ZENITH)),
    "fluxes.shukla_sankrith_intensity": Kernel(
        fluxes.shukla_sankrith_intensity, (MOMENTUM, ZENITH)
    ),
    "fluxes.gaisser_intensity": Kernel(fluxes.gaisser_intensity, ((40.0, 1e3), (0.4, 1.0))),
    "fluxes.integral_intensity": Kernel(
        fixed(fluxes.integral_intensity, fluxes.guan_intensity),
        (MOMENTUM, ZENITH),
        element=SPECTRUM,
        share=400,
    ),
    "fluxes.intensity_at_depth": Kernel(
        fixed(fluxes.intensity_at_depth, fluxes.guan_intensity),
        (DEPTH, ZENITH),
        element=SPECTRUM,
        share=400,
    ),
    "fluxes.threshold_energy": Kernel(fluxes.threshold_energy, (DEPTH,)),
    "fluxes.muon_flux_at_depth": Kernel(fluxes.muon_flux_at_depth, (DEPTH,)),
    "beams.Beam": Kernel(BEAM.sample, draws=5, element="a particle"),
    "beams.beam_emittance": Kernel(beams.beam_emittance, (PATH, PATH, SHARE)),
    "beams.twiss_widths": Kernel(beams.twiss_widths, (PATH, MOMENTUM, SHARE)),
    "neutron_absorption.neutron_speed": Kernel(neutron_absorption.neutron_speed, (ANGSTROM,)),
    "neutron_absorption.neutron_energy": Kernel(neutron_absorption.neutron_energy, (ANGSTROM,)),
    "neutron_absorption.gravity_drop": Kernel(
        neutron_absorption.gravity_drop, ((1.0, 10.0), SPEED)
    ),
    "neutron_absorption.absorption_coefficient": Kernel(
        lambda speed: neutron_absorption.absorption_coefficient(1e28, 1e-25, speed), (SPEED,)
    ),
    "neutron_absorption.material_absorption": Kernel(
        fixed(neutron_absorption.material_absorption, ABSORBER), (SPEED,)
    ),
    "neutron_absorption.absorbed_fraction": Kernel(
        neutron_absorption.absorbed_fraction, (PATH, (1.0, 100.0))
    ),
    "neutron_beams.gaussian_source": Kernel(_beam, WIDTHS),
    "neutron_beams.through_apertures": Kernel(_behind, (OPENING,), element=OF_APERTURES, share=10),
    "neutron_beams.cumulative_transmission": Kernel(
        lambda w: neutron_beams.cumulative_transmission(SOURCE, Z.expand_as(w), w),
        (OPENING,),
        element=OF_APERTURES,
        share=40,
    ),
    "neutron_beams.beam_size": Kernel(
        lambda s, d: neutron_beams.beam_size(_beam(s, d), 1.0),
        WIDTHS,
        element="a beam, made of its two widths",
    ),
    "neutron_beams.beam_divergence": Kernel(
        lambda s, d: neutron_beams.beam_divergence(_beam(s, d)),
        WIDTHS,
        element="a beam, made of its two widths",
    ),
    "neutron_beams.gaussian_divergence": Kernel(neutron_beams.gaussian_divergence, (PATH, PATH)),
    "neutron_beams.kl_divergence": Kernel(
        neutron_beams.kl_divergence,
        ((0.1, 1.0, N_POINTS), (0.1, 1.0, N_POINTS)),
        element=f"a pair of histograms of {N_POINTS} bins",
        share=100,
    ),
    "neutron_beams.beam_profile": Kernel(
        lambda w: neutron_beams.beam_profile(OFFSETS, Z.expand_as(w), w, PLANE, 0.001),
        (OPENING,),
        element=f"{OF_APERTURES}, {N_POINTS} points",
        share=400,
    ),
    "neutron_rays.sample_rays": Kernel(
        lambda n, rng: neutron_rays.sample_rays(n, 0.01, 0.001, rng, torch.float32), draws=2
    ),
    "neutron_rays.aperture_survival": Kernel(
        lambda w: neutron_rays.aperture_survival(RAYS, Z.expand_as(w), w),
        (OPENING,),
        element=f"{OF_APERTURES}, {N_RAYS} rays",
        share=1000,
    ),
    "neutron_rays.absorbed_shares": Kernel(
        neutron_rays.absorbed_shares, ((0.1, 0.9, N_APERTURES),), element=OF_APERTURES, share=4
    ),
    "neutron_rays.aperture_background": Kernel(
        lambda a: neutron_rays.aperture_background(a, Z.expand_as(a), PLANE, 0.1),
        ((0.1, 0.2, N_APERTURES),),
        element=OF_APERTURES,
        share=4,
    ),
}
