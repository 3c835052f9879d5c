"""Actor and critic with a memory: they act step by step in numpy and learn from whole sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.acting import NumpyPolicy, RecurrentCell
from optix_core.acting.distributions import Head
from optix_core.agents.function_policy import FunctionPolicy
from optix_core.agents.ppo_update import UpdateReport
from optix_core.errors import ConfigError
from optix_torch.acting.mirror import torch_forward
from optix_torch.device import resolve_device
from optix_torch.networks.mlp import standard_mlp
from optix_torch.networks.recurrent import Recurrent, recurrent_spec
from optix_torch.policy_gradient.actor_critic import _actor_shape, _function, _torch_distribution
from optix_torch.policy_gradient.sequence_engine import SequenceBatch, SequenceEngine
from optix_torch.policy_gradient.sequences import Packed
from optix_torch.training import storage
from optix_torch.training.trainable import Trainable


class RecurrentActorCritic:
    """One recurrent network for both heads, or one for each, on one flat parameter vector.

    Args:
        rnn: ``nn.LSTM`` or ``nn.GRU``; what the actor remembers with, and the critic too without ``critic_rnn``.
        actor_head: Outputs ``[B, H]`` of ``rnn`` to logits, or to means and log standard deviations ``[B, 2 A]``.
        critic_head: Outputs of ``critic_rnn`` (or ``rnn``) to ``[B]`` or ``[B, 1]``.
        optimizer: Over the parameters of all.
        critic_rnn: What the critic remembers with.
        encoder: Observations to features ``[B, F]`` for ``rnn``; None if observations are features.
        critic_encoder: The same for ``critic_rnn``; None: the actor's.
        head: What the actor's outputs mean, see :mod:`optix_core.acting.distributions`.
        n_actions: A.
        nvec: Choices of each component; ``multi_categorical`` only.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Attributes:
        policy: Acts on outputs of ``rnn``.
        training: All networks and the optimizer.
        memory_size: M: the actor's memory, followed by the critic's if it has its own.

    Raises:
        ConfigError: The parts do not fit each other, or cannot be used.
    """

    def __init__(
        self,
        rnn: nn.Module,
        actor_head: nn.Module,
        critic_head: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        critic_rnn: nn.Module | None = None,
        encoder: nn.Module | None = None,
        critic_encoder: nn.Module | None = None,
        head: Head,
        n_actions: int,
        nvec: Sequence[int] = (),
        device: str | torch.device,
    ) -> None:
        if critic_encoder is not None and critic_rnn is None:
            raise ConfigError(
                "critic_encoder needs a critic_rnn behind it; without one, the critic shares rnn"
            )
        for network in (rnn, critic_rnn):
            if network is not None:
                recurrent_spec(network)
        self.device = resolve_device(device)
        given = {
            "encoder": encoder, "rnn": rnn, "actor_head": actor_head,
            "critic_encoder": critic_encoder, "critic_rnn": critic_rnn, "critic_head": critic_head,
        }  # fmt: skip
        modules = {
            name: module.to(self.device).eval() for name, module in given.items() if module is not None
        }
        shape = _actor_shape(actor_head, head, n_actions, tuple(nvec))
        plain = {"actor_head": shape, "critic_head": standard_mlp(critic_head)}
        parameters: list[nn.Parameter] = []
        for name, module in modules.items():
            found = plain.get(name)
            parameters += [p for p in (found[1] if found else module.parameters()) if p.requires_grad]
        self.training = Trainable(modules, parameters, optimizer, self.refresh)
        self.flat = self.training.flat
        self.policy: NumpyPolicy | FunctionPolicy
        self._copy: NDArray[Any] | None = None
        if shape is None:
            self.policy = FunctionPolicy(torch_forward(actor_head, self.flat), head, n_actions, nvec)
        else:
            start = self.flat.start_of(list(shape[1]))
            assert start is not None
            self._piece = slice(start, start + shape[0].layout.size)
            if self.device.type != "cpu":
                self._copy = self.flat.to_numpy()[self._piece]
            self.policy = NumpyPolicy(
                shape[0], self.flat.arrays()[0][self._piece] if self._copy is None else self._copy
            )
        self._actor = self._critic = Recurrent(rnn, encoder, self.flat)
        self._split = self.memory_size = self._actor.spec.memory_size
        if critic_rnn is not None:
            self._critic = Recurrent(critic_rnn, critic_encoder or encoder, self.flat)
            self.memory_size += self._critic.spec.memory_size
        self.engine = SequenceEngine(
            self.run, _function(actor_head), _function(critic_head), _torch_distribution(head, nvec), self.flat,
            optimizer, joined=self.training.joined,
        )  # fmt: skip

    def cells(self) -> tuple[RecurrentCell, ...] | None:
        """The actor's memory, then the critic's own, as numpy computes them; None if an encoder comes before them."""
        found = (self._actor,) if self._critic is self._actor else (self._actor, self._critic)
        if any(network.has_encoder for network in found):
            return None
        return tuple(network.cell for network in found)

    def remember(
        self, observations: NDArray[Any], memory: NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """One step of N environments, in numpy.

        Args:
            observations: ``[N, *obs]``, normalised.
            memory: ``[N, M]`` before the step.

        Returns:
            What the actor's head reads, what the critic's head reads, and the memory ``[N, M]`` after the step.

        Raises:
            ConfigError: The memory has another shape.
        """
        if memory.shape != (len(observations), self.memory_size):
            raise ConfigError(
                f"memory has shape {memory.shape}, expected {(len(observations), self.memory_size)}: one row of "
                "memory_size numbers per environment"
            )
        after, k = np.empty(memory.shape, np.float32), self._split
        seen = self._actor.step(observations, memory[:, :k], after[:, :k])
        if self._critic is self._actor:
            return seen, seen, after
        return seen, self._critic.step(observations, memory[:, k:], after[:, k:]), after

    def run(self, observations: Any, memory: Tensor, packed: Packed) -> tuple[Tensor, Tensor]:
        """What both heads read, ``[R, H]`` each, for packed sequences ``[R, *obs]`` and ``[S, M]`` before them."""
        k = self._split
        seen = self._actor.run(observations, memory[:, :k], packed)
        if self._critic is self._actor:
            return seen, seen
        return seen, self._critic.run(observations, memory[:, k:], packed)

    def update(self, batch: SequenceBatch, hp: Mapping[str, Any], rng: np.random.Generator) -> UpdateReport:
        """One PPO update. Parameters that would not be finite afterwards are put back as they were before."""
        before, optimizer = self.flat.to_numpy(), storage.optimizer_state(self.training.optimizer)
        report = self.engine.update(batch, hp, rng)
        if not self.flat.is_finite():
            report.diverged = True
            self.flat.assign(before)
            storage.load_optimizer(self.training.optimizer, optimizer, owner="this agent")
        self.refresh()
        return report

    def refresh(self) -> None:
        """Bring the host's copies of the weights up to date; only needed where they live on another device."""
        self._actor.refresh()
        self._critic.refresh()
        if self._copy is not None:
            self._copy[:] = self.flat.vector.detach()[self._piece].cpu().numpy()
