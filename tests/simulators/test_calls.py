"""Calls of black boxes as plain data."""

import inspect
import pickle

import numpy as np
import pytest
import torch

from detopt.errors import ConfigError, SimulationError
from detopt.simulators import FileFunction
from detopt.simulators.caller import do_all, prepare
from detopt.simulators.calls import Call, perform

CALL = Call({"gap": 0.5}, seed=7, n_events=3, units={"gap": "m"})


@pytest.fixture
def function(tmp_path):
    """Makes a function of a file from its source."""

    def make(source, name="simulate"):
        path = tmp_path / "program.py"
        path.write_text(source)
        return FileFunction(str(path), name)

    return make


@pytest.mark.parametrize(
    ("simulator", "expected"),
    [
        (lambda design: design["gap"], 0.5),
        (lambda design, seed: seed, 7),
        (lambda design, *, units, n_events: (units["gap"], n_events), ("m", 3)),
        (lambda design, **offered: sorted(offered), ["n_events", "seed", "units"]),
    ],
)
def test_a_simulation_gets_what_it_takes(simulator, expected):
    assert perform(simulator, CALL) == expected


def test_what_a_simulation_raises_is_named_with_its_line():
    with pytest.raises(SimulationError, match=r"ZeroDivisionError.*in <lambda>, .*test_calls\.py"):
        perform(lambda design: 1 / 0, CALL)


def test_a_function_of_a_file_travels_as_its_name(function):
    made = function("def simulate(design, seed):\n    return design['gap'] + seed\n")
    again = pickle.loads(pickle.dumps(made))
    assert list(inspect.signature(again).parameters) == ["design", "seed"]
    assert perform(again, CALL) == 7.5


def test_a_file_is_run_once(function):
    made = function(
        "calls = []\n\ndef simulate(design):\n    calls.append(1)\n    return len(calls)\n"
    )
    assert [made({}), made({}), made({})] == [1, 2, 3]


@pytest.mark.parametrize(
    ("source", "match"), [("x = 1", "no function `simulate`"), ("1 / 0", "Cannot run the file")]
)
def test_an_unusable_file_is_refused(function, source, match):
    with pytest.raises(ConfigError, match=match):
        function(source).check()


def test_a_process_says_plain_numbers():
    said = {"objective": np.array([1.0, 2.0]), "metrics": {"a": torch.tensor(3)}, "seed": 7}
    prepare(lambda design: said)
    ((plain, cpu_s, wall_s),) = do_all([CALL])
    assert plain == {"objective": [1.0, 2.0], "metrics": {"a": 3}, "seed": 7}
    assert type(plain["objective"]) is list
    assert cpu_s >= 0
    assert wall_s > 0
