"""What one PPO update is given and what it reports, whichever framework or engine computes the gradients.

All that is computed once per window is here, in numpy; engines only differentiate and step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from optix_core.agents.normalizing import Normalizers
from optix_core.agents.steps import MAX_SKIPPED_IN_A_ROW
from optix_core.rl.batching import minibatch_indices, standardize
from optix_core.rl.masking import split_masks
from optix_core.rl.returns import explained_variance, generalized_advantage_estimation
from optix_core.rl.successors import next_values, rows, successors
from optix_core.rl.vtrace import vtrace
from optix_core.types import EpisodeData


@dataclass(frozen=True, slots=True)
class PPOBatch:
    """One window, flattened over time and environments.

    Attributes:
        observations: ``[B, *obs]``, normalised.
        actions: ``[B]`` or ``[B, K]`` int64, or ``[B, A]`` in the parameters' type.
        log_probs: ``[B]`` of the policy that acted.
        values: ``[B]`` of the critic before the update.
        advantages: ``[B]``, standardised.
        targets: ``[B]`` for the critic.
        masks: ``[B, A]`` bool, which actions were allowed; None if all always are.
    """

    observations: NDArray[Any]
    actions: NDArray[Any]
    log_probs: NDArray[Any]
    values: NDArray[Any]
    advantages: NDArray[Any]
    targets: NDArray[Any]
    masks: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.advantages)


class Evaluates(Protocol):
    """Evaluates actor and critic as they are."""

    def values(self, observations: NDArray[Any]) -> NDArray[Any]:
        """``[B]`` for normalised observations ``[B, *obs]``; a fresh array."""
        ...

    def log_probs(
        self, observations: NDArray[Any], actions: NDArray[Any], masks: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """``[B]`` of actions under the current policy, among those that ``masks`` ``[B, A]`` allow; a fresh array."""
        ...


class Engine(Evaluates, Protocol):
    """Evaluates and updates actor and critic."""

    def update(self, batch: PPOBatch, hp: Mapping[str, Any], rng: np.random.Generator) -> UpdateReport:
        """``n_epochs`` passes of clipped-surrogate gradient steps over ``batch``."""
        ...


def ppo_batch(
    window: EpisodeData, networks: Evaluates, normalizers: Normalizers, hp: Mapping[str, Any]
) -> PPOBatch:
    """A window with its advantages and targets (Schulman et al. 2017, arXiv:1707.06347, eq. 11).

    If nothing has moved since the window was collected, log-probabilities that it does not hold are recomputed, and are
    those that acted. Of a window of an older policy they are recomputed in any case; see
    :func:`advantages_and_targets`. A time limit is a boundary with a future, a terminal state one without. Observation
    statistics stay as they are; those of rewards move.

    Args:
        window: At least one step.
        networks: As they are before the update.
        normalizers: Of observations and rewards.
        hp: ``gamma`` and ``gae_lambda`` are read.
    """
    seen, masks = split_masks(rows(window, "observations"))
    observations = normalizers.observations(seen)
    actions = rows(window, "actions")
    if actions.dtype.kind != "f":
        actions = actions.astype(np.int64)
    values = networks.values(observations).reshape(window.time_major("rewards").shape)
    if window.log_probs is None or is_off_policy(window):
        log_probs = networks.log_probs(observations, actions, masks)
    else:
        log_probs = rows(window, "log_probs")
    after = normalizers.observations(split_masks(successors(window))[0])
    following = next_values(window, values, networks.values(after))
    boundary = window.time_major("dones")
    rewards = normalizers.rewards(window.time_major("learning_rewards"), boundary)
    advantages, targets = advantages_and_targets(window, rewards, values, following, log_probs, hp)
    return PPOBatch(
        observations=observations,
        actions=actions,
        log_probs=log_probs,
        values=values.reshape(-1),
        advantages=standardize(advantages).reshape(-1),
        targets=targets.reshape(-1),
        masks=masks,
    )


OFF_POLICY = "off_policy"
"""In a window's metadata, true: an older policy acted, and ``log_probs`` are its."""


def is_off_policy(window: EpisodeData) -> bool:
    """Whether the policy that acted is not the one that learns, as its pipeline says."""
    return bool(window.metadata.get(OFF_POLICY, False))


def advantages_and_targets(
    window: EpisodeData,
    rewards: NDArray[Any],
    values: NDArray[Any],
    following: NDArray[Any],
    log_probs: NDArray[Any],
    hp: Mapping[str, Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """GAE and lambda-returns; for a window of an older policy (:func:`is_off_policy`) their correction by V-trace.

    The importance weights of V-trace lead from the policy that acted to the one that learns. The surrogate then keeps
    near the policy at the start of the update, whose log-probabilities are recomputed (Hilton, Cobbe and Schulman 2022,
    arXiv:2110.00641, section 3, tell these two apart in the same way). Where both are equal this is GAE again.

    Args:
        window: Whose steps they are.
        rewards: ``[T, N]``, scaled.
        values: ``[T, N]``.
        following: ``[T, N]`` values of true successors.
        log_probs: ``[T * N]`` under the policy that learns.
        hp: ``gamma`` and ``gae_lambda`` are read.

    Returns:
        Both ``[T, N]``.
    """
    terminated = window.time_major("terminated")
    if is_off_policy(window):
        found = vtrace(
            window.time_major("log_probs"),
            log_probs.reshape(values.shape),
            rewards,
            values,
            following,
            terminated,
            window.time_major("truncated"),
            gamma=hp["gamma"],
            lam=hp["gae_lambda"],
        )
        return found.advantages, found.vs
    boundary = window.time_major("dones")
    advantages = generalized_advantage_estimation(
        rewards, values, following, terminated, boundary, gamma=hp["gamma"], gae_lambda=hp["gae_lambda"]
    )
    return advantages, advantages + values


def raw_observations(window: EpisodeData) -> NDArray[Any]:
    """``[T * N, *obs]`` as the environment gave them, without masks: what statistics are made of."""
    return split_masks(rows(window, "observations"))[0]


@dataclass(slots=True)
class UpdateReport:
    """What happened in one update, step by step.

    Attributes:
        policy_loss: Mean clipped surrogate loss of each gradient step.
        value_loss: Mean value loss of each.
        entropy: Mean entropy of each.
        grad_norm: Norm of the gradient before clipping, of each.
        approx_kl: Mean k3 estimate of each epoch.
        clip_fraction: Share of samples outside the clip range, of each epoch.
        n_updates: Optimizer steps that were made.
        n_skipped: Steps that were left out because the gradient was not finite.
        diverged: Whether the update ended early because of that.
    """

    policy_loss: list[float] = field(default_factory=list[float])
    value_loss: list[float] = field(default_factory=list[float])
    entropy: list[float] = field(default_factory=list[float])
    grad_norm: list[float] = field(default_factory=list[float])
    approx_kl: list[float] = field(default_factory=list[float])
    clip_fraction: list[float] = field(default_factory=list[float])
    n_updates: int = 0
    n_skipped: int = 0
    diverged: bool = False

    def diagnostics(self, values: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
        """Means over the gradient steps that were made; ``approx_kl`` and ``clip_fraction`` of the last epoch.

        ``explained_var`` is the share of the targets' variance that the values before the update explain, 0 if the
        targets do not vary.

        After a divergence the losses are NaN, which tells the loop that the update failed.
        """
        each: dict[str, list[float]] = {
            "policy_loss": self.policy_loss,
            "value_loss": self.value_loss,
            "entropy": self.entropy,
            "grad_norm": self.grad_norm,
        }
        found = {
            name: math.nan if self.diverged or not series else float(np.mean(series))
            for name, series in each.items()
        }
        for name, series in (("approx_kl", self.approx_kl), ("clip_fraction", self.clip_fraction)):
            found[name] = math.nan if self.diverged or not series else float(series[-1])
        explained = float(np.nan_to_num(explained_variance(values, targets), nan=0.0))
        return found | {"explained_var": explained, "n_updates": self.n_updates, "n_skipped": self.n_skipped}


class StepGuard:
    """Says whether a gradient step may be made: only if the gradient is finite (one check of its norm)."""

    def __init__(self, report: UpdateReport) -> None:
        self._report = report
        self._in_a_row = 0

    def allows(self, grad_norm: float) -> bool:
        """Count the step, made or skipped; after three skips in a row the report says ``diverged``."""
        if math.isfinite(grad_norm):
            self._in_a_row = 0
            self._report.n_updates += 1
            return True
        self._in_a_row += 1
        self._report.n_skipped += 1
        self._report.diverged = self._in_a_row >= MAX_SKIPPED_IN_A_ROW
        return False


def epoch_order(n: int, size: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], list[int]]:
    """The order of one epoch ``[n]`` and the sizes of its minibatches: arrays are reordered once and then split."""
    pieces = list(minibatch_indices(n, size, rng))
    return np.concatenate(pieces), [len(piece) for piece in pieces]
