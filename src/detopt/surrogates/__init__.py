"""Learned stand-ins for a simulator or an objective."""

from detopt.surrogates.local_quadratic import LocalQuadratic, Prior, trust_region_step

__all__ = ["LocalQuadratic", "Prior", "trust_region_step"]
