"""Suites that third parties run on their own parts."""

from detopt.testing.conformance import Finding, conformance

__all__ = ["Finding", "conformance"]
