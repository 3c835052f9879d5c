"""Deep Q-learning (Mnih et al. 2015, doi:10.1038/nature14236), with its usual improvements.

What decides success:

1. The Huber loss, and a clip of the global gradient norm at 10.
2. Everything that has a cadence counts environment steps: epsilon, gradient steps, the target network.
3. Double Q-learning (van Hasselt et al. 2016, arXiv:1509.06461): the online network chooses, the target network says
   what that is worth.
4. Only terminal states have no value. A time limit is bootstrapped from the observation that truly followed.
5. n-step returns are discounted by the steps that were really summed, and never reach over a reset.
6. Prioritised replay (Schaul et al. 2016, arXiv:1511.05952): priority is the size of the error; weights are applied
   to each sample before the mean, their exponent annealed to 1.
7. Masked actions are never drawn, never chosen, and never the maximum in a target.

What a gradient step is stands in ``action_values/update.py`` and ``action_values/losses.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.agents import describing
from optix_core.agents.draws import stacked
from optix_core.agents.epsilon_greedy import EpsilonGreedyAgent
from optix_core.agents.experience import make_replay
from optix_core.agents.hypers.dqn import HYPERS
from optix_core.agents.mirror import Mirror
from optix_core.agents.steps import StepLog
from optix_core.agents.value_agent import Masks, best
from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.types import HyperparamSet
from optix_tf.action_values.standard import q_parts
from optix_tf.action_values.update import SETTINGS, QState, make_q_update
from optix_tf.describing import describe
from optix_tf.device import resolve_device
from optix_tf.networks.forward import forward_of, outputs_of
from optix_tf.networks.q_network import without_dueling
from optix_tf.training.rounds import batches_of, rounds
from optix_tf.training.targets import TargetVector
from optix_tf.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer

NAME = "TFDQNAgent"


class TFDQNAgent(EpsilonGreedyAgent):
    """Deep Q-learning with epsilon-greedy exploration.

    All gradient steps that are due at one moment are one compiled function, which no hyperparameter makes compile
    again. With prioritised replay each step is a call of its own: what it finds decides what the next one draws. Plain
    perceptrons (also with a :class:`~optix_tf.networks.dueling.Dueling` layer at the end) act through numpy, any other
    model through a compiled function.

    Args:
        q_network: A built Keras model, ``[B, *obs]`` to action values ``[B, A]``; called with ``training=False``.
        n_actions: A.
        optimizer: :class:`~optix_tf.training.adam.Adam`, or any of ``keras.optimizers``.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.dqn``. Copied.
        device: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        action_space: The environment's Discrete space; needed only if its first action is not 0.
        observation_space: Needed only by :meth:`act` for observations with parts.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        replay: Used instead of a new buffer, for example a ``HindsightReplay``.
        seed: Root seed of exploration and replay; None draws one from the operating system.

    Raises:
        ConfigError: Network, optimizer, device or replay memory cannot be used together.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS

    def __init__(
        self,
        q_network: Any,
        n_actions: int,
        optimizer: Any,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        *,
        device: str = "auto",
        action_space: Any = None,
        observation_space: Any = None,
        observation_normalizer: ObsNormalizer | None = None,
        replay: Any = None,
        seed: int | None = None,
    ) -> None:
        self._device = resolve_device(device)
        self._model, dueling = without_dueling(q_network)
        with tf.device(self._device):
            self._training = Trainable({"q_network": self._model}, optimizer, self._set_from_outside)
            self._target = TargetVector(self._training)
            self._in_a_row: Any = tf.constant(0)
        training = self._training
        _require_outputs(training, self._model, n_actions + int(dueling), n_actions)
        given = {"learning_rate": training.learning_rate()}
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        self._update = rounds(
            make_q_update,
            training.layout,
            training.network(self._model),
            training.optimizer,
            *(["dueling"] if dueling else []),
            shareable=training.shareable,
        )
        self._first_advantage = int(dueling)  # the best action has the largest advantage
        self._forward = forward_of(training, self._model)
        self._mirror = Mirror(self._forward, observation_normalizer)
        self._log = StepLog()
        self._begin(
            training,
            self._target,
            hp,
            n_actions=n_actions,
            action_space=action_space,
            observation_space=observation_space,
            observation_normalizer=observation_normalizer,
            replay=make_replay(hp) if replay is None else replay,
            seed=seed,
        )

    @property
    def n_compilations(self) -> int:
        """How often updates of networks like this one were compiled in this process."""
        return self._update.n_compilations

    def q_values(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Action values ``[N, A]`` for observations ``[N, *obs]``; a fresh array."""
        outputs = outputs_of(self._forward, self._normalizers.observations(observations))
        if not self._first_advantage:
            return outputs
        advantages = outputs[:, 1:]
        return advantages + (outputs[:, :1] - advantages.mean(axis=1, keepdims=True))

    def _greedy(self, observations: NDArray[Any], masks: Masks) -> NDArray[np.int64]:
        return best(self._mirror.outputs(observations)[:, self._first_advantage :], masks)

    def _gradient_steps(self, n: int) -> None:
        at_once = n if self._prioritized is None else 1
        for _ in range(0, n, at_once):
            if not self._log.diverged:
                self._round(at_once)

    def _round(self, k: int) -> None:
        """``k`` gradient steps in one call."""
        hp, training = self._hp, self._training
        batch = stacked([self._draw() for _ in range(k)])
        values = {**hp, "learning_rate": training.learning_rate()}
        settings = np.array([values[name] for name in SETTINGS], training.layout.dtype)
        state = QState(training.vector, training.state, self._target.vector, self._in_a_row)
        with tf.device(self._device):
            found = self._update(state, batches_of(batch, training.layout.dtype), settings)
        self._in_a_row = found.in_a_row
        norms, losses, means = found.measured.numpy().T
        made = self._log.extend(norms, loss=losses, target_mean=means)
        training.adopt(found.vector, found.moments)
        if made and self._prioritized is not None:
            self._prioritized.update_priorities(batch.indices[0], found.priorities.numpy())

    def _report(self) -> dict[str, Any]:
        self._training.publish()  # the user's model has the weights of the last window
        return self._log.report()

    def _describe_values(self, b: GraphBuilder, x: Any) -> str:
        self._training.publish()
        outputs = describe(b, self._model, x)
        return describing.dueling(b, outputs, self._n_actions) if self._first_advantage else outputs

    def _set_from_outside(self) -> None:
        self._target.copy()


def _require_outputs(training: Trainable, model: Any, expected: int, n_actions: int) -> None:
    plain = training.perceptron(model)
    if plain is not None and plain[0].sizes[-1] != expected:
        found = plain[0].sizes[-1] - (expected - n_actions)
        raise ConfigError(f"the Q-network has outputs for {found} actions, expected {n_actions}")


def build(ctx: AgentContext, **options: Any) -> TFDQNAgent:
    """The standard agent for an environment; options are those of ``action_values.standard.q_parts``."""
    return TFDQNAgent(**q_parts(ctx, "DQN", **options))
