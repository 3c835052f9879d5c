"""What would have changed a decision: for each kind, the number that was close, and how far it was away."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

Numbers = Mapping[str, Any]


def otherwise(kind: str, numbers: Numbers) -> str:
    """One sentence, empty where there was nothing to decide.

    Args:
        kind: Of an event; of what a decision led to: ``rule:NAME`` for a transition, ``stop:NAME`` for the end,
            ``new_best``, ``level_accepted``, ``failed_evaluation``.
        numbers: The event's. A text called ``otherwise`` in them is taken as it is.
    """
    own = numbers.get("otherwise")
    if isinstance(own, str):
        return own
    teller = _KINDS.get(kind)
    return "" if teller is None else teller(numbers)


# --- the end and what leads to it -----------------------------------------------------------------------------------


def _bound(n: Numbers) -> str:
    upper, needed, delta = (_number(n, key) for key in ("gain_upper", "delta_abs", "delta"))
    if upper is None or needed is None:
        return "a score that rises beyond its noise would have gone on"
    said = f"the gain bound {_n(upper)} was below delta {_n(needed)}; a bound above {_n(needed)} would have gone on"
    if upper <= 0 or delta is None or needed <= 0:
        return said
    return f"{said}, and so would a delta below {_n(delta * upper / needed)} (it was {_n(delta)})"


def _converged_after_probe(n: Numbers) -> str:
    lower = _number(n, "probe_gain_lower")
    if lower is None:
        return f"{_bound(n)}; no probe could object"
    return f"{_bound(n)}; so would a probe's gain of certainly more than 0 (its lower bound was {_n(lower)})"


def _target(n: Numbers) -> str:
    return f"a target_score above {_n(n.get('score'))} would have gone on (it was {_n(n.get('target'))})"


def _budget(name: str) -> Callable[[Numbers], str]:
    return lambda n: f"a larger {name} than {_n(n.get(name))} would have gone on: optix resume RUN {name}=..."


def _probe(n: Numbers) -> str:
    if n.get("skipped"):
        return "with room for the probe, a certain gain would have sent the run on"
    lower = _number(n, "gain_lower")
    if lower is None:
        return "a branch with enough validation episodes and a certain gain would have sent the run on"
    if lower > 0:
        return f"a lower bound of at most 0 (it was {_n(lower)}) would have ended the run"
    return f"a lower bound above 0 would have sent the run on; it was {_n(-lower)} short"


# --- states ---------------------------------------------------------------------------------------------------------


def _rise(n: Numbers) -> str:
    error = _number(n, "slope_se")
    beyond = "" if error is None else f" (standard error {_n(error)} per evaluation)"
    return f"a rise within the noise of the slope{beyond} would not have counted"


def _plateau(n: Numbers) -> str:
    error, idle = _number(n, "slope_se"), _number(n, "non_improvements")
    beyond = "" if error is None else f" (standard error {_n(error)} per evaluation)"
    said = f"one rise beyond the noise of the slope{beyond} would have kept it going"
    return said if idle is None else f"{said}, and so would a plateau_threshold above {_n(idle)}"


def _degraded(n: Numbers) -> str:
    parts: list[str] = []
    for name, scale, what in (("drop", "drop_scale", "drop"), ("step", "step_scale", "jump")):
        size, error = _number(n, name), _number(n, scale)
        if size is not None and error:
            parts.append(f"the {what} was {_n(size / error)} standard errors")
    floor = _number(n, "drop_floor")
    if parts:
        parts.append("fewer than degradation_sigmas (4 unless set) would have passed for noise")
    if floor is not None:
        parts.append(f"a drop of less than {_n(floor)} would not have counted")
    return "; ".join(parts) or "one evaluation at the old level among them would have called it off"


def _new_best(n: Numbers) -> str:
    before = _number(n, "before")
    return "" if before is None else f"a score of {_n(before)} or less would not have been stored"


# --- tuning ---------------------------------------------------------------------------------------------------------


def _trial(n: Numbers) -> str:
    details = _table(n, "details")
    difference, low, high = (_number(details, key) for key in ("difference", "low", "high"))
    if difference is None or low is None or high is None:
        return "more validation episodes per branch would have given an interval to decide by"
    half = (high - low) / 2
    if n.get("committed"):
        near = min(abs(low), abs(high))
        return f"an interval that reaches 0 (it ended {_n(near)} away) would have changed nothing"
    if low <= 0 <= high:
        short = half - abs(difference)
        return f"an interval without 0 would have moved: a difference beyond {_n(half)}, {_n(short)} more than it was"
    return "the interval excludes 0, but not by as much as the tuner asks for"


def _routed(n: Numbers) -> str:
    before, after = n.get("from"), n.get("to")
    gap, r1 = _number(n, "gap"), _number(n, "autocorrelation")
    if after == "pbt" and gap is not None:
        return (
            f"a level less than gap_threshold below the best one (it was {_n(-gap)}) would have kept {before}"
        )
    if after == "momentum" and r1 is not None:
        return f"an autocorrelation of at most autocorr_threshold (it was {_n(r1)}) would have kept {before}"
    if after == "backoff" and r1 is not None:
        return f"an autocorrelation above minus autocorr_threshold (it was {_n(r1)}) would have kept {before}"
    return f"correlated scores or a level far below the best one would have kept {before}"


_RULES = {
    "LOSS_SPIKE": "a loss below loss_spike_factor times the mean of those before would have passed",
    "ENTROPY_COLLAPSE": "an entropy above entropy_floor would have passed",
    "KL_TOO_HIGH": "a divergence below twice target_kl would have passed",
    "EPSILON_RESET": "a score above epsilon_score_threshold, or fewer than epsilon_patience windows, would have passed",
}


def _diagnostic(n: Numbers) -> str:
    name = str(n.get("rule"))
    return _RULES.get(name, f"numbers within the limits of {name} would have passed")


# --- evolution ------------------------------------------------------------------------------------------------------


def _meta(n: Numbers) -> str:
    action = str(n.get("action")).rpartition(".")[2].upper()
    rate, gap, slope = (_n(n.get(name)) for name in ("improvement_rate", "gap", "gap_slope"))
    return {
        "SPAWN": f"an improvement rate of at least improvement_threshold (it was {rate}) would have waited",
        "PRUNE": f"a gap of at most gap_threshold (it was {gap}) that widens by at most gap_slope_threshold "
        f"(it was {slope}) would have kept it",
        "STOP": "room in the budget of variants, or a variant that proved better, would have gone on",
        "NO_OP": f"an improvement rate below improvement_threshold (it was {rate}), or a gap above gap_threshold "
        f"(it was {gap}), would have acted",
    }.get(action, "")


def _judged(n: Numbers) -> str:
    low, high = _number(n, "low"), _number(n, "high")
    if low is None or high is None:
        return "a comparison with its origin on enough episodes would have decided"
    if n.get("replaced"):
        return f"a lower end of at most 0 (it was {_n(low)}) would have brought its origin back"
    return f"a lower end above 0 would have kept it; it was {_n(-low)} short"


def _regime(n: Numbers) -> str:
    name = str(n.get("regime") or n.get("after") or n.get("to") or "")
    return {
        "volatile": "residuals that spread no more than volatility_threshold allows would not have been volatile",
        "trending": "a slope that is not significant at trend_threshold would not have been a trend",
        "ranging": "a slope significant at trend_threshold, or a spread above volatility_threshold, would have been "
        "named so",
    }.get(name, "")


def _tuned(n: Numbers) -> str:
    return {
        "rollback": "without the rollback the values would have stayed",
        "replay": "the schedule of the earlier run says so, whatever the scores",
    }.get(str(n.get("cause")), "tuner.name=fixed would have left the values")


_KINDS: dict[str, Callable[[Numbers], str]] = {
    "new_best": _new_best,
    "failed_evaluation": lambda _: "one finite number would have been a score",
    "level_accepted": lambda _: (
        "a new best after one of the rollbacks, or a larger max_rollbacks, would have kept the level"
    ),
    "rule:improved": _rise,
    "rule:plateau": _plateau,
    "rule:converged": _bound,
    "rule:watch": lambda _: "without keep_watching the run would have ended",
    "rule:probe_gain": lambda n: _probe({"gain_lower": n.get("probe_gain_lower")}),
    "rule:degraded": _degraded,
    "rule:diverged": lambda _: "finite diagnostics would have gone on",
    "stop:CONVERGED": _bound,
    "stop:CONVERGED_AFTER_PROBE": _converged_after_probe,
    "stop:VARIANTS_DO_NOT_HELP": lambda n: (
        f"one of the last {_n(n.get('fruitless'))} variants proving better would have gone on"
    ),
    "stop:VARIANTS_USED_UP": lambda n: f"a larger max_spawns than {_n(n.get('spawns'))} would have gone on",
    "stop:TARGET_REACHED": _target,
    "stop:MAX_STEPS": _budget("max_steps"),
    "stop:MAX_WINDOWS": lambda n: f"a larger max_episodes than {_n(n.get('max_windows'))} would have gone on",
    "stop:MAX_SECONDS": _budget("max_seconds"),
    "stop:SIGNAL": lambda _: "no number: it was asked for; optix resume RUN continues",
    "stop:REQUESTED": lambda _: "no number: it was asked for; optix resume RUN continues",
    "stop:SOURCE_ENDED": lambda _: "more windows from the source would have gone on",
    "stop:DIVERGED": lambda n: (
        f"one finite evaluation among the last {_n(n.get('failed_streak'))} would have gone on"
    ),
    "rolled_back": lambda _: "rollback_on_degradation=false would have gone on from the lower policy",
    "diverged": lambda _: "finite diagnostics would have gone on without a restore",
    "probe": _probe,
    "trial": _trial,
    "trial_skipped": lambda _: "a budget with room for every branch would have tried",
    "tuned": _tuned,
    "variant": _judged,
    "spawn_skipped": lambda _: "a stored policy with a score would have had a variant",
    "tuning_off": lambda _: "validation episodes and an agent with state_dict would have tuned",
    "routed": _routed,
    "diagnostic": _diagnostic,
    "meta": _meta,
    "spawned": lambda _: (
        "an exhausted budget of variants, or another decision of the meta controller, would have ended the run"
    ),
    "pruned": lambda _: "a weight that is not the lowest would have kept it",
    "regime": _regime,
    "live": lambda _: (
        "a consumer that keeps up, or a larger buffer, drops nothing; well-formed items are not rejected"
    ),
    "warm_start": lambda _: "another trial holding up better on fresh seeds would have been taken",
    "replayed": lambda _: "without the schedule of the earlier run the tuner would have decided",
}


def _number(numbers: Numbers, name: str) -> float | None:
    value = numbers.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _n(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "unknown" if value is None else str(value)
    if math.isfinite(value) and float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _table(numbers: Numbers, name: str) -> Numbers:
    found: Any = numbers.get(name)
    return cast("Numbers", found) if isinstance(found, Mapping) else {}
