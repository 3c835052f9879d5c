"""Whether what an environment returns is what Gymnasium's interface and its own spaces promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import EnvironmentFault, SpaceError
from optix_core.pipelines.factories import Env
from optix_core.rl.spaces import SpaceInfo, describe_space


def common_spaces(envs: Sequence[Env]) -> tuple[SpaceInfo, SpaceInfo]:
    """The spaces that all environments share.

    Raises:
        SpaceError: They differ, or are of a kind that optix does not know.
    """
    first = envs[0]
    for index, env in enumerate(envs):
        for name in ("observation_space", "action_space"):
            if getattr(env, name) != getattr(first, name):
                raise SpaceError(
                    f"environments differ: {name} of number {index} is {getattr(env, name)}, of number 0 "
                    f"{getattr(first, name)}"
                )
    return describe_space(first.observation_space), describe_space(first.action_space)


def reset_pair(index: int, result: Any, where: str) -> tuple[Any, Any]:
    """Observation and info, which ``reset`` returned.

    Raises:
        EnvironmentFault: It is not a pair.
    """
    if not hasattr(result, "__len__") or isinstance(result, np.ndarray) or len(result) != 2:
        raise EnvironmentFault(
            f"environment {index}, reset, {where}: expected a pair (observation, info), got "
            f"{_shape_of_result(result)}. Gymnasium's interface has returned pairs since version 0.26."
        )
    return result[0], result[1]


def as_observation(
    index: int, observation: Any, space: SpaceInfo, method: str, where: Callable[[], str]
) -> NDArray[Any]:
    """``observation`` as an array of the space's shape.

    Raises:
        EnvironmentFault: It has another shape, or a dtype that would lose its meaning.
    """
    array = np.asarray(observation)
    if array.shape != space.shape or not np.can_cast(array.dtype, space.dtype, casting="same_kind"):
        raise EnvironmentFault(
            f"environment {index}, {method}, {where()}: the observation has shape {array.shape} and dtype "
            f"{array.dtype}, but the observation space is {space.label} with shape {space.shape} and dtype "
            f"{space.dtype}. Correct the environment or its observation_space.",
            code="E-ENV-OBSERVATION",
        )
    return array


def _shape_of_result(result: Any) -> str:
    length = f" of {len(result)}" if hasattr(result, "__len__") else ""
    return f"a {type(result).__name__}{length}"


def wrong_step(index: int, result: Any, where: str) -> EnvironmentFault:
    """What to raise for a result of ``step`` that cannot be taken apart."""
    if hasattr(result, "__len__") and len(result) == 5:
        reward = result[1]
        return EnvironmentFault(
            f"environment {index}, step, {where}: the reward is {reward!r} of type {type(reward).__name__}; "
            "expected one number"
        )
    return EnvironmentFault(
        f"environment {index}, step, {where}: expected (observation, reward, terminated, truncated, info), got "
        f"{_shape_of_result(result)}. Four values are the interface of gym before version 0.26: wrap the "
        "environment with a compatibility wrapper such as shimmy's GymV21CompatibilityV0."
    )
