"""What a design is judged by: expected uncertainties, limits, significances and information."""

from detopt.objectives.binned_events import BinnedEvents, Templates
from detopt.objectives.expected_limit import ExpectedLimit, expected_limit, model_of_templates
from detopt.objectives.expected_uncertainty import ExpectedUncertainty, expected_uncertainty
from detopt.objectives.mutual_information import (
    MutualInformation,
    TruthAndReadout,
    information_bound,
)
from detopt.objectives.systematics import (
    by_transformation,
    by_variations,
    by_weights,
    concatenate,
    moved_shares,
)

__all__ = [
    "BinnedEvents",
    "ExpectedLimit",
    "ExpectedUncertainty",
    "MutualInformation",
    "Templates",
    "TruthAndReadout",
    "by_transformation",
    "by_variations",
    "by_weights",
    "concatenate",
    "expected_limit",
    "expected_uncertainty",
    "information_bound",
    "model_of_templates",
    "moved_shares",
]
