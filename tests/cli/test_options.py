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
        ("run --parent a --free x y", "run --parent a --free x --free y"),
        ("run --free x y --parent a", "run --free x --free y --parent a"),
        ("run hump --parent a --free x y", "run hump --parent a --free x --free y"),
        ("run --spot hump --free x y", "run --spot hump --free x --free y"),
        ("run --rounds=5 hump --free x y", "run --rounds=5 hump --free x --free y"),
        ("run --parent=a --free x y", "run --parent=a --free x --free y"),
        ("merge a b --prefer a:x b:y", "merge a b --prefer a:x --prefer b:y"),
        ("run hump --freeze=x y", "run hump --freeze=x --freeze y"),
        ("run hump --free=x y --seed 1", "run hump --free=x --free y --seed 1"),
        ("run hump --option=a=1 b=2", "run hump --option=a=1 --option b=2"),
        ("run --freeze=x hump", "run --freeze=x hump"),
        ("merge a --prefer=a:x b", "merge a --prefer=a:x b"),
        ("merge --prefer a:x a b", "merge --prefer a:x a b"),
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
