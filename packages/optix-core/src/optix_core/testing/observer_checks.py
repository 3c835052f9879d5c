"""Do callbacks and evaluators keep their small contracts?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from optix_core.base_evaluator import BaseEvaluator
from optix_core.loop_callback import LoopCallback
from optix_core.testing.fakes import flat_window
from optix_core.testing.report import Check, CheckFailed, require
from optix_core.testing.subjects import ComponentSubject
from optix_core.testing.windows import copy_window
from optix_core.types import EvalMetrics, HyperparamSet, LoopState, PolicySnapshot


def callback_contract(subject: ComponentSubject) -> None:
    """It derives from LoopCallback, and ``critical`` is a truth value."""
    found = subject.make()
    require(isinstance(found, LoopCallback), f"{type(found).__name__} does not derive from LoopCallback")
    require(isinstance(found.critical, bool), f"critical is {found.critical!r}")


def callback_events(subject: ComponentSubject) -> None:
    """All eight events can be called in the order of a run, twice over, and change none of their arguments."""
    found: LoopCallback = subject.make()
    metrics = EvalMetrics(1.0, {"loss": 0.5}, 1, timestamp=0.0, episode_returns=(1.0,))
    old, new = {"learning_rate": 1e-3}, {"learning_rate": 2e-3}
    snapshot = PolicySnapshot("best-1", metrics, HyperparamSet(dict(new)), "nowhere", 1, timestamp=0.0)
    for _ in range(2):
        found.on_loop_start()
        found.on_episode_end(0, None)
        found.on_improvement(snapshot)
        found.on_hyperparam_update(old, new)
        found.on_episode_end(1, metrics)
        found.on_plateau(2, LoopState.COOLING)
        found.on_degradation(3, EvalMetrics(math.nan, {}, 3, timestamp=0.0))
        found.on_dormant(4)
        found.on_loop_stop()
    require(metrics.metrics == {"loss": 0.5}, f"metrics were changed to {metrics.metrics}")
    require(old == {"learning_rate": 1e-3} and new == {"learning_rate": 2e-3}, "parameters were changed")


def callback_stop_first(subject: ComponentSubject) -> None:
    """``on_loop_stop`` is always called, also when the start failed: it does not rely on ``on_loop_start``."""
    try:
        subject.make().on_loop_stop()
    except Exception as error:
        raise CheckFailed(
            f"on_loop_stop without on_loop_start raised {type(error).__name__}: {error}"
        ) from error


def evaluator_contract(subject: ComponentSubject) -> None:
    """It derives from BaseEvaluator and answers with EvalMetrics that belong to the window."""
    found: Any = subject.make()
    require(isinstance(found, BaseEvaluator), f"{type(found).__name__} does not derive from BaseEvaluator")
    window = flat_window(4, episode_return=2.0, episode_id=7)
    for metrics in (found.score(window, {"loss": 0.5}), found.score_validation(window)):
        require(isinstance(metrics, EvalMetrics), f"the score is a {type(metrics).__name__}, not EvalMetrics")
        require(
            metrics.episode_id == 7, f"the score of window 7 says it belongs to window {metrics.episode_id}"
        )
        value: Any = metrics.primary_score
        require(isinstance(value, float | int), f"primary_score is {value!r}")


def evaluator_order(subject: ComponentSubject) -> None:
    """A window with higher rewards has a higher score."""
    low, high = (subject.make().score(flat_window(4, episode_return=r), {}) for r in (1.0, 3.0))
    require(
        high.beats(low), f"returns of 1 and 3 have the scores {low.primary_score} and {high.primary_score}"
    )


def evaluator_pure(subject: ComponentSubject) -> None:
    """Scoring changes neither the window nor the diagnostics, and scoring validation does not disturb training."""
    found, alone = subject.make(), subject.make()
    window, diagnostics = flat_window(4, episode_return=2.0), {"loss": 0.5}
    kept = copy_window(window)
    first, alone_first = found.score(window, diagnostics), alone.score(window, diagnostics)
    changed = [name for name, value in copy_window(window).items() if not np.array_equal(value, kept[name])]
    require(not changed and diagnostics == {"loss": 0.5}, f"scoring changed {changed or 'the diagnostics'}")
    found.score_validation(flat_window(4, episode_return=100.0))
    second, alone_second = (e.score(flat_window(4, episode_return=3.0), {}) for e in (found, alone))
    require(
        (first.primary_score, second.primary_score)
        == (alone_first.primary_score, alone_second.primary_score),
        "scoring a validation window changed the scores of training windows",
    )


def evaluator_no_episode(subject: ComponentSubject) -> None:
    """A window in which no episode ends has a score or NaN, and raises nothing."""
    window = flat_window(4, episode_return=2.0)
    window.terminated[:] = False
    window.boundary_steps, window.boundary_observations, window.episodes = None, None, ()
    value: Any = subject.make().score(window, {}).primary_score
    require(
        isinstance(value, float | int),
        f"primary_score is {value!r} where no episode ends; NaN says 'no score'",
    )


CALLBACKS: tuple[Check[ComponentSubject], ...] = (
    Check(id="callback-contract", run=callback_contract, summary="It is a callback."),
    Check(
        id="callback-events", run=callback_events, summary="Every event can be called and changes nothing."
    ),
    Check(id="callback-stop-first", run=callback_stop_first, summary="Stopping does not rely on starting."),
)
EVALUATORS: tuple[Check[ComponentSubject], ...] = (
    Check(id="evaluator-contract", run=evaluator_contract, summary="It is an evaluator."),
    Check(id="evaluator-order", run=evaluator_order, summary="Higher rewards, higher score."),
    Check(id="evaluator-pure", run=evaluator_pure, summary="Scoring has no side effects."),
    Check(
        id="evaluator-no-episode",
        run=evaluator_no_episode,
        summary="A window without an episode's end is fine.",
    ),
)
