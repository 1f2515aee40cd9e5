"""Rows of the muon scanner's benchmark, a module each."""
