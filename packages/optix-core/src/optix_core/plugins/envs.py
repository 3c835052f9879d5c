"""Which spaces does the caller's environment have?

Read by the names of their classes, so that neither numpy nor gymnasium is imported for an environment that exists
already. Only an environment named by its id is made with gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from optix_core.errors import ConfigError, EnvironmentFault

if TYPE_CHECKING:
    from optix_core.plugins.registry import Registry

_KINDS = {
    "Box": "box",
    "Dict": "dict",
    "Discrete": "discrete",
    "MultiBinary": "multi_binary",
    "MultiDiscrete": "multi_discrete",
    "Tuple": "tuple",
}


class EnvironmentNotFound(EnvironmentFault, LookupError):
    """No environment of this id is registered."""


class EnvironmentDependencyError(EnvironmentFault, ImportError):
    """The environment exists, but a package that it needs does not."""

    default_code = "E-MISSING-DEP"


@dataclass(frozen=True, slots=True)
class EnvSpaces:
    """What choosing and building an agent needs to know of an environment.

    Attributes:
        observation_space: Of one environment.
        action_space: Of one environment.
        env_id: Its registered id, None if it has none.
        env: The environment itself if the caller passed one; None if it was built only to be looked at.
    """

    observation_space: Any
    action_space: Any
    env_id: str | None
    env: Any


def read_spaces(env: Any, *, registry: Registry | None = None) -> EnvSpaces:
    """The spaces of an environment.

    Args:
        env: An environment; a gymnasium vector environment (the spaces of one of its environments count); a callable
            that makes one (called once, the result is closed again); a list of such callables or environments (the
            first counts); or the id of a registered environment (made and closed again).
        registry: Where providers of environments are looked up; the process's own by default.

    Raises:
        ConfigError: It is none of these.
        EnvironmentNotFound: No environment of that id is registered.
    """
    if isinstance(env, str):
        return _built(make_env(env, registry=registry), called=env)
    if isinstance(env, list | tuple):
        many = cast("Sequence[Any]", env)
        if not many:
            raise ConfigError("the list of environments is empty; pass at least one", code="E-NO-ENV")
        return read_spaces(many[0], registry=registry)
    if not isinstance(env, type) and _spaces_of(env) is not None:
        return _described(env)
    if callable(env):
        return _built(cast("Callable[[], Any]", env)(), called=getattr(env, "__name__", repr(env)))
    raise ConfigError(
        f"an environment has observation_space and action_space; {type(env).__name__} has not. Pass an environment, a "
        "callable that makes one, a list of such callables, or the id of a registered environment.",
        code="E-NO-ENV",
    )


def make_env(
    env_id: str, *, registry: Registry | None = None, allow_import: bool = False, **options: Any
) -> Any:
    """``gymnasium.make`` with plugins that provide environments, and with errors that say what to do.

    Args:
        env_id: A registered id such as ``"CartPole-v1"`` or ``"ALE/Pong-v5"``.
        registry: Where providers are looked up; the process's own by default.
        allow_import: Accept ``"module:Name-v0"``, which imports ``module``: running whatever code it holds.
        options: Passed to ``gymnasium.make``.

    Raises:
        EnvironmentNotFound: No such id; the message has the nearest ones.
        EnvironmentDependencyError: The environment needs a package that is not installed.
        EnvironmentFault: The id would import a module and that is not allowed.
    """
    if ":" in env_id and not allow_import:
        module, _, rest = env_id.partition(":")
        raise EnvironmentFault(
            f"environment {env_id!r} would import the module {module!r}, which runs its code. If you trust it: "
            f"import it yourself, then ask for {rest!r}; or pass the environment itself."
        )
    import gymnasium

    namespace = env_id.partition("/")[0] if "/" in env_id else None
    if namespace is not None and not any(name.startswith(f"{namespace}/") for name in gymnasium.registry):
        _provide(namespace, registry)
    try:
        return gymnasium.make(env_id, **options)
    except gymnasium.error.DependencyNotInstalled as fault:
        raise EnvironmentDependencyError(f"environment {env_id!r} needs a package: {fault}") from fault
    except gymnasium.error.UnregisteredEnv as fault:
        raise EnvironmentNotFound(_unknown(env_id, list(gymnasium.registry))) from fault
    except gymnasium.error.DeprecatedEnv as fault:
        raise EnvironmentNotFound(f"environment {env_id!r} is gone: {fault}") from fault
    except gymnasium.error.Error as fault:
        if "/" in env_id or not _well_formed(env_id):
            raise EnvironmentNotFound(_unknown(env_id, list(gymnasium.registry))) from fault
        raise


def space_kind(space: object) -> str:
    """``"box"``, ``"discrete"`` and so on by the names of the space's classes; others by their own, lower case."""
    for cls in type(space).__mro__:
        if cls.__name__ in _KINDS:
            return _KINDS[cls.__name__]
    return type(space).__name__.lower()


def space_text(space: Any) -> str:
    """A space short enough for a message: ``Box(3,)``, ``Discrete(4)``, ``Dict(goal: Box(2,), obs: Box(3,))``."""
    kind = space_kind(space)
    if kind == "box":
        return f"Box{tuple(space.shape)}"
    if kind == "discrete":
        return f"Discrete({int(space.n)})"
    if kind == "dict":
        parts = cast("Mapping[str, Any]", space.spaces)
        text = f"Dict({', '.join(f'{key}: {space_text(part)}' for key, part in parts.items())})"
    elif kind == "tuple":
        text = f"Tuple({', '.join(map(space_text, space.spaces))})"
    else:
        text = str(space)
    return text if len(text) <= 120 else text[:117] + "..."


def _spaces_of(env: Any) -> tuple[Any, Any] | None:
    """Observation and action space of one environment."""
    for prefix in ("single_", ""):
        observation = getattr(env, f"{prefix}observation_space", None)
        action = getattr(env, f"{prefix}action_space", None)
        if observation is not None and action is not None:
            return observation, action
    return None


def _described(env: Any) -> EnvSpaces:
    spaces = _spaces_of(env)
    assert spaces is not None
    env_id = getattr(getattr(env, "spec", None), "id", None)
    return EnvSpaces(*spaces, env_id=str(env_id) if env_id else None, env=env)


def _built(env: Any, *, called: str) -> EnvSpaces:
    """The spaces of an environment that exists only to be looked at."""
    try:
        if _spaces_of(env) is None:
            raise ConfigError(
                f"{called} made {type(env).__name__}, which has no observation_space and action_space",
                code="E-NO-ENV",
            )
        found = _described(env)
    finally:
        close = getattr(env, "close", None)
        if callable(close):
            close()
    return EnvSpaces(found.observation_space, found.action_space, found.env_id, None)


def _provide(namespace: str, registry: Registry | None) -> None:
    """Let the plugin that provides ``namespace`` register its environments, if there is one."""
    from optix_core.plugins.lookup import load_factory
    from optix_core.plugins.registry import default_registry

    providers = (registry or default_registry()).env_providers()
    for provider in providers:
        if provider.spec.namespace.casefold() == namespace.casefold():
            load_factory(provider)()
            return


def _unknown(env_id: str, known: list[str]) -> str:
    from optix_core.plugins.hints import close_to

    namespace, slash, _ = env_id.partition("/")
    if slash and not any(name.startswith(f"{namespace}/") for name in known):
        return (
            f"no environment {env_id!r} is registered with gymnasium, nor any other of {namespace!r}. Install the "
            "package that has them, and import it first unless a plugin does so (optix components env_provider)."
        )
    bare = env_id.rpartition("-v")[0] or env_id
    versions = sorted(name for name in known if name.rpartition("-v")[0].casefold() == bare.casefold())
    close = versions or list(close_to(env_id, known))
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"no environment {env_id!r} is registered with gymnasium.{meant} "
        "Environments of your own: pass the environment or a callable that makes it."
    )


def _well_formed(env_id: str) -> bool:
    import re

    return re.fullmatch(r"(?:[\w:-]+/)?[\w:.-]+?(?:-v\d+)?", env_id) is not None
