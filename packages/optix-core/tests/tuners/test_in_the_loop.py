"""Every tuner by its name, in a whole run: convergence on a flat score, and resuming exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tuner_toys import TUNERS

from optix_core import Optimizer
from optix_core.loop_callback import LoopCallback
from optix_core.runs.decision_log import DecisionLog
from optix_core.testing import LinearAgent

each_tuner = pytest.mark.parametrize("name", TUNERS)
each_mode = pytest.mark.parametrize("episodes", [4, 0], ids=["branched", "two_probe"])


class Flat(gym.Env[Any, Any]):
    """Eight steps of reward 1, whatever is done."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample() * 0, {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.zeros(2, np.float32), 1.0, self.t == 8, False, {}


class StopsAt(LoopCallback):
    """Asks for the end after so many windows."""

    def __init__(self, run: Optimizer, windows: int | None) -> None:
        self.run, self.windows = run, windows

    def on_episode_end(self, episode_id: int, eval_metrics: Any) -> None:
        if self.windows is not None and self.run.controller.progress.windows >= self.windows:
            self.run.stop()


def optimizer(name: str, env: Any, path: Path, **options: Any) -> Optimizer:
    made = env()
    agent = LinearAgent(made.observation_space, made.action_space, seed=0)
    made.close()
    settings = {"window_size": 32, "seed": 1, "confirm_episodes": 0, "handle_signals": False, **options}
    return Optimizer(agent, env, optimizer=name, run_dir=path, **settings)


def log(path: Path) -> list[Any]:
    return list(DecisionLog(path / "events.jsonl").read())


@each_mode
@each_tuner
def test_a_flat_score_converges_with_every_tuner(name: str, episodes: int, tmp_path: Path) -> None:
    options = {"validation_episodes": episodes, "max_episodes": 200, "checkpoint_every": 1000}
    run = optimizer(name, Flat, tmp_path / "r", **options)
    result = run.run()
    assert result.stop_reason.is_convergence
    evaluations = [e for e in log(tmp_path / "r") if e.kind == "decision"]
    assert len(evaluations) <= 60
    tuned = [e.numbers["changed"] for e in log(tmp_path / "r") if e.kind == "tuned"]
    if episodes:  # trials that tie commit nothing
        assert tuned == []


@each_mode
@each_tuner
def test_a_resumed_run_is_the_run_that_was_never_interrupted(
    name: str, episodes: int, tmp_path: Path
) -> None:
    def cartpole() -> Any:
        return gym.make("CartPole-v1")

    options = {
        "validation_episodes": episodes,
        "min_episodes_before_dormant": 1000,
        "probe_windows": 0,
        "max_episodes": 26,
    }
    optimizer(name, cartpole, tmp_path / "whole", **options).run()
    for stop_at in (7, 14, None):
        part = optimizer(name, cartpole, tmp_path / "parts", resume=stop_at != 7, **options)
        part.add_callback(StopsAt(part, stop_at))
        part.run()
    whole, parts = (
        [
            (e.kind, e.window, e.step, e.numbers.get("changed"))
            for e in log(tmp_path / run)
            if e.kind == "tuned"
        ]
        for run in ("whole", "parts")
    )
    trials = [e for e in log(tmp_path / "whole") if e.kind in {"trial", "tuned"}]
    assert trials
    assert parts == whole
    again = [e.numbers for e in log(tmp_path / "parts") if e.kind == "trial"]
    assert again == [e.numbers for e in log(tmp_path / "whole") if e.kind == "trial"]
