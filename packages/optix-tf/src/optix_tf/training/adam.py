"""Adam over one vector, as the paper has it, as a function of its state.

Kingma and Ba 2015 (arXiv:1412.6980), algorithm 1: epsilon is added to the corrected deviation,
``sqrt(v / (1 - b2^t)) + epsilon``, as in PyTorch and optax. ``keras.optimizers.Adam`` has the other form of section 2,
last paragraph, where epsilon is added before the correction: early steps with small gradients are several times
smaller there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from optix_core.errors import ConfigError

State = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Adam:
    """Settings of the optimizer; its state is passed to :meth:`step` and returned by it.

    Attributes:
        learning_rate: What training starts with; it is then a hyperparameter of the agent.
        beta_1: Decay of the mean of gradients.
        beta_2: Decay of the mean of their squares.
        epsilon: Added to the deviation.
    """

    learning_rate: float = field(default=3e-4, compare=False)
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        valid = self.learning_rate > 0 and 0 <= self.beta_1 < 1 and 0 <= self.beta_2 < 1 and self.epsilon >= 0
        if not valid:
            raise ConfigError(
                f"{self} is no Adam: learning_rate must be positive, betas at least 0 and below 1, epsilon at least 0"
            )

    def init(self, vector: Any) -> State:
        """The state before the first step: both means ``[P]`` and the number of steps."""
        return tf.zeros_like(vector), tf.zeros_like(vector), tf.zeros((), vector.dtype)

    def step(
        self, gradient: Any, vector: Any, state: State, learning_rate: Any, allowed: Any = True
    ) -> tuple[Any, State]:
        """One step; to be called inside a compiled function.

        Args:
            gradient: ``[P]``.
            vector: ``[P]``, the parameters.
            state: From :meth:`init` or the last step.
            learning_rate: A scalar of the same type.
            allowed: Where False (a scalar), everything stays as it was.

        Returns:
            The parameters and the state afterwards.
        """
        m, v, t = state
        t_new = t + 1.0
        m_new = m + (1.0 - self.beta_1) * (gradient - m)
        v_new = self.beta_2 * v + (1.0 - self.beta_2) * gradient * gradient
        deviation = (
            tf.sqrt(v_new) / tf.sqrt(1.0 - tf.pow(tf.constant(self.beta_2, t.dtype), t_new)) + self.epsilon
        )
        rate = learning_rate / (1.0 - tf.pow(tf.constant(self.beta_1, t.dtype), t_new))
        vector_new = vector - rate * m_new / deviation
        if allowed is True:
            return vector_new, (m_new, v_new, t_new)
        kept = [tf.where(allowed, new, old) for new, old in zip((m_new, v_new, t_new), state, strict=True)]
        return tf.where(allowed, vector_new, vector), tuple(kept)
