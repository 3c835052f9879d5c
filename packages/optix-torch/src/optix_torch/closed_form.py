"""The PPO update of plain perceptrons with the gradients written out: no graph, no framework call per layer.

The parameters, gradients and Adam moments are the optimizer's own memory seen through numpy, so that this engine
and :class:`~optix_torch.autograd.AutogradEngine` can take turns. Equations are those of ``losses.py``, differentiated
by hand; tests compare both engines and finite differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from optix_core.acting import LOG_STD_BOUNDS, MLPSpec, PolicySpec, heads
from optix_torch.adam import NumpyAdam
from optix_torch.backward import Differentiable
from optix_torch.engine import PPOBatch, StepGuard, UpdateReport, epoch_order
from optix_torch.flat import FlatParameters
from optix_torch.losses import LOG_RATIO_BOUND

Array = NDArray[Any]

_ENTROPY_OF_UNIT_NORMAL = 0.5 * (1.0 + math.log(2.0 * math.pi))


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
        self._log_std = self._parameters[inner:size] if actor.has_log_std else None
        self._log_std_gradient = self._gradients[inner:size]
        self._actor = Differentiable(actor.network, self._parameters[:inner], self._gradients[:inner])
        self._critic = Differentiable(critic, self._parameters[size:], self._gradients[size:])
        self._surrogate = self._categorical if actor.head == "categorical" else self._gaussian

    def values(self, observations: Array) -> Array:
        """``[B]`` for normalised observations ``[B, *obs]``; a fresh array."""
        return self._critic.mlp.forward(observations)[:, 0].copy()

    def log_probs(self, observations: Array, actions: Array) -> Array:
        """``[B]`` of actions under the current policy; a fresh array."""
        outputs = self._actor.mlp.forward(observations)
        if self._spec.head == "categorical":
            return heads.categorical_log_probs(outputs)[np.arange(len(actions)), actions]
        return heads.gaussian_log_probs(*self._mean_and_log_std(outputs)[:2], actions)

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
            log_ratios: list[Array] = []
            for stop, size in zip(accumulate(sizes), sizes, strict=True):
                part = slice(stop - size, stop)
                old_log_probs, advantages, targets, old_values = epoch_columns[:, part]
                policy, entropy, log_ratio = self._surrogate(
                    epoch_obs[part], epoch_actions[part], old_log_probs, advantages, hp
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

    def _categorical(
        self,
        observations: Array,
        actions: Array,
        old_log_probs: Array,
        advantages: Array,
        hp: Mapping[str, Any],
    ) -> tuple[float, float, Array]:
        """Gradients of the surrogate and entropy terms; returns policy loss, entropy and log-ratios.

        d log p_a / d logits_k = [k = a] - p_k, and d H / d logits_k = -p_k (log p_k + H).
        """
        n, rows = len(actions), np.arange(len(actions))
        log_p = heads.categorical_log_probs(self._actor.mlp.forward(observations))
        p = np.exp(log_p)
        log_ratio = log_p[rows, actions] - old_log_probs
        loss, d_log_prob = _clipped_surrogate(log_ratio, advantages, hp["clip_ratio"])
        negative_entropy = (p * log_p).sum(axis=1)
        if coef := hp["entropy_coef"]:
            d_logits = p * ((coef / n) * (log_p - negative_entropy[:, None]) - d_log_prob[:, None])
        else:
            d_logits = p * -d_log_prob[:, None]
        d_logits[rows, actions] += d_log_prob
        self._actor.backward(d_logits)
        return loss, -float(negative_entropy.mean()), log_ratio

    def _gaussian(
        self,
        observations: Array,
        actions: Array,
        old_log_probs: Array,
        advantages: Array,
        hp: Mapping[str, Any],
    ) -> tuple[float, float, Array]:
        """As :meth:`_categorical`, with z = (u - mean) / std.

        d log p / d mean = z / std, d log p / d log std = z^2 - 1, d H / d log std = 1; the clamp of log std stops its
        gradient outside the bounds.
        """
        n = len(actions)
        mean, log_std, inside = self._mean_and_log_std(self._actor.mlp.forward(observations))
        inverse_std = np.exp(-log_std)
        z = (actions - mean) * inverse_std
        log_ratio = heads.gaussian_log_probs(mean, log_std, actions) - old_log_probs
        loss, d_log_prob = _clipped_surrogate(log_ratio, advantages, hp["clip_ratio"])
        d_mean = d_log_prob[:, None] * z * inverse_std
        d_log_std = (d_log_prob[:, None] * (z * z - 1.0) - hp["entropy_coef"] / n) * inside
        entropies = np.broadcast_to(log_std + _ENTROPY_OF_UNIT_NORMAL, mean.shape).sum(axis=1)
        if self._log_std is None:
            self._actor.backward(np.concatenate([d_mean, d_log_std], axis=1))
        else:
            self._actor.backward(d_mean)
            np.sum(d_log_std, axis=0, out=self._log_std_gradient)
        return loss, float(entropies.mean()), log_ratio

    def _mean_and_log_std(self, outputs: Array) -> tuple[Array, Array, Array]:
        """Means, clamped log standard deviations, and where the clamp lets gradients through."""
        a = self._spec.n_actions
        log_std = self._log_std if self._log_std is not None else outputs[:, a:]
        low, high = LOG_STD_BOUNDS
        return outputs[:, :a], np.clip(log_std, low, high), (log_std >= low) & (log_std <= high)

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


def _clipped_surrogate(log_ratio: Array, advantages: Array, clip_ratio: float) -> tuple[float, Array]:
    """The mean of ``losses.ppo_clip_loss`` and its derivative by each log-probability, ``[B]``.

    The unclipped term is the active one wherever it is the smaller; d r / d log p = r.
    """
    ratio = np.exp(np.clip(log_ratio, -LOG_RATIO_BOUND, LOG_RATIO_BOUND))
    unclipped = ratio * advantages
    clipped = np.clip(ratio, 1.0 - clip_ratio, 1.0 + clip_ratio) * advantages
    # the clamp of the log-ratio stops the gradient beyond its bound
    active = (unclipped <= clipped) & (np.abs(log_ratio) <= LOG_RATIO_BOUND)
    loss = -float(np.minimum(unclipped, clipped).mean())
    return loss, np.where(active, unclipped * (-1.0 / len(advantages)), 0.0)
