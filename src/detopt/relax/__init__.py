"""Smooth counterparts of hard operations: cuts, histograms and the edges of bins.

Each names its hard limit and its bias, and has a variant whose value is the hard one.
"""

from detopt.relax.bin_edges import (
    quantile_edges,
    reference_bandwidth,
    softmax_edges,
    softmax_spacings,
    softplus_edges,
    softplus_spacings,
)
from detopt.relax.cuts import (
    hard_step,
    hard_window,
    soft_step,
    soft_window,
    straight_through_step,
)
from detopt.relax.histograms import (
    Histogram,
    hard_histogram,
    kernel_histogram,
    straight_through_histogram,
)
from detopt.relax.softmax_histograms import (
    argmax_histogram,
    shares_histogram,
    softmax_histogram,
    softmax_shares,
    straight_through_softmax_histogram,
)
from detopt.relax.straight_through import straight_through

__all__ = [
    "Histogram",
    "argmax_histogram",
    "hard_histogram",
    "hard_step",
    "hard_window",
    "kernel_histogram",
    "quantile_edges",
    "reference_bandwidth",
    "shares_histogram",
    "soft_step",
    "soft_window",
    "softmax_edges",
    "softmax_histogram",
    "softmax_shares",
    "softmax_spacings",
    "softplus_edges",
    "softplus_spacings",
    "straight_through",
    "straight_through_histogram",
    "straight_through_softmax_histogram",
    "straight_through_step",
]
