"""Stateless, differentiable, vectorized physics: one phenomenon a module.

Lengths are in metres, energies and momenta in GeV, times in nanoseconds, fields in tesla, angles
in radians, charges in elementary charges, densities in g/cm3 (see `detopt.units`).
"""
