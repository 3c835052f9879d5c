"""Evolution inside a run: when training has converged, it goes on with a variant of the best policy, or ends."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from optix_core.errors import ConfigError
from optix_core.evolution.ensemble_agent import EnsembleAgent
from optix_core.evolution.meta_controller import MetaAction, MetaController
from optix_core.evolution.regime_detector import RegimeDetector
from optix_core.evolution.roster import require_no_memory
from optix_core.evolution.succession import Succession
from optix_core.loop.records import DormantReport
from optix_core.loop.stop_reason import StopReason
from optix_core.loop_callback import LoopCallback
from optix_core.state import State, Stateful

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.evolution.policy_manager import PolicyManager
    from optix_core.evolution.roster import AgentFactory
    from optix_core.evolution.spawning import MutationFn
    from optix_core.loop.loop_controller import LoopController
    from optix_core.types import EvalMetrics, LoopState, PolicySnapshot

logger = logging.getLogger("optix.evolution")


class PolicyManagerCallback(LoopCallback):
    """Lets a run go on after convergence with variants of its best policy, one after the other.

    At every convergence, in this order:

    1. The variant in training, if there is one, is compared with the policy that it came from on the same validation
       episodes. Only if the interval of the mean difference excludes zero does it take that policy's place.
    2. The meta controller decides. Without one, variants are made while ``max_spawns`` allows; if there is no such
       limit, a default :class:`MetaController` decides, which ends the run after three failures in a row.
    3. SPAWN puts the reigning policy back (weights, optimizer, hyperparameters), varies it a little, and training goes
       on with it: counters and score history of the loop begin anew. STOP ends the run. PRUNE drops the weakest member
       and goes on; where there is none to drop, it is a SPAWN. NO_OP leaves what the loop decided, which is to end.

    The best confirmed policy is handed back at the end, whatever became of its variants.

    With ``agent_factory``, every policy that variants came from stays as a member of the ensemble. Where an
    :class:`EnsembleAgent` is trained, a variant of its primary takes the place of its weakest other member.

    Args:
        policy_manager: Makes variants, counts them, holds members.
        agent: The agent that the run trains.
        agent_factory: Builds agents for the ensemble.
        meta_controller: Decides at convergence.
        mutation_fn: Replaces the random step of hyperparameters.
        regime_detector: Names the regime of the scores after every evaluation; a default one if None.
        comparison_episodes: Episodes per policy in a comparison, where the validation pipeline lets them be chosen.
        confidence: Of the two-sided interval of the difference, in (0, 1).

    Raises:
        ConfigError: An option is out of its range, or members are to be kept of an agent that cannot be one.
    """

    critical = True

    def __init__(
        self,
        policy_manager: PolicyManager,
        agent: BaseAgent,
        agent_factory: AgentFactory | None = None,
        meta_controller: MetaController | None = None,
        *,
        mutation_fn: MutationFn | None = None,
        regime_detector: RegimeDetector | None = None,
        comparison_episodes: int = 20,
        confidence: float = 0.95,
    ) -> None:
        if agent_factory is not None and not isinstance(agent, EnsembleAgent):
            require_no_memory(agent)
        if isinstance(agent, EnsembleAgent) and agent.policy_manager is not policy_manager:
            raise ConfigError("the EnsembleAgent belongs to another PolicyManager; pass that one")
        self._manager, self._agent, self._factory = policy_manager, agent, agent_factory
        if meta_controller is None and policy_manager.spawns_remaining is None:
            meta_controller = MetaController()
        self._meta, self._mutation_fn = meta_controller, mutation_fn
        self._regimes = regime_detector or RegimeDetector()
        self._succession = Succession(episodes=comparison_episodes, confidence=confidence)
        self._stop_fn: Callable[[], None] | None = None
        self._run: LoopController | None = None

    @property
    def policy_manager(self) -> PolicyManager:
        """Makes variants, counts them, holds members."""
        return self._manager

    def set_stop_fn(self, fn: Callable[[], None]) -> None:
        """Have ``fn`` called when evolution ends the run; the run ends without it, too."""
        self._stop_fn = fn

    # ---------------------------------------------------------------- events

    def attach(self, run: LoopController) -> None:
        """Get to know the run.

        Raises:
            ConfigError: The run trains another agent.
        """
        if run.agent is not self._agent:
            raise ConfigError(
                f"this callback was made for a {type(self._agent).__name__} that the run does not train; pass the "
                "run's own agent"
            )
        self._run = run
        self._manager.bind(run.registry)
        if self._manager.ensemble_size == 0:
            self._manager.add_agent(self._agent)

    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        """Remember the score, and notice a new regime."""
        del episode_id
        run = self._run
        if eval_metrics is None or run is None:
            return
        index, score = self._scored(eval_metrics)
        if math.isfinite(score) and index < self._manager.ensemble_size:
            self._manager.record_agent_score(index, score)
        before = self._manager.status()["regime"]
        regime = self._regimes.detect(list(run.history))
        self._manager.set_regime(regime)
        if regime != before:
            run.log("regime", regime=regime, before=before, direction=self._regimes.direction)

    def _scored(self, metrics: EvalMetrics) -> tuple[int, float]:
        """Whose score it is: in an ensemble, a training window is that of the member that acted in it."""
        if not isinstance(self._agent, EnsembleAgent):
            return 0, metrics.primary_score
        found = metrics.metrics
        member = found.get("train_member", found.get("member", 0))
        return int(member), float(found.get("train_score", metrics.primary_score))

    def on_plateau(self, episode_id: int, state: LoopState) -> None:
        """Weigh the members anew."""
        del episode_id, state
        self._weigh()

    def on_dormant(self, episode_id: int) -> None:
        """Weigh the members anew."""
        del episode_id
        self._weigh()

    def _weigh(self) -> None:
        before = self._manager.weights
        self._manager.auto_update_weights()
        after = self._manager.weights
        if self._run is not None and after != before:
            means = [member.mean_score for member in self._manager.members]
            self._run.log("ensemble", size=len(after), weights=after, mean_scores=means)

    # ---------------------------------------------------------------- convergence

    def on_converged(self, run: LoopController, window: int) -> DormantReport:
        """Judge the variant in training, then make another one or end the run."""
        del window
        self._judge(run)
        numbers = self._numbers()
        action = self._decide(run)
        run.log("meta", action=action.name, **numbers, **({} if self._meta is None else self._meta.numbers))
        if action is MetaAction.PRUNE and self._prune(run) and isinstance(self._agent, EnsembleAgent):
            return DormantReport(go_on=True, numbers=numbers)
        spawns = action is MetaAction.SPAWN or action is MetaAction.PRUNE
        if spawns and not self._manager.budget_exhausted:
            snapshot = self._succession.reigning(run)
            if snapshot is not None:
                self._spawn(run, snapshot)
                return DormantReport(go_on=True, numbers=self._numbers())
            run.log("spawn_skipped", reason="no policy with a score is stored that a variant could come from")
            action = MetaAction.NO_OP
        if action is MetaAction.NO_OP:
            return DormantReport(go_on=False, numbers=numbers)
        logger.info("evolution has ended: %s", self._manager.training_report())
        if self._stop_fn is not None:
            self._stop_fn()
        used_up = self._manager.budget_exhausted
        reason = StopReason.VARIANTS_USED_UP if used_up else StopReason.VARIANTS_DO_NOT_HELP
        return DormantReport(go_on=False, reason=reason, numbers=numbers)

    def _decide(self, run: LoopController) -> MetaAction:
        if self._meta is not None:
            return self._meta.decide(list(run.history), self._manager.status())
        return MetaAction.STOP if self._manager.budget_exhausted else MetaAction.SPAWN

    def _numbers(self) -> dict[str, float | None]:
        manager = self._manager
        return {
            "spawns": float(manager.spawn_count),
            "replaced": float(manager.replaced),
            "fruitless": float(manager.fruitless),
        }

    def _judge(self, run: LoopController) -> None:
        outcome = self._succession.judge(run)
        if outcome is not None:
            self._manager.record_outcome(replaced=outcome.replaced, improvement=outcome.improvement)
            run.log("variant", **outcome.to_log())

    def _prune(self, run: LoopController) -> bool:
        removed = self._manager.prune(1)
        if removed:
            run.log("pruned", removed=list(removed), size=self._manager.ensemble_size)
        return bool(removed)

    def _spawn(self, run: LoopController, origin: PolicySnapshot) -> None:
        manager, history = self._manager, list(run.history)
        before = run.agent.get_hyperparams().params
        run.storage.restore(origin)
        self._keep(run, origin)
        weight_noise = manager.weight_noise
        variant = manager.vary(
            self._newcomer(),
            manager.adaptive_noise_scale(history),
            self._mutation_fn,
            weight_noise=weight_noise,
            origin=origin.snapshot_id,
        )
        self._succession.begin(run, origin)
        run.log(
            "spawned",
            number=manager.spawn_count,
            remaining=manager.spawns_remaining,
            origin=origin.snapshot_id,
            origin_score=origin.eval_metrics.primary_score,
            hyperparam_noise=variant.hyperparam_noise,
            weight_noise=variant.weight_noise,
            changed={name: list(pair) for name, pair in variant.changed.items()},
            not_taken={name: list(pair) for name, pair in variant.not_taken.items()},
            ensemble_size=manager.ensemble_size,
        )
        after = run.agent.get_hyperparams().params
        if after != before:
            run.callbacks.fire("on_hyperparam_update", before, after)

    def _keep(self, run: LoopController, origin: PolicySnapshot) -> None:
        """Let the policy that variants come from stay in the ensemble, once."""
        manager = self._manager
        fits = manager.max_ensemble_size is None or manager.max_ensemble_size > 1
        if self._factory is None or isinstance(self._agent, EnsembleAgent) or not fits:
            return
        if self._succession.kept == origin.snapshot_id:
            return
        member = self._factory()
        run.registry.load(member, origin.snapshot_id)
        manager.add_agent(member, weight=math.fsum(manager.weights) / manager.ensemble_size)
        if math.isfinite(origin.eval_metrics.primary_score):
            manager.record_agent_score(manager.ensemble_size - 1, origin.eval_metrics.primary_score)
        self._succession.kept = origin.snapshot_id

    def _newcomer(self) -> BaseAgent:
        """The agent that becomes the variant."""
        manager = self._manager
        if not isinstance(self._agent, EnsembleAgent):
            return self._agent
        primary = manager.members[0].agent
        if manager.ensemble_size == 1:
            return primary
        weakest = min(manager.members[1:], key=lambda member: (member.weight, -member.uid))
        cast("Stateful", weakest.agent).load_state_dict(cast("Stateful", primary).state_dict())
        weakest.scores.clear()
        return weakest.agent

    # ---------------------------------------------------------------- state

    def state_dict(self) -> State:
        """Counters, the reigning policy, the meta controller's decisions, and members that the agent does not hold."""
        state: State = {
            "counters": self._manager.counters(),
            "succession": self._succession.state_dict(),
            "meta": None if self._meta is None else self._meta.state_dict(),
        }
        if not isinstance(self._agent, EnsembleAgent):
            state["roster"] = self._manager.roster_state()
            state["members"] = {
                str(member.uid): member.agent.state_dict()
                for member in self._manager.members[1:]
                if isinstance(member.agent, Stateful)
            }
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: The ensemble had members that cannot be built without ``agent_factory``.
        """
        if "roster" in state:
            self._manager.load_roster(state["roster"], agent_factory=self._factory)
            for member in self._manager.members[1:]:
                if isinstance(member.agent, Stateful):
                    member.agent.load_state_dict(state["members"][str(member.uid)])
        self._manager.load_counters(state["counters"])
        self._succession.load_state_dict(state["succession"])
        if self._run is not None:
            self._succession.protect(self._run)
        if self._meta is not None and state["meta"] is not None:
            self._meta.load_state_dict(state["meta"])
