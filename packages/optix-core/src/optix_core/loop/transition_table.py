"""The states of the loop and what leads from one to another, as data for the state machine and its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optix_core.types import LoopState

A, C, D, W = LoopState.ACTIVE, LoopState.COOLING, LoopState.DORMANT, LoopState.WATCHDOG


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the transition table."""

    sources: tuple[LoopState, ...]
    target: LoopState
    when: str


TRANSITIONS: Mapping[str, Rule] = {
    "improved": Rule(
        (C, D, W), A, "the score rises by the one-sided t-test, or the gain to be expected is large again"
    ),
    "plateau": Rule((A,), C, "`plateau_threshold` evaluations in a row without improvement"),
    "converged": Rule(
        (A, C),
        D,
        "the bound of the gain stayed below `delta` for `convergence_patience` evaluations, and no probe found a gain",
    ),
    "watch": Rule((D,), W, "`keep_watching` is set: the run goes on under observation"),
    "probe_gain": Rule((A, C), A, "the probe's gain is confirmed: its lower bound is above zero"),
    "degraded": Rule(
        (C, D, W), A, "`min_consecutive_degradations` evaluations lie below the best level beyond the noise"
    ),
    "diverged": Rule(
        (C, D, W), A, "training produced numbers that are not finite; the best policy is restored"
    ),
    "restart": Rule((C, D, W), A, "a callback or a new variant asked for more training"),
}


def transition_table() -> str:
    """The table above as Markdown, for the documentation."""
    rows = ["| rule | from | to | when |", "|---|---|---|---|"]
    for name, rule in TRANSITIONS.items():
        sources = ", ".join(state.name for state in rule.sources)
        rows.append(f"| {name} | {sources} | {rule.target.name} | {rule.when} |")
    return "\n".join(rows)
