"""One step of a recurrent network in numpy, on views of a parameter buffer.

Parameters, the order of the gates and the results are those of ``torch.nn.LSTM`` and ``torch.nn.GRU``. Memory is a row
of numbers per environment, so that whoever steps the environments can keep, reset and record it without knowing
what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.parameters import ParameterLayout

Cell = Literal["lstm", "gru"]
GATES = {"lstm": 4, "gru": 3}
"""Rows of each weight, in multiples of the hidden size."""
STATES = {"lstm": 2, "gru": 1}
"""Vectors that one layer remembers: h and c, or h alone."""


@dataclass(frozen=True, slots=True)
class RecurrentSpec:
    """The shape of a recurrent network.

    Attributes:
        cell: ``"lstm"`` (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000) or ``"gru"``
            (Cho et al. 2014, arXiv:1406.1078, with the reset gate behind the recurrent product).
        input_size: Width of the input.
        hidden_size: Width H of every layer's output.
        layers: L, one above the other.
    """

    cell: Cell
    input_size: int
    hidden_size: int
    layers: int = 1

    def __post_init__(self) -> None:
        if self.cell not in GATES:
            raise ValueError(f"unknown cell {self.cell!r}; there are {', '.join(GATES)}")
        if min(self.input_size, self.hidden_size, self.layers) < 1:
            raise ValueError(f"all sizes of a recurrent network must be positive; got {self}")

    @property
    def memory_size(self) -> int:
        """Numbers that it remembers: ``h [L * H]``, followed by ``c [L * H]`` for an LSTM."""
        return STATES[self.cell] * self.layers * self.hidden_size

    @property
    def layout(self) -> ParameterLayout:
        """``weight_ih_l0 [G H, in], weight_hh_l0 [G H, H], bias_ih_l0 [G H], bias_hh_l0 [G H], weight_ih_l1, ...``.

        The G gates lie one below the other: input, forget, cell, output (LSTM) or reset, update, new (GRU).
        """
        names: list[str] = []
        shapes: list[tuple[int, ...]] = []
        rows = GATES[self.cell] * self.hidden_size
        for i in range(self.layers):
            width = self.hidden_size if i else self.input_size
            names += [f"{name}_l{i}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            shapes += [(rows, width), (rows, self.hidden_size), (rows,), (rows,)]
        return ParameterLayout(tuple(names), tuple(shapes))


class RecurrentCell:
    """Steps a recurrent network; whoever trains the buffer changes what the next step computes.

    Args:
        spec: The shape.
        parameters: A flat buffer that fits ``spec.layout``, float32 or float64; it is viewed, and computation is in
            its type.
    """

    def __init__(self, spec: RecurrentSpec, parameters: NDArray[Any]) -> None:
        self.spec = spec
        self.parameters = parameters
        arrays = spec.layout.views(parameters)
        self._dtype = parameters.dtype
        self._layers = [
            [arrays[f"{name}_l{i}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            for i in range(spec.layers)
        ]
        # sigmoid(x) = 1/2 tanh(x/2) + 1/2, so one tanh serves all gates of an LSTM; only the third is no sigmoid
        sigmoid = np.repeat(np.array([True, True, False, True]), spec.hidden_size)[:, None]
        self._scale = np.where(sigmoid, 0.5, 1.0).astype(self._dtype)
        self._offset = np.where(sigmoid, 0.5, 0.0).astype(self._dtype)
        self._advance = self._lstm if spec.cell == "lstm" else self._gru

    def step(self, inputs: NDArray[Any], memory: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
        """One time step of N sequences.

        Args:
            inputs: ``[N, in]``, or ``[N, ...]`` to be flattened after the first axis.
            memory: ``[N, M]`` before this step; not written to.
            after: ``[N, M]``, gets the memory after this step; may not overlap ``memory``.

        Returns:
            The last layer's output ``[N, H]``, in the parameters' type.

        Raises:
            ValueError: The inputs or the memory have another width.
        """
        spec, n = self.spec, len(inputs)
        x = inputs.reshape(n, -1).astype(self._dtype, copy=False)
        if x.shape[1] != spec.input_size:
            raise ValueError(f"observations have {x.shape[1]} features, expected {spec.input_size}")
        if memory.shape != (n, spec.memory_size):
            raise ValueError(f"memory has shape {memory.shape}, expected {(n, spec.memory_size)}")
        # Sequences are columns inside: then each gate is one block, and BLAS is several times faster for few sequences.
        columns, before = x.T, memory.T.astype(self._dtype, order="C")
        size = spec.hidden_size
        for i, layer in enumerate(self._layers):
            columns = self._advance(columns, before, after, i * size, size, layer)
        return np.ascontiguousarray(columns.T)

    def _lstm(
        self, x: NDArray[Any], before: NDArray[Any], after: NDArray[Any], at: int, size: int, layer: Any
    ) -> NDArray[Any]:
        w_input, w_hidden, b_input, b_hidden = layer
        cells = self.spec.layers * size + at
        gates = w_input @ x
        gates += w_hidden @ before[at : at + size]
        gates += (b_input + b_hidden)[:, None]
        gates *= self._scale
        np.tanh(gates, out=gates)
        gates *= self._scale
        gates += self._offset
        c = gates[size : 2 * size] * before[cells : cells + size]
        c += gates[:size] * gates[2 * size : 3 * size]
        after[:, cells : cells + size] = c.T
        h: NDArray[Any] = np.tanh(c, out=c)
        h *= gates[3 * size :]
        after[:, at : at + size] = h.T
        return h

    def _gru(
        self, x: NDArray[Any], before: NDArray[Any], after: NDArray[Any], at: int, size: int, layer: Any
    ) -> NDArray[Any]:
        w_input, w_hidden, b_input, b_hidden = layer
        old = before[at : at + size]
        from_input = w_input @ x
        from_input += b_input[:, None]
        from_hidden = w_hidden @ old
        from_hidden += b_hidden[:, None]
        gates = from_input[: 2 * size]
        gates += from_hidden[: 2 * size]
        gates *= 0.5
        np.tanh(gates, out=gates)
        gates *= 0.5
        gates += 0.5
        new = from_hidden[2 * size :]
        new *= gates[:size]
        new += from_input[2 * size :]
        np.tanh(new, out=new)
        h: NDArray[Any] = old - new
        h *= gates[size:]
        h += new
        after[:, at : at + size] = h.T
        return h
