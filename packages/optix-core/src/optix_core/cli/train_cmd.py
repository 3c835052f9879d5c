"""``optix train ENV [name=value ...]``: train until the loop itself decides that it is done."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from optix_core.cli.settings import (
    add_config_flags,
    add_settings,
    config_from,
    open_run,
    recorded_config,
    split_words,
)
from optix_core.errors import ConfigError

if TYPE_CHECKING:
    from optix_core.config.schema import TrainConfig

EPILOG = """\
examples:
  optix train CartPole-v1
  optix train CartPole-v1 n_envs=8 learning_rate=1e-3 --seed 1
  optix train CartPole-v1 --preset auto
  optix train --config run.toml max_steps=1e5 tuner.name=fixed
  optix train --replay-schedule optix_runs/RUN --seed 7
What can be set, and to what it is set: optix config show CartPole-v1

exit status: 0 trained, 1 the run failed, 2 wrong usage or configuration, 130 and 143 stopped by Ctrl-C and SIGTERM
(everything saved: optix resume continues)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Environment, settings and flags."""
    add_settings(parser, "id of the environment, and settings", "ENV|NAME=VALUE")
    add_config_flags(parser)
    parser.add_argument(
        "--replay-schedule",
        metavar="RUN",
        help="put the hyperparameters of a recorded run in force at the same steps, and tune nothing; without ENV "
        "and --config, with that run's settings",
    )
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    """Train."""
    config = config_from(args) if args.replay_schedule is None else replayed_config(args)
    from optix_core.cli.running import execute

    return execute(config, json=args.json, allow_import=args.allow_import)


def replayed_config(args: argparse.Namespace) -> TrainConfig:
    """The configuration of ``--replay-schedule``: as given, or that of the recorded run, with the replay as tuner.

    Raises:
        ConfigError: There is no such run, a tuner is given besides, or the recorded run has no configuration.
    """
    from optix_core.config.schema import config_to_dict

    run = open_run(args.replay_schedule)
    env, overrides = split_words(args.words)
    for item in overrides:
        name = item.partition("=")[0].strip()
        if name == "tuner" or name.startswith("tuner."):
            raise ConfigError(
                f"{name} is given besides --replay-schedule, which is itself the tuner; give one of them"
            )
    base: dict[str, Any] = {}
    if env is None and args.config is None and args.preset is None:
        recorded = config_to_dict(recorded_config(run))
        base = {k: v for k, v in recorded.items() if v is not None and k not in {"run_dir", "tuner"}}
    return config_from(args, {**base, "tuner": {"name": "replay", "run": str(run.path)}})
