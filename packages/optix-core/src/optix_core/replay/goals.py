"""What a goal environment says about reaching goals, asked for many pairs at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError, EnvironmentFault

GoalFunction = Callable[[Any, Any, Any], Any]
"""``f(achieved, desired, info)``: one number or truth value per pair, for one pair or for an array of them."""

_TRIED = 64
"""How many pairs of the first batch are checked."""


class PerPair:
    """``f(achieved, desired, info)`` for B pairs, whether or not ``f`` itself can do more than one at a time.

    Many environments compute on whole batches; some return a single value for a batch (the norm over everything),
    which would be wrong without notice. The first batch is therefore checked against its pairs one by one.

    Args:
        function: The environment's.
        name: For messages.
    """

    def __init__(self, function: GoalFunction, name: str) -> None:
        self.function, self._name = function, name
        self._batched: bool | None = None

    def __call__(self, achieved: NDArray[Any], desired: NDArray[Any]) -> NDArray[np.float64]:
        """``[B]`` float64 for achieved and desired goals ``[B, *goal]``; ``info`` is an empty dict.

        Raises:
            EnvironmentFault: A result is not finite, or not one number per pair.
        """
        if self._batched is None and len(achieved) > 1:
            self._batched = self._agrees(achieved, desired)
        if self._batched:
            values = np.asarray(self.function(achieved, desired, {}), dtype=np.float64)
        else:
            pairs = zip(achieved, desired, strict=True)
            values = np.asarray([self.function(a, d, {}) for a, d in pairs], dtype=np.float64)
            values = values.reshape(len(achieved), -1)[:, 0] if values.size == len(achieved) else values
        if values.shape != (len(achieved),) or not np.isfinite(values).all():
            raise EnvironmentFault(
                f"{self._name} gave {values.shape} values for {len(achieved)} pairs of goals, or some that are not "
                "finite; it must give one finite number per pair"
            )
        return values

    def _agrees(self, achieved: NDArray[Any], desired: NDArray[Any]) -> bool:
        alone = [self.function(achieved[i], desired[i], {}) for i in range(min(len(achieved), _TRIED))]
        try:
            together = np.asarray(self.function(achieved, desired, {}), dtype=np.float64)
        except (TypeError, ValueError, IndexError):
            return False  # written for one pair; what is wrong with that pair too, was raised above
        if together.shape != (len(achieved),):
            return False
        single = np.asarray(alone, dtype=np.float64).reshape(len(alone), -1)
        # Not to the last bit: a norm of many vectors may add in another order than the norm of one.
        return single.shape[1] == 1 and np.allclose(
            together[: len(alone)], single[:, 0], rtol=1e-5, atol=1e-8
        )


def goal_functions(env: Any) -> tuple[GoalFunction, GoalFunction | None]:
    """``compute_reward`` and ``compute_terminated`` (None without one) of an environment, found through wrappers.

    Raises:
        ConfigError: It has no ``compute_reward``, so rewards for other goals are unknown.
    """
    reward = _attribute(env, "compute_reward")
    if reward is None:
        raise ConfigError(
            f"{env} has no compute_reward(achieved_goal, desired_goal, info), so hindsight replay cannot tell what "
            "another goal would have earned; add the method, or use the agent without hindsight"
        )
    return reward, _attribute(env, "compute_terminated")


def _attribute(env: Any, name: str) -> GoalFunction | None:
    layer = env
    while layer is not None:
        found = getattr(layer, name, None)  # wrappers of gymnasium pass nothing on by themselves
        if callable(found):
            return found
        layer = getattr(layer, "env", None)
    return None
