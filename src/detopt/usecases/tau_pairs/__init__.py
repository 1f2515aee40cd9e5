r"""Tau pairs: which summary measures a Higgs boson's rate best when nothing is known exactly?

Events with two hadronic tau leptons and two jets: gluon and vector-boson fusion over Z to tau tau,
top pairs and W with a fake tau. Six features are measured; 15 systematic variations act on them by
scales, resolutions, weights and normalizations, and are profiled. A network trained for cross
entropy separates signal from background as well as can be, and does not know that some regions are
uncertain; one that is trained for the uncertainty of the signal strength does. Design parameters:
the weights of the network and the `edges` of the bins of its score (group `summary`). Objective:
expected uncertainty of the signal strength, or the cross entropy (option `training`), judged with
hard bins. The events are a toy with textbook kinematics, not a simulation of an experiment.

References:
    Option `training`: P. de Castro and T. Dorigo, arXiv:1806.04743; L. Layer, T. Dorigo and
    G. Strong, arXiv:2301.10358; CMS Collaboration, arXiv:2502.13047.
"""

from detopt.usecases.tau_pairs.problem import Config, build

__all__ = ["CHECK_EVENTS", "RECOMMENDED", "Config", "build"]

RECOMMENDED = {"rounds": 300, "method_options": {"learning_rate": 0.1}, "evaluation_events": 40_000}
CHECK_EVENTS = 200
