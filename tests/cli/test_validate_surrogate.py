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
