"""Optimizers as pure functions of their state, so that a whole window of steps is one compiled scan."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optix_core.errors import ConfigError

Params = Any


class Optimizer(Protocol):
    """Steps a pytree of parameters; the learning rate is an argument, so changing it compiles nothing.

    Attributes:
        learning_rate: The one to begin with.
    """

    learning_rate: float

    def init(self, params: Params) -> Any:
        """The state before the first step."""
        ...

    def step(
        self, params: Params, gradients: Params, state: Any, learning_rate: jax.Array
    ) -> tuple[Params, Any]:
        """Parameters and state after one step."""
        ...


class Moments(NamedTuple):
    """Adam's state.

    Attributes:
        mean: Like the parameters.
        square: Like the parameters.
        steps: Made so far, as float32 (exact up to 16 million).
    """

    mean: Params
    square: Params
    steps: jax.Array


class Adam:
    """Adam as its paper has it, epsilon outside of the root (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    Args:
        learning_rate: The one to begin with.
        eps: Added to the root of the corrected second moment.
        betas: Of both moments.
    """

    def __init__(
        self, learning_rate: float = 3e-4, *, eps: float = 1e-8, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.learning_rate = float(learning_rate)
        self._eps, self._betas = eps, betas

    shareable = True

    def __eq__(self, other: object) -> bool:
        """Whether both step alike; the learning rate is an argument of the step."""
        return isinstance(other, Adam) and (self._eps, self._betas) == (other._eps, other._betas)

    def __hash__(self) -> int:
        return hash((self._eps, self._betas))

    def init(self, params: Params) -> Moments:
        """Moments of zero."""
        # two trees: donated buffers must not be one
        return Moments(
            jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.zeros(())
        )

    def step(
        self, params: Params, gradients: Params, state: Moments, learning_rate: jax.Array
    ) -> tuple[Params, Moments]:
        """See :class:`Optimizer`."""
        b1, b2 = self._betas
        count = state.steps + 1.0
        # 1 - b^t through expm1: in single precision the difference itself has lost four digits at the first step
        bias1, bias2 = (-jnp.expm1(count * math.log(b)) for b in (b1, b2))
        rate, root = learning_rate / bias1, 1.0 / jnp.sqrt(bias2)
        mean = jax.tree.map(lambda m, g: m + (1.0 - b1) * (g - m), state.mean, gradients)
        square = jax.tree.map(lambda v, g: b2 * v + (1.0 - b2) * (g * g), state.square, gradients)
        after = jax.tree.map(
            lambda p, m, v: p - rate * (m / (jnp.sqrt(v) * root + self._eps)), params, mean, square
        )
        return after, Moments(mean, square, count)


class FromOptax:
    """A transformation of optax whose learning rate can be set.

    Args:
        transformation: Made by ``optax.inject_hyperparams``, with a hyperparameter ``learning_rate``.

    Attributes:
        learning_rate: The rate that it was made with, to begin with.

    Raises:
        ConfigError: It is no transformation, or its learning rate cannot be reached.
    """

    def __init__(self, transformation: Any) -> None:
        if not isinstance(transformation, optax.GradientTransformation):
            raise ConfigError(
                f"the optimizer is a {type(transformation).__name__}; it must be a transformation of optax"
            )
        self._transformation = optax.with_extra_args_support(transformation)
        known = getattr(self._transformation.init(jnp.zeros(1)), "hyperparams", {})
        if "learning_rate" not in known:
            raise ConfigError(
                "the optimizer's learning rate cannot be set while training, which tuning and recovery need: make it "
                "as optax.inject_hyperparams(optax.adam)(learning_rate=3e-4)"
            )
        # optax keeps it in single precision: the shortest number that rounds to it is the one that was written
        self.learning_rate = float(str(np.asarray(known["learning_rate"])[()]))

    def init(self, params: Params) -> Any:
        """Optax's state."""
        return self._transformation.init(params)

    def step(
        self, params: Params, gradients: Params, state: Any, learning_rate: jax.Array
    ) -> tuple[Params, Any]:
        """See :class:`Optimizer`."""
        kept = jnp.asarray(learning_rate, jnp.result_type(state.hyperparams["learning_rate"]))
        state = state._replace(hyperparams={**state.hyperparams, "learning_rate": kept})
        updates, state = self._transformation.update(gradients, state, params)
        return optax.apply_updates(params, updates), state


def as_optimizer(given: Any, learning_rate: float = 3e-4) -> Optimizer:
    """``given`` as an optimizer: ours as it is, a transformation of optax wrapped; None: Adam with ``learning_rate``.

    Raises:
        ConfigError: It is neither, or its learning rate cannot be set.
    """
    if given is None:
        return Adam(learning_rate)
    if all(callable(getattr(given, name, None)) for name in ("init", "step")):
        return given
    return FromOptax(given)
