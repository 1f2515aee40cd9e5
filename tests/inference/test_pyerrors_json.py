"""Files of pyerrors: read, written, and read back by pyerrors itself."""

import gzip
import json
import warnings

import numpy as np
import pytest
import torch

from detopt.errors import DomainError
from detopt.inference.montecarlo_errors import Observables, elementwise, gamma_method
from detopt.inference.pyerrors_json import Record, read_pyerrors_json, write_pyerrors_json

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports a deprecated part of scipy
    import pyerrors
    from pyerrors.input.json import dump_to_json, load_json


@pytest.fixture
def observables():
    """Two of pyerrors: replica, a spacing, gaps, two ensembles, and an external input."""
    rng = np.random.default_rng(7)
    a = pyerrors.Obs(
        [rng.normal(3, 1, 60), rng.normal(3, 1, 40)],
        ["A|r1", "A|r2"],
        idl=[range(1, 121, 2), range(5, 85, 2)],
    )
    b = pyerrors.Obs([rng.normal(2, 1, 60)], ["B"], idl=[[i for i in range(1, 91) if i % 3]])
    c = pyerrors.cov_Obs([1.0, 2.0], [[0.1, 0.01], [0.01, 0.2]], "measured")
    first, second = a * b + c[0], a / b * c[1]
    first.tag = "first"
    return first, second


def assert_same(one, other):
    """That two observables of pyerrors are the same, but for rounding."""
    assert one.names == other.names
    assert one.idl == other.idl
    assert one.value == pytest.approx(other.value, rel=1e-15)
    for name in other.deltas:
        np.testing.assert_allclose(one.deltas[name], other.deltas[name], rtol=0, atol=1e-14)
        assert one.r_values[name] == pytest.approx(other.r_values[name], rel=1e-14)
    for name in other.covobs:
        np.testing.assert_array_equal(one.covobs[name].cov, other.covobs[name].cov)
        np.testing.assert_array_equal(one.covobs[name].grad, other.covobs[name].grad)


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_a_file_survives_both_programs(tmp_path, observables, suffix):
    first, second = observables
    written, again = str(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}"
    structures = [
        first,
        [first, second],
        np.array([[first, second], [second, second]]),
        pyerrors.Corr([first, None, second]),
    ]
    dump_to_json(structures, written, description="made for a test", gz=suffix.endswith("gz"))
    archive = read_pyerrors_json(written)
    assert [record.kind for record in archive.records] == ["Obs", "List", "Array", "Corr"]
    assert archive.description == "made for a test"
    assert archive.program.startswith("pyerrors")
    write_pyerrors_json(again, archive.records, "made for a test")
    single, pair, array, correlator = load_json(str(again), verbose=False, gz=suffix.endswith("gz"))
    assert_same(single, first)
    assert single.tag == "first"
    assert_same(pair[1], second)
    assert_same(array[1, 0], second)
    assert correlator.content[1] is None
    assert_same(correlator.content[2].item(), second)


def test_errors_are_those_of_pyerrors(tmp_path):
    rng = np.random.default_rng(1)
    chain = np.convolve(rng.normal(size=3_000), np.exp(-np.arange(60) / 5), mode="valid")
    peer = pyerrors.Obs([chain + 30], ["A"], idl=[range(3, 3 + 4 * len(chain), 4)])
    peer = peer * pyerrors.cov_Obs(2.0, 0.01**2, "factor")
    peer.gamma_method()
    dump_to_json(peer, str(tmp_path / "a.json.gz"))
    (record,) = read_pyerrors_json(tmp_path / "a.json.gz").records
    analysis = gamma_method(record.observables)
    assert analysis.value.item() == peer.value
    assert analysis.error.item() == pytest.approx(peer.dvalue, rel=1e-12)
    assert analysis.ensembles["A"].spacing == 4


def test_plain_observables_become_what_their_shape_says(tmp_path, rng):
    samples = torch.randn(2, 3, 50, generator=rng, dtype=torch.float64)
    observables = Observables.from_samples({"1": samples, "2": samples + 0.1}, "A")
    path = tmp_path / "a.json"
    write_pyerrors_json(path, [observables[0, 0], observables[0], observables])
    single, row, array = load_json(str(path), verbose=False, gz=False)
    assert isinstance(single, pyerrors.Obs)
    assert isinstance(row, list)
    assert array.shape == (2, 3)
    assert array[1, 2].value == observables.value[1, 2].item()
    assert array[1, 2].names == ["A|1", "A|2"]


def test_labels_and_plateau_of_a_correlator_survive(tmp_path, observables):
    first, second = observables
    matrix = np.array([[first, second], [second, first]])
    correlator = pyerrors.Corr([matrix, matrix, None, matrix], prange=[0, 1])
    correlator.tag = "pion"
    dump_to_json(correlator, str(tmp_path / "a.json.gz"))
    (record,) = read_pyerrors_json(tmp_path / "a.json.gz").records
    assert record.observables.shape == (3, 2, 2)
    assert record.defined.tolist() == [True, True, False, True]
    assert (record.label, record.plateau) == ("pion", (0, 1))
    write_pyerrors_json(tmp_path / "b.json.gz", [record])
    again = load_json(str(tmp_path / "b.json.gz"), verbose=False)
    assert (again.tag, again.prange, again.T) == ("pion", [0, 1], 4)
    assert_same(again.content[3][0, 1], second)


def test_the_same_observables_give_the_same_bytes(tmp_path, rng):
    observables = Observables.from_samples(torch.randn(50, generator=rng), "A")
    for name in ("a.json.gz", "b.json.gz"):
        write_pyerrors_json(tmp_path / name, [observables])
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_a_graph_is_left_behind(tmp_path, rng):
    samples = torch.randn(50, generator=rng, dtype=torch.float64, requires_grad=True)
    observables = elementwise(torch.exp, Observables.from_samples(samples, "A"))
    write_pyerrors_json(tmp_path / "a.json", [observables])
    (record,) = read_pyerrors_json(tmp_path / "a.json").records
    torch.testing.assert_close(record.observables.value, observables.value.detach())
    assert not record.observables.value.requires_grad


def test_a_replica_without_separator_is_understood(tmp_path):
    rows = [[i, float(i % 2)] for i in range(1, 11)]
    data = [{"id": "A", "replica": [{"name": "Ar1", "deltas": rows}]}]
    document = {"obsdata": [{"type": "Obs", "layout": "1", "value": [1.0], "data": data}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    (record,) = read_pyerrors_json(path).records
    assert list(record.observables.fluctuations) == ["A|r1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "is no file of observables"),
        (b"{}", "is no file of observables"),
        (gzip.compress(b"{}", mtime=0)[:-4], "is no file of observables"),
        (b'{"obsdata": [{"type": "Spectrum"}]}', "Unknown kind of record 'Spectrum'"),
        (b'{"obsdata": [{"type": "List", "layout": "3", "value": [1]}]}', "is no file"),
        (b'{"obsdata": [{"type": "Obs", "value": [NaN]}]}', "`value` is not finite"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DomainError, match=message):
        read_pyerrors_json(path)


def test_configurations_out_of_order_are_refused(tmp_path):
    rows = [[i, 0.1] for i in (1, 2, 4, 3, 5)]
    data = [{"id": "A", "replica": [{"name": "A", "deltas": rows}]}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"obsdata": [{"type": "Obs", "value": [1.0], "data": data}]}))
    with pytest.raises(DomainError, match=r"a.json.*`A` must ascend, got 4 before 3"):
        read_pyerrors_json(path)


@pytest.mark.parametrize("kind", ["Obs", "List", "Corr"])
def test_a_record_of_the_wrong_shape_is_refused(tmp_path, rng, kind):
    observables = Observables.from_samples(torch.randn(2, 3, 50, generator=rng), "A")
    with pytest.raises(DomainError, match=f"cannot be written as `{kind}`"):
        write_pyerrors_json(tmp_path / "a.json", [Record(observables, kind)])
    with pytest.raises(DomainError, match="nothing to write"):
        write_pyerrors_json(tmp_path / "a.json", [])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DomainError, match=r"Cannot read `.*none\.json`"):
        read_pyerrors_json(tmp_path / "none.json")


def test_a_damaged_compressed_file_is_refused(tmp_path):
    whole = gzip.compress(json.dumps({"obsdata": []}).encode() * 50)
    (tmp_path / "a.json.gz").write_bytes(whole[:12] + b"\xff" * 20 + whole[32:])
    with pytest.raises(DomainError, match="no file of observables"):
        read_pyerrors_json(tmp_path / "a.json.gz")


@pytest.mark.parametrize(
    ("replica", "message"),
    [
        ({"name": "A|r1", "deltas": []}, "fluctuations of `A|r1` are no table"),
        ({"name": "A|r1", "deltas": [1.0, 2.0]}, "fluctuations of `A|r1` are no table"),
        ({"name": 5, "deltas": [[1, 0.1]]}, "no file of observables"),
    ],
)
def test_a_replica_that_is_none_is_refused(tmp_path, replica, message):
    entry = {"type": "Obs", "value": [1.0], "data": [{"id": "A", "replica": [replica]}]}
    (tmp_path / "a.json").write_text(json.dumps({"obsdata": [entry]}))
    with pytest.raises(DomainError) as refused:
        read_pyerrors_json(tmp_path / "a.json")
    assert message in str(refused.value)
