"""What PPO agents of every kind of policy share: they act, and learn from a window at a time.

The maths of a window is in ``ppo_update.py``, the gradient steps are the framework's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from optix_core.acting import NumpyActing, NumpyPolicy
from optix_core.agents.box_actions import BoxActions
from optix_core.agents.decay import Decay
from optix_core.agents.discrete_actions import DiscreteActions
from optix_core.agents.function_policy import FunctionPolicy
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.ppo_update import Engine, ppo_batch, raw_observations
from optix_core.agents.single import SingleObservation
from optix_core.agents.stored_agent import StoredAgent
from optix_core.agents.streams import Streams
from optix_core.agents.trainable import Trainable
from optix_core.types import EpisodeData

if TYPE_CHECKING:
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer


class Networks(Engine, Protocol):
    """Actor and critic of a framework that compiles their updates."""

    @property
    def policy(self) -> NumpyPolicy | FunctionPolicy:
        """Acts; always has the current weights."""
        ...

    @property
    def training(self) -> Trainable:
        """Both networks and their optimizer."""
        ...

    @property
    def n_compilations(self) -> int:
        """How often anything was compiled so far."""
        ...


NetworksT = TypeVar("NetworksT", bound=Networks)


class PPOAgent(StoredAgent, Generic[NetworksT]):
    """Proximal policy optimisation, given networks and what their outputs mean.

    Subclasses call :meth:`_start` at the end of their construction, and say how their actor is computed in
    ``_describe_policy``.
    """

    accepts_intrinsic_rewards = True

    _networks: NetworksT

    def _start(
        self,
        networks: NetworksT,
        actions: BoxActions | DiscreteActions,
        hp: dict[str, Any],
        *,
        observation_space: Any,
        observation_normalizer: ObsNormalizer | None,
        reward_normalizer: RewardNormalizer | None,
        seed: int | None,
    ) -> None:
        """Take over the parts.

        Args:
            networks: Actor and critic.
            actions: What the actor's outputs mean, and how they become actions of the environment.
            hp: Complete, valid hyperparameters.
            observation_space: The environment's, or None.
            observation_normalizer: Of observations, or None.
            reward_normalizer: Of rewards, or None.
            seed: Root seed of acting and minibatch order.
        """
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
        """The policy for actors in other processes; None if it is computed by the framework."""
        policy = self._policy
        if not isinstance(policy, NumpyPolicy):
            return None
        return NumpyActing(
            policy, normalizer=self._normalizers.observation, accepts_masks=self.accepts_action_masks
        )

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One PPO update on a window; diagnostics are described in ``UpdateReport``, NaN losses mean that it failed.

        ``n_compilations`` counts how often updates of this agent were compiled so far: it grows with new shapes (of
        windows and minibatches), never with new values of hyperparameters.
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

    def _apply(self, hp: dict[str, Any]) -> None:
        super()._apply(hp)
        self._normalizers.set_gamma(hp["gamma"])


class ChoosingPPOAgent(PPOAgent[NetworksT]):
    """The same for actions that are choices: each has a probability, and masks may forbid it."""

    accepts_action_masks = True

    def action_probs(self, observation: Any) -> NDArray[Any]:
        """Probabilities ``[A]`` of all actions for one observation.

        Of all choices of each component, one after another, for MultiDiscrete; of each bit to be 1 for MultiBinary.
        """
        return self._policy.probabilities(self._single(observation))[0]

    def action_probs_batch(self, observations: NDArray[Any]) -> NDArray[Any]:
        """The same ``[N, A]`` for observations ``[N, *obs]``."""
        return self._policy.probabilities(observations)
