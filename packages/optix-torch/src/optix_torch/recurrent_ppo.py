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

import torch
from torch import nn

from optix_core import hyperparams as declared
from optix_core.acting import NumpyActing, NumpyPolicy
from optix_core.agents.box_actions import actions_of
from optix_core.agents.decay import Decay
from optix_core.agents.hypers.recurrent_ppo import HYPERS
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.ppo_update import advantages_and_targets, is_off_policy
from optix_core.agents.single import SingleObservation
from optix_core.agents.streams import Streams
from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.rl.batching import standardize
from optix_core.rl.masking import split_masks
from optix_core.rl.successors import next_values, rows, successors
from optix_core.types import EpisodeData, HyperparamSet
from optix_torch.policy_gradient.recurrent_actor_critic import RecurrentActorCritic
from optix_torch.policy_gradient.recurrent_agent import OwnMemory, RecurrentAgent
from optix_torch.policy_gradient.recurrent_standard import recurrent_ppo_parts
from optix_torch.policy_gradient.sequence_engine import SequenceBatch
from optix_torch.policy_gradient.sequences import Sequences, memory_before, memory_of_successors
from optix_torch.training.threads import Threads

if TYPE_CHECKING:
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer

NAME = "TorchRecurrentPPOAgent"


class TorchRecurrentPPOAgent(RecurrentAgent):
    """Proximal policy optimisation with an LSTM or GRU, for discrete and continuous actions.

    Args:
        rnn: ``nn.LSTM`` or ``nn.GRU``, of any number of layers; reads flat observations, or what ``encoder`` gives.
        actor_head: Outputs ``[B, H]`` of ``rnn`` to logits ``[B, A]``, as for PPO; for a Box to means followed by log
            standard deviations ``[B, 2 A]`` (:class:`~optix_torch.GaussianActor` needs a network for the means only).
        critic_head: Outputs of ``rnn``, or of ``critic_rnn``, to ``[B]`` or ``[B, 1]``.
        n_actions: A: number of choices (of all components together), bits, or dimensions of the Box.
        optimizer: Over the parameters of all.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.recurrent_ppo``. Copied.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        critic_rnn: The critic's own memory; without it, the critic shares the actor's.
        encoder: Observations to features ``[B, F]``, of both.
        critic_encoder: The critic's own.
        action_space: The environment's; None is Discrete.
        observation_space: The environment's; needed only so that ``act`` can read observations with parts.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        reward_normalizer: Scales rewards before they become targets. Its gamma follows the agent's.
        threads: See :class:`~optix_torch.training.threads.Threads`.
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
        observation_space: Any = None,
        observation_normalizer: ObsNormalizer | None = None,
        reward_normalizer: RewardNormalizer | None = None,
        threads: Literal["auto"] | int = "auto",
        seed: int | None = None,
    ) -> None:
        given = {"learning_rate": float(optimizer.param_groups[0]["lr"])}
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        self._actions, self._single = actions_of(action_space, NAME), SingleObservation(observation_space)
        if self._actions.n_actions not in {None, n_actions}:
            raise ConfigError(f"n_actions is {n_actions}, but the action space has {self._actions.n_actions}")
        self.accepts_action_masks = self._actions.head.endswith("categorical")  # type: ignore[misc]
        self._networks = RecurrentActorCritic(
            rnn, actor_head, critic_head, optimizer, critic_rnn=critic_rnn, encoder=encoder,
            critic_encoder=critic_encoder, head=self._actions.head, n_actions=n_actions, nvec=self._actions.nvec,
            device=device,
        )  # fmt: skip
        self.memory_size = self._networks.memory_size
        self._normalizers = Normalizers(observation_normalizer, reward_normalizer)
        self._threads = Threads(threads, self._networks.flat.vector.numel(), self._networks.device)
        self._own = OwnMemory(self.memory_size)
        self._decay = Decay()
        trainables = {"actor_critic": self._networks.training}
        parts = {"memory": self._own, "decay": self._decay}
        self._assemble(
            trainables, Streams(seed), self._normalizers, hp, observation_space=observation_space, parts=parts
        )

    def numpy_acting(self) -> NumpyActing | None:
        """The policy for actors in other processes; None if it is computed by PyTorch."""
        policy, cells = self._networks.policy, self._networks.cells()
        if cells is None or not isinstance(policy, NumpyPolicy):
            return None
        return NumpyActing(policy, cells, self._normalizers.observation, self.accepts_action_masks)

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One PPO update on a window; diagnostics are described in ``UpdateReport``, NaN losses mean that it failed.

        Raises:
            ConfigError: The window lacks ``hidden_states``, or they are of another agent.
        """
        with self._threads:
            return self._learn(episode_data)

    def _learn(self, window: EpisodeData) -> dict[str, Any]:
        hp, networks = self._hp, self._networks
        if not window.n_steps:
            return {"n_updates": 0, "skipped": "the window is empty"}
        # Tensors. If nothing has moved since the window was collected, these are the log-probabilities that acted.
        seen, masks = split_masks(rows(window, "observations"))
        observations = self._normalizers.observations(seen)
        actions, memory = rows(window, "actions"), memory_before(window, self.memory_size, owner=NAME)
        for_actor, for_critic, after = networks.remember(observations, memory)
        values = networks.engine.values(for_critic).reshape(window.time_major("rewards").shape)
        if window.log_probs is None or is_off_policy(window):
            log_probs = networks.engine.log_probs(for_actor, actions, masks)
        else:
            log_probs = rows(window, "log_probs")
        beyond = self._normalizers.observations(split_masks(successors(window))[0])
        _, for_critic, _ = networks.remember(beyond, memory_of_successors(window, after))
        following = next_values(window, values, networks.engine.values(for_critic))
        # Targets. A time limit is a boundary with a future, a terminal state one without.
        boundary = window.time_major("dones")
        rewards = self._normalizers.rewards(window.time_major("learning_rewards"), boundary)
        advantages, targets = advantages_and_targets(window, rewards, values, following, log_probs, hp)
        # Epochs, over sequences in which nothing ends.
        batch = SequenceBatch(
            observations=observations,
            actions=actions,
            log_probs=log_probs,
            values=values.reshape(-1),
            advantages=standardize(advantages).reshape(-1),
            targets=targets.reshape(-1),
            masks=masks,
            memory=memory,
            sequences=Sequences.cut(boundary, hp["bptt_len"]),
        )
        with self._decay.applied(hp, window.n_steps, networks.training) as now:
            report = networks.update(batch, now, self._streams.minibatch)
        # Metrics. Statistics move only now, so that the next window is learned from as it was acted in.
        self._normalizers.after_window(seen)
        return report.diagnostics(values, targets)

    def _apply(self, hp: dict[str, Any]) -> None:
        super()._apply(hp)
        self._normalizers.set_gamma(hp["gamma"])


def build(ctx: AgentContext, **options: Any) -> TorchRecurrentPPOAgent:
    """The standard agent for an environment; options are those of :func:`recurrent_ppo_parts`."""
    return TorchRecurrentPPOAgent(**recurrent_ppo_parts(ctx, **options))
