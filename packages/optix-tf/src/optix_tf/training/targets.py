"""Target networks: slow copies that make the targets of temporal-difference learning stand still.

Copied now and then (Mnih et al. 2015, doi:10.1038/nature14236) or drawn along a little with each step (Polyak
averaging; Lillicrap et al. 2015, arXiv:1509.02971, section 3). What a model holds besides trained parameters never
changes while an agent learns, so a slow copy is a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core.agents.weights import require_same
from optix_core.state import State
from optix_tf.training.trainable import Trainable


def followed(slow: Any, online: Any, tau: Any) -> Any:
    """``slow`` after the share ``tau`` (0 to 1) of the way towards ``online``; exactly there for 1. Vectors ``[P]``.

    Counted from the nearer end, as PyTorch's ``lerp`` does.
    """
    return tf.cond(
        tau < 0.5, lambda: slow + tau * (online - slow), lambda: online - (1.0 - tau) * (online - slow)
    )


class TargetVector:
    """The slow copy of what a :class:`~optix_tf.training.trainable.Trainable` trains.

    Args:
        training: The original.

    Attributes:
        vector: ``[P]``, an eager tensor; compiled updates take it and may give another one.
    """

    def __init__(self, training: Trainable) -> None:
        self._training = training
        self.vector: Any = training.vector

    def copy(self) -> None:
        """Become equal to the original."""
        self.vector = self._training.vector

    def polyak(self, tau: float) -> None:
        """Go the share ``tau`` of the way towards the original."""
        self.vector = followed(
            self.vector, self._training.vector, tf.constant(tau, self._training.layout.dtype)
        )

    def to_numpy(self) -> NDArray[Any]:
        """A copy on the host."""
        return np.array(self.vector)

    def state_dict(self) -> State:
        """The parameters."""
        return {"parameters": self.to_numpy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: It is of another size; nothing is changed then.
        """
        require_same(self.state_dict(), state, owner="the target network")
        self.vector = tf.constant(np.array(state["parameters"], self._training.layout.dtype))
