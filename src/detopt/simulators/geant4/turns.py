"""Volumes turned by right angles, with all that is in them.

A turn is the matrix of a rotation, of integers: what it maps stays exact.
"""

__all__ = ["Turn", "check_world", "tilt", "turn_by", "turned", "upright"]

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from detopt.errors import ConfigError, DomainError
from detopt.simulators.geant4.volumes import Box, Cylinder, Shape, Triple, Volume

Turn = npt.NDArray[np.int_]
TILTS: Mapping[str, Triple] = {"x": (0.0, 90.0, 0.0), "y": (90.0, 0.0, 0.0)}  # degrees
NONE: Triple = (0.0, 0.0, 0.0)
QUARTERS = (  # by 90 degrees about x, y and z
    np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
)
RIGHT = 90.0  # degrees
TOLERANCE = 1e-6  # degrees


def turn_by(angles: Triple) -> Turn:
    """The rotation about x, then about y, then about z, all of them axes at rest.

    Args:
        angles: About x, y and z [degrees].

    Raises:
        ConfigError: One is no multiple of a right angle.
    """
    turn = np.eye(3, dtype=int)
    for quarter, angle in zip(QUARTERS, angles, strict=True):
        n = round(angle / RIGHT)
        if abs(angle - n * RIGHT) > TOLERANCE:
            raise ConfigError(
                f"A rotation by {angle:g} degrees is not supported: right angles are."
            )
        turn = np.linalg.matrix_power(quarter, n % 4) @ turn
    return turn


def turned(volume: Volume, turn: Turn) -> Volume:
    """The volume turned about its centre, which stays where it is, with all that is in it."""
    daughters = tuple(
        replace(turned(one, turn), position=_triple(turn @ one.position))
        for one in volume.daughters
    )
    return replace(volume, shape=_turned(volume.shape, turn), daughters=daughters)


def tilt(shape: Shape) -> Triple:
    """Angles about x, y and z by which Geant4, with its cylinders along z, rotates it [degrees]."""
    return TILTS.get(shape.axis, NONE) if isinstance(shape, Cylinder) else NONE


def upright(volume: Volume) -> Volume:
    """The volume in the coordinates of its solid, in which a cylinder lies along z.

    Geant4 then rotates it with all that is in it; see `tilt`.
    """
    angles = tilt(volume.shape)
    return turned(volume, turn_by(angles).T) if any(angles) else volume


def check_world(world: Volume) -> None:
    """Refuse a world that Geant4 would have to rotate or to move.

    Raises:
        DomainError: It is a cylinder along x or y, or has a position.
    """
    if any(world.position):
        raise DomainError(
            f"The world `{world.name}` must be at (0, 0, 0), got {world.position}: particles "
            "start in its coordinates. Leave out its position."
        )
    if any(tilt(world.shape)):
        raise DomainError(
            f"The world `{world.name}` must be a box or a cylinder along z, got {world.shape}: "
            "Geant4 does not rotate its world. Put the cylinder into a box."
        )


def _turned(shape: Shape, turn: Turn) -> Shape:
    if isinstance(shape, Box):
        return Box(_triple(abs(turn) @ shape.size))
    axis = "xyz"[int(abs(turn[:, "xyz".index(shape.axis)]).argmax())]
    return replace(shape, axis=axis)


def _triple(vector: npt.NDArray[np.floating[Any]]) -> Triple:
    x, y, z = vector.tolist()
    return (x, y, z)
