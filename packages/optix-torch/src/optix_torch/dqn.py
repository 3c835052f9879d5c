"""Deep Q-learning (Mnih et al. 2015, doi:10.1038/nature14236), with its usual improvements.

What decides success:

1. The Huber loss, and a clip of the global gradient norm at 10.
2. Everything that has a cadence counts environment steps: epsilon, gradient steps, the target network.
3. Double Q-learning (van Hasselt et al. 2016, arXiv:1509.06461): the online network chooses, the target network says
   what that is worth.
4. Only terminal states have no value. A time limit is bootstrapped from the observation that truly followed.
5. n-step returns are discounted by the steps that were really summed, and never reach over a reset.
6. Prioritised replay (Schaul et al. 2016, arXiv:1511.05952): priority is the size of the error; weights are applied
   to each sample before the mean, their exponent annealed to 1.
7. Masked actions are never drawn, never chosen, and never the maximum in a target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optix_core import hyperparams as declared
from optix_core.agents.describing import dueling
from optix_core.agents.experience import make_replay
from optix_core.agents.hypers.dqn import HYPERS
from optix_core.agents.value_agent import Masks, best
from optix_core.plugin import AgentContext
from optix_core.rl.schedules import linear
from optix_core.types import HyperparamSet
from optix_torch.acting.mirror import Mirror
from optix_torch.action_values.q_learning import double_q_targets, q_engine
from optix_torch.action_values.standard import q_parts
from optix_torch.action_values.torch_value_agent import TorchValueAgent
from optix_torch.describing import describe
from optix_torch.device import resolve_device
from optix_torch.networks.q_network import without_dueling
from optix_torch.training.targets import TargetNetwork
from optix_torch.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer


class TorchDQNAgent(TorchValueAgent):
    """Deep Q-learning with epsilon-greedy exploration.

    Plain perceptrons (also with a :class:`~optix_torch.networks.q_network.Dueling` layer at the end) act and learn
    through numpy on a CPU; any other module through PyTorch.

    Args:
        q_network: ``[B, *obs]`` to action values ``[B, A]``.
        n_actions: A.
        optimizer: Over its parameters. A plain Adam is made to step them as one vector.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.dqn``. Copied.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        action_space: The environment's Discrete space; needed only if its first action is not 0.
        observation_space: Needed only by :meth:`act` for observations with parts.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        replay: Used instead of a new buffer, for example a ``HindsightReplay``.
        engine: ``"auto"``, ``"closed_form"`` or ``"autograd"``; equal results.
        threads: Of PyTorch while learning; ``"auto"``: one for small networks.
        seed: Root seed of exploration and replay; None draws one from the operating system.

    Raises:
        ConfigError: Network, optimizer, device, engine or replay memory cannot be used together.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS

    def __init__(
        self,
        q_network: nn.Module,
        n_actions: int,
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
        hp = declared.merge(HYPERS, given, hyperparams, owner="TorchDQNAgent")
        network = q_network.to(resolve_device(device)).eval()
        trained = [p for p in network.parameters() if p.requires_grad]
        training = Trainable({"q_network": network}, trained, optimizer, self._set_from_outside)
        target = TargetNetwork(network, training.flat)
        self._engine = q_engine(engine, network, n_actions, training, target)
        self._network = network
        plain, is_dueling = without_dueling(network)
        self._mirror = Mirror(plain, training.flat, observation_normalizer)
        self._first_advantage = int(is_dueling)  # the best action has the largest advantage
        self._start(
            training,
            target,
            hp,
            n_actions=n_actions,
            action_space=action_space,
            observation_space=observation_space,
            observation_normalizer=observation_normalizer,
            replay=make_replay(hp) if replay is None else replay,
            threads=threads,
            seed=seed,
        )

    @property
    def epsilon(self) -> float:
        """The share of random actions now."""
        hp = self._hp
        schedule = linear(hp["epsilon"], hp["epsilon_min"], hp["epsilon_decay_steps"])
        return schedule(self._cadence.env_steps)

    def q_values(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Action values ``[N, A]`` for observations ``[N, *obs]``; a fresh array."""
        return np.array(self._engine.online(self._normalizers.observations(observations)))

    def _greedy(self, observations: NDArray[Any], masks: Masks) -> NDArray[np.int64]:
        return best(self._mirror.outputs(observations)[:, self._first_advantage :], masks)

    def _explore(
        self, observations: NDArray[Any], masks: Masks, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        n = len(observations)
        exploring = rng.random(n) < self.epsilon
        if exploring.all():
            return self._random(n, masks, rng)
        chosen = self._greedy(observations, masks)
        if exploring.any():
            chosen[exploring] = self._random(n, masks, rng)[exploring]
        return chosen

    def _gradient_step(self) -> None:
        hp, engine = self._hp, self._engine
        batch = self._draw()
        # Targets: the value of what truly followed, unless it was a terminal state.
        chosen_by = engine.online(batch.following) if hp["double"] else None
        values = engine.target(batch.following)
        targets = double_q_targets(
            batch.rewards, batch.discounts, values, values if chosen_by is None else chosen_by, batch.masks
        )
        # One step on the weighted Huber loss, skipped where its gradient is not finite.
        loss, errors = engine.gradient(batch.observations, batch.actions, targets, batch.weights)
        stepped = self._descent.step(hp["max_grad_norm"], loss=loss, target_mean=_mean(targets))
        if stepped and self._prioritized is not None:
            self._prioritized.update_priorities(batch.indices, np.abs(errors))

    def _describe_values(self, b: GraphBuilder, x: Any) -> str:
        plain, is_dueling = without_dueling(self._network)
        outputs = describe(b, plain, x)
        return dueling(b, outputs, self._n_actions) if is_dueling else outputs

    def _facts(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon}

    def _changed_by_training(self) -> None:
        self._mirror.refresh()

    def _set_from_outside(self) -> None:
        self._mirror.refresh()
        self._target.copy()


def _mean(values: NDArray[Any]) -> float:
    return float(np.add.reduce(values)) / len(values)


def build(ctx: AgentContext, **options: Any) -> TorchDQNAgent:
    """The standard agent for an environment; options are those of ``action_values.standard.q_parts``."""
    return TorchDQNAgent(**q_parts(ctx, "DQN", **options))
