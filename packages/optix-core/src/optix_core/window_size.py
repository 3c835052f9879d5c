"""How long a window should be for an environment and an algorithm."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from optix_core.errors import ConfigError
from optix_core.pipelines.factories import env_factory_of

_EPISODES_PER_WINDOW = {
    **dict.fromkeys(("ppo", "recurrentppo", "rppo"), 4.0),
    **dict.fromkeys(("sac", "td3", "dqn", "rainbow", "rainbowdqn"), 1.0),
}
_DEFAULT_EPISODES = 2.0
_FALLBACK_LENGTH = 1000.0
_CALIBRATION_EPISODES, _CALIBRATION_STEPS = 5, 10_000


def optimal_window_size(
    env: Any, algorithm: str = "default", min_steps: int = 512, max_steps: int = 8192, *, seed: int = 0
) -> int:
    """``clip(k * L, min_steps, max_steps)``: a few episodes per window.

    L is the environment's time limit. Without one it is the mean length of five episodes of random actions, run on a
    separate copy of the environment and bounded to 10,000 steps in total; ``env`` itself is never stepped or
    reset. k is 4 for PPO and recurrent PPO, 1 for SAC, TD3, DQN and Rainbow, 2 otherwise.

    Args:
        env: A gymnasium environment.
        algorithm: Its name; case, spaces, ``_`` and ``-`` don't matter.
        min_steps: Smallest answer, at least 1.
        max_steps: Largest answer, at least ``min_steps``.
        seed: For the random episodes.

    Returns:
        Steps per window. Where no length can be found, L is taken as 1000 and a warning says so.

    Raises:
        ConfigError: The bounds are not ``1 <= min_steps <= max_steps``.
    """
    if not 1 <= min_steps <= max_steps:
        raise ConfigError(
            f"min_steps is {min_steps} and max_steps {max_steps}; expected 1 <= min_steps <= max_steps"
        )
    name = algorithm.lower().replace(" ", "").replace("_", "").replace("-", "")
    episodes = _EPISODES_PER_WINDOW.get(name, _DEFAULT_EPISODES)
    length = _time_limit(env) or _measured_length(env, seed)
    if length is None:
        warnings.warn(
            f"the length of an episode of {type(env).__name__} is unknown: it has no time limit and cannot be "
            f"copied for a trial. Assuming {_FALLBACK_LENGTH:.0f} steps; pass window_size to choose yourself.",
            RuntimeWarning,
            stacklevel=2,
        )
        length = _FALLBACK_LENGTH
    return max(min_steps, min(max_steps, int(episodes * length)))


def _time_limit(env: Any) -> float | None:
    """The number of steps after which episodes are cut, of whichever wrapper does it."""
    limit = getattr(getattr(env, "spec", None), "max_episode_steps", None)
    if limit:
        return float(limit)
    layer = env
    while layer is not None:
        limit = getattr(layer, "_max_episode_steps", None)
        if limit:
            return float(limit)
        layer = getattr(layer, "env", None)
    return None


def _measured_length(env: Any, seed: int) -> float | None:
    """Mean length of a few random episodes in a copy, None if there can be no copy."""
    trial = _separate_copy(env)
    if trial is None:
        return None
    lengths: list[int] = []
    steps_left = _CALIBRATION_STEPS
    try:
        trial.action_space.seed(seed)
        for episode in range(_CALIBRATION_EPISODES):
            trial.reset(seed=seed + episode)
            length, over = 0, False
            while not over and steps_left > 0:
                _, _, terminated, truncated, _ = trial.step(trial.action_space.sample())
                over = bool(terminated or truncated)
                length, steps_left = length + 1, steps_left - 1
            lengths.append(length)
            if steps_left == 0:
                break  # what was seen of a cut episode is a lower bound, and long enough
    finally:
        trial.close()
    return sum(lengths) / len(lengths)


def _separate_copy(env: Any) -> Any:
    factory = env_factory_of(env)
    if factory is not None:
        return factory()
    try:
        return copy.deepcopy(env)
    except Exception:  # noqa: BLE001 - whatever keeps it from being copied: there is no copy
        return None
