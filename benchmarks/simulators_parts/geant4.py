"""What the parts about Geant4 share: data and two calorimeters."""

import os
from pathlib import Path

import torch

from detopt.physics import materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.simulators.geant4 import Geant4, write_substitute
from detopt.simulators.geant4.folders import VARIABLE, default_folder

PBWO4 = materials.get("PbWO4")
CRYSTAL = Stack.of([Layer(PBWO4, 0.005, active=True)] * 44)
CRYSTAL_WIDTH = 0.2  # m
LEAD, PLASTIC = materials.get("Pb"), materials.get("polyvinyltoluene")
SAMPLING = Stack.of([Layer(LEAD, 0.004), Layer(PLASTIC, 0.008, active=True)] * 25)
MEV = 1e3  # in a GeV


def geant4(engine: str = "calzone") -> Geant4:
    """Geant4 on the data of the machine, or on a substitute that is made now."""
    if VARIABLE in os.environ:
        return Geant4(data=Path(os.environ[VARIABLE]), engine=engine)
    return Geant4(data=write_substitute(default_folder()).folder, engine=engine)


def central(values: torch.Tensor, share: float = 0.95) -> torch.Tensor:
    """The values but for the same number of smallest and largest ones."""
    ordered = values.sort().values
    cut = round(len(values) * (1 - share) / 2)
    return ordered[cut : len(values) - cut]


def normal_width(values: torch.Tensor, share: float = 0.95) -> float:
    """Standard deviation of the normal distribution with the same central part."""
    inside = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.5 + share / 2)).item()
    density = torch.exp(torch.tensor(-(inside**2) / 2)).item() / (2 * torch.pi) ** 0.5
    variance = 1 - 2 * inside * density / share
    return central(values, share).std().item() / variance**0.5


def bootstrap(values: torch.Tensor, function, n: int = 300) -> float:
    """Standard error of a function of independent values."""
    rng = torch.Generator().manual_seed(0)
    picks = torch.randint(len(values), (n, len(values)), generator=rng)
    return torch.tensor([float(function(values[pick])) for pick in picks]).std().item()
