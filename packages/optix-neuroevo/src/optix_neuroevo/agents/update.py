"""The PPO update of a graph: sequences from stored memory, gradients through as many steps as a sequence has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optix_core.agents.ppo_update import PPOBatch, StepGuard, UpdateReport
from optix_neuroevo.agents.blocks import Blocks
from optix_neuroevo.agents.networks import GraphNetworks
from optix_neuroevo.training.adam import TopologyAwareAdam
from optix_torch.policy_gradient.losses import (
    approximate_kl,
    clipped_value_loss,
    ppo_clip_loss,
    value_loss,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBatch(PPOBatch):
    """A window that a graph acted in.

    Attributes:
        memory: ``[B, M]`` before each step.
        ends: ``[T, N]`` where an episode ended.
    """

    memory: NDArray[np.float32]
    ends: NDArray[np.bool_]


class Staged(NamedTuple):
    """The window as tensors, by row; ``columns`` ``[4, B]``: log-probabilities, advantages, targets, values."""

    observations: Tensor
    actions: Tensor
    masks: Tensor | None
    memory: Tensor
    columns: Tensor


class Terms(NamedTuple):
    """Per step ``[B]``: log-ratios, and the parts of the loss."""

    log_ratios: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor

    def loss(self, hp: Mapping[str, Any]) -> Tensor:
        """Policy loss, plus the weighted value loss, minus the weighted entropy: the mean."""
        return (self.policy + hp["vf_coef"] * self.value - hp["entropy_coef"] * self.entropy).mean()


def staged(batch: GraphBatch) -> Staged:
    """The batch as tensors."""
    observations = batch.observations.reshape(len(batch), -1).astype(np.float32)
    columns = np.stack([batch.log_probs, batch.advantages, batch.targets, batch.values]).astype(np.float32)
    actions = batch.actions if batch.actions.dtype.kind == "f" else batch.actions.astype(np.int64)
    return Staged(
        torch.from_numpy(observations),
        torch.from_numpy(np.ascontiguousarray(actions)),
        None if batch.masks is None else torch.from_numpy(np.ascontiguousarray(batch.masks)),
        torch.from_numpy(np.ascontiguousarray(batch.memory)),
        torch.from_numpy(columns),
    )


def evaluate(networks: GraphNetworks, data: Staged, blocks: Blocks, hp: Mapping[str, Any]) -> Terms:
    """Run sequences and compare with what was recorded when they were acted in."""
    rows = torch.from_numpy(np.ascontiguousarray(blocks.rows))
    starts = torch.from_numpy(np.ascontiguousarray(blocks.starts)) if blocks.starts.any() else None
    outputs, values = networks.run(data.observations[rows], data.memory[rows[0]], starts)
    if blocks.whole:
        rows, outputs, values = rows.reshape(-1), outputs.flatten(0, 1), values.flatten()
    else:
        there = torch.from_numpy(blocks.there)
        rows, outputs, values = rows[there], outputs[there], values[there]
    masks = None if data.masks is None else data.masks[rows]
    log_probs, entropies = networks.evaluate(outputs, data.actions[rows], masks)
    old_log_probs, advantages, targets, old_values = data.columns[:, rows]
    value = (
        clipped_value_loss(values, targets, old_values, hp["value_clip"])
        if hp["value_clip"]
        else value_loss(values, targets)
    )
    policy = ppo_clip_loss(log_probs, old_log_probs, advantages, hp["clip_ratio"])
    return Terms(log_probs.detach() - old_log_probs, policy, value, entropies)


def ratio_error(networks: GraphNetworks, data: Staged, blocks: Blocks, hp: Mapping[str, Any]) -> float:
    """The largest ``|ratio - 1|`` over the window, before anything is updated.

    What acted was numpy, step by step; what learns is PyTorch, over sequences: this number says whether they are one
    function.
    """
    with torch.no_grad():
        return float(torch.expm1(evaluate(networks, data, blocks, hp).log_ratios).abs().max())


def ppo_update(
    networks: GraphNetworks,
    optimizer: TopologyAwareAdam,
    data: Staged,
    blocks: Blocks,
    hp: Mapping[str, Any],
    rng: np.random.Generator,
) -> UpdateReport:
    """``n_epochs`` passes of clipped-surrogate gradient steps; weights obey Dale's law after each."""
    report = UpdateReport()
    guard = StepGuard(report)
    parameters = list(networks.named_parameters().values())
    for _ in range(hp["n_epochs"]):
        log_ratios: list[Tensor] = []
        for chosen in blocks.minibatches(hp["minibatch_size"], rng):
            terms = evaluate(networks, data, chosen, hp)
            for p in parameters:
                p.grad = None
            terms.loss(hp).backward()
            grads = [p.grad for p in parameters if p.grad is not None]
            norm = math.sqrt(sum(float(g.flatten().dot(g.flatten())) for g in grads))
            if guard.allows(norm):
                scale = min(1.0, hp["max_grad_norm"] / (norm + 1e-6))
                for g in grads:
                    g.mul_(scale)
                optimizer.step()
                networks.graph.enforce_dale()
                report.grad_norm.append(norm)
                report.policy_loss.append(float(terms.policy.detach().mean()))
                report.value_loss.append(float(terms.value.detach().mean()))
                report.entropy.append(float(terms.entropy.detach().mean()))
                log_ratios.append(terms.log_ratios)
            elif report.diverged:
                break
        if log_ratios:
            together = torch.cat(log_ratios)
            report.approx_kl.append(float(approximate_kl(together).mean()))
            report.clip_fraction.append(
                float((torch.expm1(together).abs() > hp["clip_ratio"]).float().mean())
            )
        if report.diverged or (
            hp["target_kl"] and report.approx_kl and report.approx_kl[-1] > hp["target_kl"]
        ):
            break
    return report
