"""Workspace files: round trips, the same likelihood as pyhf, and mistakes that are named."""

import copy
import json

import pyhf
import pytest
import torch

from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.inference.histfactory import Channel, NormFactor, Sample, StatError, histfactory_model
from detopt.inference.workspaces import (
    Workspace,
    parse_workspace,
    read_workspace,
    to_workspace,
    write_workspace,
)

# pyhf's check of the schema uses an interface that jsonschema will drop
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")


def change(spec, path, value):
    """The workspace with one entry replaced, or left out where the value is `...`."""
    changed = copy.deepcopy(spec)
    *way, last = path
    part = changed
    for key in way:
        part = part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return changed


def test_file_is_read_and_written_unchanged(realistic_workspace, tmp_path):
    spec = realistic_workspace(1)
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps(spec))
    write_workspace(read_workspace(first), second)
    assert json.loads(second.read_text()) == spec


def test_pyhf_reads_what_is_exported_and_finds_the_same_likelihood(realistic_workspace):
    source = parse_workspace(realistic_workspace(2))
    model = source.model()
    exported = to_workspace(model, source.counts()).as_dict()
    workspace = pyhf.Workspace(exported)
    oracle = workspace.model()
    assert oracle.config.par_names == list(model.names)
    point = model.start + 0.1 * torch.sin(torch.arange(len(model.names), dtype=torch.float64))
    expected = -oracle.logpdf(point.numpy(), workspace.data(oracle))[0]
    found = model.negative_log_likelihood(point, model.data(source.counts()))
    assert found.item() == pytest.approx(expected, rel=1e-8)


def test_model_survives_the_round_trip(realistic_workspace):
    source = parse_workspace(realistic_workspace(3))
    model = source.model()
    again = parse_workspace(to_workspace(model, source.counts()).as_dict()).model()
    assert again.names == model.names
    assert again.fixed == model.fixed
    for one, other in zip(again.inputs(), model.inputs(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.testing.assert_close(torch.stack(again.bounds), torch.stack(model.bounds))


def test_another_parameter_can_be_the_one_of_interest(realistic_workspace):
    workspace = parse_workspace(realistic_workspace(1))
    assert workspace.model(interest="trigger").interest == "trigger"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("channels",), ..., "channels: Field required"),
        (("channels",), [], "channels: .* at least 1 item"),
        (("version",), "2.0.0", "version 2.0.0, not 1.0.0"),
        (("channels", 0, "colour"), "red", "channel `region_z`, colour: Extra inputs"),
        (("channels", 0, "samples", 1, "data"), ..., "sample `signal`, data: Field required"),
        (
            ("channels", 0, "samples", 1, "data", 2),
            "many",
            "channel `region_z`, sample `signal`, data, bin 2: .* number.*, got 'many'",
        ),
        (("channels", 0, "samples", 1, "data", 2), float("nan"), "bin 2: .* finite number"),
        (
            ("channels", 0, "samples", 0, "modifiers", 1, "data", "lo_data", 1),
            None,
            "sample `top`, modifier `jet_scale`, data, lo_data, bin 1: .*got None",
        ),
        (
            ("channels", 0, "samples", 0, "modifiers", 0, "type"),
            "magic",
            "modifier `lumi`: Input tag 'magic'",
        ),
        (
            ("channels", 0, "samples", 0, "modifiers", 1, "data", "lo_data"),
            [1.0],
            "sample `top`, modifier `jet_scale`, lo_data: 1 bins, but the channel has 3",
        ),
        (("channels", 0, "samples", 2, "data"), [1.0], "sample `fakes`: 1 bins"),
        (("observations", 0, "data"), [1.0], "channel `region_z` has 1 bins, its samples 3"),
        (("observations", 0, "name"), "elsewhere", "Channel `region_z` has no observation"),
        (("channels", 0, "name"), "region_y", "several channels `region_y`"),
        (("measurements", 0, "config", "parameters", 1, "name"), "lumi", "`lumi` twice"),
    ],
)
def test_a_mistake_is_named_with_its_place(realistic_workspace, path, value, message):
    with pytest.raises(ConfigError, match=message):
        parse_workspace(change(realistic_workspace(1), path, value))


@pytest.mark.parametrize(
    ("path", "value", "error", "message"),
    [
        (
            ("channels", 0, "samples", 1, "data", 2),
            -3.0,
            DomainError,
            "sample `signal` in channel `region_z` must be >= 0, got -3 in bin 2",
        ),
        (("measurements", 0, "config", "poi"), "", ConfigError, "no parameter of interest"),
        (("measurements", 0, "config", "poi"), "nu", NotFoundError, "No parameter `nu`"),
        (("measurements", 0, "config", "parameters"), [], ConfigError, "`lumi` needs settings"),
    ],
)
def test_a_model_that_cannot_be_is_refused(realistic_workspace, path, value, error, message):
    workspace = parse_workspace(change(realistic_workspace(1), path, value))
    with pytest.raises(error, match=message):
        workspace.model()


def test_a_missing_measurement_is_refused(realistic_workspace):
    with pytest.raises(NotFoundError, match=r"No measurement `x`. There are: discovery"):
        parse_workspace(realistic_workspace(1)).model("x")


def test_files_that_hold_no_workspace_are_refused(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(ConfigError, match="Cannot read the workspace"):
        read_workspace(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match="is no JSON"):
        read_workspace(path)
    path.write_text("[1]")
    with pytest.raises(ConfigError, match="must be a JSON object, got list"):
        read_workspace(path)
    path.write_text("{}")
    with pytest.raises(ConfigError, match=r"file.json: channels: Field required"):
        read_workspace(path)


def test_a_batch_cannot_be_exported():
    counts = torch.tensor([[5.0, 6.0], [7.0, 8.0]], dtype=torch.float64)
    sample = Sample("signal", counts, (NormFactor("mu"), StatError("stat", 0.1 * counts)))
    model = histfactory_model([Channel("region", (sample,))])
    with pytest.raises(DomainError, match="Pick a member"):
        to_workspace(model, counts[0])


def test_workspace_is_frozen(realistic_workspace):
    workspace = parse_workspace(realistic_workspace(1))
    assert isinstance(workspace, Workspace)
    with pytest.raises(ValueError, match="frozen"):
        workspace.version = "2"
