"""From a configuration to environments, agent and optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TextIO, runtime_checkable

from optix_core.config.provenance import Provenance, came_from
from optix_core.config.schema import TrainConfig, config_to_dict
from optix_core.errors import ConfigError, EnvironmentFault, OptixError

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.base_optimizer import BaseOptimizer
    from optix_core.loop_callback import LoopCallback
    from optix_core.optimizer import Optimizer
    from optix_core.plugins.records import Resolution
    from optix_core.types import HyperparamSet


@runtime_checkable
class Printing(Protocol):
    """Observers that print."""

    def print_to(self, stream: TextIO) -> None:
        """Print there instead of to standard output."""
        ...


_COMMON_WORDS = frozenset(
    {"agent", "algorithm", "env", "framework", "name", "optimizer", "seed", "tuner", "validation"}
)
"""Settings whose names occur in messages that are not about them."""


def make_env_from_config(config: TrainConfig, *, allow_import: bool = False) -> Any:
    """One environment as configured.

    Args:
        config: Its ``env`` and ``env_kwargs`` are used.
        allow_import: Accept ``"module:Name-v0"``, which runs the code of ``module``.

    Raises:
        ConfigError: It is not registered, needs a package, refuses its arguments, or would import a module.
    """
    from optix_core.plugins.envs import make_env

    origin = came_from("env", config.provenance)
    if ":" in config.env and not allow_import:
        module = config.env.partition(":")[0]
        raise ConfigError(
            f"env is {config.env!r}{origin}, which imports the module {module!r} and runs its code. If you trust it, "
            "say so: --allow-import on the command line, allow_import=True in Python."
        )
    try:
        return make_env(config.env, allow_import=allow_import, **config.env_kwargs)
    except EnvironmentFault as fault:
        raise ConfigError(f"{fault.message}{origin}", code=fault.code) from fault
    except ImportError as fault:
        raise ConfigError(f"env {config.env!r}{origin} cannot be imported: {fault}") from fault
    except TypeError as fault:
        if not config.env_kwargs:
            raise
        given = ", ".join(config.env_kwargs)
        raise ConfigError(f"env {config.env!r} refuses env_kwargs ({given}): {fault}") from fault


def resolve_agent_from_config(config: TrainConfig, env: Any) -> Resolution:
    """Which agent :func:`build_agent_from_config` would build; imports no framework.

    Raises:
        OptixError: No agent fits, or one of its settings is wrong; the message says where that came from.
    """
    from optix_core.factory import resolve_agent

    try:
        return resolve_agent(*_target(config, env), **_choices(config))
    except OptixError as error:
        raise _located(error, config.provenance) from error


def build_agent_from_config(config: TrainConfig, env: Any = None) -> tuple[BaseAgent, HyperparamSet]:
    """The agent as configured, and the hyperparameters that are in force.

    Args:
        config: Everything but the loop's own options is used.
        env: The environment whose spaces count; None: made and closed again.

    Raises:
        OptixError: No agent fits, or one of its settings is wrong; the message says where that came from.
    """
    from optix_core.factory import make_agent

    own = None if env is not None else make_env_from_config(config)
    try:
        agent = make_agent(*_target(config, own if env is None else env), **_choices(config))
    except OptixError as error:
        raise _located(error, config.provenance) from error
    finally:
        if own is not None:
            own.close()
    return agent, agent.get_hyperparams()


def build_tuner_from_config(config: TrainConfig) -> BaseOptimizer | str | None:
    """The tuner as configured: None for the loop's default, a name where no options are given, else the object.

    Raises:
        OptixError: There is no such tuner, or it refuses an option.
    """
    if not config.tuner:
        return None
    options = {name: value for name, value in config.tuner.items() if name != "name"}
    name = str(config.tuner["name"])
    if not options:
        return name
    from optix_core.plugins.registry import default_registry

    return default_registry().create("tuner", name, **options)


def build_callbacks_from_config(config: TrainConfig) -> list[LoopCallback]:
    """The observers as configured, in order.

    Raises:
        OptixError: There is no such callback, it needs a package, or it refuses an option.
    """
    from optix_core.plugins.registry import default_registry

    made: list[LoopCallback] = []
    for name, options in config.callbacks.items():
        try:
            made.append(default_registry().create("callback", name, **options))
        except TypeError as fault:
            origin = came_from("callbacks", config.provenance)
            given = ", ".join(options) or "no option"
            raise ConfigError(f"callback {name!r}{origin} refuses its options ({given}): {fault}") from fault
    return made


def build_optimizer_from_config(
    config: TrainConfig,
    *,
    callbacks: Iterable[LoopCallback] = (),
    resume: bool = False,
    allow_import: bool = False,
    output: TextIO | None = None,
) -> Optimizer:
    """Everything put together, ready to ``run()``.

    Args:
        config: What to build. With ``resume``, its ``run_dir`` is the run to continue.
        callbacks: Observers besides those that are configured; they come first.
        resume: Continue that run.
        allow_import: As for :func:`make_env_from_config`.
        output: Where configured observers print that print at all; None: standard output.

    Raises:
        OptixError: Something in the configuration is wrong.
    """
    from optix_core.optimizer import Optimizer

    observers = build_callbacks_from_config(config)
    if output is not None:
        for observer in observers:
            if isinstance(observer, Printing):
                observer.print_to(output)
    env = make_env_from_config(config, allow_import=allow_import)
    agent, _ = build_agent_from_config(config, env)
    try:
        return Optimizer(
            agent,
            env,
            n_envs=config.n_envs,
            window_size=config.window_size,
            max_episodes=config.max_episodes,
            callbacks=[*callbacks, *observers],
            validation_episodes=config.validation.get("episodes", 10),
            seed=config.seed,
            async_envs=config.async_envs,
            pipeline_options=dict(config.pipeline),
            runner=None if config.runner is None else str(config.runner["name"]),
            runner_options={k: v for k, v in (config.runner or {}).items() if k != "name"},
            optimizer=build_tuner_from_config(config),
            max_steps=config.max_steps,
            max_seconds=config.max_seconds,
            target_score=config.target_score,
            run_dir=config.run_dir,
            resume=resume,
            run_config=_record(config, agent),
            **config.optimizer,
        )
    except OptixError as error:
        raise _located(error, config.provenance) from error


def _record(config: TrainConfig, agent: BaseAgent) -> dict[str, Any]:
    """What ``run.json`` keeps, so that the run can be built again: the agent by its full name, no directory."""
    from optix_core.factory import spec_info_of

    info = spec_info_of(agent)
    chosen = config.algorithm if info is None else f"{info['plugin']}:{info['spec']}"
    record: dict[str, Any] = {
        "train": {**config_to_dict(config), "algorithm": chosen, "run_dir": None},
        "algorithm": chosen,
    }
    if config.preset is not None:
        record["preset"] = dict(config.preset)
    return record


def _target(config: TrainConfig, env: Any) -> tuple[Any, ...]:
    return (env,) if config.algorithm is None else (config.algorithm, env)


def _choices(config: TrainConfig) -> dict[str, Any]:
    return {
        "framework": config.framework,
        "deterministic": config.deterministic,
        "seed": config.seed,
        "device": config.device,
        **config.agent,
    }


def _located(error: OptixError, origins: Provenance) -> OptixError:
    """``error`` with the place of the setting it speaks of, where one is named in it."""
    import re

    for full, origin in origins.items():
        name = full.rpartition(".")[2]
        if name in _COMMON_WORDS:
            continue
        if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", error.message) and came_from(full, origins):
            if origin not in error.message:
                error.message = f"{error.message} ({full} is from {origin})"
                error.args = (error.message,)
            break
    return error
