"""`detopt validate-surrogate`: its files, what it prints, refusals."""

import json

import numpy as np
import pytest
import torch

from detopt.surrogates import ConditionalRegression, Training, save_surrogate


@pytest.fixture
def files(here):
    """A surrogate of layers, and rows of its simulator with differences."""
    rng = torch.Generator().manual_seed(1)
    theta = torch.rand(300, 2, generator=rng, dtype=torch.float64)
    noise = torch.rand(300, 3, generator=rng, dtype=torch.float64)
    rows = (1 + theta.sum(1, keepdim=True)) * (1 + noise)
    model = ConditionalRegression(2, 3, Training(n_steps=20))
    model.fit(theta, rows, rng)
    save_surrogate(model, here / "model.safetensors", {"label": "a toy"})
    totals = np.random.default_rng(1).normal(10, 1, (1, 1, 2, 50))
    totals[0, 0, 1] += 2
    arrays = {"theta": [[0.5]], "totals": totals, "step": 0.1, "given": [0.5]}
    np.savez(here / "rows.npz", conditions=theta[150:], rows=rows[150:], **arrays)
    return here


def test_table_json_and_figure_are_written(detopt, files):
    words = ("validate-surrogate", "model.safetensors", "rows.npz", "--steps", "5")
    answer = detopt(*words, "--quantity", "response")
    assert answer.code == 0, answer.err
    assert "classifier, features: area" in answer.out
    assert "gradient of response: cosine" in answer.out
    found = json.loads((files / "validation" / "validation.json").read_text())
    assert found["n_rows"] == 150
    assert found["facts"] == {"label": "a toy"}
    assert len(found["gradients"]["response"]["cosine"]) == 1
    assert (files / "validation" / "validation.png").stat().st_size > 10_000
    again = detopt(*words)
    assert again.code == 2
    assert "Add --force" in again.err
    forced = detopt(*words, "--force", "--json", "--features", "columns")
    assert forced.document["features"] == ["column 0", "column 1", "column 2"]


def changed(files, **changes):
    """The reference with other arrays."""
    with np.load(files / "rows.npz") as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(files / "other.npz", **(arrays | changes))
    return "model.safetensors", "other.npz", "--quantity", "response"


SHAPES = {
    "conditions too few": {"conditions": np.zeros((150, 1))},
    "other number of rows": {"conditions": np.zeros((100, 2))},
    "other columns": {"rows": np.ones((150, 2))},
    "one number": {"rows": np.ones(())},
}


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_rows_of_another_surrogate_are_refused(detopt, files, changes):
    answer = detopt("validate-surrogate", *changed(files, **changes))
    assert answer.code == 2
    assert "the 2 conditions and 3 columns of the surrogate, got" in answer.err


@pytest.mark.parametrize("name", ["conditions", "rows", "theta", "totals", "step", "given"])
def test_numbers_that_are_not_finite_are_refused(detopt, files, name):
    with np.load(files / "rows.npz") as file:
        bad = file[name].copy()
    bad[(0,) * bad.ndim] = np.nan
    answer = detopt("validate-surrogate", *changed(files, **{name: bad}))
    assert answer.code == 2
    assert f"not finite in {name}" in answer.err


DESIGNS = {
    "a list of designs": ({"theta": [0.5]}, "together the 2 conditions"),
    "too many conditions": ({"given": [0.5, 0.5]}, "together the 2 conditions"),
    "no list of conditions": ({"given": 0.5}, "together the 2 conditions"),
    "two steps": ({"step": [0.1, 0.2]}, "`step` one number"),
    "totals of two designs": ({"totals": np.ones((2, 1, 2, 9))}, "an array of (1, 1, 2) times"),
    "totals without sides": ({"totals": np.ones((1, 1, 9))}, "an array of (1, 1, 2) times"),
    "one event": ({"totals": np.ones((1, 1, 2, 1))}, "two or more events"),
    "step back": ({"step": -0.1}, "a step > 0"),
}


@pytest.mark.parametrize(("changes", "message"), DESIGNS.values(), ids=DESIGNS)
def test_designs_of_another_surrogate_are_refused(detopt, files, changes, message):
    answer = detopt("validate-surrogate", *changed(files, **changes))
    assert answer.code == 2
    assert message in answer.err


def test_a_file_that_was_cut_is_refused(detopt, files):
    whole = (files / "rows.npz").read_bytes()
    for part in (whole[: len(whole) // 2], whole[:200] + b"?" * 50 + whole[250:], b""):
        (files / "cut.npz").write_bytes(part)
        answer = detopt("validate-surrogate", "model.safetensors", "cut.npz")
        assert answer.code == 2
        assert "no .npz file of numbers" in answer.err


@pytest.mark.parametrize("kind", ["U3", "c16"])
def test_texts_and_complex_numbers_are_refused(detopt, files, kind):
    answer = detopt("validate-surrogate", *changed(files, rows=np.ones((150, 3)).astype(kind)))
    assert answer.code == 2
    assert "no .npz file of numbers" in answer.err


def test_other_arrays_of_the_file_do_not_matter(detopt, files):
    words = changed(files, remarks=["lead", "iron"], theta=np.nan)[:2]
    answer = detopt("validate-surrogate", *words, "--steps", "5")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model.safetensors", "rows.npz", "--features", "voxels"), "layers, columns"),
        (("other.safetensors", "rows.npz"), "no usable surrogate"),
        (("model.safetensors", "model.json"), "no .npz file"),
        (("model.safetensors", "bare.npz"), "lacks conditions, rows"),
    ],
)
def test_wrong_arguments_are_refused(detopt, files, arguments, message):
    np.savez(files / "bare.npz", other=np.zeros(3))
    answer = detopt("validate-surrogate", *arguments)
    assert answer.code == 2
    assert message in answer.err
