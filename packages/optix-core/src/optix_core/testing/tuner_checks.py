"""Does a tuner stay where it may, forget nothing, and survive bad news?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from optix_core.base_optimizer import BaseOptimizer, BranchingTuner
from optix_core.state import Stateful
from optix_core.testing.report import Check, NotApplicable, require
from optix_core.testing.subjects import ComponentSubject
from optix_core.types import EvalMetrics, HyperparamSet

BOUNDS = {"learning_rate": (1e-5, 1e-2), "gamma": (0.9, 0.999)}
LOG = ("learning_rate",)
START: dict[str, Any] = {"learning_rate": 1e-4, "gamma": 0.95, "batch_size": 64, "activation": "tanh"}
"""Two values that are tuned and two that are not."""
ROUNDS = 60

Score = Callable[[dict[str, Any], int], float]


def quadratic(params: dict[str, Any], turn: int) -> float:
    """Best at the learning rate 1e-3 and gamma 0.99; no noise."""
    del turn
    rate = max(params["learning_rate"], 1e-12)  # outside the range is another check's finding
    return -((math.log10(rate) + 3.0) ** 2) - (20.0 * (params["gamma"] - 0.99)) ** 2


def _make(subject: ComponentSubject, *, seed: int = 0) -> Any:
    return subject.make(param_bounds=BOUNDS, log_params=LOG, seed=seed)


def _branches(tuner: Any) -> bool:
    return isinstance(tuner, BranchingTuner)


def drive(
    tuner: Any, score: Score, rounds: int = ROUNDS, *, start: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Run a tuner as the loop does, without an agent; every set of values that came into force, arms too."""
    current: dict[str, Any] = dict(start or START)
    branching: Any = tuner if _branches(tuner) else None
    history: list[EvalMetrics] = []
    seen: list[dict[str, Any]] = []
    for turn in range(rounds):
        value = score(current, turn)
        metrics = EvalMetrics(value, {}, turn, timestamp=0.0)
        improved = not history or metrics.beats(history[-1])
        history.append(metrics)
        if improved:
            tuner.on_improvement(metrics)
        elif turn % 10 == 9:
            tuner.on_plateau(tuple(history))
        trial = None
        if branching is not None:
            trial = branching.propose(HyperparamSet(dict(current)), tuple(history))
            if trial is not None:
                seen += [{**current, **arm} for arm in trial.arms]
                returns = [[score({**current, **arm}, turn)] * 8 for arm in trial.arms]
                verdict = branching.conclude(
                    trial, [[] if math.isnan(r[0]) else r for r in returns], paired=True
                )
                current = {**current, **verdict.params}
        if trial is None:
            current = dict(tuner.suggest(HyperparamSet(dict(current)), tuple(history)).params)
        seen.append(dict(current))
    return seen


def contract(subject: ComponentSubject) -> None:
    """It derives from BaseOptimizer, answers with a HyperparamSet, and says whether it is probing."""
    tuner = _make(subject)
    require(isinstance(tuner, BaseOptimizer), f"{type(tuner).__name__} does not derive from BaseOptimizer")
    found = tuner.suggest(HyperparamSet(dict(START)), ())
    require(isinstance(found, HyperparamSet), f"suggest returned {type(found).__name__} for an empty history")
    require(isinstance(tuner.is_probing, bool), f"is_probing is {tuner.is_probing!r}")


def _require_inside(seen: list[dict[str, Any]]) -> None:
    for params in seen:
        for name, (low, high) in BOUNDS.items():
            value = params[name]
            require(
                math.isfinite(value) and low <= value <= high,
                f"{name} became {value!r}; its range is [{low}, {high}]",
            )


def bounds(subject: ComponentSubject) -> None:
    """Tuned values stay inside their ranges, whatever the scores do."""
    rng = np.random.default_rng(0)
    _require_inside(drive(_make(subject), lambda _, t: float(rng.normal(scale=100.0)) + 0.0 * t))
    _require_inside(drive(_make(subject), lambda p, _: 1e6 * p["learning_rate"] + 1e3 * p["gamma"]))
    _require_inside(drive(_make(subject), lambda _, t: 1e300 * (-1.0) ** t, start={**START, "gamma": 0.999}))


def untouched(subject: ComponentSubject) -> None:
    """No name is added or lost, and what has no range keeps its value and type."""
    for params in drive(_make(subject), quadratic):
        require(set(params) == set(START), f"names changed from {sorted(START)} to {sorted(params)}")
        size: Any = params["batch_size"]
        same = isinstance(size, int) and size == 64 and params["activation"] == "tanh"
        require(same, f"values without a range changed: {params}")


def arguments_unchanged(subject: ComponentSubject) -> None:
    """``suggest`` does not write to the values it is given, and its answer shares nothing with them."""
    tuner, given = _make(subject), HyperparamSet(dict(START))
    history = (EvalMetrics(1.0, {}, 0, timestamp=0.0),)
    for _ in range(3):
        found = tuner.suggest(given, history)
        require(given.params == START, f"suggest changed its argument to {given.params}")
        found.params["learning_rate"] = 1.0
        require(given.params == START, "what suggest returns is connected to its argument")


def seeded(subject: ComponentSubject) -> None:
    """One seed, one course."""
    if not subject.accepts("seed"):
        raise NotApplicable("it has no seed")
    one, again = (drive(_make(subject, seed=5), quadratic) for _ in range(2))
    require(one == again, "one seed gave two courses")


def no_score(subject: ComponentSubject) -> None:
    """Scores of NaN and a rollback are survived: values stay valid, and later ones move if they moved before."""
    tuner = _make(subject)
    seen = drive(tuner, lambda p, t: math.nan if 5 <= t < 15 else quadratic(p, t))
    tuner.on_rollback()
    after = drive(tuner, quadratic, 20)
    _require_inside([*seen, *after])
    moves = any(p != START for p in drive(_make(subject), quadratic))
    require(not moves or any(p != START for p in after), "after NaN scores and a rollback it no longer moves")


def state(subject: ComponentSubject) -> None:
    """A tuner that loads a state goes on exactly as the original."""
    original, other = _make(subject, seed=1), _make(subject, seed=2)
    if not isinstance(original, Stateful):
        raise NotApplicable("it has no state_dict, so runs with it cannot be resumed exactly")
    drive(original, quadratic, 17)
    other.load_state_dict(copy.deepcopy(original.state_dict()))
    require(
        drive(original, quadratic, 30) == drive(other, quadratic, 30), "courses differ after load_state_dict"
    )


def _noisy(params: dict[str, Any], turn: int) -> float:
    """The quadratic with noise that depends on the turn only, so that every course meets the same."""
    return quadratic(params, turn) + float(np.random.default_rng([1, turn]).normal())


def units(subject: ComponentSubject) -> None:
    """Scores in another unit, with another zero, lead to the same course."""
    plain = drive(_make(subject), _noisy)
    if drive(_make(subject), _noisy) != plain:
        raise NotApplicable("equal scores lead to different courses, so these cannot be compared")
    for unit, zero in ((2.0**-10, 0.0), (2.0**10, 0.0), (1e-3, 0.0), (1e3, 0.0), (1.0, -500.0)):
        other = drive(_make(subject), lambda p, t, u=unit, z=zero: _noisy(p, t) * u + z)
        exact = zero == 0 and math.frexp(unit)[0] == 0.5
        pairs = zip(plain, other, strict=True)
        same = plain == other if exact else all(_close(a, b) for a, b in pairs)
        require(same, f"scores times {unit:g} plus {zero:g} led to another course")


def _close(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(
        math.isclose(a[n], b[n], rel_tol=1e-9, abs_tol=0.0) if isinstance(a[n], float) else a[n] == b[n]
        for n in a
    )


def constant(subject: ComponentSubject) -> None:
    """A score that says nothing drives values nowhere; single steps around the start are allowed."""
    tuner = _make(subject)
    seen = drive(tuner, lambda _, t: 7.0 + 0.0 * t, 400)
    late = seen[len(seen) // 2 :]
    for name, (low, high) in BOUNDS.items():
        moved = min(  # a tuner may know scales or not
            abs(float(np.median([place(p[name]) - place(START[name]) for p in late])))
            / (place(high) - place(low))
            for place in (float, math.log)
        )
        require(moved <= 0.2, f"under a constant score {name} went away by {moved:.2f} of its range")


def improves(subject: ComponentSubject) -> None:
    """On a noiseless quadratic, the values in force at the end are better than those at the start."""
    tuner = _make(subject)
    if not any(p != START for p in drive(_make(subject), quadratic)):
        raise NotApplicable("it changes nothing in this test")
    end = [quadratic(p, 0) for p in drive(tuner, quadratic, 400)[-40:]]
    begin = quadratic(START, 0)
    require(
        float(np.median(end)) > begin, f"the score went from {begin:.3f} to a median of {np.median(end):.3f}"
    )


CHECKS: tuple[Check[ComponentSubject], ...] = (
    Check(id="tuner-contract", run=contract, summary="It is a tuner."),
    Check(id="tuner-bounds", run=bounds, summary="Values stay inside their ranges."),
    Check(id="tuner-untouched", run=untouched, summary="What has no range is left alone."),
    Check(id="tuner-arguments-unchanged", run=arguments_unchanged, summary="Arguments are not written to."),
    Check(id="tuner-seed", run=seeded, summary="One seed, one course."),
    Check(id="tuner-no-score", run=no_score, summary="NaN scores and rollbacks are survived."),
    Check(id="tuner-state", run=state, summary="A loaded state continues exactly."),
    Check(id="tuner-units", run=units, summary="Unit and zero of scores do not matter."),
    Check(id="tuner-constant", run=constant, summary="A constant score drives values nowhere."),
    Check(id="tuner-improves", run=improves, summary="A quadratic is climbed.", slow=True),
)
