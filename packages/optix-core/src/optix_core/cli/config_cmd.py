"""``optix config show``: every setting, its value and where it came from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optix_core.cli.flags import OK
from optix_core.cli.settings import add_config_flags, add_settings, config_from, open_run, recorded_config
from optix_core.errors import ConfigError

if TYPE_CHECKING:
    from optix_core.config.schema import TrainConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to show."""
    parser.add_argument("action", choices=["show"], help="show: print every setting and its origin")
    add_settings(parser, "id of an environment or directory of a run, and settings", "ENV|RUN|NAME=VALUE")
    add_config_flags(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def run(args: argparse.Namespace) -> int:
    """Print the configuration."""
    config = _config(args)
    rows = [(name, value, config.provenance.get(name, "default")) for name, value in _flat(config)]
    agent, agent_rows = _agent_rows(config, allow_import=args.allow_import)
    known = {name for name, _, _ in rows}
    rows += [row for row in agent_rows if row[0] not in known]
    rows.sort(key=lambda row: ("." in row[0], row[0]))
    if args.json:
        from optix_core.cli.documents import print_document

        settings = {name: {"value": value, "from": origin} for name, value, origin in rows}
        print_document({"agent": agent, "settings": settings})
        return OK
    from optix_core.cli.output import table

    print(f"agent: {agent}\n")
    print(
        table(("setting", "value", "from"), [(name, _shown(value), origin) for name, value, origin in rows])
    )
    return OK


def _config(args: argparse.Namespace) -> TrainConfig:
    plain = [word for word in args.words if "=" not in word]
    if len(plain) == 1 and (plain[0] == "last" or (Path(plain[0]) / "run.json").is_file()):
        if len(args.words) > 1 or args.config:
            raise ConfigError(
                "a run's configuration is shown as it was recorded; leave out --config and settings"
            )
        found = open_run(plain[0])
        config = recorded_config(found)
        from dataclasses import replace

        return replace(config, provenance={name: f"{found.path.name}/run.json" for name, _ in _flat(config)})
    return config_from(args)


def _flat(config: TrainConfig) -> list[tuple[str, Any]]:
    """Every setting with the value in force, the options of the loop and the tuner with their defaults."""
    from optix_core.config.provenance import leaves
    from optix_core.config.schema import (
        VALIDATION,
        config_to_dict,
        optimizer_fields,
        pipeline_fields,
        tuner_fields,
    )

    data = config_to_dict(config)
    data["optimizer"] = {**{k: f.default for k, f in optimizer_fields().items()}, **data["optimizer"]}
    data["validation"] = {**{k: f.default for k, f in VALIDATION.items()}, **data["validation"]}
    data["pipeline"] = {**{k: f.default for k, f in pipeline_fields().items()}, **data["pipeline"]}
    tuner = data["tuner"]
    own = {k: f.default for k, f in (tuner_fields(tuner.get("name", "spsa")) or {}).items()} if tuner else {}
    data["tuner"] = {**own, **tuner}
    return [(name, value) for name, value in leaves(data) if value != {}]


def _agent_rows(config: TrainConfig, *, allow_import: bool) -> tuple[str, list[tuple[str, Any, str]]]:
    """The agent that would be built, and its settings; imports no framework."""
    from optix_core.config.build import make_env_from_config, resolve_agent_from_config

    env = make_env_from_config(config, allow_import=allow_import)
    try:
        found = resolve_agent_from_config(config, env)
    finally:
        env.close()
    declared = [*found.spec.hyperparams, *found.spec.options]
    rows = [(f"agent.{item.name}", item.default, f"default of {found.qualified}") for item in declared]
    return found.qualified, rows


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"  # pyright: ignore[reportUnknownArgumentType]
    return str(value).lower() if isinstance(value, bool) else str(value)
