"""Where each named array lies inside one flat buffer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ParameterLayout:
    """Names and shapes of the arrays that follow each other, without gaps, in a flat buffer.

    Attributes:
        names: One unique name per array.
        shapes: The shape of each; all are stored in C order.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.shapes):
            raise ValueError(f"{len(self.names)} names for {len(self.shapes)} shapes")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"names repeat: {self.names}")

    @property
    def size(self) -> int:
        """Number of elements of the whole buffer."""
        return sum(math.prod(shape) for shape in self.shapes)

    def views(self, buffer: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Each array as a view of ``buffer``; writing to one is seen through the other.

        Raises:
            ValueError: ``buffer`` is not one-dimensional, contiguous and of :attr:`size` elements.
        """
        if buffer.shape != (self.size,) or not buffer.flags.c_contiguous:
            raise ValueError(
                f"expected a contiguous buffer of shape ({self.size},), got shape {buffer.shape}"
                f"{'' if buffer.flags.c_contiguous else ', not contiguous'}"
            )
        found: dict[str, NDArray[Any]] = {}
        start = 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            stop = start + math.prod(shape)
            found[name] = buffer[start:stop].reshape(shape)
            start = stop
        return found

    def zeros(self, dtype: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
        """A new buffer that fits this layout."""
        return np.zeros(self.size, dtype)
