"""The optimizer of a vector, ours or one of Keras: its learning rate, what it keeps, and both as a state to store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from optix_core.agents.weights import require_same
from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_core.state import State
from optix_tf.arrays import array_of
from optix_tf.training.adam import Adam
from optix_tf.training.flat_variables import FlatVariables
from optix_tf.training.keras_optimizer import KerasOptimizer


class OptimizerState:
    """One optimizer at work.

    Ours is a function of its state, which is kept here; one of Keras keeps its state in variables of its own.

    Args:
        optimizer: :class:`~optix_tf.training.adam.Adam`, or any of Keras.
        variables: What it steps.
        vector: ``[P]``, their values as an eager tensor.

    Attributes:
        optimizer: Steps the vector inside compiled functions.
        moments: Its state, eager tensors; none for an optimizer of Keras.

    Raises:
        ConfigError: The optimizer cannot be used.
    """

    def __init__(self, optimizer: Any, variables: FlatVariables, vector: Any) -> None:
        self._dtype = variables.layout.dtype
        self.optimizer = _usable(optimizer, variables)
        self.moments: tuple[Any, ...] = self.optimizer.init(vector)
        self._rate = optimizer.learning_rate if isinstance(optimizer, Adam) else self.learning_rate()

    @property
    def shareable(self) -> bool:
        """Whether the optimizer is a function of its state, and not an object of Keras with variables of its own."""
        return isinstance(self.optimizer, Adam)

    def learning_rate(self) -> float:
        """As the optimizer has it."""
        return self.optimizer.learning_rate() if isinstance(self.optimizer, KerasOptimizer) else self._rate

    def set_learning_rate(self, value: float) -> None:
        """From the next step on; moments are kept."""
        if isinstance(self.optimizer, KerasOptimizer):
            self.optimizer.set_learning_rate(value)
        self._rate = value

    def snapshot(self) -> dict[str, Any] | None:
        """What a compiled update changes before it is adopted: what an optimizer of Keras keeps; nothing for ours."""
        return self.optimizer.arrays() if isinstance(self.optimizer, KerasOptimizer) else None

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Give an optimizer of Keras back what it had at :meth:`snapshot`."""
        assert isinstance(self.optimizer, KerasOptimizer)
        self.optimizer.load_arrays(snapshot, owner="this agent")

    def state_dict(self) -> State:
        """The optimizer's kind and what it keeps, as arrays."""
        if isinstance(self.optimizer, KerasOptimizer):
            return {"kind": type(self.optimizer.optimizer).__name__, "arrays": self.optimizer.arrays()}
        arrays = {str(i): np.array(part) for i, part in enumerate(self.moments)}
        return {"kind": type(self.optimizer).__name__, "arrays": arrays}

    def load_state_dict(self, state: Mapping[str, Any], *, owner: str) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: It is of another kind or of other parameters; nothing is changed then.
        """
        own = self.state_dict()
        if state["kind"] != own["kind"]:
            raise IncompatibleCheckpoint(
                f"the optimizer state is of {state['kind']}, but {owner} is trained by {own['kind']}"
            )
        if isinstance(self.optimizer, KerasOptimizer):
            self.optimizer.load_arrays(dict(state["arrays"]), owner=owner)
            return
        require_same(own["arrays"], state["arrays"], owner=f"the optimizer of {owner}")
        self.moments = tuple(
            tf.constant(np.array(state["arrays"][str(i)], self._dtype)) for i in range(len(self.moments))
        )


def learning_rate_of(optimizer: Any) -> dict[str, float]:
    """What the optimizer starts with, as a hyperparameter; nothing where it has no such number."""
    rate = getattr(optimizer, "learning_rate", None)
    try:
        return {"learning_rate": float(rate if isinstance(rate, float | int) else array_of(rate))}
    except (
        AttributeError,
        TypeError,
        ValueError,
    ):  # a schedule, or no optimizer at all: refused where it is used
        return {}


def _usable(optimizer: Any, variables: FlatVariables) -> Adam | KerasOptimizer:
    if isinstance(optimizer, Adam):
        return optimizer
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return KerasOptimizer(optimizer, variables.variables, variables.split, variables.join)
    raise ConfigError(
        f"the optimizer is {type(optimizer).__module__}.{type(optimizer).__qualname__}; it must be "
        "optix_tf.Adam or an optimizer of keras.optimizers (those of tf_keras and tf.compat are others)"
    )
