"""Events of Pythia 8 from a process of its own: physics, seeds, and faults."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

from detopt.errors import (
    ConfigError,
    DomainError,
    MissingExtraError,
    NotFoundError,
    SimulationError,
)
from detopt.simulators.files import Limits
from detopt.simulators.sources import Pythia
from detopt.simulators.sources.generator import SEEDS

SETTINGS = [
    "! electrons and positrons at the Z",
    "Beams:idA = 11",
    "Beams:idB = -11",
    "Beams:eCM = 91.2",
    "PDF:lepton = off",
    "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off",
    "23:onIfAny = 13",
]

ALONE = """
import sys, numpy, pythia8mc
out, seed, n, final, *settings = sys.argv[1:]
pythia = pythia8mc.Pythia("", False)
for line in ["Print:quiet = on", "Random:setSeed = on", "Random:seed = 1", *settings]:
    pythia.readString(line)
pythia.init()
pythia.rndm.init(int(seed))
numbers, vectors, weights = [], [], []
for i in range(int(n)):
    assert pythia.next()
    weights.append(pythia.infoPython().weight())
    for one in list(pythia.event.particles())[1:]:
        if one.status() > 0 or final == "False":
            vertex = one.vProd()
            numbers.append([one.id(), one.status() > 0, i])
            vectors.append([one.e(), one.px(), one.py(), one.pz()])
            vectors[-1] += [vertex.e(), vertex.px(), vertex.py(), vertex.pz()]
numpy.savez(out, numbers=numbers, vectors=vectors, weights=weights)
"""

needs_pythia = pytest.mark.skipif(
    importlib.util.find_spec("pythia8mc") is None, reason="pythia8mc is not installed"
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pythia(tmp_path_factory):
    path = tmp_path_factory.mktemp("pythia") / "z.cmnd"
    path.write_text("\n".join(SETTINGS))
    source = Pythia(path, block=7)
    yield source
    source.close()


@needs_pythia
def test_energy_and_momentum_are_those_of_the_beams(pythia):
    events = pythia(30, seeded(1), torch.float64)
    assert events.n_events == 30
    assert set(events.status.tolist()) == {1}
    expected = torch.tensor([91.2, 0.0, 0.0, 0.0], dtype=torch.float64).expand(30, 4)
    torch.testing.assert_close(events.total, expected, rtol=0, atol=1e-6)
    muons = torch.bincount(events.event[events.pdg.abs() == 13], minlength=30)
    assert muons.min() >= 2
    assert events.weight.tolist() == [1.0] * 30


@needs_pythia
def test_the_seed_alone_decides(pythia):
    first = pythia(10, seeded(1), torch.float64)
    other = pythia(10, seeded(2), torch.float64)
    again = pythia(10, seeded(1), torch.float64)
    torch.testing.assert_close(first.momentum, again.momentum, rtol=0, atol=0)
    assert first.momentum.shape != other.momentum.shape or not torch.equal(
        first.momentum, other.momentum
    )
    fresh = Pythia(SETTINGS, block=4)(10, seeded(1), torch.float64)
    torch.testing.assert_close(first.momentum, fresh.momentum, rtol=0, atol=0)


@needs_pythia
@pytest.mark.parametrize("final_only", [True, False])
def test_events_are_those_of_pythia_alone(tmp_path, final_only):
    settings = ["Beams:eCM = 200.", "HardQCD:all = on", "PartonLevel:MPI = off"]
    settings += ["PhaseSpace:pTHatMin = 10.", "PhaseSpace:bias2Selection = on"]
    seed = int(torch.randint(1, SEEDS + 1, (), generator=seeded(7)))
    words = [str(tmp_path / "alone.npz"), str(seed), "5", str(final_only), *settings]
    subprocess.run([sys.executable, "-c", ALONE, *words], check=True)
    alone = {name: torch.as_tensor(one) for name, one in np.load(words[0]).items()}
    source = Pythia(settings, final_only=final_only, block=2)
    events = source(5, seeded(7), torch.float64)
    source.close()
    numbers = torch.stack([events.pdg, (events.status == 1).long(), events.event], dim=1)
    torch.testing.assert_close(numbers, alone["numbers"], rtol=0, atol=0)
    torch.testing.assert_close(events.momentum, alone["vectors"][:, :4], rtol=0, atol=0)
    vertex = alone["vectors"][:, 4:] / 1e3  # mm
    vertex[:, 0] /= 299_792_458.0
    torch.testing.assert_close(events.vertex, vertex, rtol=1e-15, atol=0)
    torch.testing.assert_close(events.weight, alone["weights"], rtol=0, atol=0)
    assert len(set(events.weight.tolist())) == 5


@needs_pythia
def test_awkward_is_not_needed(pythia, interpreter_without):
    source = Pythia(SETTINGS, python=interpreter_without("awkward"))
    events = source(3, seeded(1), torch.float64)
    source.close()
    torch.testing.assert_close(events.momentum, pythia(3, seeded(1), torch.float64).momentum)


@needs_pythia
def test_the_number_of_processes_changes_no_event():
    sources = [Pythia(SETTINGS, n_workers=n, stretch=4) for n in (1, 2)]
    one, two = (source(11, seeded(5), torch.float64) for source in sources)
    part = sources[1](4, seeded(5), torch.float64)
    for source in sources:
        source.close()
    assert one.n_events == 11
    assert one.event.tolist() == two.event.tolist()
    torch.testing.assert_close(one.momentum, two.momentum, rtol=0, atol=0)
    torch.testing.assert_close(one.momentum[: len(part)], part.momentum, rtol=0, atol=0)
    along_x = [one.momentum[one.event == i, 1].max().item() for i in range(11)]
    assert len(set(along_x)) == 11  # every stretch has a seed of its own


@needs_pythia
def test_all_particles_have_beams_and_places():
    settings = [*SETTINGS[:-1], "23:onIfAny = 5"]
    events = Pythia(settings, final_only=False)(5, seeded(3), torch.float64)
    assert set(events.status.tolist()) == {1, 2, 4}
    assert bool((events.status == 4).sum() == 10)
    far = events.vertex[:, 1:].norm(dim=1)
    assert 1e-6 < far.max() < 1e3  # m; hadrons with b quarks fly millimetres
    light = events.vertex[:, 0] * 299_792_458.0
    assert bool((light >= far * (1 - 1e-9) - 1e-12).all())


@needs_pythia
def test_a_killed_process_is_an_error_and_another_one_starts(pythia, draw_after_a_kill):
    assert draw_after_a_kill(pythia).n_events == 2


@needs_pythia
@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["Beam:eCM = 3"], "does not know the setting 'Beam:eCM = 3'"),
        (["Beams:eCM = 0.001", "HardQCD:all = on"], "refuses the settings"),
        (["beams:frametype = 4", "Beams:LHEF = z.lhe"], "from a file.*`read_lhe`"),
        (["Beams:LHEF = z.lhe"], "from a file.*`read_lhe`"),
    ],
)
def test_settings_that_pythia_refuses_are_named(settings, match):
    with pytest.raises(ConfigError, match=match):
        Pythia(settings)(1, seeded(1), torch.float64)


def test_time_is_limited(tmp_path):
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\necho still thinking\nexec sleep 60\n")
    slow.chmod(0o755)
    source = Pythia(SETTINGS, python=slow, limits=Limits(timeout=0.5))
    with pytest.raises(SimulationError, match=r"longer than 0\.5 s.*still thinking"):
        source(1, seeded(1), torch.float64)


def test_an_interpreter_without_pythia_is_named(interpreter_without):
    bare = interpreter_without("pythia8mc")
    with pytest.raises(MissingExtraError, match=r"detopt\[pythia\]"):
        Pythia(SETTINGS, python=bare)(1, seeded(1), torch.float64)


def test_other_misuse_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match="no file of settings"):
        Pythia(tmp_path / "none.cmnd")
    with pytest.raises(NotFoundError, match="no Python interpreter"):
        Pythia(SETTINGS, python=tmp_path / "python")
    with pytest.raises(ConfigError, match="list of lines"):
        Pythia("Beams:eCM = 91.2")
    with pytest.raises(DomainError, match="`block` must be > 0"):
        Pythia(SETTINGS, block=0)
    for name in ("n_workers", "stretch"):
        with pytest.raises(DomainError, match=f"`{name}` must be > 0, got 0"):
            Pythia(SETTINGS, **{name: 0})
    with pytest.raises(DomainError, match="`n_events` must be > 0"):
        Pythia(SETTINGS)(0, seeded(1), torch.float64)
