"""What follows from answers: of a probe, of whoever was asked for a variant, of a person who says "go on"."""

from __future__ import annotations

import math
from dataclasses import replace

from optix_core.loop.draft import Draft, calm, dormant, end, wider
from optix_core.loop.evidence import examine
from optix_core.loop.records import Decision, DormantReport, LoopConfig, LoopSnapshot, ProbeReport
from optix_core.loop.stop_reason import StopReason


def count_non_improvement(snapshot: LoopSnapshot, config: LoopConfig) -> LoopSnapshot:
    """A non-improvement recorded by hand: counters alone lead to COOLING at ``plateau_threshold`` and on to DORMANT."""
    count = snapshot.consecutive_non_improvements + 1
    interval = wider(snapshot.interval, config)
    draft = Draft(replace(snapshot, consecutive_non_improvements=count, interval=interval))
    if count >= config.dormant_threshold and snapshot.evaluations >= config.min_episodes_before_dormant:
        draft.move("converged")
    elif count >= config.plateau_threshold:
        draft.move("plateau")
    return draft.snapshot


def decide_probe(snapshot: LoopSnapshot, report: ProbeReport, config: LoopConfig) -> Decision:
    """What follows from a probe: back to ACTIVE if its gain is confirmed, else DORMANT (and stop, or WATCHDOG)."""
    confirmed = math.isfinite(report.gain_lower) and report.gain_lower > 0.0 and report.gain > 0.0
    draft = Draft(replace(snapshot, probe_pending=False, probes=snapshot.probes + 1))
    evidence = examine(snapshot, config) if snapshot.scores else None
    if evidence is not None:
        draft.numbers |= evidence.numbers
    draft.numbers |= {
        "probe_gain": report.gain,
        "probe_gain_lower": report.gain_lower,
        "probe_n": float(report.n),
        "converged_streak": snapshot.converged_streak,
        "best": snapshot.best,
    }
    if confirmed:
        draft.events.append("probe_gain")
        draft.snapshot = replace(calm(draft.snapshot, config), cooldown=snapshot.cooldown)
        draft.move("probe_gain")
    else:
        draft.events.append("probe_no_gain")
        dormant(draft, config, StopReason.CONVERGED_AFTER_PROBE, can_spawn=report.can_spawn)
    return draft.decision()


def decide_dormant(snapshot: LoopSnapshot, report: DormantReport, config: LoopConfig) -> Decision:
    """What follows from the answer to SPAWN: back to ACTIVE with the variant, or the end (WATCHDOG if that is wanted).

    A variant begins like a restart: counters and history are cleared, best and observed range stay.
    """
    draft = Draft(snapshot)
    evidence = examine(snapshot, config) if snapshot.scores else None
    if evidence is not None:
        draft.numbers |= evidence.numbers
    draft.numbers |= {"converged_streak": snapshot.converged_streak, "best": snapshot.best, **report.numbers}
    if report.go_on:
        begun = restart(snapshot, config)
        return replace(begun, numbers=draft.numbers, events=("variant", *begun.events))
    draft.events.append("no_variant")
    end(draft, config, report.reason)
    return draft.decision()


def restart(snapshot: LoopSnapshot, config: LoopConfig) -> Decision:
    """Go on after DORMANT on request: counters and history are cleared, best and observed range stay."""
    draft = Draft(replace(calm(snapshot, config), scores=(), cooldown=0))
    draft.events.append("restart")
    draft.move("restart")
    return draft.decision()
