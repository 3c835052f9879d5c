"""How to make more environments like a given one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from optix_core.errors import ConfigError

Env = gym.Env[Any, Any]
EnvFactory = Callable[[], Env]


def env_factory_of(env: Env) -> EnvFactory | None:
    """A factory of environments registered and wrapped like ``env``, or None if it does not say how it was made.

    Gymnasium records that in ``env.spec`` for environments from ``gymnasium.make`` and for wrappers that record their
    arguments. Attributes that were changed by hand afterwards are not part of it.
    """
    try:
        spec = env.spec
    except Exception:  # noqa: BLE001 - a spec that cannot be computed (unserialisable wrapper arguments) is no spec
        return None
    if spec is None or any(wrapper.kwargs is None for wrapper in spec.additional_wrappers):
        return None
    frozen = spec
    return lambda: gym.make(frozen)


def require_factory(env: Env, explicit: EnvFactory | None, purpose: str) -> EnvFactory:
    """``explicit``, or a factory derived from ``env``.

    Raises:
        ConfigError: Neither exists.
    """
    factory = explicit or env_factory_of(env)
    if factory is None:
        raise ConfigError(
            f"{purpose} needs to build environments, but {type(env).__name__} does not say how it was made (it "
            "has no usable env.spec). Pass env_factory=, a function without arguments that returns a fresh "
            "environment."
        )
    return factory


def is_environment(candidate: Any) -> bool:
    """Whether ``candidate`` is an environment rather than something that makes one (a class, a function)."""
    return hasattr(candidate, "step") and not isinstance(candidate, type)


def check_env(env: Any, index: int = 0) -> None:
    """Complain about an object that is not a Gymnasium environment.

    Raises:
        ConfigError: Something needed is missing; says what was found.
    """
    missing = [name for name in ("reset", "step", "close") if not callable(getattr(env, name, None))]
    missing += [name for name in ("observation_space", "action_space") if getattr(env, name, None) is None]
    if missing:
        what = f"environment {index} is a {type(env).__module__}.{type(env).__qualname__}"
        hint = "Give a gymnasium.Env, for example gymnasium.make('CartPole-v1')."
        if callable(env):
            hint = "It is a function: call it first, or pass it as env_factory=."
        raise ConfigError(f"{what} without {', '.join(missing)}. {hint}")
