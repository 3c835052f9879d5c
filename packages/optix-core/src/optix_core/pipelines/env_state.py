"""How an environment is brought back to where it was: by its own state, or by repeating the episode.

Every episode starts with ``reset(seed=...)``, so an episode is determined by its seed and the actions since. That
holds for any deterministic environment in a *fresh* object. A few environments keep something from earlier
episodes inside the object (BipedalWalker does); for these the repetition ends elsewhere, which the last
observation shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import EnvironmentFault, ResumeError
from optix_core.pipelines.faults import shown
from optix_core.pipelines.reading import ObservationReader, mask_method
from optix_core.rl import structured
from optix_core.state import State


@runtime_checkable
class CapturableEnv(Protocol):
    """Environments (the outermost wrapper) that can say and set everything that determines their future."""

    def get_state(self) -> State:
        """A state as described in :mod:`optix_core.state`: plain data and arrays, and a copy."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue as if :meth:`get_state` had just returned ``state``."""
        ...


def continue_episode(
    env: Any,
    snapshot: Mapping[str, Any],
    to_env: Callable[[Any], Any],
    env_index: int,
    reader: ObservationReader,
) -> NDArray[Any]:
    """Bring ``env`` to where ``snapshot`` was taken.

    Args:
        env: An environment of the same kind, best a fresh object.
        snapshot: ``seed``, ``observation`` (the last one, as :func:`optix_core.rl.structured.to_state` gives it),
            ``env_state`` or None, ``actions`` ``[K, *act]`` or None.
        to_env: Turns a stored action into what ``env.step`` was given.
        env_index: For messages.
        reader: Makes elements of windows of what the environment gives.

    Returns:
        The last observation, equal to the stored one.

    Raises:
        ResumeError: It ends up elsewhere, or cannot be brought back.
    """
    try:
        expected = structured.from_state(snapshot["observation"], reader.dtype)
    except structured.ObservationMismatch as fault:
        raise ResumeError(
            f"environment {env_index}: {fault}. Resume with the environment and the agent that were trained."
        ) from None
    seed = int(snapshot["seed"])
    if snapshot["env_state"] is not None:
        if not isinstance(env, CapturableEnv):
            raise ResumeError(
                f"environment {env_index}: the stored state was taken with get_state(), but this "
                f"{type(env).__name__} has no set_state(). Resume with the environment that was trained on."
            )
        env.reset(seed=seed)  # type: ignore[attr-defined]
        env.set_state(snapshot["env_state"])
        return expected
    actions = snapshot["actions"]
    if actions is None:
        raise ResumeError(
            f"environment {env_index}: its episode was too long to be recorded, so it cannot be repeated. Give "
            "the environment get_state() and set_state()."
        )
    length = len(actions)
    observation, info = _repeat(env, seed, np.asarray(actions), to_env, env_index)
    try:
        method = mask_method(env) if reader.masked else None
        found = reader.one(
            observation,
            info,
            method,
            env_index=env_index,
            call="step",
            where=lambda: f"repeating {length} steps",
        )
    except EnvironmentFault as fault:
        raise ResumeError(not_repeatable(env_index, length, length, fault.message)) from None
    if not structured.same(found, expected):
        path, left, right = next(
            (path, left, right)
            for (path, left), (_, right) in zip(
                structured.leaves(found), structured.leaves(expected), strict=True
            )
            if left.tobytes() != right.tobytes()
        )
        what = f"{structured.label(path)} is {shown(left)}, it was {shown(right)}"
        raise ResumeError(not_repeatable(env_index, length, length, what))
    return expected


def _repeat(
    env: Any, seed: int, actions: NDArray[Any], to_env: Callable[[Any], Any], env_index: int
) -> tuple[Any, Any]:
    """The last observation and info of the episode with that seed and those actions."""
    step, length = 0, len(actions)
    try:
        observation, info = env.reset(seed=seed)
        for step in range(1, length + 1):
            observation, _, terminated, truncated, info = env.step(to_env(actions[step - 1]))
            if terminated or truncated:
                break
        else:
            return observation, info
    except Exception as error:
        what = "reset" if step == 0 else f"step {step} of {length}"
        raise ResumeError(
            f"environment {env_index}: {what} raised {error!r} while its episode was repeated"
        ) from error
    raise ResumeError(
        not_repeatable(env_index, step, length, "the episode ended there, which it had not done before")
    )


def not_repeatable(env_index: int, step: int, length: int, what: str) -> str:
    """The message for an episode that does not repeat."""
    return (
        f"environment {env_index} cannot be brought back to where it was: the same seed and actions lead "
        f"elsewhere at step {step} of {length} ({what}). The environment draws from something its "
        "reset(seed=...) does not set, or keeps something from earlier episodes. Train with "
        "fresh_env_per_episode=True, or give the environment get_state() and set_state()."
    )
