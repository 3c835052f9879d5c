"""A run whose score is known: what its agent is worth depends on one hyperparameter and on how long it has learned."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from optix_core.base_pipeline import BasePipeline
from optix_core.checkpoints.registry import CheckpointRegistry
from optix_core.evaluators.mean_return import MeanReturnEvaluator
from optix_core.loop.backoff_scheduler import BackoffScheduler
from optix_core.loop.loop_controller import LoopController
from optix_core.runs.decision_log import DecisionLog
from optix_core.testing.fakes import ScriptedAgent, ScriptedPipeline, flat_window
from optix_core.types import EvalMetrics


class Skilled(ScriptedAgent):
    """Learns up to a ceiling that its hyperparameter ``skill`` sets; the nearer to 0.8, the higher."""

    default_param_bounds = {"skill": (0.0, 1.0)}  # noqa: RUF012 - the contract's class attribute

    def __init__(self, skill=0.2, **more):
        super().__init__(hyperparams={"skill": skill, "layers": 2, "double": True}, **more)
        self.weights_noise, self.learned_then = [], []

    def level(self):
        return min(100.0 - 100.0 * abs(0.8 - self._params["skill"]), 10.0 * self.learned)

    def perturb_weights(self, noise_scale, *, seed=None):
        self.weights_noise.append((noise_scale, seed))
        self.learned_then.append(self.learned)


class Validation(BasePipeline):
    """Paired evaluation: ``level(agent)`` plus noise that depends on the episode only."""

    def __init__(self, level, *, episodes=6, noise=1.0):
        self._level, self._episodes, self._noise = level, episodes, noise
        self._agent = None
        self.levels = []

    def setup(self):
        pass

    def teardown(self):
        pass

    @property
    def is_live(self):
        return False

    def set_agent(self, agent):
        self._agent = agent

    def episodes(self):
        raise AssertionError("a seeded pipeline is asked by index")

    def evaluate(self, index, *, episodes=None):
        count = episodes or self._episodes
        level = self._level(self._agent)
        self.levels.append(level)
        noise = np.random.default_rng([index]).normal(size=count) * self._noise
        window = flat_window(count)
        record = window.episodes[0]
        window.rewards[:] = level + noise
        window.terminated[:] = True
        window.episodes = tuple(
            replace(record, step=i, episode_return=float(level + n), length=1) for i, n in enumerate(noise)
        )
        return window


@dataclass
class Lab:
    path: object

    def controller(self, agent, callbacks, *, validation=None, level=None, **options):
        options.setdefault("max_episodes", 600)
        if validation is None and level is not None:
            validation = Validation(level)
        return LoopController(
            agent,
            MeanReturnEvaluator(),
            None,
            ScriptedPipeline(),
            CheckpointRegistry(self.path),
            BackoffScheduler(**options.pop("thresholds", {})),
            callbacks=callbacks,
            val_pipeline=validation,
            validation_share=1e6,
            probe_windows=0 if options.pop("probe", False) is False else 4,
            handle_signals=False,
            decision_log=DecisionLog(self.path / "events.jsonl"),
            **options,
        )

    def events(self, *kinds):
        log = DecisionLog(self.path / "events.jsonl").read()
        return [(e.kind, dict(e.numbers)) for e in log if not kinds or e.kind in kinds]

    def numbers(self, kind):
        return [numbers for _, numbers in self.events(kind)]


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture
def skilled():
    return Skilled


@pytest.fixture
def validation():
    return Validation


@pytest.fixture
def metrics():
    """A history from scores, and gaps if wanted."""

    def make(scores, gaps=None):
        found = []
        for i, score in enumerate(scores):
            extra = {} if gaps is None else {"train_score": score + gaps[i], "val_score": score}
            found.append(EvalMetrics(float(score), extra, i, 0.0))
        return found

    return make
