"""A task whose best answer is known: the nearer the dial is to 0.3, the better; how it is set is a hyperparameter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import gymnasium as gym
import numpy as np

from optix_core.base_agent import BaseAgent
from optix_core.errors import HyperparamError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.evaluation import EvaluationPipeline
from optix_core.types import HyperparamSet

BEST = 0.3
LENGTH = 5


class Dial(gym.Env):
    """Reward ``-(action - 0.3)**2`` plus noise that the episode's seed decides; five steps."""

    open = 0

    def __init__(self, noise=0.0):
        self.observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.noise = noise
        self.closed = False
        type(self).open += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = LENGTH
        self.bias = self.noise * float(self.np_random.standard_normal())
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        reward = -((float(action[0]) - BEST) ** 2) + self.bias
        return np.zeros(1, np.float32), reward, self.left == 0, False, {}

    def close(self):
        if not self.closed:
            self.closed = True
            type(self).open -= 1


class DialAgent(BaseAgent):
    """Acts as it is set. Its only weight is the number of windows it learned from, besides what it loads."""

    default_param_bounds: ClassVar = {"setting": (-1.0, 1.0), "gamma": (0.9, 0.999), "epochs": (1, 10)}
    default_log_params = ("1-gamma",)
    open = 0

    def __init__(self, params, seed=0, luck=None, on_learn=None):
        self.params = {"setting": 0.0, "gamma": 0.99, "epochs": 3, "flag": "a", **params}
        unknown = set(self.params) - {"setting", "gamma", "epochs", "flag"}
        if unknown:
            raise HyperparamError(f"no hyperparameter {unknown}")
        self.seed, self.learned, self.changes, self.steps = seed, 0, [], 0
        self.offset = (luck or {}).get(seed, 0.0)
        self.on_learn = on_learn
        self.released = False
        type(self).open += 1

    def act(self, observation, *, deterministic=False):
        return np.array([np.clip(self.params["setting"] + self.offset, -1.0, 1.0)], np.float32)

    def learn(self, episode_data):
        self.learned += 1
        self.steps += episode_data.n_steps
        if self.on_learn is not None:
            return self.on_learn(self) or {}
        return {"loss": 0.0}

    def get_hyperparams(self):
        return HyperparamSet(dict(self.params))

    def set_hyperparams(self, hyperparams):
        self.changes.append(dict(hyperparams.params))
        self.params |= hyperparams.params

    def save_weights(self, path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps({"learned": self.learned, "seed": self.seed}))

    def load_weights(self, path):
        self.learned = json.loads(Path(path).read_text())["learned"]

    def teardown(self):
        if not self.released:
            self.released = True
            type(self).open -= 1


def make_agent(params, seed=0):
    return DialAgent(params, seed)


def pipeline_factory(noise=0.0, window=20):
    return lambda seed=None: BatchPipeline(
        Dial(noise), window_size=window, seed=seed, env_factory=lambda: Dial(noise)
    )


def val_factory(noise=0.0, episodes=4):
    return lambda seed=None: EvaluationPipeline(lambda: Dial(noise), episodes=episodes, seed=seed)
