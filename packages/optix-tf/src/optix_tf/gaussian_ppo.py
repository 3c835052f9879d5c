"""PPO for continuous actions (Schulman et al. 2017, arXiv:1707.06347), on TensorFlow.

The policy is a diagonal Gaussian that is not squashed: the window keeps the very numbers that were drawn, and their
density is known exactly, however far out they are. Only on the way to the environment is [-1, 1] mapped to the bounds
of the Box, and what lies beyond is clipped. Standard deviations are parameters of their own, the same for all
observations, starting at 1 (Andrychowicz et al. 2021, arXiv:2006.05990, section 3.2). All else is as in ``ppo.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gymnasium.spaces import Box
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.acting import NumpyActing, NumpyPolicy
from optix_core.agents.box_actions import BoxActions
from optix_core.agents.decay import Decay
from optix_core.agents.hypers.ppo import GAUSSIAN_NORMALIZES, HYPERS
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.ppo_update import ppo_batch, raw_observations
from optix_core.agents.single import SingleObservation
from optix_core.agents.stored_agent import StoredAgent
from optix_core.agents.streams import Streams
from optix_core.errors import SpaceError
from optix_core.plugin import AgentContext
from optix_core.types import EpisodeData, HyperparamSet
from optix_tf.describing import describe
from optix_tf.policy_gradient.actor_critic import ActorCritic
from optix_tf.policy_gradient.standard import ppo_parts
from optix_tf.training.trainable import learning_rate_of

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer


NAME = "TFGaussianPPOAgent"


class TFGaussianPPOAgent(StoredAgent):
    """Proximal policy optimisation with a diagonal Gaussian policy.

    What is not said here is as for :class:`~optix_tf.TFPPOAgent`.

    Args:
        actor: A built Keras model, ``[B, *obs]`` to means followed by log standard deviations, ``[B, 2 A]``; the latter
            are clamped to [-5, 2]. :class:`~optix_tf.GaussianActor` makes one of a network for the means.
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``.
        optimizer: :class:`~optix_tf.Adam`, or any of ``keras.optimizers`` that is new.
        action_dim: A.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.ppo``. Copied.
        reward_normalizer: Scales rewards before they become targets. Its gamma follows the agent's.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        action_space: The environment's Box, which [-1, 1] is mapped to; None leaves actions in [-1, 1].
        observation_space: The environment's; needed only so that ``act`` can read observations with parts.
        device: ``"auto"`` (a GPU if TensorFlow sees one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        compiler: ``"xla"``, ``"graph"``, or ``"auto"``: XLA for networks of layers that it is known to compile.
        seed: Root seed of acting and minibatch order; None draws one from the operating system.
    """

    accepts_intrinsic_rewards = True
    hypers = HYPERS

    def __init__(
        self,
        actor: Any,
        critic: Any,
        optimizer: Any,
        action_dim: int,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        reward_normalizer: RewardNormalizer | None = None,
        *,
        observation_normalizer: ObsNormalizer | None = None,
        action_space: Any = None,
        observation_space: Any = None,
        device: str = "auto",
        compiler: str = "auto",
        seed: int | None = None,
    ) -> None:
        hp = declared.merge(HYPERS, learning_rate_of(optimizer), hyperparams, owner=NAME)
        space: Any = Box(-1.0, 1.0, (action_dim,)) if action_space is None else action_space
        self._actions = BoxActions(space)
        if self._actions.n_actions != action_dim:
            raise SpaceError(f"action_dim is {action_dim}, but actions of the Box have shape {space.shape}")
        self._single = SingleObservation(observation_space)
        self._networks = ActorCritic(
            actor, critic, optimizer, head="gaussian", n_actions=action_dim, device=device, compiler=compiler
        )
        self._policy = self._networks.policy
        self._policy.observation_normalizer = observation_normalizer
        self._normalizers = Normalizers(observation_normalizer, reward_normalizer)
        self._decay = Decay()
        self._assemble(
            {"actor_critic": self._networks.training},
            Streams(seed),
            self._normalizers,
            hp,
            observation_space=observation_space,
            parts={"decay": self._decay},
        )

    def act(self, observation: Any, *, deterministic: bool = False) -> NDArray[Any]:
        """An action of the environment; drawn from a stream of its own, so that training never notices."""
        observations = self._single(observation)
        return self._actions.one(
            self._policy.act(observations, self._streams.single, deterministic=deterministic)
        )

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[Any]:
        """Policy actions ``[N, A]``, unbounded, for observations ``[N, *obs]``; a fresh array."""
        return self._policy.act(observations, self._streams.policy, deterministic=deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Policy actions as elements of the Box, ``[N, *act]``: [-1, 1] is mapped to it, the rest clipped."""
        return self._actions.to_env(actions)

    def numpy_acting(self) -> NumpyActing | None:
        """The policy for actors in other processes; None if it is computed by TensorFlow."""
        policy = self._policy
        if not isinstance(policy, NumpyPolicy):
            return None
        return NumpyActing(policy, normalizer=self._normalizers.observation)

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One PPO update on a window; diagnostics are those of :meth:`optix_tf.TFPPOAgent.learn`."""
        window = episode_data
        if not window.n_steps:
            return {"n_updates": 0, "skipped": "the window is empty"}
        # Nothing has moved since the window was collected: advantages and targets are those of the policy that acted.
        batch = ppo_batch(window, self._networks, self._normalizers, self._hp)
        # Epochs.
        with self._decay.applied(self._hp, window.n_steps, self._networks.training) as now:
            report = self._networks.update(batch, now, self._streams.minibatch)
        # Metrics. Statistics move only now, so that the next window is learned from as it was acted in.
        self._normalizers.after_window(raw_observations(window))
        found = report.diagnostics(batch.values, batch.targets)
        return found | {"n_compilations": self._networks.n_compilations}

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        return self._actions.describe(b, describe(b, self._networks.actor, x), mask)

    def _apply(self, hp: dict[str, Any]) -> None:
        super()._apply(hp)
        self._normalizers.set_gamma(hp["gamma"])


def build(ctx: AgentContext, **options: Any) -> TFGaussianPPOAgent:
    """The standard agent for an environment; options are those of ``policy_gradient.standard.ppo_parts``."""
    parts = ppo_parts(ctx, "GaussianPPO", {"box"}, **{**GAUSSIAN_NORMALIZES, **options})
    return TFGaussianPPOAgent(action_dim=math.prod(ctx.action_space.shape), **parts)
