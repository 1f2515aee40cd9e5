"""Files in the formats of others, written here by the packages of those formats."""

import ctypes
import importlib.util
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detopt.errors import SimulationError


class McplParticle(ctypes.Structure):
    """A particle in the C library of MCPL: cm, MeV, ms."""

    _fields_ = (
        ("ekin", ctypes.c_double),
        ("polarisation", ctypes.c_double * 3),
        ("position", ctypes.c_double * 3),
        ("direction", ctypes.c_double * 3),
        ("time", ctypes.c_double),
        ("weight", ctypes.c_double),
        ("pdgcode", ctypes.c_int32),
        ("userflags", ctypes.c_uint32),
    )


class McplFile(ctypes.Structure):
    _fields_ = (("internal", ctypes.c_void_p),)


def write_mcpl(path, rows):
    """Rows of (pdg, MeV, cm, direction, ms, weight)."""
    (folder,) = importlib.util.find_spec("_mcpl_core").submodule_search_locations
    (found,) = Path(folder).rglob("libmcpl.so")
    library = ctypes.CDLL(str(found))
    library.mcpl_create_outfile.restype = McplFile
    library.mcpl_create_outfile.argtypes = [ctypes.c_char_p]
    library.mcpl_enable_doubleprec.argtypes = [McplFile]
    library.mcpl_add_particle.argtypes = [McplFile, ctypes.POINTER(McplParticle)]
    library.mcpl_close_outfile.argtypes = [McplFile]
    file = library.mcpl_create_outfile(str(path).encode())
    library.mcpl_enable_doubleprec(file)
    for pdg, energy, position, direction, time, weight in rows:
        particle = McplParticle(
            ekin=energy,
            position=(ctypes.c_double * 3)(*position),
            direction=(ctypes.c_double * 3)(*direction),
            time=time,
            weight=weight,
            pdgcode=pdg,
        )
        library.mcpl_add_particle(file, ctypes.byref(particle))
    library.mcpl_close_outfile(file)
    return path


@pytest.fixture
def mcpl_file(tmp_path):
    """An electron, a photon and a neutron."""
    rows = [
        (11, 1000.0, (1.0, 2.0, -3.0), (0.0, 0.6, 0.8), 0.5, 2.0),
        (22, 20.0, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.0, 1.0),
        (2112, 2.5e-8, (100.0, 0.0, 0.0), (-1.0, 0.0, 0.0), 3.0, 0.25),
    ]
    return write_mcpl(tmp_path / "beam.mcpl", rows)


@pytest.fixture
def hepmc_file(tmp_path):
    """Two Z bosons that decay to muons, 3 mm and 10 ps away, in MeV and cm; weights 1.5 and -1."""
    pyhepmc = pytest.importorskip("pyhepmc")
    path = tmp_path / "z.hepmc"
    with pyhepmc.open(path, "w") as file:
        for number, weight in enumerate((1.5, -1.0)):
            event = pyhepmc.GenEvent(pyhepmc.Units.MEV, pyhepmc.Units.CM)
            event.event_number = number
            event.weights = [weight, 7.0]
            boson = pyhepmc.GenParticle((0, 0, 0, 91_188.0), 23, 2)
            muons = [
                pyhepmc.GenParticle((0, 0, sign * 45_593.8775, 45_594.0), pdg, 1)
                for sign, pdg in ((1, 13), (-1, -13))
            ]
            beams = [
                pyhepmc.GenParticle((0, 0, s * 45_594.0, 45_594.0), s * 11, 4) for s in (1, -1)
            ]
            collision = pyhepmc.GenVertex((0, 0, 0, 0))
            decay = pyhepmc.GenVertex((0, 0, 0.3, 0.299792458))
            for beam in beams:
                collision.add_particle_in(beam)
            collision.add_particle_out(boson)
            decay.add_particle_in(boson)
            for muon in muons:
                decay.add_particle_out(muon)
            event.add_vertex(collision)
            event.add_vertex(decay)
            file.write(event)
    return path


@pytest.fixture
def lhe_file(tmp_path):
    """Two events e+ e- -> mu+ mu- at 91.2 GeV, with weights 0.5 and 2."""
    pylhe = pytest.importorskip("pylhe")

    def particle(pdg, status, pz):
        return pylhe.LHEParticle(pdg, status, 0, 0, 0, 0, 0.0, 0.0, pz, 45.6, 0.0, 0.0, 9.0)

    events = [
        pylhe.LHEEvent(
            pylhe.LHEEventInfo(4, 17, weight, 91.2, 0.0078, 0.118),
            [
                particle(11, -1, 45.6),
                particle(-11, -1, -45.6),
                particle(13, 1, 45.6),
                particle(-13, 1, -45.6),
            ],
        )
        for weight in (0.5, 2.0)
    ]
    begin = pylhe.LHEInit(
        pylhe.LHEInitInfo(11, -11, 45.6, 45.6, 0, 0, 0, 0, 3, 1),
        [pylhe.LHEProcInfo(1.0, 0.1, 1.0, 17)],
        [],
    )
    path = tmp_path / "pairs.lhe"
    with path.open("w") as file:
        pylhe.LHEFile(begin, events, version="3.0").write(file)
    return path


@pytest.fixture
def root_file(tmp_path):
    """A tree `hits` with plain, fixed-size and jagged branches, and a tree `gst` as of GENIE."""
    uproot = pytest.importorskip("uproot")
    import awkward

    path = tmp_path / "events.root"
    with uproot.recreate(path) as file:
        file["hits"] = {
            "energy_mev": np.array([10.0, 20.0, 30.0]),
            "place": np.arange(9.0).reshape(3, 3),
            "charge": np.array([1, -1, 1], dtype=np.int32),
            "weight": np.array([1.0, 2.0, 3.0]),
            "lists": awkward.Array([[1.0], [], [2.0, 3.0]]),
        }
        hadrons = {
            "pdgf": awkward.Array([[2212], [2112, 211]]),
            "Ef": awkward.Array([[1.0], [1.2, 0.5]]),
            "pxf": awkward.Array([[0.1], [0.2, 0.3]]),
            "pyf": awkward.Array([[0.0], [0.0, 0.0]]),
            "pzf": awkward.Array([[0.3], [0.4, 0.2]]),
        }
        plain = {
            "neu": np.array([14, -12], dtype=np.int32),
            "tgt": np.array([1000180400, 1000060120], dtype=np.int32),
            "cc": np.array([True, False]),
            "wght": np.array([1.0, 0.5]),
            "Ev": np.array([2.0, 3.0]),
            "El": np.array([1.1, 1.5]),
            "vtxz": np.array([5.0, 6.0]),
        }
        for axis in "xyz":
            plain[f"p{axis}v"] = plain["Ev"] * (axis == "z")
            plain[f"p{axis}l"] = np.array([0.5, 0.6])
        tree = file.mktree(
            "gst",
            {name: one.dtype for name, one in plain.items()}
            | {name: one.type.content for name, one in hadrons.items()},
            counter_name=lambda _: "nf",
        )
        tree.extend({**plain, **hadrons})
        file.mktree("nothing", {"energy": np.dtype("float64")})
    return path


@pytest.fixture
def interpreter_without(tmp_path):
    """Makes an interpreter in which a package is missing."""

    def make(package):
        path = tmp_path / "python"
        code = f"import sys; sys.modules['{package}'] = None; sys.argv = sys.argv[1:]; "
        code += "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def draw_after_a_kill():
    """Kills the process of a generator, which is an error, and draws two events again."""

    def draw(source):
        rng = torch.Generator().manual_seed(1)
        source(2, rng, torch.float64)
        os.kill(source._processes[0]._process.pid, signal.SIGKILL)
        with pytest.raises(SimulationError, match=r"with seed \d+ behind event 0"):
            source(2, rng, torch.float64)
        return source(2, rng, torch.float64)

    return draw
