"""How methods to compare are written."""

import pytest

from detopt.errors import ConfigError, NotFoundError
from detopt.runtime.contenders import Contender, read_contenders

ADAM = Contender("adam", {"estimator": "finite_differences", "learning_rate": 0.05})

READ = {
    "a list": (["adam,cma"], [Contender("adam"), Contender("cma")]),
    "semicolons and spaces": (["adam ; cma"], [Contender("adam"), Contender("cma")]),
    "options": (
        ["adam:estimator=finite_differences,learning_rate=0.05;cma"],
        [ADAM, Contender("cma")],
    ),
    "options in a list": (
        ["adam:estimator=finite_differences,learning_rate=0.05,cma"],
        [ADAM, Contender("cma")],
    ),
    "several texts": (["adam", "cma,sgd"], [Contender(m) for m in ("adam", "cma", "sgd")]),
    "one method twice": (
        ["cma;cma:step=0.1"],
        [Contender("cma"), Contender("cma", {"step": 0.1})],
    ),
    "a list as a value": (["grid:points=[3, 4]"], [Contender("grid", {"points": [3, 4]})]),
    "a mapping as a value": (
        ["grid:points={a: 3, b: 4};cma"],
        [Contender("grid", {"points": {"a": 3, "b": 4}}), Contender("cma")],
    ),
    "a colon in a value": (["adam:estimator=a:b"], [Contender("adam", {"estimator": "a:b"})]),
    "null": (["cma:population=null"], [Contender("cma", {"population": None})]),
}


@pytest.mark.parametrize(("texts", "expected"), READ.values(), ids=READ)
def test_methods_with_options_are_read(texts, expected):
    assert read_contenders(texts) == expected


def test_a_label_tells_options():
    assert Contender("cma").label == "cma"
    assert ADAM.label == "adam (estimator=finite_differences, learning_rate=0.05)"


@pytest.mark.parametrize(("texts", "error", "message"), [
    ([], ConfigError, "No method to compare"),
    ([" , "], ConfigError, "No method to compare"),
    (["adma"], NotFoundError, "No method `adma`. There are: adam"),
    (["step=1"], ConfigError, "has no method before it"),
    (["cma:step"], ConfigError, "must read KEY=VALUE, got 'step'"),
    (["cma:=1"], ConfigError, "must read KEY=VALUE"),
    (["cma:step={"], ConfigError, "Cannot read the value of `step`"),
    (["cma,adam,cma"], ConfigError, "cma is named twice"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused(texts, error, message):
    with pytest.raises(error, match=message):
        read_contenders(texts)
