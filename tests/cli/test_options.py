"""Lists on the command line."""

import pytest

from detopt.cli.options import read_options, repeat_lists


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("run hump -o a=1 b=2", "run hump -o a=1 -o b=2"),
        ("run hump --freeze x y --seed 1", "run hump --freeze x --freeze y --seed 1"),
        ("run --freeze x hump", "run --freeze x hump"),
        ("run --seed 1 --freeze x hump", "run --seed 1 --freeze x hump"),
        ("run -o a=1 hump", "run -o a=1 hump"),
        ("run -o a=1 b=2 hump --freeze x", "run -o a=1 -o b=2 hump --freeze x"),
        ("run hump -o a=1 -o b=2 --json", "run hump -o a=1 -o b=2 --json"),
    ],
)
def test_one_option_takes_several_values(given, expected):
    assert repeat_lists(given.split()) == expected.split()


def test_values_are_read_as_yaml():
    pairs = ["n=3", "z=[1.5, 1.4]", "reach=40 cm", "momentum=null", "name=ladle"]
    assert read_options(pairs) == {
        "n": 3,
        "z": [1.5, 1.4],
        "reach": "40 cm",
        "momentum": None,
        "name": "ladle",
    }
