"""The PPO update by automatic differentiation: for any modules, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optix_core.agents.ppo_update import PPOBatch, StepGuard, UpdateReport, epoch_order
from optix_torch.policy_gradient.losses import approximate_kl, clipped_value_loss, ppo_clip_loss, value_loss
from optix_torch.training.adam import FusedAdam
from optix_torch.training.batching import cast, evaluated, integers, split, staged, take
from optix_torch.training.flat import FlatParameters

Network = Callable[[Any], Tensor]
"""A module, or a function of one; observations with parts come as dicts of tensors."""
Distribution = Callable[..., tuple[Tensor, Tensor]]
"""``(actor outputs, actions) -> (log-probabilities, entropies)``; masks are a third argument where there are any."""


class Staged(NamedTuple):
    """A window as tensors: observations, actions ``[B, ...]``, masks, and ``[4, B]`` what ``update`` reads of it."""

    observations: Any
    actions: Tensor
    masks: Tensor | None
    columns: Tensor


class Evaluated(NamedTuple):
    """A minibatch under the current networks: three tensors ``[B]``, and its part of the columns ``[4, B]``."""

    log_probs: Tensor
    entropies: Tensor
    values: Tensor
    columns: Tensor


class AutogradEngine:
    """Steps the optimizer on gradients that ``backward`` computes.

    Args:
        actor: ``[B, *obs]`` to what ``distribution`` reads.
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``.
        distribution: What the actor's outputs mean.
        flat: The parameters of both.
        optimizer: Steps them.
        joined: It is a plain Adam over the whole vector, whose kernel can be called directly.
        encoder: What actor and critic both read, computed once per step; they get its features then.
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
        encoder: Network | None = None,
    ) -> None:
        self._actor, self._critic, self._distribution = actor, critic, distribution
        self._encoder = encoder
        self._flat, self._optimizer, self._joined = flat, optimizer, joined

    def values(self, observations: NDArray[Any]) -> NDArray[Any]:
        """``[B]`` for normalised observations ``[B, *obs]``; a fresh array."""
        found = evaluated(lambda x: self._values(self._encoded(x)), self._flat, observations)
        return found.cpu().numpy()

    def log_probs(
        self, observations: NDArray[Any], actions: NDArray[Any], masks: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """``[B]`` of actions under the current policy, among those that ``masks`` ``[B, A]`` allow; a fresh array."""
        outputs = evaluated(lambda x: self._actor(self._encoded(x)), self._flat, observations)
        with torch.no_grad():
            return self._log_probs(outputs, self._actions(actions), self._masks(masks))[0].cpu().numpy()

    def update(self, batch: PPOBatch, hp: Mapping[str, Any], rng: np.random.Generator) -> UpdateReport:
        """``n_epochs`` passes of clipped-surrogate gradient steps over ``batch``."""
        report, kept = UpdateReport(), _Kept()
        guard = StepGuard(report)
        flat, value_clip = self._flat, hp["value_clip"]
        data = self._staged(batch)
        step = self._optimizer.step
        if self._joined:
            assert isinstance(self._optimizer, torch.optim.Adam)
            step = FusedAdam(self._optimizer, flat).step
        for _ in range(hp["n_epochs"]):
            log_ratios: list[Tensor] = []
            for log_probs, entropies, values, column in self._minibatches(data, hp["minibatch_size"], rng):
                old_log_probs, advantages, targets, old_values = column
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

    def _staged(self, batch: PPOBatch) -> Staged:
        """The window as tensors."""
        columns = np.stack([batch.log_probs, batch.advantages, batch.targets, batch.values])
        return Staged(
            staged(self._flat, batch.observations),
            self._actions(batch.actions),
            self._masks(batch.masks),
            self._flat.tensor(columns),
        )

    def _minibatches(self, data: Staged, size: int, rng: np.random.Generator) -> Iterator[Evaluated]:
        """One pass over the window; a minibatch is evaluated when it is asked for, after the step on the one before."""
        order, sizes = epoch_order(len(data.actions), size, rng)
        index, dtype = torch.from_numpy(order).to(self._flat.grad.device), self._flat.vector.dtype
        for seen, taken, allowed, column in zip(
            split(take(data.observations, index), sizes),
            data.actions[index].split(sizes),
            [None] * len(sizes) if data.masks is None else data.masks[index].split(sizes),
            data.columns[:, index].split(sizes, dim=1),
            strict=True,
        ):
            features = self._encoded(cast(seen, dtype))
            log_probs, entropies = self._log_probs(self._actor(features), taken, allowed)
            yield Evaluated(log_probs, entropies, self._values(features), column)

    def _encoded(self, observations: Any) -> Any:
        return observations if self._encoder is None else self._encoder(observations)

    def _log_probs(self, outputs: Tensor, actions: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        if masks is None:
            return self._distribution(outputs, actions)
        return self._distribution(outputs, actions, masks)

    def _values(self, features: Any) -> Tensor:
        values = self._critic(features)
        return values.squeeze(-1) if values.ndim == 2 else values

    def _actions(self, actions: NDArray[Any]) -> Tensor:
        if actions.dtype.kind == "f":
            return self._flat.tensor(actions)
        return integers(actions, self._flat.vector.device)

    def _masks(self, masks: NDArray[np.bool_] | None) -> Tensor | None:
        if masks is None:
            return None
        return torch.from_numpy(np.ascontiguousarray(masks)).to(self._flat.vector.device)


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
