"""A small network in numpy that can be trained: one hidden layer, mean squared error, Adam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.state import State

Floats = NDArray[np.float64]
_MOMENTUM, _SMOOTHING, _EPSILON = 0.9, 0.999, 1e-8


class Perceptron:
    """``relu(x W1 + b1) W2 + b2``, float64, trained by Adam (Kingma & Ba 2015, algorithm 1).

    Args:
        inputs: Width of ``x``.
        hidden: Width of the hidden layer.
        outputs: Width of the result.
        rng: Draws the weights: normal with variance ``2 / inputs`` and ``2 / hidden`` (He et al. 2015, eq. 10).
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, rng: np.random.Generator) -> None:
        self.weights: list[Floats] = [
            rng.standard_normal((inputs, hidden)) * np.sqrt(2.0 / inputs),
            np.zeros(hidden),
            rng.standard_normal((hidden, outputs)) * np.sqrt(2.0 / hidden),
            np.zeros(outputs),
        ]
        self._first = [np.zeros_like(w) for w in self.weights]
        self._second = [np.zeros_like(w) for w in self.weights]
        self._updates = 0

    def __call__(self, x: Floats) -> Floats:
        """``[B, inputs]`` to ``[B, outputs]``."""
        w1, b1, w2, b2 = self.weights
        return np.maximum(x @ w1 + b1, 0.0) @ w2 + b2

    def gradients(self, x: Floats, targets: Floats) -> tuple[float, list[Floats]]:
        """Loss ``mean_b |f(x_b) - y_b|^2`` and its derivatives in the order of ``weights``."""
        w1, b1, w2, b2 = self.weights
        hidden = np.maximum(x @ w1 + b1, 0.0)
        error = hidden @ w2 + b2 - targets
        slope = 2.0 * error / len(x)
        back = (slope @ w2.T) * (hidden > 0.0)
        loss = float(np.square(error).sum(axis=1).mean())
        return loss, [x.T @ back, back.sum(axis=0), hidden.T @ slope, slope.sum(axis=0)]

    def descend(self, x: Floats, targets: Floats, learning_rate: float) -> float:
        """One step of Adam; returns the loss before it."""
        loss, gradients = self.gradients(x, targets)
        self._updates += 1
        correction = np.sqrt(1.0 - _SMOOTHING**self._updates) / (1.0 - _MOMENTUM**self._updates)
        for w, first, second, gradient in zip(
            self.weights, self._first, self._second, gradients, strict=True
        ):
            first[...] = _MOMENTUM * first + (1.0 - _MOMENTUM) * gradient
            second[...] = _SMOOTHING * second + (1.0 - _SMOOTHING) * np.square(gradient)
            w[...] = w - learning_rate * correction * first / (np.sqrt(second) + _EPSILON)
        return loss

    def state_dict(self) -> State:
        """Weights and both moments."""
        return {
            "weights": [w.copy() for w in self.weights],
            "first": [m.copy() for m in self._first],
            "second": [v.copy() for v in self._second],
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there.

        Raises:
            ValueError: The weights have other shapes.
        """
        parts = {
            name: [np.array(a, np.float64) for a in state[name]] for name in ("weights", "first", "second")
        }
        wanted = [w.shape for w in self.weights]
        for name, arrays in parts.items():
            if [a.shape for a in arrays] != wanted:
                raise ValueError(
                    f"{name} have shapes {[a.shape for a in arrays]}, this network needs {wanted}"
                )
        self.weights, self._first, self._second = parts["weights"], parts["first"], parts["second"]
        self._updates = int(state["updates"])
