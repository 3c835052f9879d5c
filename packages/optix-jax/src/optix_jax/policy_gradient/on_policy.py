"""What the PPO agents of both kinds of policy share: they act, learn from a window, and describe themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from optix_core.acting import NumpyActing, NumpyPolicy
from optix_core.agents.box_actions import BoxActions
from optix_core.agents.decay import Decay
from optix_core.agents.discrete_actions import DiscreteActions
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.ppo_update import ppo_batch, raw_observations
from optix_core.agents.single import SingleObservation
from optix_core.agents.stored_agent import StoredAgent
from optix_core.agents.streams import Streams
from optix_core.errors import ConfigError
from optix_core.types import EpisodeData
from optix_jax.policy_gradient.actor_critic import ActorCritic

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer


class PPOAgent(StoredAgent):
    """Proximal policy optimisation, given networks and what their outputs mean."""

    accepts_intrinsic_rewards = True

    def _start(
        self,
        networks: ActorCritic,
        actions: BoxActions | DiscreteActions,
        hp: dict[str, Any],
        *,
        observation_space: Any,
        observation_normalizer: ObsNormalizer | None,
        reward_normalizer: RewardNormalizer | None,
        seed: int | None,
    ) -> None:
        """Take over the parts; subclasses call this at the end of their construction."""
        self._networks, self._actions = networks, actions
        self._policy = networks.policy
        self._policy.observation_normalizer = observation_normalizer
        self._normalizers = Normalizers(observation_normalizer, reward_normalizer)
        self._single = SingleObservation(observation_space)
        self._decay = Decay()
        self._assemble(
            {"actor_critic": networks.training},
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
        """Policy actions for ``[N, *obs]``, a fresh array: choices ``[N]`` or ``[N, K]``, or numbers ``[N, A]``."""
        return self._policy.act(observations, self._streams.policy, deterministic=deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Policy actions as elements of the action space, ``[N, *act]`` in its dtype; a Box clips what lies beyond."""
        return self._actions.to_env(actions)

    def numpy_acting(self) -> NumpyActing | None:
        """The policy for actors in other processes; None if it is computed by JAX."""
        policy = self._policy
        if not isinstance(policy, NumpyPolicy):
            return None
        return NumpyActing(
            policy, normalizer=self._normalizers.observation, accepts_masks=self.accepts_action_masks
        )

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One PPO update on a window; diagnostics are described in ``UpdateReport``, NaN losses mean that it failed.

        ``n_compilations`` counts the programs that were made since the agent exists: it grows with new shapes (of
        windows and minibatches), never with new values of hyperparameters.
        """
        window = episode_data
        if not window.n_steps:
            return {"n_updates": 0, "skipped": "the window is empty"}
        # Nothing has moved since the window was collected: advantages and targets are those of the policy that acted.
        batch = ppo_batch(window, self._networks, self._normalizers, self._hp)
        # Epochs.
        training = self._networks.training
        with self._decay.applied(self._hp, window.n_steps, training) as now:
            report = self._networks.update(batch, now, self._streams.minibatch)
        # Metrics. Statistics move only now, so that the next window is learned from as it was acted in.
        self._normalizers.after_window(raw_observations(window))
        found = report.diagnostics(batch.values, batch.targets)
        return found | {"n_compilations": self._networks.n_compilations}

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        actor = self._networks.actor
        if actor.describe is None:
            raise ConfigError(
                f"{self.kind}: the actor is a module of your own, whose operations nobody knows; policies of the "
                "standard networks can be exported"
            )
        outputs = actor.describe(b, self._networks.params_of("actor"), x)
        return self._actions.describe(b, outputs, mask, self._networks.n_actions)

    def _apply(self, hp: dict[str, Any]) -> None:
        super()._apply(hp)
        self._normalizers.set_gamma(hp["gamma"])
