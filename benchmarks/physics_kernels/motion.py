"""Kinematics, magnetic fields, solids and voxels."""

from typing import Any

import torch
from torch import Tensor

from detopt.physics import electron_scattering as electrons
from detopt.physics import fields, geometry, kinematics, voxels
from physics_kernels.common import (
    DIRECTION,
    MOMENTUM,
    POSITION,
    RNG,
    SHARE,
    Kernel,
    fixed,
    vector,
)

MUON, PION, ELECTRON = 0.1056583755, 0.13957039, 0.51099895e-3  # GeV
FOUR, VELOCITY = (0.01, 0.1, 4), (0.01, 0.5, 3)
BOX = torch.zeros(3), torch.ones(3)  # centre and half edges [m]
SIZE = 1.0, 1.0  # radius and half length of a cylinder around the origin [m]
PLANE = vector(0.0, 0.0, 1.0), vector(0.1, 0.2, 1.0)  # point [m] and normal
FIELD = vector(0.1, 0.2, 1.0)  # T
FIELD_MAP = fields.FieldMap(torch.rand(9, 9, 9, 3, generator=RNG), -4 * BOX[1], 4 * BOX[1])
TRACK = (POSITION, (1.0, 5.0, 3))
GRID = -BOX[1], BOX[1], (10, 10, 10)
PHOTON, ANGLE = (1e-3, 1e-2), (-1.0, 1.0)
BEAM, RECOIL = (100.0, 150.0), (1.0, 50.0)  # GeV: muons and their electrons
SIDE = (1.0, 2.0)  # m


def _parent(vector: Tensor) -> Tensor:
    """A four-vector on a mass shell above that of two muons."""
    return kinematics.four_momentum(vector, 0.5)


def _path_to_plane(position: Tensor, momentum: Tensor) -> Any:
    return fields.helix_to_plane(position, momentum, 1, FIELD, *PLANE)


KERNELS = {
    "kinematics.velocity": Kernel(lambda p: kinematics.velocity(p, MUON), (MOMENTUM,)),
    "kinematics.kinetic_energy": Kernel(lambda p: kinematics.kinetic_energy(p, MUON), (MOMENTUM,)),
    "kinematics.momentum_of": Kernel(lambda e: kinematics.momentum_of(e, MUON), (MOMENTUM,)),
    "kinematics.four_momentum": Kernel(
        lambda p: kinematics.four_momentum(p, MUON), ((1.0, 5.0, 3),)
    ),
    "kinematics.minkowski_product": Kernel(kinematics.minkowski_product, (FOUR, FOUR)),
    "kinematics.invariant_mass": Kernel(
        lambda v: kinematics.invariant_mass(v + vector(1.0, 0.0, 0.0, 0.0)), (FOUR,)
    ),
    "kinematics.rest_frame_velocity": Kernel(kinematics.rest_frame_velocity, (FOUR,)),
    "kinematics.boost": Kernel(kinematics.boost, (FOUR, VELOCITY)),
    "kinematics.decay_momentum": Kernel(
        lambda mass: kinematics.decay_momentum(mass, MUON, ELECTRON), ((0.2, 0.5),)
    ),
    "kinematics.two_body_decay": Kernel(
        lambda p, c, phi: kinematics.two_body_decay(_parent(p), MUON, MUON, c, phi),
        ((*FOUR[:2], 3), SHARE, (0.0, 6.0)),
        element="a decay; its parent is put on the mass shell",
        share=4,
    ),
    "kinematics.sample_two_body_decay": Kernel(
        lambda p: kinematics.sample_two_body_decay(_parent(p), MUON, MUON, RNG),
        ((*FOUR[:2], 3),),
        draws=2,
        element="a decay; its parent is put on the mass shell",
        share=4,
    ),
    "electron_scattering.compton_edge": Kernel(electrons.compton_edge, (PHOTON,)),
    "electron_scattering.compton_electron_angle": Kernel(
        electrons.compton_electron_angle, (PHOTON, ANGLE)
    ),
    "electron_scattering.compton_energy": Kernel(electrons.compton_energy, (PHOTON, ANGLE)),
    "electron_scattering.klein_nishina": Kernel(electrons.klein_nishina, (PHOTON, ANGLE)),
    "electron_scattering.elastic_cross_section": Kernel(
        electrons.elastic_cross_section, (RECOIL, BEAM)
    ),
    "electron_scattering.elastic_electron_angle": Kernel(
        electrons.elastic_electron_angle, (RECOIL, BEAM)
    ),
    "electron_scattering.elastic_electron_energy": Kernel(
        electrons.elastic_electron_energy, ((0.001, 0.02), BEAM)
    ),
    "electron_scattering.elastic_max_electron_energy": Kernel(
        electrons.elastic_max_electron_energy, (BEAM,)
    ),
    "electron_scattering.elastic_muon_angle": Kernel(electrons.elastic_muon_angle, (RECOIL, BEAM)),
    "electron_scattering.elastic_vacuum_variable": Kernel(
        electrons.elastic_vacuum_variable, ((-0.1, -0.01),)
    ),
    "electron_scattering.momentum_transfer": Kernel(electrons.momentum_transfer, (RECOIL,)),
    "fields.bending_radius": Kernel(fields.bending_radius, (MOMENTUM, (0.5, 2.0))),
    "fields.momentum_kick": Kernel(fields.momentum_kick, ((0.5, 2.0),)),
    "fields.UniformField": Kernel(fields.UniformField(FIELD), (POSITION,)),
    "fields.FieldMap": Kernel(FIELD_MAP, (POSITION,), element="a point of a grid", share=4),
    "fields.field_integral": Kernel(
        fixed(fields.field_integral, FIELD_MAP, n_points=11),
        (POSITION, (2.0, 3.0, 3)),
        element="a line with 11 points of a field map",
        share=40,
    ),
    "fields.helix": Kernel(
        lambda x, p, s: fields.helix(x, p, 1, FIELD, s),
        (*TRACK, SIDE),
        element="a track",
        share=4,
    ),
    "fields.helix_to_plane": Kernel(_path_to_plane, TRACK, element="a track", share=40),
    "fields.runge_kutta": Kernel(
        lambda x, p: fields.runge_kutta(x, p, 1, FIELD_MAP, 1.0, n_steps=10),
        TRACK,
        element="a track of 10 steps in a field map",
        share=400,
    ),
    "geometry.plane_crossing": Kernel(
        lambda at, along: geometry.plane_crossing(at, along, *PLANE), (POSITION, DIRECTION)
    ),
    "geometry.box_crossing": Kernel(
        lambda at, along: geometry.box_crossing(at, along, *BOX), (POSITION, DIRECTION)
    ),
    "geometry.cylinder_crossing": Kernel(
        lambda at, along: geometry.cylinder_crossing(at, along, BOX[0], *SIZE),
        (POSITION, DIRECTION),
    ),
    "geometry.path_length": Kernel(geometry.path_length, ((-1.0, 1.0), (0.0, 2.0))),
    "geometry.soft_path_length": Kernel(
        lambda first, last: geometry.soft_path_length(first, last, 0.1), ((-1.0, 1.0), (0.0, 2.0))
    ),
    "geometry.plane_distance": Kernel(lambda x: geometry.plane_distance(x, *PLANE), (POSITION,)),
    "geometry.box_distance": Kernel(lambda x: geometry.box_distance(x, *BOX), (POSITION,)),
    "geometry.cylinder_distance": Kernel(
        lambda x: geometry.cylinder_distance(x, BOX[0], *SIZE), (POSITION,)
    ),
    "geometry.inside": Kernel(geometry.inside, ((-1.0, 1.0),)),
    "geometry.soft_inside": Kernel(lambda d: geometry.soft_inside(d, 0.1), ((-1.0, 1.0),)),
    "geometry.box_box_overlap": Kernel(
        lambda x: geometry.box_box_overlap(x, BOX[1], *BOX), (POSITION,)
    ),
    "geometry.cylinder_cylinder_overlap": Kernel(
        lambda x: geometry.cylinder_cylinder_overlap(x, *SIZE, BOX[0], *SIZE), (POSITION,)
    ),
    "geometry.box_cylinder_overlap": Kernel(
        lambda x: geometry.box_cylinder_overlap(x, BOX[1], BOX[0], *SIZE), (POSITION,)
    ),
    "voxels.voxel_segments": Kernel(
        lambda at, along: voxels.voxel_segments(at, along, *GRID),
        (POSITION, DIRECTION),
        element="a ray through 10 x 10 x 10 voxels, 32 segments",
        share=100,
    ),
    "voxels.voxel_path_lengths": Kernel(
        lambda at, along: voxels.voxel_path_lengths(at, along, *GRID),
        (POSITION, DIRECTION),
        element="a ray through 10 x 10 x 10 voxels, 1000 lengths",
        share=1000,
    ),
}
