"""A decision in the making: what every question to the state machine is answered with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from optix_core.loop.records import Action, Decision, LoopConfig, LoopSnapshot, Verdict
from optix_core.loop.stop_reason import StopReason
from optix_core.loop.transition_table import TRANSITIONS
from optix_core.types import LoopState


@dataclass(slots=True)
class Draft:
    """A decision in the making."""

    snapshot: LoopSnapshot
    verdict: Verdict | None = None
    actions: set[Action] = field(default_factory=set[Action])
    stop: StopReason | None = None
    transitions: list[tuple[LoopState, LoopState, str]] = field(
        default_factory=list[tuple[LoopState, LoopState, str]]
    )
    numbers: dict[str, float | None] = field(default_factory=dict[str, "float | None"])
    events: list[str] = field(default_factory=list[str])

    def move(self, name: str) -> None:
        """Apply the rule ``name`` of the table if it starts in the current state."""
        rule = TRANSITIONS[name]
        old = self.snapshot.state
        if old in rule.sources and old is not rule.target:
            self.transitions.append((old, rule.target, name))
            self.snapshot = replace(self.snapshot, state=rule.target)

    def decision(self) -> Decision:
        """The decision as it stands; a run that stops asks for nothing more."""
        if self.stop is not None:
            self.actions.add(Action.STOP)
            self.actions -= {Action.TUNE, Action.PROBE, Action.SPAWN}
        return Decision(
            snapshot=self.snapshot,
            verdict=self.verdict,
            actions=tuple(action for action in Action if action in self.actions),
            stop=self.stop,
            transitions=tuple(self.transitions),
            numbers=self.numbers,
            events=tuple(self.events),
        )


def calm(snapshot: LoopSnapshot, config: LoopConfig) -> LoopSnapshot:
    """Counters as at the start; what was learnt about the scores stays."""
    return replace(
        snapshot,
        consecutive_non_improvements=0,
        converged_streak=0,
        constant_run=0,
        collapse_run=0,
        collapse_lost=0.0,
        collapse_variance=0.0,
        recent_drops=(),
        cooldown=config.rollback_cooldown,
        interval=config.base_interval,
        probe_pending=False,
    )


def wider(interval: int, config: LoopConfig) -> int:
    """The next interval between two turns of the tuner."""
    return min(math.ceil(interval * config.backoff_factor), config.max_interval_episodes)


def dormant(draft: Draft, config: LoopConfig, reason: StopReason, *, can_spawn: bool) -> None:
    """Converged: ask for a variant where somebody can make one, else end."""
    draft.move("converged")
    if can_spawn:
        draft.actions.add(Action.SPAWN)
    else:
        end(draft, config, reason)


def end(draft: Draft, config: LoopConfig, reason: StopReason) -> None:
    """Stop, or watch on if that is wanted."""
    if config.keep_watching:
        draft.move("watch")
    else:
        draft.stop = reason
