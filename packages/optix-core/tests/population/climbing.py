"""A task whose answer can be worked out on paper: a height grows with every step, the faster the better the pace."""

from __future__ import annotations

import math
import pickle
from typing import ClassVar

import gymnasium as gym
import numpy as np

from optix_core.base_agent import BaseAgent
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.evaluation import EvaluationPipeline
from optix_core.types import HyperparamSet

WINDOW = 10
BEST_PACE = 1e-2


def growth(pace, steps):
    """By how much ``steps`` at a pace raise the height; most at ``BEST_PACE``."""
    return steps * 1e-4 / (1.0 + math.log10(pace / BEST_PACE) ** 2)


class Slope(gym.Env):
    """Pays the action, five times; with noise that the episode's seed decides."""

    open: ClassVar[int] = 0

    def __init__(self, noise=0.0):
        self.observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.noise, self.closed = noise, False
        Slope.open += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left, self.bias = 5, self.noise * float(self.np_random.standard_normal())
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(1, np.float32), float(action[0]) + self.bias, self.left == 0, False, {}

    def close(self):
        Slope.open -= not self.closed
        self.closed = True


class Climber(BaseAgent):
    """Its weight is its height, and its hyperparameter the pace; ``fails(pace)`` makes learning raise."""

    default_param_bounds: ClassVar = {"pace": (1e-4, 1.0), "rounds": (1, 9)}
    default_log_params = ("pace",)
    open: ClassVar[int] = 0

    def __init__(self, params, seed=0, fails=None, height=0.0):
        self.params = {"pace": 1e-4, "rounds": 3, "name": "a", **params}
        self.seed, self.height, self.fails, self.released = seed, height, fails, False
        Climber.open += 1

    def act(self, observation, *, deterministic=False):
        return np.array([min(self.height, 1.0)], np.float32)

    def learn(self, episode_data):
        if self.fails is not None and self.fails(self.params["pace"]):
            raise FloatingPointError(f"a pace of {self.params['pace']} is too much")
        self.height += growth(self.params["pace"], episode_data.n_steps)
        return {"loss": 0.0}

    def get_hyperparams(self):
        return HyperparamSet(dict(self.params))

    def set_hyperparams(self, hyperparams):
        self.params |= hyperparams.params

    def save_weights(self, path):
        raise NotImplementedError

    def load_weights(self, path):
        raise NotImplementedError

    def state_dict(self):
        return {"height": np.array([self.height]), "params": dict(self.params)}

    def load_state_dict(self, state):
        self.height, self.params = float(state["height"][0]), dict(state["params"])

    def teardown(self):
        Climber.open -= not self.released
        self.released = True


def make_agent(params, seed=None):
    return Climber(params, seed)


def make_pipeline(seed=None):
    return BatchPipeline(Slope(), window_size=WINDOW, seed=seed, env_factory=Slope)


def make_validation(seed=None):
    return EvaluationPipeline(Slope, episodes=2, seed=seed)


class Elsewhere:
    """An executor that does the last call first, and lets everything travel by value."""

    workers = 3

    def __init__(self):
        self.calls = 0

    def map(self, function, items):
        results = []
        for item in reversed(list(items)):
            self.calls += 1
            there, what = pickle.loads(pickle.dumps((function, item)))
            results.append(pickle.loads(pickle.dumps(there(what))))
        return results[::-1]
