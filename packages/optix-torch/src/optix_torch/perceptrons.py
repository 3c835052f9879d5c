"""Perceptrons as single nodes of the autograd graph, with gradients written out.

PyTorch builds and walks a graph of every layer, takes new memory for every result, and makes the gradients of all
weights whether anybody wants them or not. Here a whole network, or several of one shape at once as batched matrix
products, is one node. Its backward pass is a loop over layers that adds to the gradient vector directly, or leaves the
weights alone where only the gradient by the inputs matters (an actor that climbs its critic), and hidden layers work in
memory that is kept. The mathematics is that of ``loss.backward()``, so losses are written as anywhere else; on any
device, in any type.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from optix_core.acting import MLPSpec
from optix_torch.flat import FlatParameters

_aten: Any = torch.ops.aten
_KEPT_SIZES = 4

_ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh_,
    "relu": torch.relu_,
    "elu": _aten.elu_.default,
    "sigmoid": torch.sigmoid_,
}
"""In place."""

_DIFFERENTIATE: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "tanh": lambda delta, y, out: _aten.tanh_backward.grad_input(delta, y, grad_input=out),
    "relu": lambda delta, y, out: _aten.threshold_backward.grad_input(delta, y, 0, grad_input=out),
    "elu": lambda delta, y, out: _aten.elu_backward.grad_input(delta, 1.0, 1.0, 1.0, True, y, grad_input=out),
    "sigmoid": lambda delta, y, out: _aten.sigmoid_backward.grad_input(delta, y, grad_input=out),
}
"""The derivative of a loss by an activation's input into ``out``, given that by its output, and the output itself."""


class Perceptrons:
    """K plain perceptrons of one shape that are evaluated together.

    Args:
        spec: The shape of each.
        flat: The vector that is theirs alone. For every layer it holds the weights of all K, then the biases of all K.
        n: K.
        memory: Other perceptrons of the same shape and number, whose working memory is shared.

    Attributes:
        leaves: What gradients are taken by, for ``backward(inputs=...)``.

    Raises:
        ValueError: The vector has another length.
    """

    def __init__(
        self, spec: MLPSpec, flat: FlatParameters, n: int = 1, *, memory: Perceptrons | None = None
    ) -> None:
        self.spec, self.n, self.leaves = spec, n, [flat.vector]
        self._memory = _Memory(spec, n, flat.vector) if memory is None else memory._memory
        vector, grad = flat.vector.detach(), flat.grad
        if n * spec.layout.size != vector.numel():
            raise ValueError(
                f"{n} perceptrons of {spec.sizes} have {n * spec.layout.size} parameters, not {vector.numel()}"
            )
        self._layers: list[_Layer] = []
        start = 0
        for (n_in, n_out), activation in zip(pairwise(spec.sizes), spec.activations, strict=True):
            middle, stop = start + n * n_out * n_in, start + n * n_out * (n_in + 1)
            weights, biases = slice(start, middle), slice(middle, stop)
            lead = (n,) if n > 1 else ()
            row = (n, 1, n_out) if n > 1 else (n_out,)
            self._layers.append(
                _Layer(
                    vector[weights].view(*lead, n_out, n_in),
                    vector[biases].view(row),
                    grad[weights].view(*lead, n_out, n_in),
                    grad[biases].view(row),
                    activation,
                )
            )
            start = stop

    def one(self, k: int) -> Perceptrons:
        """The k-th of them alone, on the same weights and gradients."""
        alone = object.__new__(Perceptrons)
        alone.spec, alone.n, alone.leaves = self.spec, 1, self.leaves
        alone._memory = _Memory(self.spec, 1, self.leaves[0])
        alone._layers = [layer.one(k) for layer in self._layers]
        return alone

    def __call__(self, inputs: Tensor, *, frozen: bool = False) -> Tensor:
        """``[K, B, out]``, or ``[B, out]`` if K is 1; nothing else will write there.

        Args:
            inputs: ``[B, in]``, in the parameters' type; longer rows, such as images, are flattened.
            frozen: The weights get no gradient from these outputs; the inputs do if they ask for one.
        """
        inputs = inputs if inputs.ndim == 2 else inputs.reshape(len(inputs), -1)
        if torch.is_grad_enabled():
            return _Node.apply(inputs, None if frozen else self.leaves[0], self)
        result, hidden = self.forward(inputs)
        self._memory.give_back(hidden)
        return result

    def forward(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the last layer gives, and the buffers with what the hidden ones gave."""
        hidden = self._memory.take(len(inputs))
        x = self._for_all(inputs)
        for layer, out in zip(self._layers, [*hidden, None], strict=True):
            x = layer.forward(x, out)
        return x, hidden

    def backward(
        self,
        delta: Tensor,
        inputs: Tensor,
        hidden: list[Tensor],
        result: Tensor,
        *,
        weights: bool,
        by_inputs: bool,
    ) -> Tensor | None:
        """Add to the gradients of the weights, and give that of the inputs, as far as either is wanted.

        Args:
            delta: Derivative by the last layer's outputs; not written to.
            inputs: ``[B, in]``.
            hidden: The buffers from :meth:`forward`; other evaluations use them afterwards.
            result: The last layer's outputs.
            weights: Whether weights get gradients.
            by_inputs: Whether the gradient ``[B, in]`` of the inputs is returned.
        """
        before, after = [self._for_all(inputs), *hidden], [*hidden, result]
        products = self._memory.take(len(inputs))
        for i in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[i]
            if layer.activation in _DIFFERENTIATE:
                # what a hidden layer gave is not needed any more once its derivative is known
                into = after[i] if i < len(hidden) else torch.empty_like(delta)
                delta = _DIFFERENTIATE[layer.activation](delta, after[i], into)
            if weights:
                layer.accumulate(delta, before[i])
            if i:
                delta = layer.backward(delta, products[i - 1])
        found = self._layers[0].by_inputs(delta) if by_inputs else None
        self._memory.give_back(products)
        self._memory.give_back(hidden)
        return found.sum(0) if found is not None and self.n > 1 else found

    def _for_all(self, inputs: Tensor) -> Tensor:
        """The same inputs for each of the K."""
        return inputs.expand(self.n, *inputs.shape) if self.n > 1 else inputs


class _Memory:
    """Buffers for hidden layers; taking fresh memory would cost more than some of the products that fill it."""

    def __init__(self, spec: MLPSpec, n: int, like: Tensor) -> None:
        self._widths, self._lead, self._like = spec.sizes[1:-1], (n,) if n > 1 else (), like.detach()
        self._free: dict[int, list[list[Tensor]]] = {}

    def take(self, b: int) -> list[Tensor]:
        """One buffer ``[K, b, width]`` for each hidden layer."""
        free = self._free.get(b)
        if free:
            return free.pop()
        if len(self._free) >= _KEPT_SIZES:
            self._free.clear()
        return [self._like.new_empty(*self._lead, b, width) for width in self._widths]

    def give_back(self, buffers: list[Tensor]) -> None:
        if buffers:
            self._free.setdefault(buffers[0].shape[-2], []).append(buffers)


class _Layer:
    """One layer of all K.

    Libraries of linear algebra are about twice as fast where a narrow matrix has few rows instead of few columns, so
    narrow results are computed transposed.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, d_weight: Tensor, d_bias: Tensor, activation: str
    ) -> None:
        self.activation = activation
        self._activate = _ACTIVATE.get(activation)
        self._weight, self._bias, self._d_weight, self._d_bias = weight, bias, d_weight, d_bias
        stacked = weight.ndim == 3
        self._add_product: Callable[..., Tensor] = torch.baddbmm if stacked else torch.addmm
        self._product: Callable[..., Tensor] = torch.bmm if stacked else torch.mm
        n_out, n_in = weight.shape[-2:]
        self._wide_input, self._single_output = n_in >= n_out, n_out == 1

    def one(self, k: int) -> _Layer:
        return _Layer(
            self._weight[k], self._bias[k, 0], self._d_weight[k], self._d_bias[k, 0], self.activation
        )

    def forward(self, x: Tensor, out: Tensor | None) -> Tensor:
        y = self._add_product(self._bias, x, self._weight.mT, out=out)
        return y if self._activate is None else self._activate(y)

    def accumulate(self, delta: Tensor, x: Tensor) -> None:
        if self._wide_input:
            self._add_product(self._d_weight, delta.mT, x, out=self._d_weight)
        else:
            self._d_weight.add_(self._product(x.mT, delta).mT)
        self._d_bias.add_(delta.sum(-2, keepdim=delta.ndim == 3))

    def backward(self, delta: Tensor, out: Tensor) -> Tensor:
        if self._single_output:
            return torch.mul(delta, self._weight, out=out)
        return self._product(delta, self._weight, out=out)

    def by_inputs(self, delta: Tensor) -> Tensor:
        return self._product(self._weight.mT, delta.mT).mT


class _Node(torch.autograd.Function):
    """One evaluation; the parameter vector is an input only so that autograd comes here."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, vector: Tensor | None, networks: Perceptrons) -> Tensor:
        result, hidden = networks.forward(inputs)
        # saved through autograd: the result, held as an attribute, would keep itself alive
        ctx.save_for_backward(inputs, result)
        ctx.networks, ctx.hidden, ctx.trained = networks, hidden, vector is not None
        return result

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, None, None]:
        (delta,) = grad_outputs
        inputs, result = ctx.saved_tensors
        hidden, ctx.hidden = ctx.hidden, None
        by_inputs = ctx.networks.backward(
            delta, inputs, hidden, result, weights=ctx.trained, by_inputs=ctx.needs_input_grad[0]
        )
        return by_inputs, None, None
