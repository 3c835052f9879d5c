"""How pipelines ask an agent for actions: capabilities looked up once, every action checked before ``env.step``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BatchActing, RecurrentActing, StepwiseLearning
from optix_core.errors import ConfigError, EnvironmentFault, NumericalDivergence, SpaceError
from optix_core.pipelines.faults import shown
from optix_core.rl.masking import (
    ACTION_MASK,
    OBSERVATION,
    allowed,
    is_masked,
    mask_size,
    nothing_allowed,
    split_masks,
)
from optix_core.rl.spaces import SpaceInfo
from optix_core.rl.structured import unpack

_SMALL = 32  # up to this many numbers, comparing Python floats is faster than array operations


class Actor:
    """Asks one agent for the actions of N environments.

    Args:
        agent: Anything with ``act``; ``act_batch`` and ``env_actions`` are preferred if it offers both.
        action_space: Of one environment; must consist of one array.
        deterministic: Ask for greedy actions, of agents that know the difference.

    Attributes:
        observe: The agent's ``observe`` if it learns stepwise, else None.
        memory_size: M of a recurrent agent; 0 for others.
        accepts_masks: Whether the agent understands action masks; its actions are then checked against them.
        name: Of the agent's class.
        where: Says when, for messages.

    Raises:
        ConfigError: The agent cannot act at all.
        SpaceError: Actions are not single arrays.
    """

    def __init__(
        self,
        agent: Any,
        action_space: SpaceInfo,
        observation_space: SpaceInfo | None = None,
        *,
        deterministic: bool = False,
    ) -> None:
        if agent is None:
            raise ConfigError("no agent to act: pass agent=, or call set_agent() before collecting")
        if not action_space.is_array:
            raise SpaceError(
                f"actions of {action_space.label} are not one array. Wrap the environment so that its action "
                "space is Discrete, MultiDiscrete, MultiBinary or Box."
            )
        self.agent = agent
        whole: Any = agent
        self.memory_size = int(whole.memory_size) if isinstance(agent, RecurrentActing) else 0
        self.accepts_masks = bool(getattr(agent, "accepts_action_masks", False))
        self.batched = isinstance(agent, BatchActing) or self.memory_size > 0
        self.observe: Callable[..., None] | None = (
            whole.observe if isinstance(agent, StepwiseLearning) else None
        )
        self.name = type(agent).__name__
        self.where: Callable[[], str] = lambda: "before the step"
        self._space = action_space
        self._seen = observation_space
        self._deterministic = deterministic
        self._discrete = action_space.kind == "discrete"
        self._low_int, self._high_int = action_space.start, action_space.start + (action_space.n or 0) - 1
        self._limits: dict[int, tuple[list[float], list[float]]] = {}
        if self.batched:
            # asked with a memory only, an agent need not be able to do without
            self._act_batch: Callable[..., NDArray[Any]] = getattr(agent, "act_batch", _needs_memory)
            self._act_with_memory: Callable[..., tuple[NDArray[Any], NDArray[np.float32]]] = getattr(
                agent, "act_batch_with_memory", _needs_memory
            )
            self._env_actions: Callable[[NDArray[Any]], NDArray[Any]] = whole.env_actions
        else:
            self._act = act_function(agent, deterministic=deterministic)

    def __call__(self, observations: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], list[Any]]:
        """Actions for ``observations`` ``[N, *obs]``.

        Returns:
            Policy actions ``[N, *act]`` for the window, environment actions as an array, and as a list with one
            entry per environment for ``env.step``.

        Raises:
            EnvironmentFault: An action mask allows nothing.
            NumericalDivergence: An action is not finite.
            SpaceError: An action is outside the action space or masked, or of a wrong type or shape.
        """
        names = observations.dtype.names
        masks = self._masks(observations) if names is not None and self.accepts_masks else None
        if self.batched:
            policy = self._act_batch(observations, deterministic=self._deterministic)
            acted = self._env_actions(policy)
        elif names is None:
            policy = acted = np.asarray([self._act(observation) for observation in observations])
        else:
            rows = [observations[n, ...] for n in range(len(observations))]
            policy = acted = np.asarray([self._act(self._as_given(row)) for row in rows])
        if self._discrete and masks is None:
            return policy, acted, self._checked_discrete(acted, len(observations))
        return self._checked(len(observations), policy, acted, masks)

    def remembering(
        self, observations: NDArray[Any], memory: NDArray[np.float32]
    ) -> tuple[tuple[NDArray[Any], NDArray[Any], list[Any]], NDArray[np.float32]]:
        """The same of a recurrent agent with ``memory`` ``[N, M]``, and its memory after this step.

        Raises:
            SpaceError: Besides the above: the new memory is not ``[N, M]``.
        """
        masks = self._masks(observations) if self.accepts_masks else None
        policy, after = self._act_with_memory(observations, memory, deterministic=self._deterministic)
        if after.shape != memory.shape:
            raise SpaceError(
                f"{self.name} gave a memory of shape {after.shape} for one of shape {memory.shape}; it is kept per "
                "environment, so its shape cannot change",
                code="E-ACTION",
            )
        return self._checked(len(observations), policy, self._env_actions(policy), masks), after

    def _as_given(self, row: NDArray[Any]) -> Any:
        """A record as the environment gave it, for agents that are asked one by one."""
        if self._seen is None or not is_masked(row.dtype) or is_masked(self._seen.dtype):
            return unpack(row, self._seen)
        return {OBSERVATION: unpack(row[OBSERVATION], self._seen), ACTION_MASK: row[ACTION_MASK]}

    def _checked(
        self, n: int, policy: NDArray[Any], acted: NDArray[Any], masks: NDArray[np.bool_] | None
    ) -> tuple[NDArray[Any], NDArray[Any], list[Any]]:
        if self._discrete:
            choices = self._checked_discrete(acted, n)
        else:
            if acted.dtype != self._space.dtype:
                acted = self._cast(acted)
            self._check_box(acted, n)
            choices = list(acted)
        if masks is not None:
            self._check_masks(masks, acted)
        return policy, acted, choices

    def _masks(self, observations: NDArray[Any]) -> NDArray[np.bool_] | None:
        """The masks ``[N, A]`` in observations, each of which allows something; None if there are none."""
        masks = split_masks(observations)[1]
        if masks is None:
            return None
        if masks.ndim != 2 or masks.shape[1] != mask_size(self._space):
            raise SpaceError(
                f"the action mask has shape {masks.shape[1:]}, but {self._space.label} needs "
                f"{mask_size(self._space)} entries, one per action"
            )
        stuck = nothing_allowed(masks, self._space)
        if stuck.any():
            raise EnvironmentFault(
                f"environment {int(stuck.argmax())}, {self.where()}: the action mask allows nothing, but the episode "
                "goes on. An environment without any action left has to end the episode in the step that led there.",
                code="E-ENV-MASK",
            )
        return masks

    def _check_masks(self, masks: NDArray[np.bool_], actions: NDArray[Any]) -> None:
        fine = allowed(masks, actions, self._space)
        if not fine.all():
            n = int(fine.argmin())
            chosen = actions[n].item() if self._discrete else shown(actions[n])
            could = np.flatnonzero(masks[n]) + (self._space.start if self._discrete else 0)
            raise SpaceError(
                f"{self.name} chose {chosen} in environment {n}, {self.where()}, although the action mask forbids it "
                f"(the mask allows {could.tolist()}). An agent that says accepts_action_masks "
                "must never choose a masked action.",
                code="E-ACTION",
            )

    def _checked_discrete(self, actions: NDArray[Any], n: int) -> list[int]:
        if actions.dtype.kind not in "iu" or actions.shape != (n,):
            if actions.shape == (n,) and actions.dtype.kind == "f" and not np.isfinite(actions).all():
                raise self._nonfinite(actions)
            raise SpaceError(
                f"{self.name} gave actions of dtype {actions.dtype} and shape {actions.shape} for {n} "
                f"environment(s) with {self._space.label}; expected integers of shape {(n,)}",
                code="E-ACTION",
            )
        choices: list[int] = actions.tolist()
        for index, choice in enumerate(choices):
            if not self._low_int <= choice <= self._high_int:
                raise SpaceError(
                    f"{self.name} chose action {choice} in environment {index}, outside of "
                    f"{self._space.label} (allowed: {self._low_int} to {self._high_int})",
                    code="E-ACTION",
                )
        return choices

    def _cast(self, actions: NDArray[Any]) -> NDArray[Any]:
        if not np.can_cast(actions.dtype, self._space.dtype, casting="same_kind"):
            raise SpaceError(
                f"{self.name} gave actions of dtype {actions.dtype} for {self._space.label} of dtype "
                f"{self._space.dtype}",
                code="E-ACTION",
            )
        return actions.astype(self._space.dtype)

    def _check_box(self, actions: NDArray[Any], n: int) -> None:
        space = self._space
        assert space.low is not None
        assert space.high is not None
        if actions.shape != (n, *space.shape):
            raise SpaceError(
                f"{self.name} gave actions of shape {actions.shape} for {n} environment(s) with "
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
            f"{self.name} chose an action outside of {space.label} in environment {index[0]}: component "
            f"{component} is {actions[index]:.6g}, allowed {space.low[component]:.6g} to "
            f"{space.high[component]:.6g}. Agents must map their output to the Box (optix_core.rl.BoxScaler "
            "does).",
            code="E-ACTION",
        )

    def _nonfinite(self, actions: NDArray[Any]) -> NumericalDivergence:
        bad = np.argwhere(~np.isfinite(actions.reshape(len(actions), -1)))
        env = int(bad[0][0])
        return NumericalDivergence(
            f"{self.name} gave a non-finite action in environment {env}: {shown(actions[env])}. Its weights "
            "have probably diverged; go back to a checkpoint and lower the learning rate, or clip gradients.",
            code="E-ACTION-NONFINITE",
        )


def masks_unused(agent: str) -> str:
    """What to warn of where an environment says which actions are allowed and the agent does not listen."""
    from optix_core.plugins.registry import default_registry

    able = sorted(a.qualified for a in default_registry().agents() if "masks" in a.spec.capabilities)
    who = f"Agents that use them: {', '.join(able)}." if able else "No loaded agent uses them."
    return (
        f"the environment says which actions are allowed (action masks), but {agent} does not use them and may choose "
        f"what is not allowed. {who}"
    )


def _needs_memory(*_: Any, **__: Any) -> Any:
    raise AssertionError("asked in the other way only")


def act_function(agent: Any, *, deterministic: bool) -> Callable[[Any], Any]:
    """``act`` of an agent, asking for greedy actions if that is wanted and the agent knows the difference.

    Raises:
        ConfigError: The agent cannot act at all.
    """
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
    assert space.low is not None
    assert space.high is not None
    largest = np.finfo(np.float64).max
    low = np.broadcast_to(np.maximum(np.asarray(space.low, np.float64), -largest), (n, *space.shape))
    high = np.broadcast_to(np.minimum(np.asarray(space.high, np.float64), largest), (n, *space.shape))
    return low.ravel().tolist(), high.ravel().tolist()
