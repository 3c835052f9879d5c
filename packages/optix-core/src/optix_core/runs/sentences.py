"""Sentences for the decision log: each event's numbers in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Numbers = Mapping[str, Any]


def new_best(score: Any, before: float | None, numbers: Numbers) -> str:
    """Why a policy was stored as the best."""
    said = f"score {_n(score)}" if before is None else f"score {_n(before)} -> {_n(score)}"
    error = numbers.get("score_se")
    return f"{said}, standard error {_n(error)}" if _finite(error) else said


def _improved(numbers: Numbers) -> str:
    return f"the score rises: slope {_pm(numbers, 'slope', 'slope_se')} per evaluation{_over(numbers)}"


def _plateau(numbers: Numbers) -> str:
    idle = count(numbers, "non_improvements", "without improvement")
    return f"{idle}; slope {_pm(numbers, 'slope', 'slope_se')} per evaluation{_over(numbers)}"


def _converged(numbers: Numbers) -> str:
    return (
        f"the next {_n(numbers.get('horizon'))} evaluations would gain at most {_n(numbers.get('gain_upper'))}, less "
        f"than the {_n(numbers.get('delta_abs'))} asked for; residual autocorrelation {_n(numbers.get('r1'))}, "
        f"effective sample size {_n(numbers.get('n_eff'))}"
    )


def _probe_gain(numbers: Numbers) -> str:
    return (
        f"a probe gained {_n(numbers.get('probe_gain'))}, at least {_n(numbers.get('probe_gain_lower'))} "
        f"({_n(numbers.get('probe_n'))} episodes), so training goes on"
    )


def _degraded(numbers: Numbers) -> str:
    below = f"the score fell to {_n(numbers.get('score'))}, below the level {_n(numbers.get('level'))}"
    return f"{below} {drop(numbers)}".rstrip()


def drop(numbers: Numbers) -> str:
    """How far the score fell, in brackets; empty if that is unknown."""
    fell, noise = numbers.get("drop"), numbers.get("noise_sd")
    if not _finite(fell):
        return ""
    return f"(by {_n(fell)}, noise {_n(noise)})" if _finite(noise) else f"(by {_n(fell)})"


RULES: dict[str, Callable[[Numbers], str]] = {
    "improved": _improved,
    "plateau": _plateau,
    "converged": _converged,
    "watch": lambda _: "converged; the run goes on under observation",
    "probe_gain": _probe_gain,
    "degraded": _degraded,
    "diverged": lambda _: "training produced numbers that are not finite",
    "restart": lambda _: "a callback asked for more training",
}


# --- events of the loop ---------------------------------------------------------------------------------------------


def _started(e: Numbers) -> tuple[str, str]:
    budget = {k: v for k, v in _table(e, "budget").items() if v is not None}
    limits = ", ".join(f"{name} {_n(value)}" for name, value in budget.items()) or "no limit: until converged"
    preset = _table(e, "preset")
    used = f"preset {preset.get('name')} ({preset.get('source')}); " if preset else ""
    return "start", f"{used}budget: {limits}; {_values(e.get('hyperparams') or {})}"


def _topology(e: Numbers) -> tuple[str, str]:
    proposals = [_table(e, "proposal"), *(dict(p) for p in _items(e, "proposals"))]
    why = e.get("why") or "; ".join(str(p["reason"]) for p in proposals if p.get("reason"))
    trial = f"scores {_n(e.get('before'))} -> {_n(e.get('after'))}" if _finite(e.get("after")) else ""
    size = f"{_n(e.get('n_neurons'))} neurons, {_n(e.get('n_edges'))} edges"
    return f"network {e.get('action')}", "; ".join(filter(None, (e.get("mutator"), why, trial, size)))


def _trial(e: Numbers) -> tuple[str, str]:
    details = _table(e, "details")
    parts = [
        f"{len(_items(e, 'arms'))} branches of {_n(e.get('windows'))} windows scored {_list(e, 'scores')}"
    ]
    if _finite(details.get("difference")):
        interval = (
            f" [{_n(details.get('low'))}, {_n(details.get('high'))}]" if _finite(details.get("low")) else ""
        )
        how = "paired" if details.get("paired") else "unpaired"
        parts.append(
            f"difference {_n(details['difference'])}{interval} on {_n(details.get('episodes'))} {how} episodes"
        )
    if details.get("outcome"):
        parts.append(str(details["outcome"]))
    kept = e.get("kept_arm")
    parts.append("weights from before" if kept is None else f"kept the weights of branch {kept + 1}")
    return "trial: moved" if e.get("committed") else "trial: not moved", "; ".join(parts)


def _tuned(e: Numbers) -> tuple[str, str]:
    parts = [_pairs(_table(e, "changed"))]
    for name, said in (("not_taken", "not taken by the agent"), ("adjusted", "adjusted by the agent")):
        table = _table(e, name)
        listed = ", ".join(f"{k} (wanted {_n(pair[0])}, has {_n(pair[1])})" for k, pair in table.items())
        parts.append(f"{said}: {listed}" if listed else "")
    heads = {"rollback": "values restored", "replay": "values replayed"}
    return heads.get(str(e.get("cause")), "tuned"), "; ".join(filter(None, parts))


def _pairs(changed: Numbers) -> str:
    return ", ".join(f"{name} {_n(pair[0])} -> {_n(pair[1])}" for name, pair in changed.items())


def _probe(e: Numbers) -> tuple[str, str]:
    if e.get("skipped"):
        return "probe skipped", str(e["skipped"])
    found = "gain confirmed" if _finite(e.get("gain_lower")) and e["gain_lower"] > 0 else "no confirmed gain"
    return "probe", (
        f"{len(_items(e, 'arms'))} branches of {_n(e.get('windows'))} windows: best gain {_n(e.get('gain'))}, "
        f"at least {_n(e.get('gain_lower'))} ({_n(e.get('episodes'))} episodes): {found}"
    )


def _finished(e: Numbers) -> tuple[str, str]:
    parts = [str(e.get("message") or e.get("reason") or "")]
    confirmed = _table(e, "confirmation")
    if confirmed:
        parts.append(
            f"policy {confirmed['snapshot_id']} confirmed on {_n(confirmed['episodes'])} fresh episodes: "
            f"{_n(confirmed['mean'])} [{_n(confirmed['low'])}, {_n(confirmed['high'])}]"
        )
        chosen = confirmed.get("selected_score")
        if _finite(chosen):
            parts.append(
                f"it had been chosen for {_n(chosen)} (optimism of selection {_n(chosen - confirmed['mean'])})"
            )
    elif e.get("snapshot"):
        parts.append(f"best weights restored from {e['snapshot']} (score {_n(e.get('best_score'))})")
    return f"end: {e.get('reason')}", "; ".join(parts)


def _spawned(e: Numbers) -> tuple[str, str]:
    parts = [f"from {e['origin']} (score {_n(e.get('origin_score'))})"] if e.get("origin") else []
    parts.append(_pairs(_table(e, "changed")))
    refused = _table(e, "not_taken")
    parts.append(f"not taken by the agent: {_pairs(refused)}" if refused else "")
    more = rest(e, "number", "origin", "origin_score", "changed", "not_taken")
    number = "" if e.get("number") is None else f" {_n(e['number'])}"
    return f"spawned variant{number}", "; ".join(
        filter(None, (*parts, more))
    ) or "a variant of the best policy"


def _judged(e: Numbers) -> tuple[str, str]:
    head = "variant: kept" if e.get("replaced") else "variant: given up"
    if not _finite(e.get("difference")):
        return head, str(e.get("reason") or "it was not compared with its origin")
    interval = f" [{_n(e.get('low'))}, {_n(e.get('high'))}]" if _finite(e.get("low")) else ""
    text = (
        f"{_n(e['difference'])}{interval} better than {e.get('origin')} on {_n(e.get('episodes'))} episodes"
    )
    more = rest(e, "replaced", "difference", "low", "high", "origin", "episodes", "candidate")
    return head, f"{text}; {more}".rstrip("; ")


def _diagnostic(e: Numbers) -> tuple[str, str]:
    text = str(e.get("text") or "")
    before, after = e.get("before"), e.get("after")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        old = _table(e, "before")
        changes = ", ".join(f"{k} {_n(old.get(k))} -> {_n(v)}" for k, v in _table(e, "after").items())
    elif before is not None or after is not None:
        changes = f"{e.get('param') or 'value'} {_n(before)} -> {_n(after)}"
    else:
        changes = ""
    return f"diagnostic: {e.get('rule')}", "; ".join(filter(None, (text, changes)))


def _routed(e: Numbers) -> tuple[str, str]:
    seen = f"autocorrelation {_n(e.get('autocorrelation'))}, gap to the best level {_n(e.get('gap'))} of the range"
    more = rest(e, "from", "to", "autocorrelation", "gap")
    return f"tuner: {e.get('from')} -> {e.get('to')}", f"{seen}; {more}".rstrip("; ")


def _warm_start(e: Numbers) -> tuple[str, str]:
    return "warm start", (
        f"weights and values of trial {_n(e.get('trial'))}, which scored {_n(e.get('score'))}: "
        f"{_values(_table(e, 'params')) or 'the values it began with'}"
    )


def _live(e: Numbers) -> tuple[str, str]:
    counters = {k: v for k, v in e.items() if not (isinstance(v, int | float) and v == 0)}
    return "live source", rest(counters) or "nothing was dropped or rejected"


def unknown_event(kind: str, e: Numbers) -> tuple[str, str]:
    """An event that nobody wrote a sentence for, with all its numbers."""
    return kind.replace("_", " "), rest(e) or "no numbers"


def _plainly(kind: str, head: str, name: str | None = None) -> Callable[[Numbers], tuple[str, str]]:
    """Tells an event by its numbers, the one called ``name`` in its heading."""

    def tell(e: Numbers) -> tuple[str, str]:
        found = None if name is None else e.get(name)
        said = unknown_event(kind, {k: v for k, v in e.items() if k != name or found is None})
        return (f"{head}: {found}" if found is not None else head), said[1]

    return tell


TELLERS: dict[str, Callable[[Numbers], tuple[str, str]]] = {
    "started": _started,
    "baseline": lambda e: (
        "baseline",
        f"the untrained policy scores {_n(e.get('score'))} over {_n(e.get('episodes'))} episodes",
    ),
    "resumed": lambda _: ("resumed", "continued from the newest checkpoint"),
    "trial": _trial,
    "trial_skipped": lambda e: ("trial skipped", str(e.get("reason"))),
    "tuning_off": lambda e: ("no tuning", str(e.get("reason"))),
    "tuned": _tuned,
    "probe": _probe,
    "rolled_back": lambda e: (
        "rollback",
        f"restored {e.get('snapshot')} (score {_n(e.get('score'))}) with its optimizer"
        + (
            f"; the last rollback had not helped, so {_values(_table(e, 'changed'))}"
            if e.get("changed")
            else ""
        ),
    ),
    "diverged": lambda e: (
        "diverged",
        f"{_list(e, 'diagnostics')} not finite; restored {e.get('restored')}"
        + (f" and changed {_values(_table(e, 'changed'))}" if e.get("changed") else ""),
    ),
    "diagnostic": _diagnostic,
    "routed": _routed,
    "replayed": _plainly("replayed", "replayed"),
    "warm_start": _warm_start,
    "spawned": _spawned,
    "variant": _judged,
    "spawn_skipped": lambda e: ("no variant", str(e.get("reason"))),
    "pruned": _plainly("pruned", "pruned"),
    "ensemble": _plainly("ensemble", "ensemble"),
    "meta": _plainly("meta", "meta", "action"),
    "regime": _plainly("regime", "regime", "regime"),
    "live": _live,
    "topology": _topology,
    "rnd": _plainly("rnd", "exploration bonus"),
    "callback_failed": lambda e: (
        "callback failed",
        f"{e.get('callback')} in {e.get('event')}: {e.get('error')}"
        + ("; switched off" if e.get("disabled") else ""),
    ),
    "failed": lambda e: ("failed", str(e.get("error"))),
    "finished": _finished,
    "interrupted": _finished,
}


# --- numbers in words -----------------------------------------------------------------------------------------------


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _n(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _pm(numbers: Mapping[str, Any], name: str, error: str) -> str:
    return f"{_n(numbers.get(name))} +- {_n(numbers.get(error))}" if _finite(numbers.get(name)) else "unknown"


def _over(numbers: Numbers) -> str:
    return f" over {_n(numbers['window'])} evaluations" if _finite(numbers.get("window")) else ""


def count(numbers: Numbers, name: str, what: str) -> str:
    """``"7 evaluations in a row without improvement"``."""
    return f"{_n(numbers.get(name))} evaluations in a row {what}"


def rest(event: Numbers, *told: str) -> str:
    """Everything that an event holds besides what was told, as ``name value``."""
    return ", ".join(
        f"{name.replace('_', ' ')} {_spoken(value)}"
        for name, value in event.items()
        if name not in told and name != "otherwise" and value is not None
    )


def _spoken(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_values(value)})"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_spoken, value))}]"  # pyright: ignore[reportUnknownArgumentType]
    return _n(value)


def _table(event: Numbers, name: str) -> dict[str, Any]:
    found: Any = event.get(name)
    return dict(found) if isinstance(found, Mapping) else {}  # pyright: ignore[reportUnknownArgumentType]


def _items(event: Numbers, name: str) -> list[Any]:
    found: Any = event.get(name)
    return list(found) if isinstance(found, list | tuple) else []  # pyright: ignore[reportUnknownArgumentType]


def _list(event: Numbers, name: str) -> str:
    return ", ".join(map(_n, _items(event, name))) or "nothing"


def _values(values: Numbers) -> str:
    return ", ".join(f"{name} {_n(value)}" for name, value in values.items())
