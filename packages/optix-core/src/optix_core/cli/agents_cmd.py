"""``optix agents resolve``: which agent an environment would get, and every step that led there."""

from __future__ import annotations

import argparse

from optix_core.cli.flags import OK
from optix_core.cli.output import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command, with the choices of ``make_agent``."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    one = commands.add_parser("resolve", help="show what make_agent would choose, without building it")
    one.add_argument("env", metavar="ENV", help="id of a registered environment, for example CartPole-v1")
    one.add_argument(
        "--algorithm", metavar="NAME", help="agent or algorithm, also PLUGIN:NAME or FRAMEWORK:NAME"
    )
    one.add_argument("--framework", metavar="NAME", help="only agents of this framework")
    for word, text in (
        ("deterministic", "only agents with a deterministic policy; or only stochastic ones"),
        ("neuroevo", "only agents whose network grows; or none of them"),
        ("recurrent", "only agents with memory; or only those without"),
    ):
        one.add_argument(f"--{word}", action=argparse.BooleanOptionalAction, default=None, help=text)
    one.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def run(args: argparse.Namespace) -> int:
    """Print the choice and the steps."""
    from optix_core.factory import resolve_agent
    from optix_core.plugins.envs import make_env

    env = make_env(args.env)
    try:
        found = resolve_agent(
            *((env,) if args.algorithm is None else (args.algorithm, env)),
            framework=args.framework,
            deterministic=args.deterministic,
            neuroevo=args.neuroevo,
            recurrent=args.recurrent,
        )
    finally:
        env.close()
    if args.json:
        print_json({
            "schema": 1,
            "env": args.env,
            "agent": found.qualified,
            "version": found.record.version,
            "framework": found.spec.framework,
            "factory": found.spec.factory,
            "steps": list(found.steps),
        })  # fmt: skip
    else:
        print(
            f"{args.env}: {found.qualified} ({found.record.label}; {found.spec.framework}; {found.spec.factory})"
        )
        print("\n".join(f"  {step}" for step in found.steps))
    return OK
