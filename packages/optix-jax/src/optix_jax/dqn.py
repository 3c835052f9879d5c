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

What a gradient step computes is in ``action_values/update.py``; all that are due at one moment are one compiled call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.agents.epsilon_greedy import EpsilonGreedyAgent
from optix_core.agents.experience import make_replay
from optix_core.agents.hypers.dqn import HYPERS
from optix_core.agents.mirror import Mirror
from optix_core.agents.steps import StepLog
from optix_core.agents.value_agent import Masks, best
from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_core.types import HyperparamSet
from optix_jax.acting.host import HostNetwork
from optix_jax.action_values.q_network import QNetwork
from optix_jax.action_values.standard import q_parts
from optix_jax.action_values.update import MEASURED, QState, q_update
from optix_jax.device import resolve_device
from optix_jax.networks.flax_modules import network_of, observation_example
from optix_jax.training.compiled import Compiled, tree_of
from optix_jax.training.optimizers import as_optimizer
from optix_jax.training.rounds import batches, chunks, traced
from optix_jax.training.targets import Target
from optix_jax.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer

NAME = "FlaxDQNAgent"


class FlaxDQNAgent(EpsilonGreedyAgent):
    """Deep Q-learning with epsilon-greedy exploration, its updates compiled.

    Perceptrons act through numpy; any other network through one compiled function. Hyperparameters are arguments of the
    compiled update: only ``batch_size`` and the number of gradient steps that are due together (``gradient_steps``,
    and ``train_freq`` with the number of environments; made as powers of two) decide shapes, and thereby how often it
    is compiled, which ``learn`` reports.

    Args:
        q_network: ``[B, *obs]`` to action values ``[B, A]``: a flax module (nnx or linen), or a
            :class:`~optix_jax.action_values.q_network.QNetwork`.
        n_actions: A.
        optimizer: A transformation of optax made by ``optax.inject_hyperparams``, an
            :class:`~optix_jax.training.optimizers.Adam`, or None for the latter.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.dqn``. Copied.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or a ``jax.Device``.
        action_space: The environment's Discrete space; needed only if its first action is not 0.
        observation_space: Needed by linen modules, and by :meth:`act` for observations with parts.
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
        optimizer: Any = None,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        device: Any = "auto",
        *,
        action_space: Any = None,
        observation_space: Any = None,
        observation_normalizer: ObsNormalizer | None = None,
        replay: Any = None,
        seed: int | None = None,
    ) -> None:
        stepping = None if optimizer is None else as_optimizer(optimizer)
        given = {} if stepping is None else {"learning_rate": stepping.learning_rate}
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        stepping = stepping or as_optimizer(None, hp["learning_rate"])
        seed = fresh_root_seed() if seed is None else seed
        self._device = resolve_device(device)
        self._network = self._as_q_network(q_network, observation_space, generator(seed, Domain.INIT, 1))
        spec = self._network.trunk.spec
        outputs = n_actions + int(self._network.dueling)
        if spec is not None and spec.sizes[-1] != outputs:
            raise ConfigError(f"the Q-network has {spec.sizes[-1]} outputs, expected {outputs}")
        self._training = Trainable(
            {"q_network": self._network.trunk}, stepping, self._device, self._set_from_outside
        )
        self._target = Target(self._training)
        self._log, self._in_a_row = StepLog(), jnp.int32(0)
        function = self._network.function
        self._update = Compiled.made_by(q_update, function, stepping, donate=(0,))
        self._values = Compiled(function)
        self._host = HostNetwork(self._network.trunk, lambda: self._training.params["q_network"])
        self._mirror = Mirror(self._host, observation_normalizer)
        self._first_advantage = int(self._network.dueling)  # the best action has the largest advantage
        self._begin(
            self._training,
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
        """How often the update was compiled."""
        return self._update.n_compilations

    def q_values(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Action values ``[N, A]`` for observations ``[N, *obs]``; a fresh array."""
        seen = tree_of(self._normalizers.observations(observations))
        return np.array(self._values(self._training.params, seen))

    def _greedy(self, observations: NDArray[Any], masks: Masks) -> NDArray[np.int64]:
        return best(self._mirror.outputs(observations)[:, self._first_advantage :], masks)

    def _gradient_steps(self, n: int) -> None:
        # with priorities a step decides what the next one draws; without, all can be drawn before
        for k in [1] * n if self._prioritized is not None else chunks(n):
            if not self._log.diverged:
                self._round(k)
        self._host.refresh()

    def _round(self, k: int) -> None:
        draws = [self._draw() for _ in range(k)]
        training = self._training
        state = QState(training.params, training.moments, self._in_a_row)
        state, measured, priorities = self._update(state, self._target.params, batches(draws), self._traced)
        training.params, training.moments, self._in_a_row = state
        found = dict(zip(MEASURED, np.asarray(measured), strict=True))
        tried = found["tried"] > 0.0
        made = self._log.extend(
            found["grad_norm"][tried], loss=found["loss"][tried], target_mean=found["target_mean"][tried]
        )
        if self._prioritized is not None and made:
            self._prioritized.update_priorities(draws[0].indices, np.asarray(priorities)[0])

    def _report(self) -> dict[str, Any]:
        return self._log.report() | {"n_compilations": self.n_compilations}

    def _describe_values(self, b: GraphBuilder, x: Any) -> str:
        return self._network.describe(b, self._training.host("q_network"), x, self._n_actions)

    def _apply(self, hp: dict[str, Any]) -> None:
        super()._apply(hp)
        arguments = {name: hp[name] for name in ("learning_rate", "max_grad_norm", "double")}
        self._traced = traced(arguments, self._device)

    def _set_from_outside(self) -> None:
        self._host.refresh()
        self._target.copy()

    def _as_q_network(self, given: Any, space: Any, rng: np.random.Generator) -> QNetwork:
        if isinstance(given, QNetwork):
            return given
        return QNetwork(trunk=network_of(given, observation_example(space), rng=rng, what="the Q-network"))


def build(ctx: AgentContext, **options: Any) -> FlaxDQNAgent:
    """The standard agent for an environment; options are those of ``action_values.standard.q_parts``."""
    return FlaxDQNAgent(**q_parts(ctx, "DQN", **options))
