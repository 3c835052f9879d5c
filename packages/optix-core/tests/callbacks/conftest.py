from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optix_core import Optimizer
from optix_core.loop_callback import LoopCallback
from optix_core.runs.decision_log import LogEvent
from optix_core.testing.linear_agent import LinearAgent
from optix_core.testing.tiny_envs import TinyDiscrete


class Crash(LoopCallback):
    """As Ctrl-C at the end of a window."""

    def __init__(self, at: int) -> None:
        self.left = at

    def on_episode_end(self, episode_id: int, eval_metrics: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture
def crash() -> type[Crash]:
    return Crash


Quick = Callable[..., Optimizer]


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quick:
    """A run of a few milliseconds per window, with trials, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def make(run_dir: str = "r", **options: Any) -> Optimizer:
        env = TinyDiscrete()
        settings = {
            "seed": 1,
            "window_size": 64,
            "confirm_episodes": 5,
            "handle_signals": False,
            "checkpoint_every": 4,
            "max_episodes": 30,
        }
        agent = LinearAgent(env.observation_space, env.action_space, seed=1)
        return Optimizer(agent, TinyDiscrete, run_dir=tmp_path / run_dir, **(settings | options))

    return make


@pytest.fixture
def events() -> Callable[..., LogEvent]:
    """``events(kind, window, step, **numbers)``, numbered from 1."""
    count = 0

    def make(kind: str, window: int = 0, step: int = 0, **numbers: Any) -> LogEvent:
        nonlocal count
        count += 1
        return LogEvent(count, kind, window, step, 1000.0 + count, numbers)

    return make
