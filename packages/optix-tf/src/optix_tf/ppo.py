"""PPO for actions that are choices (Schulman et al. 2017, arXiv:1707.06347), on TensorFlow.

What decides success, beyond the paper (Andrychowicz et al. 2021, arXiv:2006.05990, and Huang et al. 2022, "The 37
implementation details of PPO", have measured most of it): orthogonal initialisation with a small policy head, Adam with
epsilon 1e-5 as the paper has it, separate networks, minibatches that cover the window, advantages standardised over the
whole window, one clip of the global gradient norm. Time limits are bootstrapped and cut no value. Old
log-probabilities and values are recomputed from the window, since the policy has not moved since it acted.

All epochs and minibatches of a window are one compiled function (``policy_gradient/update.py``); acting is numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.acting import NumpyActing, NumpyPolicy
from optix_core.agents.decay import Decay
from optix_core.agents.discrete_actions import KINDS, DiscreteActions
from optix_core.agents.hypers.ppo import HYPERS
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.ppo_update import ppo_batch, raw_observations
from optix_core.agents.single import SingleObservation
from optix_core.agents.stored_agent import StoredAgent
from optix_core.agents.streams import Streams
from optix_core.plugin import AgentContext
from optix_core.types import EpisodeData, HyperparamSet
from optix_tf.describing import describe, last_width
from optix_tf.policy_gradient.actor_critic import ActorCritic
from optix_tf.policy_gradient.standard import ppo_parts
from optix_tf.training.trainable import learning_rate_of

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer


NAME = "TFPPOAgent"


class TFPPOAgent(StoredAgent):
    """Proximal policy optimisation for Discrete, MultiDiscrete and MultiBinary actions.

    Plain perceptrons act through numpy on a copy of the weights that every update refreshes; any other model acts
    through one compiled function. The models' own variables are brought up to date at the end of every ``learn``.

    Args:
        actor: A built Keras model, ``[B, *obs]`` to logits: ``[B, A]`` (Discrete), ``[B, sum(nvec)]`` (MultiDiscrete)
            or one for each bit (MultiBinary). Models get tensors of their variables' type, a dict of them where
            observations have parts, and are called with ``training=False``.
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``.
        optimizer: :class:`~optix_tf.Adam`, or any of ``keras.optimizers`` that is new.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.ppo``. Copied.
        reward_normalizer: Scales rewards before they become targets. Its gamma follows the agent's.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        action_space: The environment's; None is Discrete, of as many actions as the actor has outputs.
        observation_space: The environment's; needed only so that ``act`` can read observations with parts.
        device: ``"auto"`` (a GPU if TensorFlow sees one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        compiler: ``"xla"``, ``"graph"``, or ``"auto"``: XLA for networks of layers that it is known to compile.
        seed: Root seed of acting and minibatch order; None draws one from the operating system.

    Raises:
        ConfigError: The networks, the optimizer, the device or the compiler cannot be used together.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS
    accepts_action_masks = True
    accepts_intrinsic_rewards = True

    def __init__(
        self,
        actor: Any,
        critic: Any,
        optimizer: Any,
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
        self._actions = DiscreteActions(action_space, NAME)
        self._single = SingleObservation(observation_space)
        self._networks = ActorCritic(
            actor,
            critic,
            optimizer,
            head=self._actions.head,
            n_actions=self._actions.n_actions,
            nvec=self._actions.nvec,
            device=device,
            compiler=compiler,
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

    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        """An action of the environment: an int, or an array ``[*act]``.

        It is drawn from a stream of its own, so that training never notices. To say which actions are allowed, pass
        ``{"observation": observation, "action_mask": mask}``.
        """
        observations = self._single(observation)
        return self._actions.one(
            self._policy.act(observations, self._streams.single, deterministic=deterministic)
        )

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[Any]:
        """Policy actions ``[N]`` or ``[N, K]``, counted from 0, for observations ``[N, *obs]``; a fresh array."""
        return self._policy.act(observations, self._streams.policy, deterministic=deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Policy actions as elements of the action space, ``[N, *act]`` in its dtype."""
        return self._actions.to_env(actions)

    def action_probs(self, observation: Any) -> NDArray[Any]:
        """Probabilities ``[A]`` of all actions for one observation.

        Of all choices of each component, one after another, for MultiDiscrete; of each bit to be 1 for MultiBinary.
        """
        return self._policy.probabilities(self._single(observation))[0]

    def action_probs_batch(self, observations: NDArray[Any]) -> NDArray[Any]:
        """The same ``[N, A]`` for observations ``[N, *obs]``."""
        return self._policy.probabilities(observations)

    def numpy_acting(self) -> NumpyActing | None:
        """The policy for actors in other processes; None if it is computed by TensorFlow."""
        policy = self._policy
        if not isinstance(policy, NumpyPolicy):
            return None
        return NumpyActing(policy, normalizer=self._normalizers.observation, accepts_masks=True)

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One PPO update on a window.

        Diagnostics are described in ``UpdateReport``; NaN losses mean that it failed. ``n_compilations`` counts how
        often this agent's updates have been compiled so far.
        """
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
        actor = self._networks.actor
        return self._actions.describe(b, describe(b, actor, x), mask, last_width(actor))

    def _apply(self, hp: dict[str, Any]) -> None:
        super()._apply(hp)
        self._normalizers.set_gamma(hp["gamma"])


def build(ctx: AgentContext, **options: Any) -> TFPPOAgent:
    """The standard agent for an environment; options are those of ``policy_gradient.standard.ppo_parts``."""
    return TFPPOAgent(**ppo_parts(ctx, "PPO", KINDS, **options))
