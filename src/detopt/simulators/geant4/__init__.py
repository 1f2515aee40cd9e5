"""Geant4: real particle showers in a design, from the installed libraries and a folder of data.

>>> from detopt.physics import materials
>>> from detopt.physics.shower_stacks import Layer, Stack
>>> lead, plastic = materials.get("Pb"), materials.get("polyvinyltoluene")
>>> stack = Stack.of([Layer(lead, 0.004), Layer(plastic, 0.008, active=True)] * 25)
>>> [daughter.name for daughter in stack_volume(stack).daughters][:2]
['Layer0', 'Layer1']
"""

from detopt.simulators.geant4.folders import DataSet, find_data
from detopt.simulators.geant4.gdml import write_gdml
from detopt.simulators.geant4.gdml_reader import read_gdml
from detopt.simulators.geant4.pool import close_pools
from detopt.simulators.geant4.primaries import ParticleGun, Primaries
from detopt.simulators.geant4.run import Deposits, Geant4
from detopt.simulators.geant4.stacks import (
    LayerDeposits,
    StackSimulator,
    simulate_stack,
    stack_volume,
)
from detopt.simulators.geant4.substitute import write_substitute
from detopt.simulators.geant4.volumes import Box, Cylinder, Volume

__all__ = [
    "Box",
    "Cylinder",
    "DataSet",
    "Deposits",
    "Geant4",
    "LayerDeposits",
    "ParticleGun",
    "Primaries",
    "StackSimulator",
    "Volume",
    "close_pools",
    "find_data",
    "read_gdml",
    "simulate_stack",
    "stack_volume",
    "write_gdml",
    "write_substitute",
]
