"""``optix train ENV [name=value ...]``: train until the loop itself decides that it is done."""

from __future__ import annotations

import argparse

from optix_core.cli.settings import add_config_flags, add_settings, config_from

EPILOG = """\
examples:
  optix train CartPole-v1
  optix train CartPole-v1 n_envs=8 learning_rate=1e-3 --seed 1
  optix train CartPole-v1 --preset auto
  optix train --config run.toml max_steps=1e5 tuner.name=fixed
What can be set, and to what it is set: optix config show CartPole-v1

exit status: 0 trained, 1 the run failed, 2 wrong usage or configuration, 130 and 143 stopped by Ctrl-C and SIGTERM
(everything saved: optix resume continues)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Environment, settings and flags."""
    add_settings(parser, "id of the environment, and settings", "ENV|NAME=VALUE")
    add_config_flags(parser)
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    """Train."""
    config = config_from(args)
    from optix_core.cli.running import execute

    return execute(config, json=args.json, allow_import=args.allow_import)
