"""REINFORCE and A2C for a user's own Keras model (Williams 1992; Mnih et al. 2016, arXiv:1602.01783).

The model returns logits ``[B, A]``, or logits and values ``(``[B, A]``, ``[B]`` or ``[B, 1]``)``. One gradient step per
window on ``-mean(target * log pi(a|s))``. Returns start afresh after every episode end and, where the data stops
before the episode does (time limit, end of the window), go on with the value of what followed:

- a model with values: its own value of that observation; targets are returns minus values (A2C);
- a window with recorded ``values``: the last recorded value of that episode, one step old; targets as above;
- neither: nothing is known about the rest, so returns count the rewards that were seen (REINFORCE).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.acting.policy import require_usable
from optix_core.agents.discrete_actions import DiscreteActions
from optix_core.agents.hypers.reinforce import HYPERS
from optix_core.agents.model_agent import ModelAgent, Targets, targets_of
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.streams import Streams
from optix_core.errors import ConfigError
from optix_core.rl.successors import rows
from optix_core.types import EpisodeData, HyperparamSet
from optix_tf.describing import describe, last_width
from optix_tf.device import resolve_device
from optix_tf.networks.forward import forward_of
from optix_tf.policy_gradient.one_step import Settings, make_gradient, make_step, split_outputs
from optix_tf.training.batching import padded_tree, staged
from optix_tf.training.compiling import compiled
from optix_tf.training.known import compiles
from optix_tf.training.optimizer_state import learning_rate_of
from optix_tf.training.shapes import padded, rounded_up
from optix_tf.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder

LossFn = Callable[[Any, EpisodeData, Any], Any]
"""``(model, window, targets [T * N]) -> scalar loss``; targets are a tensor of the model's type, standardised."""


class TFAgent(ModelAgent):
    """Trains any Keras model for discrete actions.

    Args:
        model: Built; ``[B, *obs]`` to logits, or to a tuple of logits and values. It acts and learns as it is called
            with ``training=False``.
        optimizer: :class:`~optix_tf.Adam`, or any of ``keras.optimizers`` that is new.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.reinforce``. Copied.
        compute_loss_fn: Replaces the whole loss; called once per window, eagerly, with the model itself. What it
            computes from the model's variables is differentiated.
        device: ``"auto"`` (a GPU if TensorFlow sees one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        seed: Root seed of acting; None draws one from the operating system.

    Raises:
        ConfigError: The model, the optimizer or the device cannot be used.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        compute_loss_fn: LossFn | None = None,
        *,
        device: str = "auto",
        seed: int | None = None,
    ) -> None:
        hp = declared.merge(HYPERS, learning_rate_of(optimizer), hyperparams, owner="TFAgent")
        self._device = resolve_device(device)
        with tf.device(self._device):
            self._training = Trainable({"model": model}, optimizer)
        self._model, self._compute_loss_fn = model, compute_loss_fn
        self._forward = forward_of(self._training, model)
        training = self._training
        self._gradient = compiled(
            make_gradient,
            training.layout,
            training.network(model),
            shareable=training.shareable,
            xla=compiles(model),
        )
        self._step = compiled(
            make_step,
            training.layout,
            training.optimizer,
            shareable=training.shareable_optimizer,
            xla=training.shareable_optimizer,
        )
        self._actions = DiscreteActions(None, "TFAgent")
        self._assemble({"model": training}, Streams(seed), Normalizers(None, None), hp)

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One gradient step; a loss of NaN says that its gradient was not finite and no step was made."""
        hp, window, training = self._hp, episode_data, self._training
        if not window.n_steps:
            return {"n_updates": 0, "skipped": "the window is empty"}
        targets = targets_of(window, self._predicted, gamma=hp["gamma"])
        # One step.
        rate = {"learning_rate": training.learning_rate()}
        settings = Settings(
            *(np.asarray((hp | rate)[name], training.layout.dtype) for name in Settings._fields)
        )
        with tf.device(self._device):
            if self._compute_loss_fn is None:
                loss, gradient = self._gradient(*self._data(window, targets), settings)
            else:
                loss, gradient = self._by_hand(self._compute_loss_fn, window, targets.weights)
            vector, state, norm = self._step(gradient, training.vector, training.state, settings)
        grad_norm = float(norm)
        if math.isfinite(grad_norm):
            training.adopt(vector, state)
            training.publish()
        return targets.report(float(loss), grad_norm)

    def _data(self, window: EpisodeData, targets: Targets) -> tuple[Any, ...]:
        """What the compiled gradient takes, nearly of the lengths that other windows have."""
        dtype = self._training.layout.dtype
        n = rounded_up(len(targets.weights))
        seen = padded_tree(staged(rows(window, "observations"), dtype), n)
        actions = padded(rows(window, "actions").astype(np.int32), n)
        known = (targets.weights, targets.returns.reshape(-1), np.ones(len(targets.weights)))
        columns = [padded(x.astype(dtype), n) for x in known]
        return self._training.vector, seen, actions, *columns

    def _by_hand(self, loss_fn: LossFn, window: EpisodeData, targets: NDArray[Any]) -> tuple[Any, Any]:
        """The user's loss and its gradient by all trained variables."""
        with tf.GradientTape() as tape:
            loss = loss_fn(self._model, window, tf.constant(targets, self._training.layout.dtype))
        if not tf.is_tensor(loss) or loss.shape.rank != 0:
            raise ConfigError(
                f"compute_loss_fn returned {loss!r}; it must return a scalar tensor that is computed from the model"
            )
        return loss, self._training.gradient(tape, loss)

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        return self._actions.describe(b, describe(b, self._model, x), mask, last_width(self._model))

    def _row(self, observation: Any) -> NDArray[Any]:
        return np.asarray(observation)[None]

    def _predicted(self, observations: NDArray[Any]) -> NDArray[Any] | None:
        values = split_outputs(self._forward(observations))[1]
        return None if values is None else np.array(values).reshape(-1)

    def _logits(self, observations: NDArray[Any]) -> NDArray[Any]:
        logits = split_outputs(self._forward(observations))[0]
        require_usable(logits, categorical=True)
        return logits
