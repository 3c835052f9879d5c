"""Environments small enough to know the answer by hand.

They are gymnasium environments without registered ids. Each class says what a uniformly random policy earns and what
the best one earns, so that a
test can ask for learning without choosing a threshold by taste.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from optix_core.testing.goal_grid import GoalGrid as GoalGrid

Step = tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]
Reset = tuple[NDArray[np.float32], dict[str, Any]]


class TinyDiscrete(gym.Env[NDArray[np.float32], np.int64]):
    """Two states, two actions: +1 for naming the state one is in, episodes of ``length`` steps.

    The next state is drawn afresh, so the best policy is myopic. Return of the best policy: ``length``; of a random
    one:
    ``length / 2``.

    Args:
        length: Steps per episode, at least 1.
        truncate: End episodes by a time limit instead of a terminal state.
    """

    random_return: ClassVar[float] = 4.0
    best_return: ClassVar[float] = 8.0

    def __init__(self, length: int = 8, *, truncate: bool = False) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.length, self.truncate = length, truncate
        self._t = self._state = 0

    def _observe(self) -> NDArray[np.float32]:
        self._state = int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self._state]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode in a random state."""
        super().reset(seed=seed, options=options)
        self._t = 0
        return self._observe(), {}

    def step(self, action: np.int64) -> Step:
        """Reward 1.0 if ``action`` is the index of the state, else 0.0."""
        reward = float(int(action) == self._state)
        self._t += 1
        over = self._t >= self.length
        return self._observe(), reward, over and not self.truncate, over and self.truncate, {}


class TinyBox(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Two states and one continuous action in [-2, 1]: reward falls with the distance to the state's target.

    The bounds are lopsided on purpose: an agent that emits [-1, 1], or scales by the upper bound only, cannot reach
    the target -1.5 of state 0.
    Reward ``1 - |a - target|`` with targets (-1.5, 0.5); best return: ``length``. A uniformly random action is 13/12
    away from either
    target on average, so a random policy earns ``-length / 12``.

    Args:
        length: Steps per episode, at least 1.
    """

    random_return: ClassVar[float] = -8 / 12
    best_return: ClassVar[float] = 8.0
    targets: ClassVar[tuple[float, float]] = (-1.5, 0.5)

    def __init__(self, length: int = 8) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = gym.spaces.Box(np.float32(-2.0), np.float32(1.0), (1,), np.float32)
        self.length = length
        self._t = self._state = 0

    def _observe(self) -> NDArray[np.float32]:
        self._state = int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self._state]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode in a random state."""
        super().reset(seed=seed, options=options)
        self._t = 0
        return self._observe(), {}

    def step(self, action: NDArray[np.float32]) -> Step:
        """Reward ``1 - |a - target|``; an action outside the bounds is an error, not clipped.

        Raises:
            ValueError: ``action`` is not in the action space.
        """
        value = np.asarray(action, dtype=np.float32)
        if not self.action_space.contains(value):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        reward = 1.0 - abs(float(value[0]) - self.targets[self._state])
        self._t += 1
        return self._observe(), reward, self._t >= self.length, False, {}


class TinyMasked(gym.Env[NDArray[np.float32], np.int64]):
    """Four actions of which two are legal at a time; +1 for the higher legal one, -1 for an illegal one.

    ``info["action_mask"]`` (``[4]`` int8, 1 = legal) comes from ``reset`` and ``step``; the observation is the same
    mask, so that agents without masking can learn it. A random policy earns ``-length / 4``, a random legal one
    ``length / 2``, the best ``length``.

    Args:
        length: Steps per episode, at least 1.
        method: Offer the mask through ``action_masks()`` instead of the info dict.
    """

    random_return: ClassVar[float] = -2.0
    best_return: ClassVar[float] = 8.0

    def __init__(self, length: int = 8, *, method: bool = False) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (4,), np.float32)
        self.action_space = gym.spaces.Discrete(4)
        self.length = length
        self._t = 0
        self._mask = np.ones(4, dtype=np.int8)
        if method:
            self.action_masks = lambda: self._mask.astype(np.bool_)
        self._method = method
        self._legal: NDArray[np.intp] = np.arange(2)

    def _observe(self) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self._legal = np.sort(self.np_random.permutation(4)[:2])
        mask = np.zeros(4, dtype=np.int8)
        mask[self._legal] = 1
        self._mask = mask
        return mask.astype(np.float32), {} if self._method else {"action_mask": mask}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode with a random mask."""
        super().reset(seed=seed, options=options)
        self._t = 0
        return self._observe()

    def step(self, action: np.int64) -> Step:
        """+1 for the higher legal action, 0 for the lower, -1 for an illegal one."""
        reward = -1.0 if int(action) not in self._legal else float(int(action) == int(self._legal[-1]))
        self._t += 1
        observation, info = self._observe()
        return observation, reward, self._t >= self.length, False, info


class TinyRecall(gym.Env[NDArray[np.float32], np.int64]):
    """A T-maze: a cue at the start says where to turn at the end; +1 for the right turn, 0 for all else.

    The observation is ``[cue left, cue right, at the junction]``; the cue is shown in the first step only, so whoever
    does not remember it earns 0.5 at best, as random play does. The best earns 1.

    Args:
        length: Steps per episode, at least 2.
    """

    random_return: ClassVar[float] = 0.5
    best_return: ClassVar[float] = 1.0

    def __init__(self, length: int = 4) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.length = length
        self._t = self._cue = 0

    def _observe(self) -> NDArray[np.float32]:
        shown = np.zeros(3, dtype=np.float32)
        if self._t == 0:
            shown[self._cue] = 1.0
        shown[2] = float(self._t == self.length - 1)
        return shown

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Draw a cue and show it."""
        super().reset(seed=seed, options=options)
        self._t, self._cue = 0, int(self.np_random.integers(2))
        return self._observe(), {}

    def step(self, action: np.int64) -> Step:
        """Only the last step pays."""
        over = self._t == self.length - 1
        reward = float(over and int(action) == self._cue)
        self._t += 1
        return self._observe(), reward, over, False, {}


class SeenAs(gym.ObservationWrapper[Any, Any, NDArray[np.float32]]):
    """TinyDiscrete or TinyBox, with the state told by an observation of another kind.

    Args:
        env: One of the two.
        kind: ``dict``, ``tuple``, ``discrete``, ``multi_discrete``, ``multi_binary`` or ``image`` (36 x 36 bytes).
    """

    def __init__(self, env: gym.Env[Any, Any], kind: str) -> None:
        super().__init__(env)
        box = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        self.observation_space = {
            "dict": gym.spaces.Dict({"mode": gym.spaces.Discrete(3), "state": box}),
            "tuple": gym.spaces.Tuple((gym.spaces.Discrete(2), box)),
            "discrete": gym.spaces.Discrete(2),
            "multi_discrete": gym.spaces.MultiDiscrete([3, 2]),
            "multi_binary": gym.spaces.MultiBinary(2),
            "image": gym.spaces.Box(0, 255, (36, 36, 1), np.uint8),
        }[kind]
        self._kind = kind

    def observation(self, observation: NDArray[np.float32]) -> Any:
        """The state, told in another way."""
        state = int(observation.argmax())
        if self._kind == "dict":
            return {"mode": np.int64(1), "state": observation}
        if self._kind == "tuple":
            return np.int64(state), np.zeros(2, np.float32)
        if self._kind == "discrete":
            return np.int64(state)
        if self._kind == "multi_discrete":
            return np.array([1, state], np.int64)
        if self._kind == "multi_binary":
            return observation.astype(np.int8)
        image = np.zeros((36, 36, 1), np.uint8)
        image[:, 18 * state : 18 * (state + 1)] = 255
        return image


class ConstantReward(gym.Env[NDArray[np.float32], np.int64]):
    """Reward 1 at every step for ever; a time limit cuts it after ``length`` steps, and nothing ever terminates.

    The value of the only state is ``1 / (1 - gamma)`` whatever the policy. A learner that takes truncation for
    termination
    finds at most ``(1 - gamma**length) / (1 - gamma)``.

    Args:
        length: Steps until the time limit, at least 1.
    """

    def __init__(self, length: int = 4) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.length = length
        self._t = 0

    @staticmethod
    def value(gamma: float) -> float:
        """The discounted value of the state, ``1 / (1 - gamma)``."""
        return 1.0 / (1.0 - gamma)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start again; every observation is the same."""
        super().reset(seed=seed, options=options)
        self._t = 0
        return np.ones(2, dtype=np.float32), {}

    def step(self, action: np.int64) -> Step:
        """Reward 1.0, truncated at the time limit."""
        del action
        self._t += 1
        return np.ones(2, dtype=np.float32), 1.0, False, self._t >= self.length, {}


class StayOrLeave(gym.Env[NDArray[np.float32], Any]):
    """Leaving pays 1.0 and ends everything; staying pays 0.9 and is cut by a time limit of one step.

    Staying is worth ``0.9 / (1 - gamma)`` to a learner that bootstraps at truncation, so it stays. A learner
    that takes truncation for termination compares 0.9 with 1.0 and leaves. The greedy action thus tells the two
    apart without looking inside.

    Args:
        continuous: Act in ``Box(-1, 1, (1,))`` (positive: stay) instead of ``Discrete(2)`` (1: stay).
    """

    def __init__(self, *, continuous: bool = False) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        self.continuous = continuous
        self.action_space = (
            gym.spaces.Box(np.float32(-1.0), np.float32(1.0), (1,), np.float32)
            if continuous
            else gym.spaces.Discrete(2)
        )

    def stays(self, action: Any) -> bool:
        """Whether ``action`` means staying."""
        value = float(np.asarray(action).reshape(-1)[0])
        return value > 0.0 if self.continuous else value == 1.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start again; every observation is the same."""
        super().reset(seed=seed, options=options)
        return np.ones(2, dtype=np.float32), {}

    def step(self, action: Any) -> Step:
        """Stay: 0.9, truncated. Leave: 1.0, terminated."""
        stays = self.stays(action)
        return np.ones(2, dtype=np.float32), 0.9 if stays else 1.0, not stays, stays, {}


class SpaceProbe(gym.Env[Any, Any]):
    """Any pair of spaces, for asking what an agent can be built for.

    Random observations, reward 0, episodes of four steps.

    Args:
        observation_space: What it emits samples of.
        action_space: What it accepts members of.
    """

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self._t = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; a seed also seeds the observations."""
        super().reset(seed=seed, options=options)
        if seed is not None:
            self.observation_space.seed(seed)
        self._t = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Reward 0.

        Raises:
            ValueError: ``action`` is not in the action space.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        self._t += 1
        return self.observation_space.sample(), 0.0, self._t >= 4, False, {}
