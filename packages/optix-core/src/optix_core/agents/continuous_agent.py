"""What off-policy agents for continuous actions share: experience in, gradient steps when due, actions out.

It holds no algorithm: what a gradient step is, and how actions are chosen, is on each agent's own page.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from optix_core.agents.describing import Described, to_box
from optix_core.agents.draws import Draw, draw
from optix_core.agents.experience import make_replay, prioritized_rows
from optix_core.agents.mirror import Mirror
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.single import SingleObservation
from optix_core.agents.stored_agent import StoredAgent
from optix_core.agents.streams import Streams
from optix_core.agents.trainable import Trainable
from optix_core.errors import HyperparamError, SpaceError
from optix_core.replay import Cadence, observe_window
from optix_core.rl.spaces import BoxScaler
from optix_core.rl.successors import rows
from optix_core.types import EpisodeData

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer
    from optix_core.state import Stateful


class ContinuousAgent(StoredAgent):
    """An off-policy agent for Box actions that learns from replay while experience is being collected.

    Everything that has a cadence counts environment steps, those of all environments together. Policy actions lie in
    [-1, 1], whatever the Box.
    """

    accepts_intrinsic_rewards = True
    default_min_episodes_before_dormant = 30

    _mirror: Mirror

    def _begin(
        self,
        actor: Trainable,
        critics: Trainable,
        target: Stateful,
        mirror: Mirror,
        hp: dict[str, Any],
        *,
        action_dim: int,
        outputs_per_action: int,
        action_space: Any,
        observation_space: Any,
        observation_normalizer: ObsNormalizer | None,
        replay: Any,
        seed: int | None,
        trainables: Mapping[str, Trainable] | None = None,
        parts: Mapping[str, Stateful] | None = None,
    ) -> None:
        """Take over the parts; subclasses call this at the end of their construction.

        Args:
            actor: Its network and optimizer.
            critics: Both critics and their optimizer.
            target: Their slow copies, as part of the state.
            mirror: Evaluates the actor for acting.
            hp: Complete, valid hyperparameters.
            action_dim: A.
            outputs_per_action: Of the actor: 2 for means and deviations.
            action_space: The environment's Box; None leaves actions in [-1, 1].
            observation_space: The environment's, or None.
            observation_normalizer: Of observations, or None.
            replay: What experience is kept in; None: what ``hp`` asks for.
            seed: Root seed of all streams.
            trainables: What else is trained.
            parts: What else belongs to the state.

        Raises:
            SpaceError: The Box is not bounded, or does not fit ``action_dim``.
        """
        self._mirror, self._action_dim = mirror, action_dim
        self._action_space = Box(-1.0, 1.0, (action_dim,)) if action_space is None else action_space
        self._scaler = scaler_of_bounded(self._action_space, self.kind)
        if math.prod(self._scaler.low.shape) != action_dim:
            raise SpaceError(
                f"{self.kind}: action_dim is {action_dim}, but actions of the Box have shape {self._scaler.low.shape}"
            )
        self._outputs_per_action = outputs_per_action
        self._normalizers = Normalizers(observation_normalizer, None)
        self._single = SingleObservation(observation_space)
        self._cadence = Cadence()
        self._replay = make_replay(hp) if replay is None else replay
        self._prioritized = prioritized_rows(self._replay)
        self._assemble(
            {"actor": actor, "critics": critics, **(trainables or {})},
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

    def act(self, observation: Any, *, deterministic: bool = False) -> NDArray[Any]:
        """An action of the environment for one observation as ``env.step`` gives it.

        It explores as the policy does (never as warm-up does), from a stream of its own, so that training never
        notices.
        """
        rng = None if deterministic else self._streams.single
        return self.env_actions(self._policy_actions(self._single(observation), rng))[0]

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[np.float32]:
        """Policy actions ``[N, A]`` in [-1, 1] for observations ``[N, *obs]``; a fresh array.

        Until ``learning_starts`` environment steps were observed they are uniform, which is uniform in the Box too.
        """
        if deterministic:
            return self._policy_actions(observations, None)
        rng = self._streams.policy
        if self._cadence.env_steps < self._hp["learning_starts"]:
            return rng.uniform(-1.0, 1.0, (len(observations), self._action_dim)).astype(np.float32)
        return self._policy_actions(observations, rng)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Policy actions as elements of the Box, ``[N, *act]``."""
        return self._scaler.to_box(actions.reshape(-1, *self._scaler.low.shape))

    def observe(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[np.float64],
        next_observations: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Keep one vector step of N transitions, and learn if it is time to."""
        hp = self._hp
        self._replay.add(observations, actions, rewards, next_observations, terminated, truncated)
        due = self._cadence.advance(
            len(rewards),
            learning_starts=hp["learning_starts"],
            train_freq=hp["train_freq"],
            gradient_steps=hp["gradient_steps"],
        )
        if due:
            self._gradient_steps(due)

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """What was learned since the last call. A window that nobody showed step by step is shown now.

        Returns:
            Means over the gradient steps, ``n_updates`` of them, and where the agent stands. Losses of NaN say that
            three steps in a row had gradients that were not finite.
        """
        if not self._cadence.unreported:
            observe_window(self.observe, episode_data)
        self._cadence.report()
        if episode_data.n_steps:
            self._normalizers.after_window(rows(episode_data, "observations"))
        return {
            **self._report(),
            "buffer_size": len(self._replay),
            "env_steps": self._cadence.env_steps,
            **self._facts(),
        }

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        del mask  # numbers cannot be masked
        unit = self._describe_greedy(b, self._describe_actor(b, x))
        return Described(to_box(b, unit, self._scaler), self._scaler.info, {"unit_action": unit})

    @abstractmethod
    def _describe_actor(self, b: GraphBuilder, x: Any) -> str:
        """Append the operations from observations ``x`` to the actor's outputs."""

    def _describe_greedy(self, b: GraphBuilder, outputs: str) -> str:
        """Append the operations from the actor's outputs to greedy actions in [-1, 1]; beyond is clipped."""
        del b
        return outputs

    @abstractmethod
    def _gradient_steps(self, n: int) -> None:
        """``n`` times one draw from replay and what is learned from it; none after a divergence until it is reported.

        Afterwards the mirror has the new weights.
        """

    @abstractmethod
    def _report(self) -> dict[str, Any]:
        """Means since the last report, with ``n_updates``, ``n_skipped``; see :func:`actor_and_critics`."""

    @abstractmethod
    def _policy_actions(
        self, observations: NDArray[Any], rng: np.random.Generator | None
    ) -> NDArray[np.float32]:
        """Policy actions ``[N, A]``: explored with noise from ``rng``, greedy without one; a fresh array."""

    def _facts(self) -> dict[str, Any]:
        """What else :meth:`learn` reports."""
        return {}

    def _draw(self) -> Draw:
        """A batch from replay, as the networks see it."""
        return draw(self._replay, self._hp, self._hp["per_beta"], self._normalizers, self._streams.minibatch)

    def _noise(self, n: int) -> NDArray[np.float32]:
        """Standard normal draws ``[n, B, A]``."""
        shape = (n, self._hp["batch_size"], self._action_dim)
        return self._streams.minibatch.standard_normal(shape, np.float32)

    def _actor_outputs(self, observations: NDArray[Any]) -> NDArray[Any]:
        """What the actor gives for raw observations, of the width that the algorithm expects."""
        outputs = self._mirror.outputs(observations)
        width = self._outputs_per_action * self._action_dim
        if outputs.shape[1:] != (width,):
            raise SpaceError(
                f"{self.kind}: the actor gave outputs of shape {outputs.shape}; for {self._action_dim} action "
                f"dimensions they must be [N, {width}]"
            )
        return outputs

    def _apply(self, hp: dict[str, Any]) -> None:
        if hp["gradient_steps"] == 0:
            raise HyperparamError(
                f"{self.kind}: gradient_steps is 0; it must be at least 1, or -1 for as many as train_freq"
            )
        self._hp = hp
        self._change_learning_rate(hp["learning_rate"])
        if self._prioritized is not None:
            self._prioritized.set_alpha(hp["per_alpha"])

    def _change_learning_rate(self, value: float) -> None:
        """Give the actor's optimizer the rate ``value``; all others keep their ratio to it.

        A user who gave the critics another rate meant it.
        """
        first, *others = self._trainables.values()
        before = first.learning_rate()
        first.set_learning_rate(value)
        for trainable in others:
            old = trainable.learning_rate()
            trainable.set_learning_rate(value if old == before else old * (value / before))


def actor_and_critics(actor: Mapping[str, Any], critics: Mapping[str, Any]) -> dict[str, Any]:
    """Two reports of a :class:`~optix_core.agents.steps.StepLog` as one; ``n_updates`` are those of the critics."""
    lost = {"loss": math.nan} if "loss" in actor or "loss" in critics else {}
    return {
        **_renamed(critics, "critic_grad_norm"),
        **_renamed(actor, "actor_grad_norm"),
        **lost,
        "n_updates": critics["n_updates"],
        "n_skipped": actor["n_skipped"] + critics["n_skipped"],
    }


def scaler_of_bounded(space: Any, owner: str) -> BoxScaler:
    """What maps [-1, 1] to ``space``.

    Raises:
        SpaceError: It is no floating Box, or not bounded on both sides everywhere.
    """
    scaler = BoxScaler(space)
    if not scaler.bounded.all():
        raise SpaceError(
            f"{owner}: components {np.argwhere(~scaler.bounded).tolist()} of the action space have no finite bounds, "
            "so there is nothing that actions in [-1, 1] could be scaled to. Give the Box bounds "
            "(gymnasium.wrappers.TransformAction), or use GaussianPPO, whose actions are not squashed."
        )
    return scaler


def _renamed(report: Mapping[str, Any], grad_norm: str) -> dict[str, Any]:
    """The measured means of one descent."""
    kept = {name: value for name, value in report.items() if name not in {"n_updates", "n_skipped", "loss"}}
    return {grad_norm if name == "grad_norm" else name: value for name, value in kept.items()}
