"""Perceptrons in tensors with gradients written out: several of one shape at once, on any device, in any type.

PyTorch builds and walks a graph of every layer, takes new memory for every result, and makes the gradients of all
weights whether anybody wants them or not. Here a forward and a backward pass are loops over layers of (batched) matrix
products in memory that is kept; an actor that climbs its critic gets the slope by actions and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from optix_core.acting import MLPSpec
from optix_torch.training.flat import FlatParameters

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
        memory: Other perceptrons of the same shape and number, whose working memory is shared: only the last forward
            pass of either can be followed by a backward pass.

    Raises:
        ValueError: The vector has another length.
    """

    def __init__(
        self, spec: MLPSpec, flat: FlatParameters, n: int = 1, *, memory: Perceptrons | None = None
    ) -> None:
        vector, grad = flat.vector.detach(), flat.grad
        if n * spec.layout.size != vector.numel():
            raise ValueError(
                f"{n} perceptrons of {spec.sizes} have {n * spec.layout.size} parameters, not {vector.numel()}"
            )
        layers: list[_Layer] = []
        start, lead = 0, (n,) if n > 1 else ()
        for (n_in, n_out), activation in zip(pairwise(spec.sizes), spec.activations, strict=True):
            middle, stop = start + n * n_out * n_in, start + n * n_out * (n_in + 1)
            weights, biases, row = (
                slice(start, middle),
                slice(middle, stop),
                (n, 1, n_out) if n > 1 else (n_out,),
            )
            layers.append(
                _Layer(
                    vector[weights].view(*lead, n_out, n_in),
                    vector[biases].view(row),
                    grad[weights].view(*lead, n_out, n_in),
                    grad[biases].view(row),
                    activation,
                )
            )
            start = stop
        self._set(spec, n, layers, _Memory(spec, n, vector) if memory is None else memory._memory)

    def _set(self, spec: MLPSpec, n: int, layers: list[_Layer], memory: _Memory) -> None:
        self.spec, self.n, self._layers, self._memory = spec, n, layers, memory
        self._kept: tuple[int, Tensor, list[Tensor], Tensor] | None = None
        self._each = [self] if n == 1 else [self.one(k) for k in range(n)]

    def one(self, k: int) -> Perceptrons:
        """The k-th of them alone, on the same weights and gradients."""
        alone = object.__new__(Perceptrons)
        layers = [layer.one(k) for layer in self._layers]
        alone._set(self.spec, 1, layers, _Memory(self.spec, 1, layers[0].weight))
        return alone

    def forward(self, inputs: Tensor, rows: int | None = None) -> Tensor:
        """``[K, B, out]``, or ``[B, out]`` if K is 1; nothing else will write there.

        Args:
            inputs: ``[B, in]``, in the parameters' type; longer rows, such as images, are flattened.
            rows: How many of the first rows a backward pass may follow for; None: all.
        """
        inputs = inputs if inputs.ndim == 2 else inputs.reshape(len(inputs), -1)
        turn, hidden = self._memory.take(len(inputs))
        x = self._for_all(inputs)
        for layer, out in zip(self._layers, [*hidden, None], strict=True):
            x = layer.forward(x, out)
        if rows is None or rows == len(inputs):
            self._kept = turn, inputs, hidden, x
        else:
            self._kept = turn, inputs[:rows], [h[..., :rows, :] for h in hidden], x[..., :rows, :]
        return x

    def backward(self, delta: Tensor) -> None:
        """Overwrite the gradients of all weights.

        Args:
            delta: Derivative of a loss by what the last :meth:`forward` gave; not written to.

        Raises:
            RuntimeError: There was no forward pass since the last backward pass.
        """
        inputs, hidden, result = self._last()
        before, after = [self._for_all(inputs), *hidden], [*hidden, result]
        products = self._memory.products(len(inputs))
        for i in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[i]
            # what a hidden layer gave is not needed any more once its derivative is known
            delta = layer.through(delta, after[i], after[i] if i < len(hidden) else None)
            layer.gradients(delta, before[i])
            if i:
                delta = layer.backward(delta, products[i - 1])

    def slopes(self, chosen: Tensor | None, start: int) -> Tensor:
        """Derivative ``[B, in - start]`` of one output by the inputs from column ``start`` on; weights are left out.

        Args:
            chosen: ``[B]``, which of the K each row is about; None: the first.
            start: The first column.

        Raises:
            RuntimeError: As for :meth:`backward`.
        """
        inputs, hidden, result = self._last()
        after = [*hidden, result]
        found = result.new_empty(len(inputs), inputs.shape[1] - start)
        for k, alone in enumerate(self._each):
            mine = [y if self.n == 1 else y[k] for y in after]
            rows = None if chosen is None else (chosen == k).nonzero().squeeze(1)
            if rows is not None and len(rows) < len(inputs):
                mine = [y.index_select(0, rows) for y in mine]
            delta = mine[-1].new_ones(mine[-1].shape)
            for i in range(len(alone._layers) - 1, -1, -1):
                layer = alone._layers[i]
                delta = layer.through(delta, mine[i], mine[i] if i < len(hidden) else None)
                delta = layer.backward(delta, None) if i else layer.by_inputs(delta, start)
            if rows is None:
                return delta
            found.index_copy_(0, rows, delta)
        return found

    def _last(self) -> tuple[Tensor, list[Tensor], Tensor]:
        kept, self._kept = self._kept, None
        if kept is None or kept[0] != self._memory.turn:
            raise RuntimeError("a backward pass needs a forward pass just before it")
        return kept[1:]

    def _for_all(self, inputs: Tensor) -> Tensor:
        """The same inputs for each of the K."""
        return inputs.expand(self.n, *inputs.shape) if self.n > 1 else inputs


class _Memory:
    """Buffers for hidden layers; taking fresh memory would cost more than some of the products that fill it."""

    def __init__(self, spec: MLPSpec, n: int, like: Tensor) -> None:
        self._widths, self._lead, self._like = spec.sizes[1:-1], (n,) if n > 1 else (), like.detach()
        self._hidden: dict[int, list[Tensor]] = {}
        self._products: dict[int, list[Tensor]] = {}
        self.turn = 0

    def take(self, b: int) -> tuple[int, list[Tensor]]:
        """A number that says whose turn it is, and one buffer ``[K, b, width]`` for each hidden layer."""
        self.turn += 1
        return self.turn, self._of(self._hidden, b)

    def products(self, b: int) -> list[Tensor]:
        """As many buffers for a backward pass."""
        return self._of(self._products, b)

    def _of(self, kept: dict[int, list[Tensor]], b: int) -> list[Tensor]:
        if b not in kept:
            if len(kept) >= _KEPT_SIZES:
                kept.clear()
            kept[b] = [self._like.new_empty(*self._lead, b, width) for width in self._widths]
        return kept[b]


class _Layer:
    """One layer of all K.

    Libraries of linear algebra are about twice as fast where a narrow matrix has few rows instead of few columns, so
    narrow results are computed transposed.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, d_weight: Tensor, d_bias: Tensor, activation: str
    ) -> None:
        self.weight, self._bias, self._d_weight, self._d_bias = weight, bias, d_weight, d_bias
        self._activation = activation
        self._activate, self._differentiate = _ACTIVATE.get(activation), _DIFFERENTIATE.get(activation)
        stacked = weight.ndim == 3
        self._add_product: Callable[..., Tensor] = torch.baddbmm if stacked else torch.addmm
        self._product: Callable[..., Tensor] = torch.bmm if stacked else torch.mm
        n_out, n_in = weight.shape[-2:]
        self._wide_input, self._single_output, self._transposed = n_in >= n_out, n_out == 1, weight.mT

    def one(self, k: int) -> _Layer:
        return _Layer(
            self.weight[k], self._bias[k, 0], self._d_weight[k], self._d_bias[k, 0], self._activation
        )

    def forward(self, x: Tensor, out: Tensor | None) -> Tensor:
        y = self._add_product(self._bias, x, self._transposed, out=out)
        return y if self._activate is None else self._activate(y)

    def through(self, delta: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
        """The derivative by the activation's input."""
        if self._differentiate is None:
            return delta
        return self._differentiate(delta, y, torch.empty_like(delta) if out is None else out)

    def gradients(self, delta: Tensor, x: Tensor) -> None:
        if self._wide_input:
            self._product(delta.mT, x, out=self._d_weight)
        else:
            self._d_weight.copy_(self._product(x.mT, delta).mT)
        torch.sum(delta, -2, keepdim=delta.ndim == 3, out=self._d_bias)

    def backward(self, delta: Tensor, out: Tensor | None) -> Tensor:
        if self._single_output:
            return torch.mul(delta, self.weight, out=out)
        return self._product(delta, self.weight, out=out)

    def by_inputs(self, delta: Tensor, start: int) -> Tensor:
        return self._product(self.weight[..., start:].mT, delta.mT).mT
