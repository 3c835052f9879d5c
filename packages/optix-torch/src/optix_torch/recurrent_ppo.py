"""PPO with memory, for environments that one observation does not describe (Schulman et al. 2017, arXiv:1707.06347).

Everything but the memory is as in ``ppo.py`` and ``gaussian_ppo.py``. Whoever steps the environments keeps the memory:
zeros where an episode begins, carried over the borders of windows, recorded as it was before each step. Learning cuts
every environment's steps into sequences, at the ends of episodes and after ``bptt_len`` steps, and starts each with the
recorded memory; so nothing is ever reset inside a sequence, and before the first gradient step the probabilities are
those that acted. What followed a window or a time limit is judged with the memory from before any reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from gymnasium.spaces import Box
from numpy.typing import NDArray
from torch import nn

from optix_core import hyperparams as declared
from optix_core.plugin import AgentContext
from optix_core.rl.batching import standardize
from optix_core.rl.returns import generalized_advantage_estimation
from optix_core.rl.spaces import BoxScaler
from optix_core.rl.successors import next_values, rows, successors
from optix_core.state import State
from optix_core.types import EpisodeData, HyperparamSet
from optix_torch.engine import PPOBatch
from optix_torch.normalizing import Normalizers
from optix_torch.recurrent_actor_critic import RecurrentActorCritic
from optix_torch.recurrent_standard import recurrent_ppo_parts
from optix_torch.sequences import Sequences, memory_before, memory_of_successors
from optix_torch.specs.recurrent_ppo import HYPERS
from optix_torch.stored_agent import StoredAgent
from optix_torch.streams import Streams
from optix_torch.threads import Threads

if TYPE_CHECKING:
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer

NAME = "TorchRecurrentPPOAgent"


class TorchRecurrentPPOAgent(StoredAgent):
    """Proximal policy optimisation with an LSTM or GRU, for discrete and continuous actions.

    Args:
        rnn: ``nn.LSTM`` or ``nn.GRU``, of any number of layers; reads observations ``[obs]``, or what ``encoder`` gives.
        actor_head: Outputs ``[B, H]`` of ``rnn`` to logits ``[B, A]``; for a Box to means followed by log standard
            deviations ``[B, 2 A]`` (:class:`~optix_torch.GaussianActor` makes that of a network for the means).
        critic_head: Outputs of ``rnn``, or of ``critic_rnn``, to ``[B]`` or ``[B, 1]``.
        n_actions: A: number of actions, or of dimensions of the Box.
        optimizer: Over the parameters of all.
        hyperparams: Values that differ from the defaults; see ``optix_torch.specs.recurrent_ppo``. Copied.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        critic_rnn: The critic's own memory; without it, the critic shares the actor's.
        encoder: Observations to features ``[B, F]``, of both.
        critic_encoder: The critic's own.
        action_space: The environment's; needed if it is a Box, or if its first action is not 0.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        reward_normalizer: Scales rewards before they become targets. Its gamma follows the agent's.
        threads: See :class:`~optix_torch.threads.Threads`.
        seed: Root seed of acting and minibatch order; None draws one from the operating system.

    Attributes:
        memory_size: M, the numbers that one environment's memory consists of.

    Raises:
        ConfigError: The networks, the optimizer or the device cannot be used together.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS

    def __init__(
        self,
        rnn: nn.Module,
        actor_head: nn.Module,
        critic_head: nn.Module,
        n_actions: int,
        optimizer: torch.optim.Optimizer,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        device: str | torch.device = "auto",
        *,
        critic_rnn: nn.Module | None = None,
        encoder: nn.Module | None = None,
        critic_encoder: nn.Module | None = None,
        action_space: Any = None,
        observation_normalizer: ObsNormalizer | None = None,
        reward_normalizer: RewardNormalizer | None = None,
        threads: Literal["auto"] | int = "auto",
        seed: int | None = None,
    ) -> None:
        given = {"learning_rate": float(optimizer.param_groups[0]["lr"])}
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        self._scaler = BoxScaler(action_space) if isinstance(action_space, Box) else None
        self._action_start = 0 if action_space is None or self._scaler else int(action_space.start)
        self._networks = RecurrentActorCritic(
            rnn, actor_head, critic_head, optimizer, critic_rnn=critic_rnn, encoder=encoder,
            critic_encoder=critic_encoder, head="gaussian" if self._scaler else "categorical", n_actions=n_actions,
            device=device,
        )  # fmt: skip
        self.memory_size = self._networks.memory_size
        self._normalizers = Normalizers(observation_normalizer, reward_normalizer)
        self._threads = Threads(threads, self._networks.flat.vector.numel(), self._networks.device)
        self._own = _OwnMemory(self.memory_size)
        self._assemble(
            {"actor_critic": self._networks.training}, Streams(seed), self._normalizers, hp, parts={"memory": self._own}
        )

    def act(self, observation: NDArray[Any], *, deterministic: bool = False) -> Any:
        """An action of the environment, by a memory and a random stream of its own: training never notices.

        It remembers the observations of earlier calls; :meth:`reset_memory` begins a new episode.
        """
        action, self._own.memory = self._act(
            np.asarray(observation)[None], self._own.memory, self._streams.single, deterministic
        )
        chosen = self.env_actions(action)[0]
        return chosen if self._scaler else int(chosen)

    def reset_memory(self) -> None:
        """Let :meth:`act` forget what it has seen."""
        self._own.memory = np.zeros_like(self._own.memory)

    def act_batch_with_memory(
        self, observations: NDArray[Any], memory: NDArray[np.float32], *, deterministic: bool = False
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Policy actions for ``[N, *obs]`` and memory ``[N, M]`` after the step; fresh arrays.

        Actions are ``[N]`` from 0 to A - 1, or ``[N, A]``, unbounded.
        """
        return self._act(observations, memory, self._streams.policy, deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Actions of the environment: shifted to its first one, or [-1, 1] mapped to the Box and the rest clipped."""
        if self._scaler is not None:
            return self._scaler.to_box(actions.reshape(-1, *self._scaler.low.shape))
        return actions + self._action_start if self._action_start else actions

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One PPO update on a window; diagnostics are described in ``UpdateReport``, NaN losses mean that it failed.

        Raises:
            ConfigError: The window lacks ``hidden_states``, or they are of another agent.
        """
        hp, networks, window = self._hp, self._networks, episode_data
        if not window.n_steps:
            return {"n_updates": 0, "skipped": "the window is empty"}
        # Tensors. Nothing has moved since the window was collected: these are the log-probabilities that acted.
        observations = self._normalizers.observations(rows(window, "observations"))
        actions, memory = rows(window, "actions"), memory_before(window, self.memory_size, owner=NAME)
        with self._threads:
            log_probs, values, after = networks.evaluate(observations, memory, actions)
            following = networks.values(
                self._normalizers.observations(successors(window)), memory_of_successors(window, after)
            )
        values = values.reshape(window.time_major("rewards").shape)
        following = next_values(window, values, following)
        # Targets. A time limit is a boundary with a future, a terminal state one without.
        terminated, boundary = window.time_major("terminated"), window.time_major("dones")
        rewards = self._normalizers.rewards(window.time_major("rewards"), boundary)
        advantages = generalized_advantage_estimation(
            rewards, values, following, terminated, boundary, gamma=hp["gamma"], gae_lambda=hp["gae_lambda"]
        )
        targets = advantages + values
        # Epochs, over sequences in which nothing ends.
        batch = PPOBatch(
            observations=observations,
            actions=actions,
            log_probs=log_probs if window.log_probs is None else rows(window, "log_probs"),
            values=values.reshape(-1),
            advantages=standardize(advantages).reshape(-1),
            targets=targets.reshape(-1),
        )
        sequences = Sequences.cut(boundary, hp["bptt_len"])
        with self._threads:
            report = networks.update(batch, memory, sequences, hp, self._streams.minibatch)
        # Metrics. Statistics move only now, so that the next window is learned from as it was acted in.
        self._normalizers.after_window(rows(window, "observations"))
        return report.diagnostics(values, targets)

    def acting_state(self) -> State:
        """What acting changes: random streams, and the memory of :meth:`act`."""
        return {**super().acting_state(), "memory": self._own.memory.copy()}

    def load_acting_state(self, state: Mapping[str, Any]) -> None:
        """Put :meth:`acting_state` back."""
        super().load_acting_state(state)
        self._own.load_state_dict(state)

    def _act(
        self, observations: NDArray[Any], memory: NDArray[Any], rng: np.random.Generator, deterministic: bool
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        features, _, after = self._networks.remember(self._normalizers.observations(observations), memory)
        return self._networks.policy.act(features, rng, deterministic=deterministic), after

    def _apply(self, hp: dict[str, Any]) -> None:
        super()._apply(hp)
        self._normalizers.set_gamma(hp["gamma"])


class _OwnMemory:
    """What ``act`` remembers from one call to the next, ``[1, M]``."""

    def __init__(self, size: int) -> None:
        self.memory = np.zeros((1, size), np.float32)

    def state_dict(self) -> State:
        return {"memory": self.memory.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.memory = np.array(state["memory"], np.float32).reshape(self.memory.shape)


def build(ctx: AgentContext, **options: Any) -> TorchRecurrentPPOAgent:
    """The standard agent for an environment; options are those of :func:`recurrent_ppo_parts`."""
    return TorchRecurrentPPOAgent(**recurrent_ppo_parts(ctx, **options))
