"""Variables of Keras as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def array_of(variable: Any) -> NDArray[Any]:
    """A copy of what a Keras variable, or a tensor, holds."""
    return np.array(variable.numpy())


def single(variable: Any) -> NDArray[np.float32]:
    """The same in single precision."""
    return np.array(variable.numpy(), np.float32)
