"""What goes into and comes out of a decision of the loop: frozen records, plain numbers only.

The loop is blind: no algorithm, no hyperparameter and no framework is named here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import Any

from optix_core.loop.config import LoopConfig as LoopConfig
from optix_core.loop.stop_reason import StopReason
from optix_core.types import LoopState


class Verdict(Enum):
    """What one window showed; exactly one per window."""

    IMPROVED = "the score rises, by a one-sided test"
    STEADY = "no rise could be shown"
    DEGRADED = "the score fell below the best level, confirmed"
    NO_SCORE = "nothing was scored, so there is no evidence"
    FAILED = "the evaluation gave no finite number"


class Action(Enum):
    """What the loop must do now, in this order."""

    SAVE_BEST = "store the current policy as the best"
    ROLL_BACK = "restore the best policy with its whole training state"
    TUNE = "let the tuner suggest hyperparameters"
    PROBE = "branch from the best policy, explore harder, compare with a plain branch"
    SPAWN = "ask whether to go on with a variant of the agent, now that training has converged"
    STOP = "end the run"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReport:
    """What the loop knows after one window.

    Attributes:
        window: Index of the window, from 0.
        score: The score, in the task's own units. None: not evaluated, or no episode completed. NaN or infinite: the
            evaluation failed.
        checkpoint_score: What ``checkpoint_score_fn`` returned; the best policy is judged by it, or by ``score``
            where it is None.
        score_se: Standard error of ``score`` from the episodes behind it. With it a collapse is known before the
            scores' own noise is.
        probing: The values in force are a tuner's experiment: a drop then is no degradation. Masks nothing else.
        can_roll_back: There is a best policy to go back to, and going back is wanted.
        diverged: Training diagnostics of this window were not finite.
        steps: Environment steps so far.
        max_steps: Budget of steps, or None.
        windows: Windows so far, this one included.
        max_windows: Budget of windows, or None.
        episodes: Complete episodes so far.
        elapsed: Seconds so far.
        max_seconds: Budget of seconds, or None.
        stop_requested: The user asked to stop.
        can_spawn: Somebody may let the run go on after convergence, and wants to be asked.
    """

    window: int
    score: float | None = None
    checkpoint_score: float | None = None
    score_se: float | None = None
    probing: bool = False
    can_roll_back: bool = False
    diverged: bool = False
    steps: int = 0
    max_steps: int | None = None
    windows: int = 0
    max_windows: int | None = None
    episodes: int = 0
    elapsed: float = 0.0
    max_seconds: float | None = None
    stop_requested: bool = False
    can_spawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a probe found: a branch from the best policy that explored harder against a plain one.

    Attributes:
        gain: Mean paired difference of scores, probe minus best. NaN: the probe failed; that counts as no gain.
        gain_lower: Lower confidence bound of ``gain``.
        n: Pairs behind it.
        adopted: The loop keeps the probe's weights if the gain is confirmed; information for the log.
        can_spawn: As in :class:`WindowReport`.
    """

    gain: float
    gain_lower: float
    n: int
    adopted: bool = True
    can_spawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DormantReport:
    """The answer to ``Action.SPAWN``: whether training goes on although it has converged.

    Attributes:
        go_on: The agent has been changed (a variant is installed) and is to be trained further.
        reason: Why the run ends if it does not go on.
        numbers: What was decided by, for the sentence of ``reason`` and for the log.
    """

    go_on: bool
    reason: StopReason = StopReason.CONVERGED
    numbers: Mapping[str, float | None] = field(default_factory=dict[str, "float | None"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSnapshot:
    """Everything the state machine remembers; bounded, immutable, plain numbers.

    Attributes:
        state: Where the loop stands.
        scores: The last scores, oldest first, at most ``LoopConfig.max_history``.
        evaluations: Finite scores seen so far.
        best: Running maximum of the checkpoint score, never lowered. None before the first.
        best_window: The window that gave it.
        top: Highest score so far.
        top_se: Its standard error, None if unknown.
        reached: Second highest score so far: what was seen more than once is no single stroke of luck.
        reached_se: Its standard error, None if unknown.
        low: Lowest running median so far.
        rise: The largest rise of the running median above an earlier ``low``.
        rise_mark: ``rise`` when it last grew by more than ``delta`` of itself.
        rise_at: Evaluations seen at that moment: how long the run took to rise, which sets the horizon.
        level: Highest median of ``score_window`` consecutive scores: what degradation is measured against.
        drop_power: Discounted sum of squared drops of the recent mean below ``level``, positive ones only.
        drop_weight: Discounted number of them; ``drop_power / drop_weight`` is what noise alone does.
        recent_drops: The newest drops, not yet part of that: one may be a collapse under way.
        constant_run: Length of the run of exactly equal scores at the end.
        collapse_run: Scores in a row that have lost much of what was learned.
        collapse_lost: What they have lost, added up.
        collapse_variance: The sum of their squared standard errors.
        consecutive_non_improvements: Evaluations since the last one with verdict IMPROVED.
        converged_streak: Consecutive evaluations whose expected gain was bounded below ``delta``.
        target_streak: Consecutive evaluations at or above ``target_score``.
        failed_streak: Consecutive failed evaluations.
        cooldown: Evaluations left in which, after a rollback, nothing is tuned and nothing is called degraded.
        interval: Windows between two TUNE actions.
        last_tune: The window of the last TUNE action.
        rollbacks: Rollbacks so far.
        rolled_back_at: ``evaluations`` at the last rollback.
        fruitless_rollbacks: Rollbacks since the last new best.
        degradations: Verdicts DEGRADED so far.
        probe_pending: A PROBE was asked for and its report has not come.
        probes: Probes so far.
    """

    state: LoopState = LoopState.ACTIVE
    scores: tuple[float, ...] = ()
    evaluations: int = 0
    best: float | None = None
    best_window: int | None = None
    top: float | None = None
    top_se: float | None = None
    reached: float | None = None
    reached_se: float | None = None
    low: float | None = None
    rise: float = 0.0
    rise_mark: float = 0.0
    rise_at: int = 0
    level: float | None = None
    drop_power: float = 0.0
    drop_weight: float = 0.0
    recent_drops: tuple[float, ...] = ()
    constant_run: int = 0
    collapse_run: int = 0
    collapse_lost: float = 0.0
    collapse_variance: float = 0.0
    consecutive_non_improvements: int = 0
    converged_streak: int = 0
    target_streak: int = 0
    failed_streak: int = 0
    cooldown: int = 0
    interval: int = 1
    last_tune: int | None = None
    rollbacks: int = 0
    rolled_back_at: int | None = None
    fruitless_rollbacks: int = 0
    degradations: int = 0
    probe_pending: bool = False
    probes: int = 0

    def to_state(self) -> dict[str, Any]:
        """A plain dict of JSON-able values; floats survive ``json`` exactly."""
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        state["state"] = self.state.name
        state["scores"] = list(self.scores)
        state["recent_drops"] = list(self.recent_drops)
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LoopSnapshot:
        """The snapshot that :meth:`to_state` described.

        Raises:
            ValueError: A field is missing or unknown, or a score is not finite.
        """
        names = {f.name for f in fields(cls)}
        if set(state) != names:
            missing, unknown = sorted(names - set(state)), sorted(set(state) - names)
            raise ValueError(
                f"this is no state of a LoopSnapshot: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}"
            )
        values = dict(state)
        if values["state"] not in LoopState.__members__:
            raise ValueError(
                f"state is {values['state']!r}; expected one of {', '.join(LoopState.__members__)}"
            )
        values["state"] = LoopState[values["state"]]
        for name in ("scores", "recent_drops"):
            values[name] = tuple(float(s) for s in values[name])
            if not all(math.isfinite(s) for s in values[name]):
                raise ValueError(f"{name} holds a number that is not finite; a snapshot never stores one")
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from one report.

    Attributes:
        snapshot: The state machine after it.
        verdict: What the window showed; None for the answer to a probe.
        actions: What to do, in order.
        stop: Why to stop, exactly when ``Action.STOP`` is among the actions.
        transitions: States passed through, as (old, new, name of the rule); empty if the state did not change.
        numbers: The numbers behind it, for the decision log; None where unknown.
        events: Names of rules that fired besides transitions, for the decision log.
    """

    snapshot: LoopSnapshot
    verdict: Verdict | None
    actions: tuple[Action, ...] = ()
    stop: StopReason | None = None
    transitions: tuple[tuple[LoopState, LoopState, str], ...] = ()
    numbers: Mapping[str, float | None] = field(default_factory=dict[str, "float | None"])
    events: tuple[str, ...] = ()

    @property
    def stop_sentence(self) -> str | None:
        """The sentence for the user, or None if the run goes on."""
        return None if self.stop is None else self.stop.sentence(self.numbers)

    def to_log(self) -> dict[str, Any]:
        """The decision without the score history, JSON-able, for the decision log."""
        return {
            "verdict": None if self.verdict is None else self.verdict.name,
            "actions": [action.name for action in self.actions],
            "stop": None if self.stop is None else self.stop.name,
            "stop_sentence": self.stop_sentence,
            "state": self.snapshot.state.name,
            "transitions": [[old.name, new.name, rule] for old, new, rule in self.transitions],
            "events": list(self.events),
            "numbers": dict(self.numbers),
        }


def report_as_dict(report: WindowReport | ProbeReport | DormantReport) -> dict[str, Any]:
    """A report as plain values, for the decision log."""
    return asdict(report)
