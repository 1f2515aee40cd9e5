"""Learned stand-ins for a simulator or an objective."""

from detopt.surrogates.adversarial import CramerGAN, WassersteinGAN
from detopt.surrogates.base import ConditionalGenerator
from detopt.surrogates.diffusion import ConditionalDiffusion
from detopt.surrogates.flow import ConditionalFlow
from detopt.surrogates.local_quadratic import LocalQuadratic, Prior, trust_region_step
from detopt.surrogates.regression import ConditionalRegression
from detopt.surrogates.row_maps import EnergyShares, RowMap
from detopt.surrogates.stored import KINDS, load_surrogate, save_surrogate
from detopt.surrogates.training import Training
from detopt.surrogates.variational import ConditionalVAE

__all__ = [
    "KINDS",
    "ConditionalDiffusion",
    "ConditionalFlow",
    "ConditionalGenerator",
    "ConditionalRegression",
    "ConditionalVAE",
    "CramerGAN",
    "EnergyShares",
    "LocalQuadratic",
    "Prior",
    "RowMap",
    "Training",
    "WassersteinGAN",
    "load_surrogate",
    "save_surrogate",
    "trust_region_step",
]
