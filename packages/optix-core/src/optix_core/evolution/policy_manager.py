"""An ensemble of policies: its members, what they weigh, and how new ones come about."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optix_core.base_agent import BaseAgent
from optix_core.errors import ConfigError
from optix_core.evolution import spawning
from optix_core.evolution.roster import AgentFactory, Roster
from optix_core.seeding import Domain, generator
from optix_core.state import State
from optix_core.types import EvalMetrics, PolicySnapshot

if TYPE_CHECKING:
    from optix_core.checkpoints.registry import CheckpointRegistry
    from optix_core.evolution.meta_controller import MetaController
    from optix_core.evolution.policy_manager_callback import PolicyManagerCallback
    from optix_core.evolution.spawning import MutationFn, Variant

REGIMES_REMEMBERED = 100


class PolicyManager(Roster):
    """Keeps members and their weights, makes variants, and counts them.

    The first agent added is the *primary*: it is never pruned. Weights come from scores in units of their spread, so
    that unit and zero of the score do not matter.

    Args:
        registry: Where policies are stored; None takes that of the run it is used in.
        score_window: Scores remembered per member, at least 1.
        max_spawns: Variants that may be made; None means no limit.
        max_ensemble_size: Members at most, at least 1; a new one takes the place of the weakest. None: no limit.
        seed: Of everything random here.

    Raises:
        ConfigError: A value is out of its range.
    """

    def __init__(
        self,
        registry: CheckpointRegistry | None = None,
        score_window: int = 10,
        max_spawns: int | None = None,
        max_ensemble_size: int | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(score_window, max_ensemble_size, seed)
        if max_spawns is not None and max_spawns < 0:
            raise ConfigError(f"max_spawns is {max_spawns}; it must be at least 0")
        self._registry, self._max_spawns, self._seed = registry, max_spawns, seed
        self._regime: str | None = None
        self._regimes: deque[str] = deque(maxlen=REGIMES_REMEMBERED)
        self.spawn_count = 0
        self.replaced = 0
        self.fruitless = 0
        self.improvement: float | None = None

    # ---------------------------------------------------------------- variants

    @property
    def registry(self) -> CheckpointRegistry:
        """Where policies are stored.

        Raises:
            ConfigError: None was given, and no run has begun yet.
        """
        if self._registry is None:
            raise ConfigError("this PolicyManager has no registry yet: pass one, or use it in a run")
        return self._registry

    def bind(self, registry: CheckpointRegistry) -> None:
        """Take the run's registry if none was given."""
        if self._registry is None:
            self._registry = registry

    @property
    def budget_exhausted(self) -> bool:
        """Whether ``max_spawns`` variants were made."""
        return self._max_spawns is not None and self.spawn_count >= self._max_spawns

    @property
    def spawns_remaining(self) -> int | None:
        """Variants that may still be made; None without a limit."""
        return None if self._max_spawns is None else max(self._max_spawns - self.spawn_count, 0)

    @property
    def ranked_snapshots(self) -> list[PolicySnapshot]:
        """Stored policies with a finite score, best first; of equal scores the earlier."""
        scored = [s for s in self.registry.snapshots() if math.isfinite(s.eval_metrics.primary_score)]
        return sorted(scored, key=lambda s: -s.eval_metrics.primary_score)

    def evolve(self, agent: BaseAgent, current_score: float) -> bool:
        """Restore the best stored policy if the agent's score is below it.

        Returns:
            Whether it was restored.
        """
        best = self.registry.best
        if best is None or not best.eval_metrics.primary_score > current_score:
            return False
        self.registry.load(agent, best.snapshot_id)
        return True

    def spawn_variant(
        self,
        agent_shell: BaseAgent,
        noise_scale: float = 0.01,
        mutation_fn: MutationFn | None = None,
        *,
        weight_noise: float = 0.0,
    ) -> Variant:
        """Put the best stored policy into ``agent_shell`` (weights, optimizer, hyperparameters) and vary it.

        Hyperparameters move on the tuning scales that the agent declares and stay inside the declared bounds; whole
        numbers stay whole, flags stay as they are.

        Args:
            agent_shell: The agent that becomes the variant. Without a stored policy it is varied as it is.
            noise_scale: Standard deviation of the move, as a share of each tuning range.
            mutation_fn: Replaces that move.
            weight_noise: Relative noise on the weights.

        Raises:
            ConfigError: No variants are left, or a noise is negative.
            CheckpointError: The stored policy does not fit the agent or is damaged; it is unchanged then.
        """
        best = self.registry.best
        if best is not None:
            self.registry.load(agent_shell, best.snapshot_id)
            agent_shell.set_hyperparams(best.hyperparams.copy())
        return self.vary(
            agent_shell,
            noise_scale,
            mutation_fn,
            weight_noise=weight_noise,
            origin=None if best is None else best.snapshot_id,
        )

    def vary(
        self,
        agent: BaseAgent,
        noise_scale: float,
        mutation_fn: MutationFn | None = None,
        *,
        weight_noise: float,
        origin: str | None,
    ) -> Variant:
        """As :meth:`spawn_variant`, of the policy that ``agent`` has already.

        Raises:
            ConfigError: No variants are left, or a noise is negative.
        """
        if self.budget_exhausted:
            raise ConfigError(f"max_spawns is {self._max_spawns}, and so many variants were made; raise it")
        variant = spawning.vary(
            agent,
            noise_scale=noise_scale,
            weight_noise=weight_noise,
            rng=generator(self._seed, Domain.PERTURBATION, self.spawn_count),
            mutation_fn=mutation_fn,
            origin=origin,
        )
        self.spawn_count += 1
        return variant

    def adaptive_noise_scale(
        self,
        history: Sequence[EvalMetrics],
        min_scale: float = 0.001,
        max_scale: float = 0.1,
        window: int = 10,
    ) -> float:
        """How far to move hyperparameters; see :func:`~optix_core.evolution.spawning.adaptive_noise_scale`."""
        return spawning.adaptive_noise_scale(history, min_scale, max_scale, window)

    def record_outcome(self, *, replaced: bool, improvement: float | None) -> None:
        """Note whether a variant proved better than what it came from, and by which share of the observed range."""
        self.replaced += int(replaced)
        self.fruitless = 0 if replaced else self.fruitless + 1
        self.improvement = improvement if replaced else None

    @property
    def weight_noise(self) -> float:
        """Relative noise for the next variant's weights: more after failures, less after a success."""
        return spawning.weight_noise_after(self.fruitless, self.improvement)

    # ---------------------------------------------------------------- reports

    def set_regime(self, name: str) -> None:
        """Note the regime of the scores."""
        if name != self._regime:
            self._regimes.append(name)
        self._regime = name

    @property
    def regimes(self) -> tuple[str, ...]:
        """Regimes so far, oldest first, at most a hundred."""
        return tuple(self._regimes)

    def status(self) -> dict[str, Any]:
        """Members, weights and counters, as plain data."""
        return {
            "ensemble_size": self.ensemble_size,
            "max_ensemble_size": self._max_size,
            "agents": [
                {"index": i, "weight": w, "mean_score": m.mean_score, "recent_scores": list(m.scores)}
                for i, (m, w) in enumerate(
                    zip(self._members, self.weights if self._members else [], strict=True)
                )
            ],
            "regime": self._regime,
            "spawn_count": self.spawn_count,
            "max_spawns": self._max_spawns,
            "spawns_remaining": self.spawns_remaining,
            "budget_exhausted": self.budget_exhausted,
            "prune_count": self.prune_count,
            "replaced": self.replaced,
            "fruitless": self.fruitless,
        }

    def training_report(self) -> dict[str, Any]:
        """:meth:`status` and what the best stored policy reached."""
        best = None if self._registry is None else self._registry.best
        metrics = None if best is None else best.eval_metrics
        return self.status() | {
            "best_score": None if metrics is None else metrics.primary_score,
            "best_val_score": None if metrics is None else metrics.metrics.get("val_score"),
            "best_generalization_gap": None if metrics is None else metrics.generalization_gap,
        }

    def as_callback(
        self,
        agent: BaseAgent,
        agent_factory: AgentFactory | None = None,
        meta_controller: MetaController | None = None,
    ) -> PolicyManagerCallback:
        """The callback that brings this manager into a run."""
        from optix_core.evolution.policy_manager_callback import PolicyManagerCallback

        return PolicyManagerCallback(self, agent, agent_factory, meta_controller)

    # ---------------------------------------------------------------- state

    def counters(self) -> State:
        """What is counted; it only ever grows, so a rollback of the agent does not touch it."""
        return {
            "regimes": list(self._regimes),
            "spawn_count": self.spawn_count,
            "prune_count": self.prune_count,
            "replaced": self.replaced,
            "fruitless": self.fruitless,
            "improvement": self.improvement,
        }

    def load_counters(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`counters`."""
        self._regimes = deque((str(r) for r in state["regimes"]), maxlen=REGIMES_REMEMBERED)
        self._regime = self._regimes[-1] if self._regimes else None
        self.spawn_count, self.prune_count = int(state["spawn_count"]), int(state["prune_count"])
        self.replaced, self.fruitless = int(state["replaced"]), int(state["fruitless"])
        self.improvement = None if state["improvement"] is None else float(state["improvement"])

    def state_dict(self) -> State:
        """Everything but the agents themselves."""
        return {"roster": self.roster_state(), "counters": self.counters()}

    def load_state_dict(self, state: Mapping[str, Any], *, agent_factory: AgentFactory | None = None) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: Members are missing and there is no ``agent_factory`` to build them; nothing is
                changed then.
        """
        self.load_roster(state["roster"], agent_factory=agent_factory)
        self.load_counters(state["counters"])
