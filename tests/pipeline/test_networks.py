"""Networks whose weights are part of the design."""

import pytest
import torch

from detopt.design import DesignSpace
from detopt.errors import DomainError
from detopt.pipeline import DesignNetwork

NETWORK = DesignNetwork((2, 3, 1), "summary")
SPACE = DesignSpace(NETWORK.parameters_of_design(0))


def weights():
    return [SPACE.start[p.name] for p in SPACE.parameters]


def test_output_is_that_of_the_formula():
    x = torch.tensor([[0.3, -1.2], [2.0, 0.5]], dtype=torch.float64)
    w1, b1, w2, b2 = weights()
    expected = torch.tanh(x @ w1.mT + b1) @ w2.mT + b2
    torch.testing.assert_close(NETWORK(x, SPACE.start), expected)


def test_names_say_layer_and_kind():
    assert [p.name for p in SPACE.parameters] == [
        "summary_0_weight",
        "summary_0_bias",
        "summary_2_weight",
        "summary_2_bias",
    ]
    assert SPACE.groups == ("summary",)
    assert SPACE.n_free == 2 * 3 + 3 + 3 + 1


def test_module_has_no_weights_of_its_own():
    assert all(value.is_meta for value in NETWORK.parameters())


def test_gradient_reaches_inputs_and_weights_twice():
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theta = SPACE.theta(SPACE.start)

    def outputs(x, theta):
        return NETWORK(x, SPACE.design(theta))

    arguments = (x.requires_grad_(), theta.requires_grad_())
    assert torch.autograd.gradcheck(outputs, arguments)
    assert torch.autograd.gradgradcheck(outputs, arguments)


def test_start_belongs_to_its_seed():
    again, other = (DesignSpace(NETWORK.parameters_of_design(seed)).start for seed in (0, 1))
    name = "summary_0_weight"
    assert torch.equal(again[name], SPACE.start[name])
    assert not torch.equal(other[name], SPACE.start[name])


def test_small_last_layer_starts_near_zero():
    space = DesignSpace(NETWORK.parameters_of_design(0, last=1e-3))
    x = torch.ones(1, 2, dtype=torch.float64)
    ratio = NETWORK(x, space.start) / NETWORK(x, SPACE.start)
    assert ratio.item() == pytest.approx(1e-3)


@pytest.mark.parametrize("sizes", [(2,), (2, 0, 1)])
def test_network_without_layers_is_refused(sizes):
    with pytest.raises(DomainError, match="two or more numbers >= 1"):
        DesignNetwork(sizes)
