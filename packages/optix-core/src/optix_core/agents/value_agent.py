"""What the agents that choose by action values share: experience in, gradient steps when they are due, actions out.

It holds no algorithm: what a gradient step is, and how exploration perturbs a choice, is on each agent's own page.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from optix_core.agents.describing import Described
from optix_core.agents.draws import Draw, draw
from optix_core.agents.experience import prioritized_rows
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.single import SingleObservation
from optix_core.agents.stored_agent import StoredAgent
from optix_core.agents.streams import Streams
from optix_core.agents.trainable import Trainable
from optix_core.errors import ConfigError, HyperparamError
from optix_core.replay import Cadence, HindsightReplay, ReplayBuffer, observe_window
from optix_core.rl.masking import split_masks
from optix_core.rl.schedules import linear
from optix_core.rl.spaces import describe_space
from optix_core.state import Stateful
from optix_core.types import EpisodeData

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer

Masks = NDArray[np.bool_] | None


class SlowCopy(Stateful, Protocol):
    """A target network: the slow copy of another, and part of the state."""

    def copy(self) -> None:
        """Become equal to the original."""
        ...

    def polyak(self, tau: float) -> None:
        """Go the share ``tau`` of the way towards the original."""
        ...


class ValueAgent(StoredAgent):
    """An off-policy agent for discrete actions that learns from replay while experience is being collected.

    Everything that has a cadence counts environment steps, those of all environments together.
    """

    accepts_action_masks = True
    accepts_intrinsic_rewards = True
    default_min_episodes_before_dormant = 60

    def _begin(
        self,
        trainable: Trainable,
        target: SlowCopy,
        hp: dict[str, Any],
        *,
        n_actions: int,
        action_space: Any,
        observation_space: Any,
        observation_normalizer: ObsNormalizer | None,
        replay: ReplayBuffer | HindsightReplay,
        seed: int | None,
        parts: Mapping[str, Stateful] | None = None,
    ) -> None:
        """Take over the parts; subclasses call this at the end of their construction.

        Args:
            trainable: The online network and its optimizer.
            target: The slow copy, as part of the state.
            hp: Complete, valid hyperparameters.
            n_actions: A.
            action_space: The environment's Discrete space, or None.
            observation_space: The environment's, or None.
            observation_normalizer: Of observations, or None.
            replay: What experience is kept in.
            seed: Root seed of all streams.
            parts: What else belongs to the state.
        """
        self._slow = target
        self._n_actions = _checked_count(n_actions, action_space, self.kind)
        self._action_start = 0 if action_space is None else int(action_space.start)
        self._single = SingleObservation(observation_space)
        self._normalizers = Normalizers(observation_normalizer, None)
        self._cadence, self._replay = Cadence(), replay
        self._prioritized = prioritized_rows(replay)
        self._assemble(
            {"q_network": trainable},
            Streams(seed),
            self._normalizers,
            hp,
            observation_space=observation_space,
            parts={"target": target, "replay": self._replay, "cadence": self._cadence, **(parts or {})},
        )

    @property
    def is_on_policy(self) -> bool:
        """False: it learns from whatever is in replay."""
        return False

    def act(self, observation: Any, *, deterministic: bool = False) -> int:
        """An action of the environment for one observation as ``env.step`` gives it.

        It explores as training does, from a stream of its own, so that training never notices.
        """
        row = self._single(observation)
        return self._action_start + int(
            self._choose(row, self._streams.single, deterministic=deterministic)[0]
        )

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[np.int64]:
        """Policy actions ``[N]``, 0 to A - 1, for observations ``[N, *obs]``; a fresh array.

        Until ``learning_starts`` environment steps were observed they are drawn uniformly (of the allowed ones).
        """
        return self._choose(observations, self._streams.policy, deterministic=deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """The environment's names of policy actions."""
        return actions + self._action_start if self._action_start else actions

    def observe(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[np.float64],
        next_observations: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Keep one vector step of N transitions, move the target network and learn if it is time for either."""
        hp, before = self._hp, self._cadence.env_steps
        self._replay.add(observations, actions, rewards, next_observations, terminated, truncated)
        due = self._cadence.advance(
            len(rewards),
            learning_starts=hp["learning_starts"],
            train_freq=hp["train_freq"],
            gradient_steps=hp["gradient_steps"],
        )
        freq = hp["target_update_freq"]
        if self._cadence.env_steps // freq != before // freq:
            self._move_target(hp["tau"])
        if due:
            self._gradient_steps(due)

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """What was learned since the last call. A window that nobody showed step by step is shown now.

        Returns:
            Means over the gradient steps, ``n_updates`` of them, and where the agent stands. A loss of NaN says that
            three steps in a row had gradients that were not finite.
        """
        if not self._cadence.unreported:
            observe_window(self.observe, episode_data)
        self._cadence.report()
        if episode_data.n_steps:
            plain, _ = split_masks(episode_data.time_major("observations"))
            self._normalizers.after_window(plain.reshape(-1, *plain.shape[2:]))
        return self._report() | {
            "buffer_size": len(self._replay),
            "env_steps": self._cadence.env_steps,
            **self._facts(),
        }

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        values = self._describe_values(b, x)
        if mask is not None:
            values = b.add("mask", values, mask)
        action = b.add("argmax", values, start=self._action_start)
        space = Discrete(self._n_actions, start=self._action_start)
        return Described(action, describe_space(space), {"q_values": values})

    @abstractmethod
    def _describe_values(self, b: GraphBuilder, x: Any) -> str:
        """Append the operations from observations ``x`` to action values ``[N, A]``."""

    @abstractmethod
    def _gradient_steps(self, n: int) -> None:
        """``n`` times one draw from replay, one gradient, one step; none after a divergence until it is reported."""

    def _move_target(self, tau: float) -> None:
        """Let the target network go the share ``tau`` of the way; 1: copy it."""
        if tau == 1.0:
            self._slow.copy()
        else:
            self._slow.polyak(tau)

    @abstractmethod
    def _report(self) -> dict[str, Any]:
        """Means over the gradient steps since the last report, see :class:`~optix_core.agents.steps.StepLog`."""

    @abstractmethod
    def _explore(
        self, observations: NDArray[Any], masks: Masks, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Actions ``[N]`` after warm-up, for observations without masks."""

    @abstractmethod
    def _greedy(self, observations: NDArray[Any], masks: Masks) -> NDArray[np.int64]:
        """The best actions ``[N]``."""

    def _facts(self) -> dict[str, Any]:
        """What else :meth:`learn` reports."""
        return {}

    def _draw(self) -> Draw:
        """A batch from replay, as the networks see it."""
        return draw(self._replay, self._hp, self._beta(), self._normalizers, self._streams.minibatch)

    def _beta(self) -> float:
        """``per_beta`` annealed linearly to 1 over ``per_beta_steps`` environment steps."""
        return linear(self._hp["per_beta"], 1.0, self._hp["per_beta_steps"])(self._cadence.env_steps)

    def _choose(
        self, observations: NDArray[Any], rng: np.random.Generator, *, deterministic: bool
    ) -> NDArray[np.int64]:
        observations, masks = split_masks(observations)
        if deterministic:
            return self._greedy(observations, masks)
        if self._cadence.env_steps < self._hp["learning_starts"]:
            return self._random(len(observations), masks, rng)
        return self._explore(observations, masks, rng)

    def _random(self, n: int, masks: Masks, rng: np.random.Generator) -> NDArray[np.int64]:
        """Uniform over the allowed actions: the largest of independent numbers is equally likely any of them."""
        if masks is None:
            return rng.integers(self._n_actions, size=n)
        return np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1)

    def _apply(self, hp: dict[str, Any]) -> None:
        if hp["gradient_steps"] == 0:
            raise HyperparamError(
                f"{self.kind}: gradient_steps is 0; it must be at least 1, or -1 for as many as train_freq"
            )
        super()._apply(hp)
        if self._prioritized is not None:
            self._prioritized.set_alpha(hp["per_alpha"])


def best(values: NDArray[Any], masks: Masks) -> NDArray[np.int64]:
    """The action of the largest value in each row ``[N, A]``, among the allowed ones; a fresh array ``[N]``."""
    chosen = values if masks is None else np.where(masks, values, -np.inf)
    return cast("NDArray[np.int64]", chosen.argmax(axis=1))


def _checked_count(n_actions: int, action_space: Any, owner: str) -> int:
    if action_space is not None and int(action_space.n) != n_actions:
        raise ConfigError(
            f"{owner}: n_actions is {n_actions}, but the action space has {action_space.n} actions"
        )
    return int(n_actions)
