"""The variables of Keras models as the parts of one vector: the way there and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core.errors import ConfigError
from optix_tf.arrays import array_of
from optix_tf.training.parameters import Layout


class FlatVariables:
    """Variables in the order of the vector's parts.

    Args:
        variables: One for each part.
        turned: Which of them lie in the vector transposed, as weights ``[out, in]``.
        owner: The models' names, for messages.

    Attributes:
        variables: As given.
        layout: Of the vector.

    Raises:
        ConfigError: There are none, or not all are float32 or all float64.
    """

    def __init__(self, variables: Sequence[Any], turned: Sequence[bool], *, owner: str) -> None:
        self.variables, self._turned = list(variables), list(turned)
        dtypes = {str(variable.dtype) for variable in self.variables}
        if len(dtypes) != 1 or not dtypes <= {"float32", "float64"}:
            raise ConfigError(
                f"{owner} need trainable variables of one type, float32 or float64; found "
                f"{', '.join(sorted(dtypes)) or 'none'}"
            )
        shapes = [tuple(int(size) for size in variable.shape) for variable in self.variables]
        parts = [shape[::-1] if t else shape for shape, t in zip(shapes, self._turned, strict=True)]
        self.layout = Layout(tuple(parts), dtypes.pop())

    def read(self) -> NDArray[Any]:
        """What they are now, as a vector ``[P]``; a fresh array."""
        values = [array_of(variable) for variable in self.variables]
        turned = [value.T if t else value for value, t in zip(values, self._turned, strict=True)]
        return np.concatenate([value.reshape(-1) for value in turned])

    def write(self, vector: NDArray[Any]) -> None:
        """Assign the parts of ``vector`` ``[P]`` to them."""
        for variable, values in zip(self.variables, self.pieces(vector), strict=True):
            variable.assign(values)

    def pieces(self, vector: NDArray[Any]) -> list[NDArray[Any]]:
        """Views of ``vector`` ``[P]`` as their values."""
        cut = np.split(vector, np.cumsum(self.layout.sizes)[:-1])
        shaped = [piece.reshape(shape) for piece, shape in zip(cut, self.layout.shapes, strict=True)]
        return [piece.T if t else piece for piece, t in zip(shaped, self._turned, strict=True)]

    def split(self, vector: Any) -> list[Any]:
        """The tensor ``vector`` ``[P]`` as their values; inside a compiled function."""
        parts = self.layout.split(vector)
        return [tf.transpose(part) if t else part for part, t in zip(parts, self._turned, strict=True)]

    def join(self, values: Sequence[Any]) -> Any:
        """Values of them as a tensor ``[P]``: the inverse of :meth:`split`."""
        turned = zip(values, self._turned, strict=True)
        return self.layout.join(
            [tf.transpose(value) if t else tf.convert_to_tensor(value) for value, t in turned]
        )

    def gradient(self, tape: Any, loss: Any) -> Any:
        """The gradient ``[P]`` of a loss that was computed, under ``tape``, from the variables themselves."""
        found = tape.gradient(loss, [variable.value for variable in self.variables])
        return self.join(
            [
                tf.zeros(variable.shape, variable.dtype) if part is None else tf.convert_to_tensor(part)
                for part, variable in zip(found, self.variables, strict=True)
            ]
        )
