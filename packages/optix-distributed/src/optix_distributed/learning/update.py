"""One gradient step on a batch of trajectories, with V-trace (Espeholt et al. 2018, arXiv:1802.01561, section 4.2).

``-mean(A log pi) + vf_coef / 2 * mean((V - vs)^2) - entropy_coef * mean(H)``: means over steps, so that a learning rate
suits batches of any size. Values and log-probabilities are those of the weights that learn, never what actors remember.

The gradient of ``A log pi`` is that of ``A pi / pi_now`` where both are equal, so the engines of PPO compute this step,
too: one epoch, one minibatch, ratios of exactly 1, nothing clipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.agents.normalizing import Normalizers
from optix_core.agents.ppo_update import PPOBatch
from optix_core.errors import NumericalDivergence
from optix_core.rl.masking import split_masks
from optix_core.rl.successors import next_values, rows, successors
from optix_core.rl.vtrace import VTrace, vtrace
from optix_core.types import EpisodeData
from optix_torch.policy_gradient.actor_critic import ActorCritic
from optix_torch.policy_gradient.recurrent_actor_critic import RecurrentActorCritic
from optix_torch.policy_gradient.sequence_engine import SequenceBatch
from optix_torch.policy_gradient.sequences import Sequences, memory_before, memory_of_successors

MAX_NONFINITE = 3
"""Updates in a row that are not finite end the run."""
_INERT = {"n_epochs": 1, "clip_ratio": 0.2, "value_clip": 0.0, "target_kl": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class VTraceSettings:
    """Numbers of the update.

    Attributes:
        gamma: Discount.
        lam: Mixing of one-step and full corrections.
        rho_bar: Bound of the weights of temporal differences; None: no bound.
        c_bar: Bound of the weights of the trace; None: no bound.
        pg_rho_bar: Bound of the weights of the policy gradient; None: no bound.
        entropy_coef: Weight of the entropy.
        vf_coef: Weight of half the squared error of values.
        max_grad_norm: The gradient is scaled down to this norm.
    """

    gamma: float = 0.99
    lam: float = 1.0
    rho_bar: float | None = 1.0
    c_bar: float | None = 1.0
    pg_rho_bar: float | None = 1.0
    entropy_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5


class VTraceUpdate:
    """Gradient steps on one pair of networks.

    Args:
        networks: With their optimizer.
        settings: May be replaced between updates.
        normalizers: Of observations and rewards; statistics of observations move with every batch.
        rng: Decides the order of rows in sums.

    Attributes:
        updates: Gradient steps that were made.
        nonfinite: Updates that were not made because a number was not finite.
    """

    def __init__(
        self,
        networks: ActorCritic | RecurrentActorCritic,
        settings: VTraceSettings,
        normalizers: Normalizers,
        rng: np.random.Generator,
    ) -> None:
        self.networks, self.settings, self._normalizers, self._rng = networks, settings, normalizers, rng
        self.updates = self.nonfinite = 0
        self._in_a_row = 0

    def __call__(self, window: EpisodeData) -> dict[str, float]:
        """One step; diagnostics of it.

        Raises:
            NumericalDivergence: The third update in a row that is not finite; weights are the last good ones.
        """
        batch, found = self.batch(window)
        s = self.settings
        if not math.isfinite(float(batch.advantages.sum()) + float(batch.targets.sum())):
            self._count(made=False)
            return dict.fromkeys(("policy_loss", "value_loss", "entropy", "grad_norm"), math.nan)
        hp: Mapping[str, Any] = {
            **_INERT,
            "minibatch_size": len(batch),
            "entropy_coef": s.entropy_coef,
            "vf_coef": 0.5 * s.vf_coef,  # the engines have no half in the squared error
            "max_grad_norm": s.max_grad_norm,
        }
        report = self.networks.update(batch, hp, self._rng)  # type: ignore[arg-type]
        seen = split_masks(rows(window, "observations"))[0]
        made = report.n_updates > 0 and not report.diverged
        self._count(made=made)
        if made:
            self._normalizers.after_window(seen)
        rhos = found.rhos
        return {
            "policy_loss": report.policy_loss[0] if made else math.nan,
            "value_loss": report.value_loss[0] if made else math.nan,
            "entropy": report.entropy[0] if made else math.nan,
            "grad_norm": report.grad_norm[0] if made else math.nan,
            "rho_mean": float(rhos.mean()),
            "rho_clipped": 0.0 if s.rho_bar is None else float((rhos > s.rho_bar).mean()),
        }

    def batch(self, window: EpisodeData) -> tuple[PPOBatch, VTrace]:
        """What the engines are given for a window, and the V-trace behind it."""
        seen, masks = split_masks(rows(window, "observations"))
        observations = self._normalizers.observations(seen)
        actions = rows(window, "actions")
        if actions.dtype.kind != "f":
            actions = actions.astype(np.int64)
        after = self._normalizers.observations(split_masks(successors(window))[0])
        engine, shape = self.networks.engine, window.time_major("rewards").shape
        memory: NDArray[np.float32] | None = None
        if isinstance(self.networks, RecurrentActorCritic):
            memory = memory_before(window, self.networks.memory_size, owner="the learner")
            for_actor, for_critic, remembered = self.networks.remember(observations, memory)
            values = engine.values(for_critic).reshape(shape)
            log_probs = engine.log_probs(for_actor, actions, masks)
            beyond = self.networks.remember(after, memory_of_successors(window, remembered))[1]
            following = next_values(window, values, engine.values(beyond))
        else:
            values = engine.values(observations).reshape(shape)
            log_probs = engine.log_probs(observations, actions, masks)
            following = next_values(window, values, engine.values(after))
        rewards = self._normalizers.rewards(window.time_major("learning_rewards"), window.time_major("dones"))
        s = self.settings
        found = vtrace(
            window.time_major("log_probs"),
            log_probs.reshape(shape),
            rewards,
            values,
            following,
            window.time_major("terminated"),
            window.time_major("truncated"),
            gamma=s.gamma,
            lam=s.lam,
            rho_bar=s.rho_bar,
            c_bar=s.c_bar,
            pg_rho_bar=s.pg_rho_bar,
        )
        common: dict[str, Any] = {
            "observations": observations,
            "actions": actions,
            "log_probs": log_probs,
            "values": values.reshape(-1),
            "advantages": found.advantages.reshape(-1),
            "targets": found.vs.reshape(-1),
            "masks": masks,
        }
        if memory is None:
            return PPOBatch(**common), found
        sequences = Sequences.cut(window.time_major("dones"), 0)
        return SequenceBatch(**common, memory=memory, sequences=sequences), found

    def _count(self, *, made: bool) -> None:
        if made:
            self.updates += 1
            self._in_a_row = 0
            return
        self.nonfinite += 1
        self._in_a_row += 1
        if self._in_a_row >= MAX_NONFINITE:
            raise NumericalDivergence(
                f"{self._in_a_row} updates in a row had gradients that are not finite; the weights are the last good "
                "ones, and none of the others was given to the actors. Lower the learning rate, clip "
                "gradients, or check "
                "rewards and observations of the environment for extreme values"
            )
