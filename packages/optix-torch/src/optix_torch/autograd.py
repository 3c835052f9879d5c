"""The PPO update by automatic differentiation: for any modules, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optix_torch.adam import FusedAdam
from optix_torch.engine import PPOBatch, StepGuard, UpdateReport, epoch_order
from optix_torch.flat import FlatParameters
from optix_torch.losses import approximate_kl, clipped_value_loss, ppo_clip_loss, value_loss

Network = Callable[[Tensor], Tensor]
"""A module, or a function of one."""
Distribution = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(actor outputs, actions) -> (log-probabilities, entropies)``: ``losses.categorical`` or ``losses.gaussian``."""


class AutogradEngine:
    """Steps the optimizer on gradients that ``backward`` computes.

    Args:
        actor: ``[B, *obs]`` to what ``distribution`` reads.
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``.
        distribution: What the actor's outputs mean.
        flat: The parameters of both.
        optimizer: Steps them.
        joined: It is a plain Adam over the whole vector, whose kernel can be called directly.
    """

    def __init__(
        self,
        actor: Network,
        critic: Network,
        distribution: Distribution,
        flat: FlatParameters,
        optimizer: torch.optim.Optimizer,
        *,
        joined: bool,
    ) -> None:
        self._actor, self._critic, self._distribution = actor, critic, distribution
        self._flat, self._optimizer, self._joined = flat, optimizer, joined

    def values(self, observations: NDArray[Any]) -> NDArray[Any]:
        """``[B]`` for normalised observations ``[B, *obs]``; a fresh array."""
        with torch.no_grad():
            return self._values(self._flat.tensor(observations)).cpu().numpy()

    def log_probs(self, observations: NDArray[Any], actions: NDArray[Any]) -> NDArray[Any]:
        """``[B]`` of actions under the current policy; a fresh array."""
        with torch.no_grad():
            outputs = self._actor(self._flat.tensor(observations))
            return self._distribution(outputs, self._actions(actions))[0].cpu().numpy()

    def update(self, batch: PPOBatch, hp: Mapping[str, Any], rng: np.random.Generator) -> UpdateReport:
        """``n_epochs`` passes of clipped-surrogate gradient steps over ``batch``."""
        report, kept = UpdateReport(), _Kept()
        guard = StepGuard(report)
        flat, value_clip = self._flat, hp["value_clip"]
        obs, actions = self._flat.tensor(batch.observations), self._actions(batch.actions)
        columns = self._flat.tensor(
            np.stack([batch.log_probs, batch.advantages, batch.targets, batch.values])
        )
        step = self._optimizer.step
        if self._joined:
            assert isinstance(self._optimizer, torch.optim.Adam)
            step = FusedAdam(self._optimizer, flat).step
        for _ in range(hp["n_epochs"]):
            order, sizes = epoch_order(len(batch), hp["minibatch_size"], rng)
            index = torch.from_numpy(order).to(flat.grad.device)
            log_ratios: list[Tensor] = []
            for seen, taken, column in zip(
                obs[index].split(sizes),
                actions[index].split(sizes),
                columns[:, index].split(sizes, dim=1),
                strict=True,
            ):
                old_log_probs, advantages, targets, old_values = column
                log_probs, entropies = self._distribution(self._actor(seen), taken)
                values = self._values(seen)
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

    def _values(self, observations: Tensor) -> Tensor:
        values = self._critic(observations)
        return values.squeeze(-1) if values.ndim == 2 else values

    def _actions(self, actions: NDArray[Any]) -> Tensor:
        if actions.dtype.kind == "f":
            return self._flat.tensor(actions)
        return torch.from_numpy(np.array(actions, np.int64)).to(self._flat.vector.device)


class _Kept:
    """Diagnostics that stay on the device until the update is over."""

    def __init__(self) -> None:
        self._samples: list[Tensor] = []  # policy losses, value losses, entropies of each step

    def add(self, *per_sample: Tensor) -> None:
        self._samples += [samples.detach() for samples in per_sample]

    def end_epoch(self, report: UpdateReport, log_ratios: list[Tensor], clip_ratio: float) -> None:
        if log_ratios:
            together = torch.cat(log_ratios)
            report.approx_kl.append(float(approximate_kl(together).mean()))
            report.clip_fraction.append(float(((together.exp() - 1.0).abs() > clip_ratio).float().mean()))

    def read(self, report: UpdateReport) -> None:
        if self._samples:
            means = torch.stack([samples.mean() for samples in self._samples]).tolist()
            report.policy_loss, report.value_loss, report.entropy = means[::3], means[1::3], means[2::3]
