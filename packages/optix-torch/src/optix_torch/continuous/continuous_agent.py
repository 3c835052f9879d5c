"""What off-policy agents for continuous actions share: experience in, gradient steps when due, actions out.

It holds no algorithm: what a gradient step is, and how actions are chosen, is on each agent's own page.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from optix_core.errors import HyperparamError, SpaceError
from optix_core.replay import Cadence, observe_window
from optix_core.rl.successors import rows
from optix_core.types import EpisodeData
from optix_torch.acting.single import SingleObservation
from optix_torch.continuous.setup import change_learning_rate, scaler_of_bounded
from optix_torch.continuous.twin import Actor, TwinCritics
from optix_torch.describing import Described, describe, to_box
from optix_torch.stored.experience import make_replay, prioritized_rows
from optix_torch.stored.normalizing import Normalizers
from optix_torch.stored.stored_agent import StoredAgent
from optix_torch.stored.streams import Streams
from optix_torch.training.descent import Descent
from optix_torch.training.threads import Threads
from optix_torch.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer
    from optix_core.state import Stateful


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """A draw from replay.

    Attributes:
        observations: ``[B, *obs]`` as a tensor, normalised; a dict of tensors for observations with parts.
        actions: ``[B, A]`` in [-1, 1], float32 as all that follows.
        rewards: ``[B]``, summed over n steps.
        discounts: ``[B]``, what the value of ``following`` counts; 0 where the episode terminated.
        following: ``[B, *obs]``, after the n-th step, as ``observations``.
        weights: ``[B]`` importance weights; None where the draw was uniform.
        indices: ``[B]``, for priorities.
    """

    observations: Any
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    discounts: NDArray[np.float32]
    following: Any
    weights: NDArray[np.float32] | None
    indices: NDArray[np.int64]


class ContinuousAgent(StoredAgent):
    """An off-policy agent for Box actions that learns from replay while experience is being collected.

    Everything that has a cadence counts environment steps, those of all environments together. Policy actions lie in
    [-1, 1], whatever the Box.
    """

    accepts_intrinsic_rewards = True
    default_min_episodes_before_dormant = 30

    def _begin(
        self,
        actor: Actor,
        critics: TwinCritics,
        hp: dict[str, Any],
        *,
        action_dim: int,
        outputs_per_action: int,
        action_space: Any,
        observation_space: Any,
        observation_normalizer: ObsNormalizer | None,
        replay: Any,
        threads: Any,
        seed: int | None,
        trainables: Mapping[str, Trainable] | None = None,
        parts: Mapping[str, Stateful] | None = None,
    ) -> None:
        """Take over the parts; subclasses call this at the end of their construction."""
        self._actor, self._critics, self._action_dim = actor, critics, action_dim
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
        actor_size, critic_size = (
            actor.training.flat.vector.numel(),
            critics.training.flat.vector.numel() // 2,
        )
        self._threads = Threads(threads, max(actor_size, critic_size), actor.training.flat.vector.device)
        self._actor_descent, self._critic_descent = Descent(actor.training), Descent(critics.training)
        self._assemble(
            {"actor": actor.training, "critics": critics.training, **(trainables or {})},
            Streams(seed),
            self._normalizers,
            hp,
            observation_space=observation_space,
            parts={
                "target": critics.target,
                "replay": self._replay,
                "cadence": self._cadence,
                **(parts or {}),
            },
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
            # numbers that are too large become infinite or NaN, which the guarded steps find
            with self._threads, np.errstate(over="ignore", invalid="ignore"):
                self._begin_round()
                for _ in range(due):
                    if not (self._critic_descent.diverged or self._actor_descent.diverged):
                        self._gradient_step()
            self._actor.mirror.refresh()

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
        actor, critics = self._actor_descent.report(), self._critic_descent.report()
        lost = {name: math.nan for report in (actor, critics) if "loss" in report for name in ("loss",)}
        return {
            **_renamed(critics, "critic_grad_norm"),
            **_renamed(actor, "actor_grad_norm"),
            **lost,
            "n_updates": critics["n_updates"],
            "n_skipped": actor["n_skipped"] + critics["n_skipped"],
            "buffer_size": len(self._replay),
            "env_steps": self._cadence.env_steps,
            **self._facts(),
        }

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        del mask  # numbers cannot be masked
        unit = self._describe_greedy(b, describe(b, self._actor.module, x))
        return Described(to_box(b, unit, self._scaler), self._scaler.info, {"unit_action": unit})

    def _describe_greedy(self, b: GraphBuilder, outputs: str) -> str:
        """Append the operations from the actor's outputs to greedy actions in [-1, 1]; beyond is clipped."""
        del b
        return outputs

    @abstractmethod
    def _gradient_step(self) -> None:
        """One draw from replay, and what is learned from it."""

    @abstractmethod
    def _policy_actions(
        self, observations: NDArray[Any], rng: np.random.Generator | None
    ) -> NDArray[np.float32]:
        """Policy actions ``[N, A]``: explored with noise from ``rng``, greedy without one; a fresh array."""

    def _facts(self) -> dict[str, Any]:
        """What else :meth:`learn` reports."""
        return {}

    def _begin_round(self) -> None:
        self._critic_descent.begin()
        self._actor_descent.begin()

    def _draw(self) -> Transitions:
        """A batch from replay, as the networks see it."""
        hp, flat = self._hp, self._actor.training.flat
        kind: dict[str, Any] = {"n_step": hp["n_step"], "gamma": hp["gamma"]}
        if self._prioritized is not None:
            kind["beta"] = hp["per_beta"]
        batch = self._replay.sample(hp["batch_size"], self._streams.minibatch, **kind)
        normal = self._normalizers.observations
        return Transitions(
            observations=flat.tensor(normal(batch.observations)),
            actions=batch.actions,
            rewards=batch.rewards,
            discounts=batch.discounts,
            following=flat.tensor(normal(batch.next_observations)),
            weights=None if self._prioritized is None else batch.weights,
            indices=batch.indices,
        )

    def _noise(self, n: int) -> NDArray[np.float32]:
        """Standard normal draws ``[n, B, A]``."""
        shape = (n, self._hp["batch_size"], self._action_dim)
        return self._streams.minibatch.standard_normal(shape, np.float32)

    def _critic_step(self, batch: Transitions, targets: NDArray[Any]) -> bool:
        """One step of both critics towards ``targets`` ``[B]``, unless the gradient is not finite.

        The loss is ``mean(w (Q1 - y)^2) + mean(w (Q2 - y)^2)``: no critic's error is averaged away. Priorities are the
        mean size of both errors.
        """
        values = self._critics.values(batch.observations, batch.actions)
        errors = values - targets
        weighted = errors if batch.weights is None else errors * batch.weights
        loss = float(np.vdot(weighted, errors)) / len(targets)
        self._critics.backward((2.0 / len(targets)) * weighted)
        limit = self._hp["max_grad_norm"] or math.inf
        q_mean = float(np.add.reduce(values, axis=None)) / values.size
        if not self._critic_descent.step(limit, critic_loss=loss, q_mean=q_mean):
            return False
        if self._prioritized is not None:
            self._prioritized.update_priorities(batch.indices, np.abs(errors).mean(axis=0))
        return True

    def _actor_outputs(self, observations: NDArray[Any]) -> NDArray[Any]:
        """What the actor gives for raw observations, of the width that the algorithm expects."""
        outputs = self._actor.mirror.outputs(observations)
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
        change_learning_rate(self._trainables.values(), hp["learning_rate"])
        if self._prioritized is not None:
            self._prioritized.set_alpha(hp["per_alpha"])


def _renamed(report: Mapping[str, Any], grad_norm: str) -> dict[str, Any]:
    """The measured means of one descent."""
    kept = {name: value for name, value in report.items() if name not in {"n_updates", "n_skipped", "loss"}}
    return {grad_norm if name == "grad_norm" else name: value for name, value in kept.items()}
