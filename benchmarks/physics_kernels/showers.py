"""Electromagnetic and hadronic showers, as profiles, spots and layer energies."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from detopt.physics import (
    electromagnetic_showers,
    hadronic_showers,
    materials,
    pion_showers,
    sampling_showers,
    shower_containment,
    shower_media,
    shower_radial,
    shower_spots,
    shower_stacks,
    tuned_sampling,
)
from detopt.physics.electromagnetic_showers import LongitudinalShape
from physics_kernels.common import NORMAL, RNG, SHARE, Kernel

ENERGY, DEPTH, RADIUS = (1.0, 100.0), (0.5, 20.0), (0.1, 3.0)
ALPHA, MAXIMUM = (2.0, 8.0), (4.0, 12.0)
MEDIUM = shower_media.homogeneous(materials.get("PbWO4"))
SHAPE = electromagnetic_showers.mean_shape(10.0, MEDIUM)
SHAPE_SINGLE = LongitudinalShape(SHAPE.maximum.float(), SHAPE.alpha.float())
TAIL = shower_containment.photon_tail(MEDIUM.atomic_number)
SLICE = shower_radial.radial_shape(torch.tensor(1.0), 10.0, MEDIUM)
HADRON = hadronic_showers.hadron_shape(torch.tensor(50.0))
LENGTHS = 9.6  # interaction over radiation length of iron
N_SPOTS, N_CELLS = 100, 10
CELL = (
    shower_stacks.Layer(materials.get("Pb"), torch.tensor(0.005)),
    shower_stacks.Layer(materials.get("polystyrene"), torch.tensor(0.005), active=True),
)
STACK = shower_stacks.Stack.of(CELL * N_CELLS)
THICKNESS = (0.004, 0.006, 2 * N_CELLS)  # m
OF_CELLS = f"a shower in {2 * N_CELLS} layers"
DESIGN = f"a stack of {2 * N_CELLS} layers"


def _stack(thickness: Tensor) -> shower_stacks.Stack:
    return replace(STACK, thickness=thickness)


def _medium(thickness: Tensor) -> Any:
    medium = shower_stacks.stack_medium(_stack(thickness))
    return medium.radiation_length, medium.moliere_radius, medium.critical_energy


def _shape(maximum: Tensor, alpha: Tensor) -> LongitudinalShape:
    return LongitudinalShape(maximum, alpha)


def _deposit(energy: Tensor) -> Tensor:
    shape = electromagnetic_showers.mean_shape(energy, MEDIUM)
    return sampling_showers.deposit_in_layers(STACK, energy, _shape(shape.maximum, shape.alpha))


KERNELS = {
    "shower_media.gflash_critical_energy": Kernel(
        shower_media.gflash_critical_energy, ((0.01, 0.1), (1.0, 10.0), (0.4, 0.5))
    ),
    "electromagnetic_showers.shower_maximum": Kernel(
        lambda e: electromagnetic_showers.shower_maximum(e, 0.01), (ENERGY,)
    ),
    "electromagnetic_showers.rossi_shape": Kernel(
        lambda e: electromagnetic_showers.rossi_shape(e, 0.01), (ENERGY,)
    ),
    "electromagnetic_showers.mean_shape": Kernel(
        lambda e: electromagnetic_showers.mean_shape(e, MEDIUM), (ENERGY,)
    ),
    "electromagnetic_showers.shape_fluctuations": Kernel(
        lambda e: electromagnetic_showers.shape_fluctuations(e, MEDIUM), (ENERGY,)
    ),
    "electromagnetic_showers.fluctuated_shape": Kernel(
        lambda e, z: electromagnetic_showers.fluctuated_shape(e, MEDIUM, z),
        (ENERGY, (*NORMAL, 2)),
    ),
    "electromagnetic_showers.sample_shape": Kernel(
        lambda e: electromagnetic_showers.sample_shape(e, MEDIUM, RNG), (ENERGY,), draws=2
    ),
    "electromagnetic_showers.sample_conversion_depth": Kernel(
        lambda n, rng: electromagnetic_showers.sample_conversion_depth((n,), rng, torch.float32),
        draws=1,
    ),
    "shower_containment.photon_tail": Kernel(
        lambda z: shower_containment.photon_tail(z).attenuation, ((10.0, 80.0),)
    ),
    "shower_containment.longitudinal_profile": Kernel(
        lambda t: shower_containment.longitudinal_profile(t, SHAPE_SINGLE), (DEPTH,)
    ),
    "shower_containment.contained_fraction": Kernel(
        lambda t: shower_containment.contained_fraction(t, SHAPE_SINGLE), (DEPTH,)
    ),
    "shower_containment.contained_fraction, many showers": Kernel(
        lambda t, m, a: shower_containment.contained_fraction(t, _shape(m, a)),
        (DEPTH, MAXIMUM, ALPHA),
        share=4,
    ),
    "shower_containment.leakage": Kernel(
        lambda t: shower_containment.leakage(t, SHAPE_SINGLE, TAIL),
        (DEPTH,),
        element="a depth, with the tail of photons",
    ),
    "shower_containment.containment_depth": Kernel(
        lambda u, m, a: shower_containment.containment_depth(u, _shape(m, a)),
        (SHARE, MAXIMUM, ALPHA),
        share=40,
    ),
    "shower_radial.relative_depth": Kernel(
        lambda t: shower_radial.relative_depth(t, SHAPE_SINGLE, SHAPE_SINGLE), (DEPTH,)
    ),
    "shower_radial.radial_shape": Kernel(
        lambda age, e: shower_radial.radial_shape(age, e, MEDIUM), ((0.1, 3.0), ENERGY)
    ),
    "shower_radial.radial_profile": Kernel(
        lambda r: shower_radial.radial_profile(r, SLICE), (RADIUS,)
    ),
    "shower_radial.radial_containment": Kernel(
        lambda r: shower_radial.radial_containment(r, SLICE), (RADIUS,)
    ),
    "shower_radial.radial_quantile": Kernel(
        lambda v: shower_radial.radial_quantile(v, SLICE), (SHARE,)
    ),
    "shower_radial.lateral_containment": Kernel(
        lambda r, e: shower_radial.lateral_containment(r, e, MEDIUM),
        (RADIUS, ENERGY),
        element="an integral over 48 depths",
        share=2000,
    ),
    "shower_spots.spot_count": Kernel(lambda e: shower_spots.spot_count(e, MEDIUM), (ENERGY,)),
    "shower_spots.sample_spots": Kernel(
        lambda e: shower_spots.sample_spots(e, MEDIUM, N_SPOTS, RNG),
        (ENERGY,),
        draws=2 + 3 * N_SPOTS,
        element=f"a shower of {N_SPOTS} spots",
        share=10_000,
    ),
    "shower_stacks.stack_medium": Kernel(_medium, (THICKNESS,), element=DESIGN, share=40),
    "shower_stacks.sampling_fraction": Kernel(
        lambda d: shower_stacks.sampling_fraction(_stack(d)),
        (THICKNESS,),
        element=DESIGN,
        share=40,
    ),
    "shower_stacks.e_over_mip": Kernel(
        lambda d: shower_stacks.e_over_mip(_stack(d)), (THICKNESS,), element=DESIGN, share=40
    ),
    "shower_stacks.sum_cells": Kernel(
        lambda values: shower_stacks.sum_cells(STACK, values),
        (THICKNESS,),
        element=OF_CELLS,
        share=40,
    ),
    "sampling_showers.deposit_in_layers": Kernel(_deposit, (ENERGY,), element=OF_CELLS, share=400),
    "sampling_showers.mean_layer_energies": Kernel(
        lambda e: sampling_showers.mean_layer_energies(STACK, e),
        (ENERGY,),
        element=OF_CELLS,
        share=400,
    ),
    "sampling_showers.sample_layer_energies": Kernel(
        lambda e: sampling_showers.sample_layer_energies(STACK, e, RNG),
        (ENERGY,),
        draws=2 + N_CELLS,
        element=OF_CELLS,
        share=400,
    ),
    "tuned_sampling.sample_tuned_showers": Kernel(
        lambda e: tuned_sampling.sample_tuned_showers(STACK, e, RNG),
        (ENERGY,),
        draws=2 + N_CELLS,
        element=OF_CELLS,
        share=400,
    ),
    "tuned_sampling.sample_started_showers": Kernel(
        lambda e, start: tuned_sampling.sample_started_showers(STACK, e, start, RNG),
        (ENERGY, (0.0, 5.0)),
        draws=2 + N_CELLS,
        element=OF_CELLS,
        share=400,
    ),
    "pion_showers.sample_pion_showers": Kernel(
        lambda e: pion_showers.sample_pion_showers(STACK, e, RNG),
        (ENERGY,),
        draws=8 + 3 * N_CELLS,
        element=OF_CELLS,
        share=400,
    ),
    "sampling_showers.response": Kernel(
        lambda energies: sampling_showers.response(STACK, energies),
        ((0.01, 0.1, 2 * N_CELLS),),
        element=OF_CELLS,
        share=40,
    ),
    "sampling_showers.sampling_term": Kernel(
        sampling_showers.sampling_term, ((1e-3, 1e-2), (0.01, 0.1))
    ),
    "sampling_showers.stack_sampling_term": Kernel(
        lambda d: sampling_showers.stack_sampling_term(_stack(d)),
        (THICKNESS,),
        element=DESIGN,
        share=40,
    ),
    "sampling_showers.energy_resolution": Kernel(
        lambda e: sampling_showers.energy_resolution(e, 0.1, 0.05, 0.01), (ENERGY,)
    ),
    "hadronic_showers.em_fraction": Kernel(hadronic_showers.em_fraction, (ENERGY,)),
    "hadronic_showers.pion_response": Kernel(
        lambda f: hadronic_showers.pion_response(f, 1.4), (SHARE,)
    ),
    "hadronic_showers.fluctuated_em_fraction": Kernel(
        hadronic_showers.fluctuated_em_fraction, (SHARE, (0.05, 0.15), NORMAL)
    ),
    "hadronic_showers.sample_em_fraction": Kernel(
        lambda e: hadronic_showers.sample_em_fraction(e, RNG), (ENERGY,), draws=1
    ),
    "hadronic_showers.hadron_shape": Kernel(hadronic_showers.hadron_shape, (ENERGY,)),
    "hadronic_showers.hadron_profile": Kernel(
        lambda t: hadronic_showers.hadron_profile(t, HADRON, LENGTHS), ((0.1, 10.0),)
    ),
    "hadronic_showers.hadron_contained_fraction": Kernel(
        lambda t: hadronic_showers.hadron_contained_fraction(t, HADRON, LENGTHS), ((0.1, 10.0),)
    ),
    "hadronic_showers.hadron_leakage": Kernel(
        lambda t: hadronic_showers.hadron_leakage(t, HADRON, LENGTHS), ((0.1, 10.0),)
    ),
    "hadronic_showers.hadron_shower_maximum": Kernel(
        hadronic_showers.hadron_shower_maximum, (ENERGY,)
    ),
    "hadronic_showers.hadron_containment_depth": Kernel(
        hadronic_showers.hadron_containment_depth, (ENERGY,)
    ),
    "hadronic_showers.hadron_layer_energies": Kernel(
        lambda e, f, s: hadronic_showers.hadron_layer_energies(STACK, e, f, s),
        (ENERGY, SHARE, (0.0, 1.0)),
        element=OF_CELLS,
        share=400,
    ),
    "hadronic_showers.sample_hadron_layer_energies": Kernel(
        lambda e: hadronic_showers.sample_hadron_layer_energies(STACK, e, RNG),
        (ENERGY,),
        draws=2 + N_CELLS,
        element=OF_CELLS,
        share=400,
    ),
}
