"""The PPO update of plain perceptrons with the gradients written out: no graph, no framework call per layer.

The parameters, gradients and Adam moments are the optimizer's own memory seen through numpy, so that this engine
and :class:`~optix_torch.policy_gradient.autograd.AutogradEngine` can take turns. Derivatives of the losses are in
``surrogates.py``, those of the networks in ``training/backward.py``; tests compare both engines and finite differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from optix_core.acting import MLPSpec, PolicySpec, distribution
from optix_core.acting.policy import allowed_logits
from optix_core.agents.ppo_update import PPOBatch, StepGuard, UpdateReport, epoch_order
from optix_torch.policy_gradient.losses import LOG_RATIO_BOUND
from optix_torch.policy_gradient.surrogates import surrogate
from optix_torch.training.adam import NumpyAdam
from optix_torch.training.backward import Differentiable
from optix_torch.training.flat import FlatParameters

Array = NDArray[Any]


class ClosedFormEngine:
    """Forward, backward and Adam in numpy, on a CPU.

    Args:
        actor: What the actor computes; its parameters come first in ``flat``.
        critic: What the critic computes; its parameters come second, and nothing follows.
        flat: The parameters of both.
        optimizer: A plain Adam that steps ``flat`` as a whole (:meth:`FlatParameters.join`).
    """

    def __init__(
        self, actor: PolicySpec, critic: MLPSpec, flat: FlatParameters, optimizer: torch.optim.Adam
    ) -> None:
        self._flat, self._optimizer, self._spec = flat, optimizer, actor
        self._parameters, self._gradients = flat.arrays()
        size, inner = actor.layout.size, actor.network.layout.size
        log_std = self._parameters[inner:size] if actor.has_log_std else None
        self._actor = Differentiable(actor.network, self._parameters[:inner], self._gradients[:inner])
        self._critic = Differentiable(critic, self._parameters[size:], self._gradients[size:])
        self._distribution = distribution(actor.head, actor.n_actions, actor.nvec, log_std)
        self._head = surrogate(actor, log_std, self._gradients[inner:size])

    def values(self, observations: Array) -> Array:
        """``[B]`` for normalised observations ``[B, *obs]``; a fresh array."""
        return self._critic.mlp.forward(observations)[:, 0].copy()

    def log_probs(self, observations: Array, actions: Array, masks: Array | None = None) -> Array:
        """``[B]`` of actions under the current policy; a fresh array."""
        outputs = self._actor.mlp.forward(observations)
        if masks is not None:
            outputs = allowed_logits(outputs, masks, self._spec.head, self._spec.nvec)
        return self._distribution.log_probs(outputs, actions)

    @np.errstate(over="ignore", invalid="ignore")  # the guard sees what is not finite
    def update(self, batch: PPOBatch, hp: Mapping[str, Any], rng: np.random.Generator) -> UpdateReport:
        """``n_epochs`` passes of clipped-surrogate gradient steps over ``batch``."""
        report = UpdateReport()
        guard, adam = StepGuard(report), NumpyAdam(self._optimizer, self._flat)
        observations = batch.observations.reshape(len(batch), -1)
        columns = np.stack([batch.log_probs, batch.advantages, batch.targets, batch.values])
        columns = columns.astype(self._parameters.dtype, copy=False)
        for _ in range(hp["n_epochs"]):
            order, sizes = epoch_order(len(batch), hp["minibatch_size"], rng)
            epoch_obs, epoch_actions, epoch_columns = (
                observations[order],
                batch.actions[order],
                columns[:, order],
            )
            epoch_masks = None if batch.masks is None else batch.masks[order]
            log_ratios: list[Array] = []
            for stop, size in zip(accumulate(sizes), sizes, strict=True):
                part = slice(stop - size, stop)
                old_log_probs, advantages, targets, old_values = epoch_columns[:, part]
                policy, entropy, log_ratio = self._surrogate(
                    epoch_obs[part],
                    epoch_actions[part],
                    old_log_probs,
                    advantages,
                    hp,
                    None if epoch_masks is None else epoch_masks[part],
                )
                value = self._value(epoch_obs[part], targets, old_values, hp)
                grad_norm = math.sqrt(np.dot(self._gradients, self._gradients))
                if guard.allows(grad_norm):
                    adam.step(min(1.0, hp["max_grad_norm"] / (grad_norm + 1e-6)))
                    report.grad_norm.append(grad_norm)
                    report.policy_loss.append(policy)
                    report.value_loss.append(value)
                    report.entropy.append(entropy)
                    log_ratios.append(log_ratio)
                elif report.diverged:
                    break
            if log_ratios:
                together = np.concatenate(log_ratios)
                clamped = np.clip(together, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)
                report.approx_kl.append(float((np.expm1(clamped) - together).mean()))
                report.clip_fraction.append(float((np.abs(np.expm1(clamped)) > hp["clip_ratio"]).mean()))
            if report.diverged or (
                hp["target_kl"] and report.approx_kl and report.approx_kl[-1] > hp["target_kl"]
            ):
                break
        return report

    def _surrogate(
        self,
        observations: Array,
        actions: Array,
        old_log_probs: Array,
        advantages: Array,
        hp: Mapping[str, Any],
        masks: Array | None = None,
    ) -> tuple[float, float, Array]:
        """Gradients of the surrogate and entropy terms; returns policy loss, entropy and log-ratios."""
        outputs = self._actor.mlp.forward(observations)
        loss, entropy, log_ratio, d_outputs = self._head(
            outputs, actions, masks, old_log_probs, advantages, hp
        )
        self._actor.backward(d_outputs)
        return loss, entropy, log_ratio

    def _value(self, observations: Array, targets: Array, old_values: Array, hp: Mapping[str, Any]) -> float:
        """Gradients of the value term; returns the value loss."""
        values = self._critic.mlp.forward(observations)[:, 0]
        error = values - targets
        squared = error * error
        if clip := hp["value_clip"]:
            moved = values - old_values
            clipped_error = old_values + np.clip(moved, -clip, clip) - targets
            clipped_squared = clipped_error * clipped_error
            # where the clipped error is larger, only an unclipped move still has a gradient, and then both are equal
            error = np.where((squared >= clipped_squared) | (np.abs(moved) <= clip), error, 0.0)
            squared = np.maximum(squared, clipped_squared)
        self._critic.backward((error * (2.0 * hp["vf_coef"] / len(targets)))[:, None])
        return float(squared.mean())
