"""Functions of JAX and TensorFlow as torch functions: values, all derivatives, refusals."""

import pytest
import torch

from detopt.errors import DomainError, MissingExtraError
from detopt.simulators import JaxFunction, TensorFlowFunction


def wave(numbers):
    """A value of a scalar, a vector and an integer, with the sine and exponential of a library."""

    def response(scale, at, power):
        return scale * numbers.sin(at) + numbers.exp(-(at**power))

    return response


def response(scale, at, power):
    return scale * torch.sin(at) + torch.exp(-(at**power))


def jax_function(**options):
    numbers = pytest.importorskip("jax.numpy")
    return JaxFunction(wave(numbers), **options)


def tensorflow_function(**options):
    library = pytest.importorskip("tensorflow", reason="TensorFlow, 260 MiB, is not installed")

    def response(scale, at, power):
        exponent = library.cast(power, at.dtype)
        return scale * library.sin(at) + library.exp(-(at**exponent))

    return TensorFlowFunction(response, **options)


LIBRARIES = pytest.mark.parametrize("make", [jax_function, tensorflow_function])
COMPILED = pytest.mark.parametrize("compiled", [True, False])


@pytest.fixture
def arguments(rng):
    at = torch.rand(5, 2, generator=rng, dtype=torch.float64) + 0.5
    scale = torch.tensor(1.7, dtype=torch.float64)
    return scale.requires_grad_(), at.requires_grad_(), torch.tensor(2)


def option(make, compiled):
    return {"jit" if make is jax_function else "trace": compiled}


@LIBRARIES
@COMPILED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_are_those_of_torch(make, compiled, dtype, arguments):
    scale, at = (x.detach().to(dtype).requires_grad_() for x in arguments[:2])
    function = make(**option(make, compiled))
    results = []
    for one in (function, response):
        value = one(scale, at, arguments[2])
        results.append((value, *torch.autograd.grad(value.square().sum(), (scale, at))))
    tolerance = 1e-6 if dtype is torch.float32 else 1e-12
    torch.testing.assert_close(results[0], results[1], rtol=tolerance, atol=tolerance)
    assert results[0][0].dtype is dtype


@LIBRARIES
def test_derivatives_of_two_orders_agree_with_differences(make, arguments):
    function, (scale, at, power) = make(), arguments
    assert torch.autograd.gradcheck(lambda s, a: function(s, a, power), (scale, at))
    assert torch.autograd.gradgradcheck(lambda s, a: function(s, a, power), (scale, at))


def test_a_tuple_comes_back_as_a_tuple(arguments):
    numbers = pytest.importorskip("jax.numpy")
    function = JaxFunction(lambda x: (x.sum(), numbers.exp(x)))
    at = arguments[1]
    total, exponential = function(at)
    torch.testing.assert_close(total, at.sum())
    assert torch.autograd.gradcheck(function, (at,))
    (slope,) = torch.autograd.grad(exponential.sum(), at)
    torch.testing.assert_close(slope, at.exp().detach())


def test_an_argument_that_does_not_matter_has_gradient_zero(arguments):
    pytest.importorskip("jax")
    scale, at, _ = arguments
    value = JaxFunction(lambda scale, at: at * 2)(scale, at)
    assert torch.autograd.grad(value.sum(), scale)[0] == 0


def test_nothing_is_recorded_without_gradients(arguments):
    function = jax_function()
    with torch.no_grad():
        assert not function(*arguments).requires_grad


def test_an_output_that_was_changed_in_place_gives_no_wrong_gradient(arguments):
    value = jax_function()(*arguments)
    value.mul_(2)
    with pytest.raises(RuntimeError, match="inplace operation"):
        value.sum().backward()


def test_what_is_no_tensor_is_refused():
    function = jax_function()
    with pytest.raises(DomainError, match=r"Argument 0 must be a tensor, got float.*as_tensor"):
        function(1.0, torch.ones(2), torch.tensor(2))


def test_integers_as_output_are_refused():
    pytest.importorskip("jax")
    with pytest.raises(DomainError, match=r"arrays of floating numbers, got torch.int32"):
        JaxFunction(lambda x: (x > 0).astype("int32"))(torch.ones(2))


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [(JaxFunction, "jax", "jax"), (TensorFlowFunction, "tensorflow", "tensorflow")],
)
def test_a_library_that_is_missing_is_named(kind, module, extra, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"needs `{module}`.*detopt\[{extra}\]"):
        kind(lambda x: x)
