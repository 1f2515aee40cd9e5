"""Learned stand-ins for a simulator or an objective."""

from detopt.surrogates.adversarial import CramerGAN
from detopt.surrogates.base import ConditionalGenerator
from detopt.surrogates.diffusion import ConditionalDiffusion
from detopt.surrogates.flow import ConditionalFlow
from detopt.surrogates.local_quadratic import LocalQuadratic, Prior, trust_region_step
from detopt.surrogates.training import Training

__all__ = [
    "ConditionalDiffusion",
    "ConditionalFlow",
    "ConditionalGenerator",
    "CramerGAN",
    "LocalQuadratic",
    "Prior",
    "Training",
    "trust_region_step",
]
