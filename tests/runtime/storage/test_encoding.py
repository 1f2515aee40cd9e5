"""Values as bytes."""

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detopt.errors import CheckpointError
from detopt.runtime.storage import decode, digest_of, encode

PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
)


@given(VALUES)
def test_a_value_comes_back_as_it_went(value):
    assert repr(decode(encode(value))) == repr(value)


@given(VALUES)
def test_equal_values_are_equal_bytes(value):
    assert encode(value) == encode(decode(encode(value)))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([0.1, math.inf, math.nan], dtype=torch.float64),
        torch.tensor(7),
        torch.zeros(0, 3),
        torch.arange(6).reshape(2, 3).T,
        torch.Generator().manual_seed(3).get_state(),
        torch.tensor([True, False]),
        torch.tensor([1 + 2j], dtype=torch.complex64),
    ],
)
def test_a_tensor_comes_back_with_every_bit(tensor):
    found = decode(encode({"x": [tensor]}))["x"][0]
    assert found.dtype == tensor.dtype
    assert found.shape == tensor.shape
    assert torch.equal(torch.nan_to_num(found, 9.0), torch.nan_to_num(tensor, 9.0))


def test_the_same_tensor_twice_is_kept_twice():
    one = torch.ones(2)
    found = decode(encode([one, one]))
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("value", [object(), {1.5: 2}, {"x": {3}}, b"bytes"])
def test_other_values_are_refused(value):
    with pytest.raises(TypeError, match="Cannot store"):
        encode(value)


@pytest.mark.parametrize("data", [b"", b"junk", pickle.dumps([1, 2]), encode([1.0])[:-1] + b"!"])
def test_other_bytes_are_refused(data):
    with pytest.raises(CheckpointError, match="cannot be read"):
        decode(data)


def test_digests_are_those_of_the_standard():
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of(b"abc") == expected  # FIPS 180-4, example
