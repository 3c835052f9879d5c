"""Optimizers of Keras behind the same interface as ours: stepped by their own update, inside the compiled function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from optix_core.agents.weights import require_same
from optix_core.errors import ConfigError
from optix_tf.arrays import array_of
from optix_tf.training.adam import State


class KerasOptimizer:
    """Steps Keras variables that hold the same numbers as the vector.

    Args:
        optimizer: Any ``keras.optimizers.Optimizer`` whose learning rate is a number.
        variables: The trained variables, in the order of the vector's parts.
        split: The vector as values of those variables.
        join: Values of them as a vector.

    Raises:
        ConfigError: Its learning rate is a schedule, or it was built for other variables.
    """

    shareable = False

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[Any],
        split: Callable[[Any], list[Any]],
        join: Callable[[Sequence[Any]], Any],
    ) -> None:
        if isinstance(
            getattr(optimizer, "_learning_rate", None), keras.optimizers.schedules.LearningRateSchedule
        ):
            raise ConfigError(
                f"the {type(optimizer).__name__} has a learning-rate schedule, but the learning rate is a "
                "hyperparameter of the agent, which optix reads and sets. Give the optimizer a number, and "
                "learning_rate_decay_steps to the agent if it shall fall"
            )
        self.optimizer, self._variables = optimizer, list(variables)
        self._split, self._join = split, join
        if not optimizer.built:
            optimizer.build(self._variables)
        held = {id(variable) for variable in optimizer._trainable_variables}
        missing = sum(id(variable) not in held for variable in self._variables)
        if missing:
            raise ConfigError(
                f"the {type(optimizer).__name__} was built for other variables and lacks {missing} of the "
                f"{len(self._variables)} that are trained here; give each agent a new optimizer"
            )

    def init(self, vector: Any) -> State:
        """Nothing: Keras keeps its state itself."""
        del vector
        return ()

    def step(
        self, gradient: Any, vector: Any, state: State, learning_rate: Any, allowed: Any = True
    ) -> tuple[Any, State]:
        """One step where ``allowed``; the learning rate is the optimizer's own, see :meth:`set_learning_rate`."""
        del learning_rate

        def stepped() -> Any:
            self.optimizer.apply(self._split(gradient), self._variables)
            return self._join([variable.value for variable in self._variables])

        if allowed is True:
            return stepped(), state
        return tf.cond(allowed, stepped, lambda: vector), state

    def learning_rate(self) -> float:
        """As the optimizer has it."""
        return float(array_of(self.optimizer.learning_rate))

    def set_learning_rate(self, value: float) -> None:
        """Into its variable; nothing is compiled again."""
        self.optimizer.learning_rate = value

    def arrays(self) -> dict[str, Any]:
        """Copies of all that it keeps, but the learning rate, by place: names depend on how many layers were made."""
        return {name: array_of(variable) for name, variable in self._kept()}

    def load_arrays(self, arrays: dict[str, Any], *, owner: str) -> None:
        """Take over :meth:`arrays`.

        Raises:
            IncompatibleCheckpoint: They are of another optimizer or other parameters.
        """
        require_same(self.arrays(), arrays, owner=f"the optimizer of {owner}")
        for name, variable in self._kept():
            variable.assign(arrays[name])

    def _kept(self) -> list[tuple[str, Any]]:
        rate = getattr(self.optimizer, "_learning_rate", None)
        return [
            (str(i), variable) for i, variable in enumerate(self.optimizer.variables) if variable is not rate
        ]
