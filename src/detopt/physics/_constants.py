"""Constants of nature that several modules of this package need."""

__all__ = ["AVOGADRO", "ELECTRON_MASS", "FINE_STRUCTURE", "MUON_MASS"]

AVOGADRO = 6.02214076e23  # 1/mol; exact
ELECTRON_MASS = 0.51099895e-3  # GeV; CODATA 2018
FINE_STRUCTURE = 1 / 137.035999084  # dimensionless; CODATA 2018
MUON_MASS = 0.1056583755  # GeV; CODATA 2018
