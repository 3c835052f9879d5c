"""How a graph agent learns from a window: advantages, the PPO update, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optix_core.agents.decay import Decay
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.stored_agent import StoredAgent
from optix_core.agents.streams import Streams
from optix_core.rl.batching import standardize
from optix_core.rl.masking import split_masks
from optix_core.rl.returns import generalized_advantage_estimation
from optix_core.rl.successors import next_values, rows, successors
from optix_core.types import EpisodeData
from optix_neuroevo.agents.blocks import Blocks
from optix_neuroevo.agents.ledger import GrowthLedger
from optix_neuroevo.agents.measuring import OptionalMeasurements
from optix_neuroevo.agents.memory_rows import MemoryRows
from optix_neuroevo.agents.networks import GraphNetworks
from optix_neuroevo.agents.trainable import GraphTrainable
from optix_neuroevo.agents.update import GraphBatch, ppo_update, ratio_error, staged
from optix_torch.policy_gradient.sequences import memory_before, memory_of_successors
from optix_torch.training.threads import Threads


class GraphLearning(StoredAgent):
    """PPO on windows that a graph acted in."""

    chunk_len = 1
    """Steps that gradients go back."""

    ledger: GrowthLedger
    _networks: GraphNetworks
    _training: GraphTrainable
    _rows: MemoryRows
    _normalizers: Normalizers
    _threads: Threads
    _decay: Decay
    _measuring: OptionalMeasurements
    _streams: Streams

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One PPO update on a window; diagnostics as for PPO, and those of the graph, NaN losses if it failed.

        Raises:
            ConfigError: The window lacks ``hidden_states``, or they are of another agent.
        """
        with self._threads:
            return self._learn(episode_data)

    def _learn(self, window: EpisodeData) -> dict[str, Any]:
        hp, networks = self._hp, self._networks
        if not window.n_steps:
            return {"n_updates": 0, "skipped": "the window is empty"}
        seen, _ = split_masks(rows(window, "observations"))
        batch = self._batch(window, hp)
        data, blocks = staged(batch), Blocks.cut(batch.ends, self._bptt_len())
        if self._measuring.measurements is None:
            worst = ratio_error(networks, data, blocks, hp)
        else:
            worst = self._measuring.measurements.measure(networks, batch, data, hp)
        before, optimizer = self._training.state_dict(), networks.graph.version
        with self._decay.applied(hp, window.n_steps, self._training) as now:
            report = ppo_update(
                networks, self._training.optimizer, data, blocks, now, self._streams.minibatch
            )
        assert optimizer == networks.graph.version, "the graph was changed while it learned"
        finite = all(bool(p.isfinite().all()) for p in networks.named_parameters().values())
        if not finite:
            report.diverged = True
            self._training.load_state_dict(before, owner=self.kind)
        self._normalizers.after_window(seen)
        self.ledger.windows += 1
        found = report.diagnostics(batch.values, batch.targets)
        return found | {
            "loss": found["policy_loss"] + hp["vf_coef"] * found["value_loss"],
            "ratio_error": worst,
            "n_neurons": networks.graph.n_neurons(),
            "n_edges": networks.graph.n_edges(),
        }

    def _bptt_len(self) -> int:
        """Steps that gradients go back now: one where there is nothing to remember."""
        return self.chunk_len if self._networks.graph.memory_size else 1

    def _batch(self, window: EpisodeData, hp: Mapping[str, Any]) -> GraphBatch:
        """The window with its advantages and targets; nothing has moved since it was collected."""
        networks, norm = self._networks, self._normalizers
        seen, masks = split_masks(rows(window, "observations"))
        observations, actions = norm.observations(seen), rows(window, "actions")
        memory = self._rows.unpack(memory_before(window, self._rows.width, owner=self.kind))
        outputs, values, after = networks.step(observations, memory)
        values = values.reshape(window.time_major("rewards").shape)
        if window.log_probs is None:
            log_probs = networks.log_probs(outputs, actions, masks)
        else:
            log_probs = rows(window, "log_probs")
        beyond = norm.observations(split_masks(successors(window))[0])
        _, after_values, _ = networks.step(beyond, memory_of_successors(window, after))
        following = next_values(window, values, after_values)
        # a time limit is a boundary with a future, a terminal state one without
        terminated, boundary = window.time_major("terminated"), window.time_major("dones")
        rewards = norm.rewards(window.time_major("learning_rewards"), boundary)
        advantages = generalized_advantage_estimation(
            rewards, values, following, terminated, boundary, gamma=hp["gamma"], gae_lambda=hp["gae_lambda"]
        )
        return GraphBatch(
            observations=observations, actions=actions, log_probs=log_probs, values=values.reshape(-1),
            advantages=standardize(advantages).reshape(-1), targets=(advantages + values).reshape(-1),
            masks=masks, memory=memory, ends=boundary,
        )  # fmt: skip

    def _apply(self, hp: dict[str, Any]) -> None:
        super()._apply(hp)
        self._normalizers.set_gamma(hp["gamma"])
