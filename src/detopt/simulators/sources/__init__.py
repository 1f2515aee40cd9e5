"""Events from files of the field and from generators, as sources of a pipeline."""

from detopt.simulators.sources.chromo import Chromo
from detopt.simulators.sources.event_list import EventList
from detopt.simulators.sources.hepmc import read_hepmc
from detopt.simulators.sources.lhe import read_lhe
from detopt.simulators.sources.mcpl import read_mcpl
from detopt.simulators.sources.particles import Particles, WeightedPrimaries
from detopt.simulators.sources.pythia import Pythia
from detopt.simulators.sources.root import Columns, read_gst, read_tree

__all__ = [
    "Chromo",
    "Columns",
    "EventList",
    "Particles",
    "Pythia",
    "WeightedPrimaries",
    "read_gst",
    "read_hepmc",
    "read_lhe",
    "read_mcpl",
    "read_tree",
]
