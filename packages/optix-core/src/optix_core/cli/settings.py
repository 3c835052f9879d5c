"""What the verbs about runs have in common: how settings are typed, and how runs are found."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optix_core.errors import CheckpointError, ConfigError, OptixError

if TYPE_CHECKING:
    from optix_core.config.schema import TrainConfig
    from optix_core.runs.run_directory import RunDirectory


def add_settings(parser: argparse.ArgumentParser, what: str, metavar: str) -> None:
    """Positional words."""
    parser.add_argument("words", nargs="*", metavar=metavar, help=what)


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of verbs that read a configuration."""
    parser.add_argument("--config", metavar="FILE", help="settings from a .toml, .yaml or .yml file")
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="settings that are known to work, or auto for the environment's first: optix presets list",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="root seed of everything random in the run")
    parser.add_argument(
        "--run-dir", metavar="DIR", help="directory of this run; a new one below ./optix_runs by default"
    )
    parser.add_argument(
        "--runner",
        metavar="NAME",
        help="who collects: async has processes that collect while the agent learns",
    )
    parser.add_argument("--actors", type=int, metavar="N", help="processes of the runner")
    parser.add_argument(
        "--allow-import",
        action="store_true",
        help="accept module:Name as environment, which runs the module's code",
    )


def split_words(words: list[str]) -> tuple[str | None, list[str]]:
    """The one word without ``=``, if there is one, and the ``name=value`` words.

    Raises:
        ConfigError: There are several words without ``=``.
    """
    plain = [word for word in words if "=" not in word]
    if len(plain) > 1:
        raise ConfigError(
            f"one name is expected, but there are {len(plain)}: {', '.join(plain)}. Settings read name=value."
        )
    return (plain[0] if plain else None), [word for word in words if "=" in word]


def config_from(args: argparse.Namespace, more: Mapping[str, Any] | None = None) -> TrainConfig:
    """The configuration that the words and flags of :func:`add_settings` and :func:`add_config_flags` describe.

    Args:
        args: What was typed.
        more: Settings by top-level name that are used where no word or flag says otherwise.

    Raises:
        ConfigError: Something about it is wrong.
    """
    from optix_core.config.load import load_config

    env, overrides = split_words(args.words)
    overrides = [*_runner_overrides(args), *overrides]
    settings = {"env": env, "preset": args.preset, "seed": args.seed, "run_dir": args.run_dir}
    given = {**(more or {}), **{name: value for name, value in settings.items() if value is not None}}
    try:
        return load_config(args.config, overrides, settings=given, agent_options=_agent_options())
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from None


def _runner_overrides(args: argparse.Namespace) -> list[str]:
    """``--runner`` and ``--actors`` as settings, so that a file's other options of the runner stay."""
    given = {"runner.name": getattr(args, "runner", None), "runner.actors": getattr(args, "actors", None)}
    return [f"{name}={value}" for name, value in given.items() if value is not None]


def open_run(name: str) -> RunDirectory:
    """The run in a directory; ``last`` is the newest below ``./optix_runs``.

    Raises:
        ConfigError: There is none.
    """
    from optix_core.rl_optimizer import DEFAULT_ROOT
    from optix_core.runs.run_directory import RunDirectory

    try:
        if name == "last" and not Path(name).exists():
            return RunDirectory.latest(DEFAULT_ROOT)
        return RunDirectory.open(name)
    except CheckpointError as error:
        raise ConfigError(error.message, code=error.code) from error


def recorded_config(run: RunDirectory) -> TrainConfig:
    """The configuration that a run was started with.

    Raises:
        ConfigError: It was not started from a configuration, or by a version with other settings.
    """
    from optix_core.config.schema import TrainConfig

    recorded = run.info.config.get("train")
    if not isinstance(recorded, dict):
        raise ConfigError(
            f"{run.path} was started from Python, with objects that a command cannot build again. Continue it there: "
            f"Optimizer(agent, env, run_dir={str(run.path)!r}, resume=True).run()"
        )
    return TrainConfig.from_dict(recorded, {})  # pyright: ignore[reportUnknownArgumentType]


def _agent_options() -> list[str] | None:
    """Every setting that some installed agent knows; None if plugins cannot say."""
    from optix_core.plugins.registry import default_registry

    try:
        names = {name for component in default_registry().agents() for name in component.spec.accepted}
    except (OptixError, ExceptionGroup):
        return None  # the same fault comes up, with its own message, when the agent is chosen
    return sorted(names) or None
