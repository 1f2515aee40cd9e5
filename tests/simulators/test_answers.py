"""Answers of black boxes: what is taken, what is refused, and what resampling gives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detopt.errors import SimulationError
from detopt.simulators.answers import Answers, Names, read_answer

NAMES = Names(("mean", "spread"), ("weight",), ("rate",))
NUMBERS = st.floats(-1e6, 1e6)


def read(raw, n_events=4, names=None, seed=7):
    return read_answer(raw, Names() if names is None else names, n_events, seed)


def whole(**changes):
    answer = {
        "objectives": {"mean": 1.0, "spread": 2.0},
        "constraints": {"weight": -3.0},
        "metrics": {"rate": 5, "other": "anything"},
    }
    return {**answer, **changes}


def resampled(answers, n_samples=2_000):
    rng = torch.Generator().manual_seed(1)
    draws = torch.randint(answers.n_rows, (n_samples, answers.n_rows), generator=rng)
    weight = answers.weight[draws]
    values = (answers.value + answers.noise)[draws]
    return (weight[..., None] * values).sum(1) / weight.sum(1, keepdim=True)


@pytest.mark.parametrize("raw", [2, 2.0, np.float32(2), torch.tensor(2.0), {"objective": 2}])
def test_a_number_is_the_objective(raw):
    answers = read(raw)
    assert answers.means().tolist() == [2.0]
    assert answers.n_rows == 1


@pytest.mark.parametrize(
    "raw",
    [[1, 2, 3, 6], np.array([1.0, 2, 3, 6]), torch.tensor([1.0, 2, 3, 6]), (1, 2, 3, 6)],
)
def test_one_value_for_each_event_is_averaged(raw):
    answers = read(raw)
    assert answers.means().tolist() == [3.0]
    assert answers.value[:, 0].tolist() == [1, 2, 3, 6]
    assert answers.weight.tolist() == [1, 1, 1, 1]


def test_all_quantities_have_their_column():
    means = read(whole(), names=NAMES).means()
    assert dict(zip(NAMES.columns, means.tolist(), strict=True)) == {
        "objective": 3.0,
        "mean": 1.0,
        "spread": 2.0,
        "weight": -3.0,
        "rate": 5.0,
    }


def test_the_objective_may_differ_from_the_sum_of_all():
    assert read(whole(objective=9.0), names=NAMES).means()[0] == 9.0


def test_objectives_by_event_add_up_event_by_event():
    answers = read(whole(objectives={"mean": [1, 2, 3, 4], "spread": [4, 3, 2, 1]}), names=NAMES)
    assert answers.value[:, 0].tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(("price", "expected"), [
    (3.0, 0.05),
    ({"value": 3.0, "std_error": 0.12}, 0.13),
])  # fmt: skip
def test_the_sum_keeps_the_error_of_every_part(price, expected):
    error = torch.randn(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    error = 2 + (error - error.mean()) / error.std(correction=0)  # of width 1: 1 / sqrt(400)
    names = Names(("error", "price"))
    answers = read({"objectives": {"error": error, "price": price}}, 400, names)
    assert answers.means().tolist() == pytest.approx([5.0, 2.0, 3.0])
    assert resampled(answers)[:, 0].std().item() == pytest.approx(expected, rel=0.08)


def test_the_error_of_a_number_beside_events_is_not_lost():
    parts = {"error": [1.0, 2.0, 3.0, 4.0], "price": {"value": 3.0, "std_error": 0.5}}
    answers = read({"objectives": parts}, names=Names(("error", "price")))
    assert answers.value[:, 0].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert answers.noise[:, 0].square().mean().item() == pytest.approx(0.5**2 * 4)


@given(value=NUMBERS, error=st.floats(1e-3, 1e3))
def test_a_standard_error_does_not_move_the_value(value, error):
    means = read({"objective": value, "std_error": error}).means()
    assert means.item() == pytest.approx(value, rel=1e-12, abs=1e-10 * error)


@pytest.mark.parametrize("raw", [
    {"objective": 5.0, "std_error": 0.3},
    {"objective": {"value": 5.0, "std_error": 0.3}},
])  # fmt: skip
def test_resampling_gives_the_standard_error_back(raw):
    spread = resampled(read(raw)).std()
    assert spread.item() == pytest.approx(0.3, rel=0.05)


def test_errors_of_several_objectives_are_independent():
    several = {"mean": {"value": 1, "std_error": 0.3}, "spread": {"value": 2, "std_error": 0.4}}
    columns = resampled(read(whole(objectives=several), names=NAMES))
    spread = columns.std(dim=0)
    assert spread[:3].tolist() == pytest.approx([0.5, 0.3, 0.4], rel=0.05)
    assert abs(torch.corrcoef(columns[:, 1:3].T)[0, 1].item()) < 0.3


def test_errors_of_two_calls_average_out():
    one = read({"objective": 1.0, "std_error": 0.4})
    two = Answers(*(torch.cat([tensor, tensor]) for tensor in one.tensors()))
    assert resampled(two).std().item() == pytest.approx(0.4 / 2**0.5, rel=0.05)


def test_calls_count_by_their_events():
    few, many = read(1.0, n_events=1), read(4.0, n_events=3)
    both = Answers(*(torch.cat(pair) for pair in zip(few.tensors(), many.tensors(), strict=True)))
    assert both.means().item() == pytest.approx((1 * 1.0 + 3 * 4.0) / 4)


REFUSED = {
    "no finite number": (float("nan"), "`objective` is not finite: nan"),
    "null": (None, "`objective` must be a number, got None"),
    "text": ("1.5", "`objective` must be a number, got '1.5'"),
    "truth value": (True, "`objective` must be a number, got True"),
    "wrong number of events": ([1, 2, 3], "has 3 values, but 4 events were wanted"),
    "one event that is not finite": ([1, 2, 3, float("inf")], r"`objective\[3\]` is not finite"),
    "nested lists": ([[1], [2], [3], [4]], r"`objective\[0\]` must be a number"),
    "an endless integer": (10**5000, "`objective` is too large: an integer of 16610 bits"),
    "a sum without bounds": ([1e308] * 4, "`objective` are too large for their sum"),
    "empty": ({}, "lacks `objective`"),
    "misspelt key": ({"objectiv": 1}, "unknown key `objectiv`"),
    "undeclared constraint": (
        {"objective": 1, "constraints": {"weight": 1}},
        "`constraints` has `weight`, which the problem does not know",
    ),
    "constraints as a list": ({"objective": 1, "constraints": [1]}, "must be a mapping of names"),
    "negative error": ({"objective": 1, "std_error": -1}, "must be >= 0"),
    "two errors": ({"objective": [1, 2, 3, 4], "std_error": 1}, "given twice"),
    "a mapping of something else": ({"objective": {"mean": 1}}, "must be a number, a list of 4"),
    "answer to another seed": ({"objective": 1, "seed": 8}, "seed = 8, but 7 was wanted"),
    "answer for fewer events": ({"objective": 1, "n_events": 3}, "n_events = 3, but 4 was wanted"),
}


@pytest.mark.parametrize(("raw", "message"), REFUSED.values(), ids=REFUSED)
def test_an_unusable_answer_is_refused(raw, message):
    with pytest.raises(SimulationError, match=message):
        read(raw)


@pytest.mark.parametrize(("changes", "message"), [
    ({"objectives": {"mean": 1}}, "`objectives` lacks `spread`. It has: mean"),
    ({"constraints": {}}, "`constraints` lacks `weight`"),
    ({"metrics": {}}, "`metrics` lacks `rate`"),
    ({"metrics": {"rate": None}}, "`metrics.rate` must be a number"),
    ({"std_error": 1.0}, "`std_error` without `objective`"),
])  # fmt: skip
def test_a_partial_answer_is_refused(changes, message):
    with pytest.raises(SimulationError, match=message):
        read(whole(**changes), names=NAMES)
