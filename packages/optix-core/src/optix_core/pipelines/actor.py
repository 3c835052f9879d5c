"""How pipelines ask an agent for actions: capabilities looked up once, every action checked before ``env.step``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BatchActing, StepwiseLearning
from optix_core.errors import ConfigError, NumericalDivergence, SpaceError
from optix_core.pipelines.faults import shown
from optix_core.rl.spaces import SpaceInfo

_SMALL = 32  # up to this many numbers, comparing Python floats is faster than array operations


class Actor:
    """Asks one agent for the actions of N environments.

    Args:
        agent: Anything with ``act``; ``act_batch`` and ``env_actions`` are preferred if it offers both.
        action_space: Of one environment; must consist of one array.
        deterministic: Ask for greedy actions, of agents that know the difference.

    Attributes:
        observe: The agent's ``observe`` if it learns stepwise, else None.

    Raises:
        ConfigError: The agent cannot act at all.
        SpaceError: Actions are not single arrays.
    """

    def __init__(self, agent: Any, action_space: SpaceInfo, *, deterministic: bool = False) -> None:
        if agent is None:
            raise ConfigError("no agent to act: pass agent=, or call set_agent() before collecting")
        if not action_space.is_array:
            raise SpaceError(
                f"actions of {action_space.label} are not one array. Wrap the environment so that its action "
                "space is Discrete, MultiDiscrete, MultiBinary or Box."
            )
        assert action_space.shape is not None
        assert action_space.dtype is not None
        self.agent = agent
        whole: Any = agent
        self.batched = isinstance(agent, BatchActing)
        self.observe: Callable[..., None] | None = (
            whole.observe if isinstance(agent, StepwiseLearning) else None
        )
        self._name = type(agent).__name__
        self._space = action_space
        self._deterministic = deterministic
        self._discrete = action_space.kind == "discrete"
        self._low_int, self._high_int = action_space.start, action_space.start + (action_space.n or 0) - 1
        self._limits: dict[int, tuple[list[float], list[float]]] = {}
        if self.batched:
            self._act_batch: Callable[..., NDArray[Any]] = whole.act_batch
            self._env_actions: Callable[[NDArray[Any]], NDArray[Any]] = whole.env_actions
        else:
            self._act = _single_act(agent, deterministic=deterministic)

    def __call__(self, observations: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], list[Any]]:
        """Actions for ``observations`` ``[N, *obs]``.

        Returns:
            Policy actions ``[N, *act]`` for the window, environment actions as an array, and as a list with one
            entry per environment for ``env.step``.

        Raises:
            NumericalDivergence: An action is not finite.
            SpaceError: An action is outside the action space, or of a wrong type or shape.
        """
        if self.batched:
            policy = self._act_batch(observations, deterministic=self._deterministic)
            acted = self._env_actions(policy)
        else:
            policy = acted = np.asarray([self._act(observation) for observation in observations])
        if self._discrete:
            return policy, acted, self._checked_discrete(acted, len(observations))
        if acted.dtype != self._space.dtype:
            acted = self._cast(acted)
        self._check_box(acted, len(observations))
        return policy, acted, list(acted)

    def _checked_discrete(self, actions: NDArray[Any], n: int) -> list[int]:
        if actions.dtype.kind not in "iu" or actions.shape != (n,):
            if actions.shape == (n,) and actions.dtype.kind == "f" and not np.isfinite(actions).all():
                raise self._nonfinite(actions)
            raise SpaceError(
                f"{self._name} gave actions of dtype {actions.dtype} and shape {actions.shape} for {n} "
                f"environment(s) with {self._space.label}; expected integers of shape {(n,)}",
                code="E-ACTION",
            )
        choices: list[int] = actions.tolist()
        for index, choice in enumerate(choices):
            if not self._low_int <= choice <= self._high_int:
                raise SpaceError(
                    f"{self._name} chose action {choice} in environment {index}, outside of "
                    f"{self._space.label} (allowed: {self._low_int} to {self._high_int})",
                    code="E-ACTION",
                )
        return choices

    def _cast(self, actions: NDArray[Any]) -> NDArray[Any]:
        assert self._space.dtype is not None
        if not np.can_cast(actions.dtype, self._space.dtype, casting="same_kind"):
            raise SpaceError(
                f"{self._name} gave actions of dtype {actions.dtype} for {self._space.label} of dtype "
                f"{self._space.dtype}",
                code="E-ACTION",
            )
        return actions.astype(self._space.dtype)

    def _check_box(self, actions: NDArray[Any], n: int) -> None:
        space = self._space
        assert space.shape is not None
        assert space.low is not None
        assert space.high is not None
        if actions.shape != (n, *space.shape):
            raise SpaceError(
                f"{self._name} gave actions of shape {actions.shape} for {n} environment(s) with "
                f"{space.label}; expected {(n, *space.shape)}",
                code="E-ACTION",
            )
        if actions.size <= _SMALL:
            limits = self._limits.get(n)
            if limits is None:
                limits = self._limits[n] = _finite_limits(space, n)
            for value, low, high in zip(actions.ravel().tolist(), *limits, strict=True):
                if not low <= value <= high:
                    break
            else:
                return
        elif bool(((actions >= space.low) & (actions <= space.high) & np.isfinite(actions)).all()):
            return
        if not np.isfinite(actions).all():
            raise self._nonfinite(actions)
        index = tuple(np.argwhere((actions < space.low) | (actions > space.high))[0].tolist())
        component = index[1:]
        raise SpaceError(
            f"{self._name} chose an action outside of {space.label} in environment {index[0]}: component "
            f"{component} is {actions[index]:.6g}, allowed {space.low[component]:.6g} to "
            f"{space.high[component]:.6g}. Agents must map their output to the Box (optix_core.rl.BoxScaler "
            "does).",
            code="E-ACTION",
        )

    def _nonfinite(self, actions: NDArray[Any]) -> NumericalDivergence:
        bad = np.argwhere(~np.isfinite(actions.reshape(len(actions), -1)))
        env = int(bad[0][0])
        return NumericalDivergence(
            f"{self._name} gave a non-finite action in environment {env}: {shown(actions[env])}. Its weights "
            "have probably diverged; go back to a checkpoint and lower the learning rate, or clip gradients.",
            code="E-ACTION-NONFINITE",
        )


def _single_act(agent: Any, *, deterministic: bool) -> Callable[[Any], Any]:
    act = getattr(agent, "act", None)
    if not callable(act):
        raise ConfigError(
            f"{type(agent).__name__} has no method act(observation); agents derive from optix_core.BaseAgent"
        )
    if not deterministic:
        return act
    try:
        parameters = inspect.signature(act).parameters
    except (TypeError, ValueError):  # implemented in C: no signature to read
        return act
    takes_it = "deterministic" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return (lambda observation: act(observation, deterministic=True)) if takes_it else act


def _finite_limits(space: SpaceInfo, n: int) -> tuple[list[float], list[float]]:
    """Bounds of N elements as flat lists; infinite ones become the largest number, so that infinity is outside."""
    assert space.shape is not None
    assert space.low is not None
    assert space.high is not None
    largest = np.finfo(np.float64).max
    low = np.broadcast_to(np.maximum(np.asarray(space.low, np.float64), -largest), (n, *space.shape))
    high = np.broadcast_to(np.minimum(np.asarray(space.high, np.float64), largest), (n, *space.shape))
    return low.ravel().tolist(), high.ravel().tolist()
