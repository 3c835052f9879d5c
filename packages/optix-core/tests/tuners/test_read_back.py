"""After each change the loop reads hyperparameters back, says what did not take effect, and what changed them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from optix_core import Optimizer
from optix_core.base_optimizer import BaseOptimizer
from optix_core.loop_callback import LoopCallback
from optix_core.runs.decision_log import DecisionLog
from optix_core.testing import LinearAgent, TinyDiscrete
from optix_core.tuners import AdaptiveOptimizer
from optix_core.types import HyperparamSet

RATES = (0.2, 0.3, 0.25, 0.1)


class Stubborn(LinearAgent):
    """Keeps its gamma, and holds the learning rate at 0.15 at most."""

    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        params = dict(hyperparams.params)
        params.pop("gamma", None)
        params["learning_rate"] = min(params["learning_rate"], 0.15)
        super().set_hyperparams(HyperparamSet(params))


class Insists(BaseOptimizer):
    """Asks for another learning rate every time, and for a gamma."""

    def __init__(self) -> None:
        self.turn = 0

    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: Any) -> HyperparamSet:
        self.turn += 1
        wanted = {"learning_rate": RATES[self.turn % len(RATES)], "gamma": 0.9}
        return HyperparamSet({**current_hyperparams.params, **wanted})


def run(path: Path, agent: LinearAgent, tuner: Any, **options: Any) -> list[Any]:
    optimizer = Optimizer(
        agent,
        TinyDiscrete,
        window_size=32,
        optimizer=tuner,
        run_dir=path,
        **{"seed": 0, "max_episodes": 16, "confirm_episodes": 0, "validation_episodes": 4, **options},
    )
    for callback in options.get("callbacks", ()):
        callback.optimizer = optimizer
    optimizer.run()
    return list(DecisionLog(path / "events.jsonl").read())


def make(kind: type[LinearAgent] = LinearAgent) -> LinearAgent:
    env = TinyDiscrete()
    return kind(env.observation_space, env.action_space, seed=0)


def test_what_was_refused_and_what_was_adjusted_is_in_the_log(tmp_path: Path) -> None:
    tuned = [e.numbers for e in run(tmp_path / "r", make(Stubborn), Insists()) if e.kind == "tuned"]
    assert len(tuned) >= 3
    assert tuned[0]["changed"] == {"learning_rate": [0.05, 0.15]}
    assert tuned[0]["adjusted"] == {"learning_rate": [0.3, 0.15]}
    assert all(numbers["not_taken"]["gamma"] == [0.9, 0.99] for numbers in tuned)
    assert tuned[1]["not_taken"]["learning_rate"] == [0.25, 0.15]  # it stays at the limit
    assert all(numbers["cause"] == "tuner" for numbers in tuned)
    exact = next(n for n in tuned if n["changed"] == {"learning_rate": [0.15, 0.1]})
    assert exact["adjusted"] == {}


def test_the_user_is_warned_once_per_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="optix.loop"):
        run(tmp_path / "r", make(Stubborn), Insists())
    said = [r.getMessage() for r in caplog.records if "did not take" in r.getMessage()]
    assert len(said) == 2
    assert sum("gamma = 0.9: it has 0.99" in text for text in said) == 1
    assert sum("learning_rate = 0.3: it has 0.15" in text for text in said) == 1


def test_an_agent_that_takes_everything_is_not_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="optix.loop"):
        events = run(tmp_path / "r", make(), Insists())
    tuned = [e.numbers for e in events if e.kind == "tuned"]
    assert tuned
    assert all(not n["not_taken"] and not n["adjusted"] for n in tuned)
    assert not caplog.records


class Single(LinearAgent):
    """Stores the learning rate in single precision, as an optimizer of a framework may."""

    def get_hyperparams(self) -> HyperparamSet:
        import numpy as np

        found = super().get_hyperparams()
        found.params["learning_rate"] = float(np.float32(found.params["learning_rate"]))
        return found


def test_single_precision_is_no_refusal(tmp_path: Path) -> None:
    tuned = [e.numbers for e in run(tmp_path / "r", make(Single), Insists()) if e.kind == "tuned"]
    assert tuned
    assert all(not n["not_taken"] and not n["adjusted"] for n in tuned)


def test_values_that_a_rollback_restores_are_in_the_log(tmp_path: Path) -> None:
    class RollsBackOnce(LoopCallback):
        optimizer: Any = None
        restored: tuple[float, float] | None = None

        def on_episode_end(self, episode_id: int, eval_metrics: Any) -> None:
            loop = self.optimizer.controller
            now = loop.agent.get_hyperparams().params["learning_rate"]
            best = loop.registry.best
            if self.restored is None and best is not None and best.hyperparams.params["learning_rate"] != now:
                loop.storage.restore(best)
                self.restored = (now, best.hyperparams.params["learning_rate"])

    callback = RollsBackOnce()
    events = run(tmp_path / "r", make(), Insists(), callbacks=[callback])
    causes = [e.numbers for e in events if e.kind == "tuned" and e.numbers["cause"] == "rollback"]
    assert callback.restored is not None
    assert causes[0]["changed"]["learning_rate"] == list(callback.restored)


def test_switches_of_the_router_are_in_the_log(tmp_path: Path) -> None:
    tuner = AdaptiveOptimizer(
        LinearAgent.default_param_bounds,
        mode="two_probe",
        every=1,
        seed=0,
        switch_patience=0,
        switch_confirmation=1,
    )
    told: list[tuple[str, dict[str, Any]]] = []
    take = tuner.take_events
    tuner.take_events = lambda: told.extend(found := take()) or found  # type: ignore[method-assign]
    tuner._events.append(("routed", {"from": "spsa", "to": "pbt", "autocorrelation": 0.1, "gap": -0.5}))
    events = run(tmp_path / "r", make(), tuner)
    routed = [e.numbers for e in events if e.kind == "routed"]
    assert routed[0] == {"from": "spsa", "to": "pbt", "autocorrelation": 0.1, "gap": -0.5}
    assert len(routed) == len(told)
