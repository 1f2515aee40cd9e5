"""Functions of JAX and TensorFlow as differentiable torch functions.

Tensors are shared with the other library, not copied, where both can use the same memory.
"""

__all__ = ["ForeignFunction", "JaxFunction", "TensorFlowFunction"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils.dlpack import from_dlpack

from detopt.errors import DomainError
from detopt.optional import require

Pull = Callable[[Sequence[Tensor]], list[Tensor]]


class ForeignFunction(ABC):
    """A function of arrays whose value and derivatives another library computes.

    Called with tensors, it gives a tensor, or a tuple of them if the function gives a tuple.
    Derivatives of every order go through it, as far as the other library has them. Integers may
    be arguments, without a gradient, but not outputs.

    Args:
        function: From arrays of the other library to an array, or to a tuple of them.

    Note:
        Random numbers must come in as arguments, such as a seed that was drawn from a
        `torch.Generator`. Not for `torch.func` transforms.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._pulled: dict[int, ForeignFunction] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Value of the function at tensors of any shapes.

        Raises:
            DomainError: An argument is no tensor, or an output is no array of floating numbers.
        """
        for i, argument in enumerate(arguments):
            if not torch.is_tensor(argument):
                raise DomainError(
                    f"Argument {i} must be a tensor, got {type(argument).__name__}. "
                    "Make it one with `torch.as_tensor`."
                )
        is_tuple: list[bool] = []
        outputs = _Foreign.apply(self, is_tuple, *arguments)
        return outputs if is_tuple[0] else outputs[0]

    def pulled(self, n_arguments: int) -> "ForeignFunction":
        """Gradients of the floating arguments, a function of all arguments and of gradients."""
        if n_arguments not in self._pulled:
            self._pulled[n_arguments] = self._pull_of(n_arguments)
        return self._pulled[n_arguments]

    @abstractmethod
    def value(self, arguments: Sequence[Tensor]) -> Any:
        """Output at detached arguments."""

    @abstractmethod
    def linearized(self, arguments: Sequence[Tensor]) -> tuple[Any, Pull]:
        """Output at detached arguments, and what pulls its gradients back to the floating ones."""

    @abstractmethod
    def _pull_of(self, n_arguments: int) -> "ForeignFunction": ...


class _Foreign(Function):
    @staticmethod
    def forward(
        ctx: Any, function: ForeignFunction, is_tuple: list[bool], *arguments: Tensor
    ) -> tuple[Tensor, ...]:
        detached, pull = [x.detach().contiguous() for x in arguments], None
        if any(ctx.needs_input_grad):
            output, pull = function.linearized(detached)
        else:
            output = function.value(detached)
        is_tuple.append(isinstance(output, tuple))
        outputs = output if isinstance(output, tuple) else (output,)
        for x in outputs:
            if not (torch.is_tensor(x) and x.is_floating_point()):
                raise DomainError(
                    "The outputs must be arrays of floating numbers, got "
                    f"{x.dtype if torch.is_tensor(x) else type(x).__name__}."
                )
        ctx.function, ctx.pull, ctx.n_arguments = function, pull, len(arguments)
        # outputs too: the other library may have kept them, so that they must not change
        ctx.save_for_backward(*arguments, *outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        arguments = ctx.saved_tensors[: ctx.n_arguments]
        if torch.is_grad_enabled():  # a second derivative may follow
            pulled = ctx.function.pulled(len(arguments))
            found = iter(_Foreign.apply(pulled, [], *arguments, *gradients))
        else:
            found = iter(ctx.pull([gradient.contiguous() for gradient in gradients]))
        return None, None, *(next(found) if x.is_floating_point() else None for x in arguments)


class JaxFunction(ForeignFunction):
    """A JAX function, compiled at its first call, with its exact derivatives.

    >>> from detopt.simulators import JaxFunction
    >>> import jax.numpy as jnp  # doctest: +SKIP
    >>> deposit = JaxFunction(lambda energy, depth: energy * jnp.exp(-depth))  # doctest: +SKIP
    >>> deposit(torch.tensor(2.0), torch.tensor(0.5, requires_grad=True))  # doctest: +SKIP
    tensor(1.2131, grad_fn=<_ForeignBackward>)

    Args:
        function: From JAX arrays to an array or a tuple of arrays; pure, as `jax.jit` wants it.
        jit: Compile it, once for each set of shapes and types.

    Raises:
        MissingExtraError: JAX is not installed.

    Note:
        Single and double precision stay what they are, whatever JAX's own setting. See
        `ForeignFunction`.
    """

    def __init__(self, function: Callable[..., Any], *, jit: bool = True) -> None:
        super().__init__(function)
        self._jax = require("jax", extra="jax", purpose="A JAX stage")
        self._jit = jit
        compiled = self._jax.jit if jit else lambda same: same
        self._compiled = compiled(function)
        self._linearized = compiled(self._linearize)
        self._transposed = compiled(lambda transposed, gradients: transposed(gradients))

    def value(self, arguments: Sequence[Tensor]) -> Any:
        """Output at detached arguments."""
        with self._jax.enable_x64(True):
            return _each(from_dlpack, self._compiled(*self._arrays(arguments)))

    def linearized(self, arguments: Sequence[Tensor]) -> tuple[Any, Pull]:
        """Output at detached arguments, and what pulls its gradients back to the floating ones."""
        with self._jax.enable_x64(True):
            output, transposed = self._linearized(*self._arrays(arguments))

        def pull(gradients: Sequence[Tensor]) -> list[Tensor]:
            with self._jax.enable_x64(True):
                along = tuple(self._arrays(gradients))
                found = self._transposed(transposed, along if is_tuple else along[0])
                return [from_dlpack(array) for array in found]

        is_tuple = isinstance(output, tuple)
        return _each(from_dlpack, output), pull

    def _pull_of(self, n_arguments: int) -> "JaxFunction":
        def pull(*arrays: Any) -> tuple[Any, ...]:
            output, transposed = self._linearize(*arrays[:n_arguments])
            along = arrays[n_arguments:]
            return tuple(transposed(along if isinstance(output, tuple) else along[0]))

        return JaxFunction(pull, jit=self._jit)

    def _linearize(self, *arrays: Any) -> Any:
        """Output, and the transposed derivative in the floating arguments."""
        numbers = self._jax.numpy
        floating = [
            i for i, x in enumerate(arrays) if numbers.issubdtype(x.dtype, numbers.floating)
        ]

        def of_floating(*values: Any) -> Any:
            every = list(arrays)
            for i, value in zip(floating, values, strict=True):
                every[i] = value
            return self.function(*every)

        return self._jax.vjp(of_floating, *(arrays[i] for i in floating))

    def _arrays(self, tensors: Sequence[Tensor]) -> list[Any]:
        return [self._jax.dlpack.from_dlpack(tensor) for tensor in tensors]


class TensorFlowFunction(ForeignFunction):
    """A TensorFlow function, traced at its first call, with its exact derivatives.

    Args:
        function: From TensorFlow tensors to a tensor or a tuple of tensors.
        trace: Make a graph of it with `tf.function`, once for each set of shapes and types.

    Raises:
        MissingExtraError: TensorFlow is not installed.

    Note:
        TensorFlow is 260 MiB to load and 1.6 GiB on disk, so that no other extra brings it. See
        `ForeignFunction`.
    """

    def __init__(self, function: Callable[..., Any], *, trace: bool = True) -> None:
        super().__init__(function)
        purpose = "A TensorFlow stage"
        self._tensorflow = require("tensorflow", extra="tensorflow", purpose=purpose)
        self._trace = trace
        self._traced = self._tensorflow.function(function) if trace else function

    def value(self, arguments: Sequence[Tensor]) -> Any:
        """Output at detached arguments."""
        return _each(self._tensor, self._traced(*map(self._shared, arguments)))

    def linearized(self, arguments: Sequence[Tensor]) -> tuple[Any, Pull]:
        """Output at detached arguments, and what pulls its gradients back to the floating ones."""
        given = [self._shared(tensor) for tensor in arguments]
        floating = [x for x in given if x.dtype.is_floating]
        with self._tensorflow.GradientTape(persistent=True) as tape:
            for x in floating:
                tape.watch(x)
            output = self._traced(*given)

        def pull(gradients: Sequence[Tensor]) -> list[Tensor]:
            along = [self._shared(gradient) for gradient in gradients]
            found = tape.gradient(
                output,
                floating,
                tuple(along) if is_tuple else along[0],
                unconnected_gradients=self._tensorflow.UnconnectedGradients.ZERO,
            )
            return [self._tensor(x) for x in found]

        is_tuple = isinstance(output, tuple)
        return _each(self._tensor, output), pull

    def _pull_of(self, n_arguments: int) -> "TensorFlowFunction":
        def pull(*tensors: Any) -> tuple[Any, ...]:
            given, along = tensors[:n_arguments], tensors[n_arguments:]
            floating = [x for x in given if x.dtype.is_floating]
            with self._tensorflow.GradientTape() as tape:
                for x in floating:
                    tape.watch(x)
                output = self.function(*given)
            zero = self._tensorflow.UnconnectedGradients.ZERO
            along = along if isinstance(output, tuple) else along[0]
            return tuple(tape.gradient(output, floating, along, unconnected_gradients=zero))

        return TensorFlowFunction(pull, trace=self._trace)

    def _shared(self, tensor: Tensor) -> Any:
        return self._tensorflow.experimental.dlpack.from_dlpack(tensor.__dlpack__())

    def _tensor(self, output: Any) -> Tensor:
        return from_dlpack(self._tensorflow.experimental.dlpack.to_dlpack(output))


def _each(convert: Callable[[Any], Tensor], output: Any) -> Any:
    """An output, or a tuple of outputs, as tensors."""
    return tuple(map(convert, output)) if isinstance(output, tuple) else convert(output)
