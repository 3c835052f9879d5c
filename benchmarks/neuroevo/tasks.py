"""Tasks that no package brings: a maze that asks for memory, and a pole whose sensors are exchanged half-way."""

from __future__ import annotations

import gymnasium as gym
import numpy as np


class TMaze(gym.Env):
    """A corridor with a junction at its end; what was seen at its beginning says which way to turn (Bakker 2002).

    Observations: cue left, cue right, in the corridor, at the junction, each 0 or 1. Actions: on, left, right. The
    reward is 4 for the right turn at the junction and -0.1 for the wrong one, which both end the episode, and -0.1 for
    a step that moves nothing. An episode is cut off after twice the corridor and ten steps.
    """

    def __init__(self, corridor=10):
        self.observation_space = gym.spaces.Box(0.0, 1.0, (4,), np.float32)
        self.action_space = gym.spaces.Discrete(3)
        self._length, self._place, self._steps, self._left = corridor, 0, 0, True

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._place, self._steps, self._left = 0, 0, bool(self.np_random.integers(2))
        return self._seen(), {}

    def step(self, action):
        self._steps += 1
        late = self._steps >= 2 * self._length + 10
        if self._place == self._length:
            if action == 0:
                return self._seen(), -0.1, False, late, {}
            return self._seen(), 4.0 if (action == 1) == self._left else -0.1, True, False, {}
        if action:
            return self._seen(), -0.1, False, late, {}
        self._place += 1
        return self._seen(), 0.0, False, late, {}

    def _seen(self):
        first, last = self._place == 0, self._place == self._length
        return np.array([first and self._left, first and not self._left, not last, last], np.float32)


class Exchanged(gym.ObservationWrapper):
    """CartPole whose four numbers come in reverse order after so many steps of this environment."""

    def __init__(self, after):
        super().__init__(gym.make("CartPole-v1"))
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self._left = after

    def step(self, action):
        self._left -= 1
        return super().step(action)

    def observation(self, observation):
        return observation if self._left > 0 else observation[::-1].copy()


def factory(name):
    """The environment of a name: of this module with its number behind a colon, or a registered one."""
    from optix_core.plugins.envs import make_env

    kind, _, number = name.partition(":")
    made = {"tmaze": TMaze, "exchanged": Exchanged}.get(kind)
    return (lambda: make_env(name)) if made is None else (lambda: made(int(number)))
