r"""Counting experiment: how is one budget shared between acceptance, resolution and calibration?

A narrow signal at 125 GeV sits on a falling continuum, on the shoulder of a large peak at 91 GeV.
Money buys coverage of the solid angle, resolution (the more area there is, the more it costs), and
calibration, which narrows what is not known of the energy scale and of the efficiency. A larger
detector sees more signal; a precise one tells it from the peak; the calibration matters as far as
the data do not calibrate themselves. Design parameters: `shares` of the budget, the weights of a
summary network of mass and transverse momentum, and the `edges` of the bins of its score (group
`summary`). Objective: expected uncertainty of the signal strength, with normalizations and slope of
the backgrounds, energy scale and efficiency profiled.
"""

from detopt.usecases.counting_experiment.config import Config
from detopt.usecases.counting_experiment.first_stage import first_stage
from detopt.usecases.counting_experiment.problem import build

__all__ = ["CHECK_EVENTS", "RECOMMENDED", "Config", "build", "first_stage"]

RECOMMENDED = {"rounds": 300, "method_options": {"learning_rate": 0.1}, "evaluation_events": 40_000}
CHECK_EVENTS = 400
