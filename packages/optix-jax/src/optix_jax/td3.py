"""Twin delayed deep deterministic policy gradient, TD3 (Fujimoto et al. 2018, arXiv:1802.09477).

What decides success:

1. Noise in acting, normal and in units of [-1, 1]; greedy actions have none.
2. Targets take the smaller of two slow critics (eq. 10) for the slow actor's action plus clipped noise, which is
   clipped to [-1, 1] again after it was added (eq. 14).
3. The actor, and everything that is slow, moves only every ``policy_delay`` gradient steps (section 5.2).
4. The actor climbs the first critic alone.
5. Only terminal states have no value. A time limit is bootstrapped from the observation that truly followed.
6. Everything that has a cadence counts environment steps; the first actions are uniform in the Box.

What a gradient step computes is in ``continuous/td3_update.py``; all that are due at one moment are one compiled call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.agents.hypers.td3 import HYPERS
from optix_core.plugin import AgentContext
from optix_core.state import State
from optix_core.types import HyperparamSet
from optix_jax.continuous.compiled_agent import CompiledAgent
from optix_jax.continuous.networks import ActorCritics
from optix_jax.continuous.standard import td3_parts
from optix_jax.continuous.td3_update import MEASURED, TD3State, td3_update
from optix_jax.training.compiled import Compiled
from optix_jax.training.optimizers import as_optimizer

if TYPE_CHECKING:
    from optix_core.normalizers import ObsNormalizer

NAME = "FlaxTD3Agent"


class FlaxTD3Agent(CompiledAgent):
    """A deterministic policy with two critics and delayed policy updates, its updates compiled.

    What is not said here is as for :class:`~optix_jax.FlaxSACAgent`.

    Args:
        actor: ``[B, *obs]`` to actions ``[B, A]`` in [-1, 1]: its last layer is a tanh. What lies beyond is clipped in
            acting and in targets.
        critic1: Observations and actions (in [-1, 1]), as one row ``[B, obs + A]`` or, if its ``__call__`` has two
            parameters, apart, to ``[B, 1]``. The actor climbs this one. Instead of both critics, a
            :class:`~optix_jax.continuous.twin.TwinCritics`.
        critic2: Another one; None with a ``TwinCritics``.
        action_dim: A.
        actor_optimizer: A transformation of optax made by ``optax.inject_hyperparams``, an
            :class:`~optix_jax.training.optimizers.Adam`, or None for the latter.
        critic_optimizer: Over the parameters of both critics, as above.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.td3``. Copied.
            ``learning_rate`` is the actor's; a rate that differs from it in the other optimizer keeps its ratio to it.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or a ``jax.Device``.
        action_space: The environment's Box, which [-1, 1] is mapped to; None leaves actions in [-1, 1].
        observation_space: Needed by linen modules, and by :meth:`act` for observations with parts.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        replay: Used instead of a new buffer, for example a ``HindsightReplay``.
        seed: Root seed of acting, replay and noise; None draws one from the operating system.

    Raises:
        ConfigError: Networks, optimizers, device or replay memory cannot be used together.
        SpaceError: The Box is not bounded, or does not fit ``action_dim``.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS
    measured = MEASURED
    noises = 1

    def __init__(
        self,
        actor: Any,
        critic1: Any,
        critic2: Any,
        action_dim: int,
        actor_optimizer: Any = None,
        critic_optimizer: Any = None,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        device: Any = "auto",
        *,
        action_space: Any = None,
        observation_space: Any = None,
        observation_normalizer: ObsNormalizer | None = None,
        replay: Any = None,
        seed: int | None = None,
    ) -> None:
        given = (
            {} if actor_optimizer is None else {"learning_rate": as_optimizer(actor_optimizer).learning_rate}
        )
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        networks = ActorCritics(
            actor,
            critic1,
            critic2,
            action_dim,
            actor_optimizer,
            critic_optimizer,
            learning_rate=hp["learning_rate"],
            device=device,
            observation_space=observation_space,
            seed=seed,
            slow_actor=True,
        )
        assert networks.target_actor is not None
        self._target_actor, self._steps = networks.target_actor, _Steps()
        self._update = Compiled.made_by(td3_update, *networks.functions)
        self._start(
            networks,
            hp,
            observation_normalizer,
            action_dim=action_dim,
            outputs_per_action=1,
            action_space=action_space,
            observation_space=observation_space,
            replay=replay,
            seed=seed,
            parts={"target_actor": self._target_actor, "steps": self._steps},
        )

    def _policy_actions(
        self, observations: NDArray[Any], rng: np.random.Generator | None
    ) -> NDArray[np.float32]:
        actions = self._actor_outputs(observations).astype(np.float32)
        if rng is not None:
            actions += self._hp["exploration_noise"] * rng.standard_normal(actions.shape, np.float32)
        return actions.clip(-1.0, 1.0)

    def _state(self) -> TD3State:
        networks = self._networks
        return TD3State(
            actor=networks.actor.params,
            critics=networks.critics.params,
            target=networks.target.params,
            target_actor=self._target_actor.params,
            steps=self._steps.count,
            moments={"actor": networks.actor.moments, "critics": networks.critics.moments},
            in_a_row=self._in_a_row,
        )

    def _take(self, state: TD3State) -> None:
        networks = self._networks
        networks.actor.params, networks.actor.moments = state.actor, state.moments["actor"]
        networks.critics.params, networks.critics.moments = state.critics, state.moments["critics"]
        networks.target.params, self._target_actor.params = state.target, state.target_actor
        self._steps.count, self._in_a_row = state.steps, state.in_a_row

    def _arguments(self, hp: dict[str, Any]) -> dict[str, Any]:
        return {
            "actor_rate": self._networks.actor.learning_rate(),
            "critic_rate": self._networks.critics.learning_rate(),
            "max_norm": hp["max_grad_norm"] or math.inf,
            "tau": hp["tau"],
            "policy_delay": hp["policy_delay"],
            "target_noise": hp["target_noise"],
            "target_noise_clip": hp["target_noise_clip"],
        }


class _Steps:
    """Gradient steps made so far, counted by the update; they decide when the actor's turn is."""

    def __init__(self) -> None:
        self.count = jnp.int32(0)

    def state_dict(self) -> State:
        return {"count": int(self.count)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = jnp.int32(state["count"])


def build(ctx: AgentContext, **options: Any) -> FlaxTD3Agent:
    """The standard agent for an environment; options are those of :func:`optix_jax.continuous.standard.td3_parts`."""
    return FlaxTD3Agent(**td3_parts(ctx, "TD3", **options))
