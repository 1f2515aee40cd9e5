"""A method that only judges."""

import torch

from detopt.design import Categorical, Continuous, DesignSpace, Interval
from detopt.optimizers.keep import Keep


def test_the_start_is_kept():
    glue = Categorical("glue", ("epoxy", "tape"), "tape")
    space = DesignSpace([Continuous("gap", 0.3, Interval(0.0, 1.0)), glue])
    method = Keep(space, 1)
    assert method.finished
    assert method.ask() == []
    assert torch.equal(method.recommend(), space.theta(space.start))
    method.tell([])
    other = Keep(space, 1)
    other.load_state_dict(method.state_dict())
    assert other.round == 1
    assert torch.equal(other.recommend(), method.recommend())
