"""Actor and critic with a memory: they act step by step in numpy and learn from whole sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.acting.policy import NumpyPolicy
from optix_core.errors import ConfigError
from optix_torch import losses, storage
from optix_torch.actor_critic import Head, _actor_shape
from optix_torch.adam import FusedAdam
from optix_torch.autograd import _Kept
from optix_torch.device import resolve_device
from optix_torch.engine import PPOBatch, StepGuard, UpdateReport
from optix_torch.losses import clipped_value_loss, ppo_clip_loss, value_loss
from optix_torch.networks import as_function, standard_mlp
from optix_torch.policy import TorchPolicy
from optix_torch.recurrent import Recurrent, recurrent_spec
from optix_torch.sequences import Packed, Sequences
from optix_torch.trainable import Trainable


class RecurrentActorCritic:
    """One recurrent network for both heads, or one for each, on one flat parameter vector.

    Args:
        rnn: ``nn.LSTM`` or ``nn.GRU``; what the actor remembers with, and the critic too without ``critic_rnn``.
        actor_head: Outputs ``[B, H]`` of ``rnn`` to logits ``[B, A]``, or to means and log standard deviations.
        critic_head: Outputs of ``critic_rnn`` (or ``rnn``) to ``[B]`` or ``[B, 1]``.
        optimizer: Over the parameters of all.
        critic_rnn: What the critic remembers with.
        encoder: Observations to features ``[B, F]`` for ``rnn``; None if observations are features.
        critic_encoder: The same for ``critic_rnn``; None: the actor's.
        head: What the actor's outputs mean.
        n_actions: A; None if it is to be found out from the actor.
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
        n_actions: int | None,
        device: str | torch.device,
    ) -> None:
        if critic_encoder is not None and critic_rnn is None:
            raise ConfigError("critic_encoder needs a critic_rnn behind it; without one, the critic shares rnn")
        given = {
            "encoder": encoder, "rnn": rnn, "actor_head": actor_head,
            "critic_encoder": critic_encoder, "critic_rnn": critic_rnn, "critic_head": critic_head,
        }  # fmt: skip
        modules = {name: module for name, module in given.items() if module is not None}
        for name in {"rnn", "critic_rnn"} & set(modules):
            recurrent_spec(modules[name])
        self.device = resolve_device(device)
        for module in modules.values():
            module.to(self.device).eval()
        shape, critic_shape = _actor_shape(actor_head, head, n_actions), standard_mlp(critic_head)
        plain = {"actor_head": shape, "critic_head": critic_shape}
        parameters = [
            p
            for name, module in modules.items()
            for p in (plain[name][1] if plain.get(name) else module.parameters())  # type: ignore[index]
            if p.requires_grad
        ]
        self.training = Trainable(modules, parameters, optimizer, self.refresh)
        self.flat = self.training.flat
        self._actor = Recurrent(rnn, encoder, self.flat)
        own_critic = critic_rnn is not None
        self._critic = Recurrent(critic_rnn, critic_encoder or encoder, self.flat) if critic_rnn else self._actor
        self._split = self._actor.spec.memory_size
        self.memory_size = self._split + (self._critic.spec.memory_size if own_critic else 0)
        self._actor_head = as_function(*shape) if shape else actor_head
        self._critic_head = as_function(*critic_shape) if critic_shape else critic_head
        self._distribution = losses.categorical if head == "categorical" else losses.gaussian
        self._head_copy: NDArray[Any] | None = None
        self.policy: NumpyPolicy | TorchPolicy
        if shape is None:
            self.policy = TorchPolicy(actor_head, head, n_actions, self.flat)
        else:
            start = self.flat.start_of(list(shape[1]))
            assert start is not None
            self._head_piece = slice(start, start + shape[0].layout.size)
            on_host = self.device.type == "cpu"
            self._head_copy = None if on_host else self.flat.to_numpy()[self._head_piece]
            self.policy = NumpyPolicy(shape[0], self.flat.arrays()[0][self._head_piece] if on_host else self._head_copy)  # type: ignore[arg-type]

    def remember(
        self, observations: NDArray[Any], memory: NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """One step of N environments.

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

    def evaluate(
        self, observations: NDArray[Any], memory: NDArray[np.float32], actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Log-probabilities ``[B]`` of actions, values ``[B]``, memory ``[B, M]`` after each step; all of single steps."""
        seen, judged, after = self.remember(observations, memory)
        with torch.no_grad():
            outputs = self._actor_head(self.flat.tensor(seen))
            log_probs = self._distribution(outputs, self._actions(actions))[0]
            return log_probs.cpu().numpy(), self._values(self.flat.tensor(judged)).cpu().numpy(), after

    def values(self, observations: NDArray[Any], memory: NDArray[np.float32]) -> NDArray[Any]:
        """``[B]`` for normalised observations ``[B, *obs]`` that are seen with ``memory`` ``[B, M]``."""
        _, judged, _ = self.remember(observations, memory)
        with torch.no_grad():
            return self._values(self.flat.tensor(judged)).cpu().numpy()

    def forward(self, observations: Any, memory: Tensor, packed: Packed) -> tuple[Tensor, Tensor]:
        """The actor's outputs ``[R, out]`` and values ``[R]`` of packed sequences, with gradients."""
        k = self._split
        seen = self._actor.run(observations, memory[:, :k], packed)
        judged = (
            seen if self._critic is self._actor else self._critic.run(observations, memory[:, k:], packed)
        )
        return self._actor_head(seen), self._values(judged)

    def update(
        self,
        batch: PPOBatch,
        memory: NDArray[np.float32],
        sequences: Sequences,
        hp: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> UpdateReport:
        """One PPO update: ``n_epochs`` passes over the sequences. ``memory`` ``[B, M]`` is that before each step.

        Parameters that would not be finite afterwards are put back as they were before.
        """
        before, optimizer = self.flat.to_numpy(), storage.optimizer_state(self.training.optimizer)
        report = self._epochs(batch, memory, sequences, hp, rng)
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
        if self._head_copy is not None:
            self._head_copy[:] = self.flat.vector.detach()[self._head_piece].cpu().numpy()

    def _epochs(
        self,
        batch: PPOBatch,
        memory: NDArray[np.float32],
        sequences: Sequences,
        hp: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> UpdateReport:
        report, kept, flat, value_clip = UpdateReport(), _Kept(), self.flat, hp["value_clip"]
        guard = StepGuard(report)
        obs, actions, memories = flat.tensor(batch.observations), self._actions(batch.actions), flat.tensor(memory)
        columns = flat.tensor(np.stack([batch.log_probs, batch.advantages, batch.targets, batch.values]))
        step = self.training.optimizer.step
        if self.training.joined:
            assert isinstance(self.training.optimizer, torch.optim.Adam)
            step = FusedAdam(self.training.optimizer, flat).step
        for _ in range(hp["n_epochs"]):
            log_ratios: list[Tensor] = []
            for packed in sequences.minibatches(hp["minibatch_size"], rng):
                index = torch.from_numpy(packed.rows).to(self.device)
                begin = torch.from_numpy(packed.first).to(self.device)
                old_log_probs, advantages, targets, old_values = columns[:, index]
                outputs, values = self.forward(obs[index], memories[begin], packed)
                log_probs, entropies = self._distribution(outputs, actions[index])
                policy = ppo_clip_loss(log_probs, old_log_probs, advantages, hp["clip_ratio"])
                if value_clip:
                    value = clipped_value_loss(values, targets, old_values, value_clip)
                else:
                    value = value_loss(values, targets)
                loss = policy.add(value, alpha=hp["vf_coef"]).sub(entropies, alpha=hp["entropy_coef"]).mean()
                flat.grad.zero_()
                loss.backward()
                grad_norm = math.sqrt(float(flat.grad.dot(flat.grad)))  # the only value read per step
                if guard.allows(grad_norm):
                    flat.grad.mul_(min(1.0, hp["max_grad_norm"] / (grad_norm + 1e-6)))
                    step()
                    report.grad_norm.append(grad_norm)
                    kept.add(policy, value, entropies)
                    log_ratios.append(log_probs.detach() - old_log_probs)
                elif report.diverged:
                    break
            kept.end_epoch(report, log_ratios, hp["clip_ratio"])
            if report.diverged or (
                hp["target_kl"] and report.approx_kl and report.approx_kl[-1] > hp["target_kl"]
            ):
                break
        kept.read(report)
        return report

    def _values(self, features: Tensor) -> Tensor:
        values = self._critic_head(features)
        return values.squeeze(-1) if values.ndim == 2 else values

    def _actions(self, actions: NDArray[Any]) -> Tensor:
        if actions.dtype.kind == "f":
            return self.flat.tensor(actions)
        return torch.from_numpy(np.array(actions, np.int64)).to(self.device)
