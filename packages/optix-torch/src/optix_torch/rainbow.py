"""Rainbow (Hessel et al. 2018, arXiv:1710.02298): six improvements of deep Q-learning together.

What decides success:

1. Distributions of returns instead of means, on atoms that must cover the returns there are. Unless told otherwise the
   agent chooses them from what it sees in warm-up, and it warns if targets are clipped. Log-softmax throughout.
2. A projection that loses nothing where a shifted atom falls on another (``categorical.project``).
3. Noisy networks instead of epsilon: new noise for every action, new and independent noise for online and target
   network at every gradient step, none in greedy acting.
4. Double Q-learning: the online network's mean, with its noise, chooses the next action.
5. Dueling streams, put together atom by atom.
6. n-step returns discounted by the steps that were really summed; only terminal states have no value.
7. Prioritised replay with the Kullback-Leibler divergence from target to prediction as priority (cross entropy would
   also count the target's own entropy), weights before the mean, their exponent annealed to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optix_core import hyperparams as declared
from optix_core.agents.describing import dueling, linear
from optix_core.agents.experience import make_replay
from optix_core.agents.hypers.rainbow import HYPERS
from optix_core.agents.value_agent import Masks, best
from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.types import HyperparamSet
from optix_torch.action_values.categorical import Clipping, Support, entropy, project
from optix_torch.action_values.noisy_learning import noisy_engine, require_fit
from optix_torch.action_values.standard import rainbow_parts
from optix_torch.action_values.torch_value_agent import TorchValueAgent
from optix_torch.describing import array, describe
from optix_torch.device import resolve_device
from optix_torch.networks.noisy import RainbowQNetwork, trained_parameters
from optix_torch.training.targets import TargetNetwork
from optix_torch.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer


class TorchRainbowDQNAgent(TorchValueAgent):
    """Rainbow: noisy, distributional, double, dueling, n-step deep Q-learning with prioritised replay.

    A :class:`~optix_torch.networks.noisy.RainbowQNetwork` without encoder acts and learns through numpy on a CPU;
    any other module with noisy layers through PyTorch.

    Args:
        q_network: ``[B, *obs]`` to log-probabilities or logits ``[B, A, n_atoms]``, with
            :class:`~optix_torch.networks.noisy.NoisyLinear` layers; ``RainbowQNetwork.build`` makes one.
        n_actions: A.
        obs_dim: Numbers in one observation; checked against a RainbowQNetwork. None: not checked.
        optimizer: Over its parameters. A plain Adam is made to step them as one vector.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.rainbow``. Copied.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        action_space: The environment's Discrete space; needed only if its first action is not 0.
        observation_space: Needed only by :meth:`act` for observations with parts.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        replay: Used instead of a new buffer, for example a ``HindsightReplay``.
        engine: ``"auto"``, ``"closed_form"`` or ``"autograd"``; equal results.
        threads: Of PyTorch while learning; ``"auto"``: one for small networks.
        seed: Root seed of noise and replay; None draws one from the operating system.

    Raises:
        ConfigError: Network, optimizer, device, engine or replay memory cannot be used together.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS
    default_min_episodes_before_dormant = 0

    def __init__(
        self,
        q_network: nn.Module,
        n_actions: int,
        obs_dim: int | None,
        optimizer: torch.optim.Optimizer,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        device: str | torch.device = "auto",
        *,
        action_space: Any = None,
        observation_space: Any = None,
        observation_normalizer: ObsNormalizer | None = None,
        replay: Any = None,
        engine: str = "auto",
        threads: Any = "auto",
        seed: int | None = None,
    ) -> None:
        given = {"learning_rate": float(optimizer.param_groups[0]["lr"])}
        hp = declared.merge(HYPERS, given, hyperparams, owner="TorchRainbowDQNAgent")
        require_fit(q_network, n_actions, obs_dim, hp)
        network = q_network.to(resolve_device(device)).eval()
        self._network = network
        self._support = Support(hp["n_atoms"], hp["v_min"], hp["v_max"])
        self._clipping = Clipping()
        training = Trainable(
            {"q_network": network, "support": self._support},
            trained_parameters(network),
            optimizer,
            self._set_from_outside,
        )
        target = TargetNetwork(network, training.flat)
        self._engine = noisy_engine(engine, network, n_actions, training, target)
        self._atoms = self._support.atoms()
        self._start(
            training,
            target,
            hp,
            n_actions=n_actions,
            action_space=action_space,
            observation_space=observation_space,
            observation_normalizer=observation_normalizer,
            replay=make_replay(hp, prioritized=True) if replay is None else replay,
            threads=threads,
            seed=seed,
            parts={"clipping": self._clipping},
        )

    def q_values(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Expected returns ``[N, A]`` for observations ``[N, *obs]``, without noise."""
        return self._engine.act_values(self._normalizers.observations(observations), self._atoms, None)

    def _greedy(self, observations: NDArray[Any], masks: Masks) -> NDArray[np.int64]:
        return best(self.q_values(observations), masks)

    def _explore(
        self, observations: NDArray[Any], masks: Masks, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        seen = self._normalizers.observations(observations)
        return best(self._engine.act_values(seen, self._atoms, rng), masks)

    def _gradient_step(self) -> None:
        hp, engine, support = self._hp, self._engine, self._support
        if not support.is_chosen:
            support.choose(self._replay, hp["gamma"], self._streams.minibatch)
            self._atoms = support.atoms()
        batch = self._draw()
        engine.resample(self._streams.minibatch)
        # Targets: the distribution of what truly followed, shifted and projected; a point where nothing follows.
        chosen = best(engine.online_values(batch.following, self._atoms), batch.masks)
        after = engine.target_probabilities(batch.following, chosen)
        targets, clipped = project(batch.rewards, batch.discounts, after, support.v_min, support.v_max)
        self._clipping.add(clipped)
        # One step on the weighted cross entropy, skipped where its gradient is not finite.
        loss, entropies = engine.gradient(batch.observations, batch.actions, targets, batch.weights)
        stepped = self._descent.step(hp["max_grad_norm"], loss=loss)
        if stepped and self._prioritized is not None:
            divergences = entropies - entropy(targets)
            self._prioritized.update_priorities(batch.indices, np.maximum(divergences, 0.0))

    def _describe_values(self, b: GraphBuilder, x: Any) -> str:
        """Without noise, as greedy actions are."""
        if not isinstance(self._network, RainbowQNetwork):
            raise ConfigError(
                f"{self.kind}: only a RainbowQNetwork can be exported, not a {type(self._network).__name__}"
            )
        network, atoms = self._network, self._atoms
        x = b.add("flatten", x) if network.encoder is None else describe(b, network.encoder, x)
        last = len(network.layers) - 1
        for i, layer in enumerate(network.layers):
            x = linear(b, x, array(layer.mu_w), array(layer.mu_b))
            if i < last:
                x = b.add("activation", x, name="relu")
        logits = dueling(b, x, self._n_actions, len(atoms))
        return b.add(
            "expectation", logits, weights={"atoms": np.asarray(atoms, np.float32)}, actions=self._n_actions
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "v_min": self._support.v_min,
            "v_max": self._support.v_max,
            "support_from_data": self._hp["v_min"] == self._hp["v_max"],
            "clipped_share": self._clipping.share(self._support, self.kind),
        }

    def _changed_by_training(self) -> None:
        self._engine.refresh()

    def _set_from_outside(self) -> None:
        self._engine.refresh()
        self._target.copy()
        self._atoms = self._support.atoms()


def build(ctx: AgentContext, **options: Any) -> TorchRainbowDQNAgent:
    """The standard agent for an environment; options are those of ``action_values.standard.rainbow_parts``."""
    return TorchRainbowDQNAgent(**rainbow_parts(ctx, "Rainbow", **options))
