"""``optix resume RUN [name=value ...]``: continue a run from its newest valid checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from optix_core.cli.flags import OK
from optix_core.cli.settings import add_settings, open_run, recorded_config, split_words
from optix_core.errors import ConfigError

if TYPE_CHECKING:
    from optix_core.config.schema import TrainConfig
    from optix_core.runs.decision_log import LogEvent
    from optix_core.runs.run_directory import RunDirectory

LIMITS = ("max_steps", "max_episodes", "max_seconds", "target_score")
"""Settings that may change when a run continues; all others would make it another run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, and new limits."""
    add_settings(
        parser,
        "directory of the run ('last': the newest), and new limits such as max_steps=2e5",
        "RUN|NAME=VALUE",
    )
    parser.add_argument("--allow-import", action="store_true", help="as for optix train")


def run(args: argparse.Namespace) -> int:
    """Continue."""
    name, overrides = split_words(args.words)
    if name is None:
        raise ConfigError("which run? optix resume RUN, where RUN is its directory, or last")
    found = open_run(name)
    config = with_limits(recorded_config(found), overrides)
    end = finish_of(found)
    if end is not None and not overrides:
        return _nothing_to_do(found, end, json=args.json)
    from optix_core.cli.running import execute

    config = dataclasses.replace(config, run_dir=str(found.path))
    return execute(config, json=args.json, resume=True, allow_import=args.allow_import)


def with_limits(config: TrainConfig, overrides: list[str]) -> TrainConfig:
    """``config`` with other limits.

    Raises:
        ConfigError: An override is about something else.
    """
    from optix_core.config.overrides import split_override
    from optix_core.config.provenance import CLI
    from optix_core.config.schema import TrainConfig, config_to_dict

    changes: dict[str, Any] = {}
    for item in overrides:
        name, value = split_override(item)
        if name not in LIMITS:
            raise ConfigError(
                f"{name} cannot change when a run continues; only {', '.join(LIMITS)} can. For other settings start "
                f"a new run: optix train {config.env} {item}"
            )
        changes[name] = value
    return TrainConfig.from_dict({**config_to_dict(config), **changes}, dict.fromkeys(changes, CLI))


def finish_of(found: RunDirectory) -> LogEvent | None:
    """The event with which the run ended by itself; None if it was interrupted or failed since."""
    last = None
    for event in found.log().read():
        if event.kind in {"finished", "interrupted", "failed", "resumed", "started"}:
            last = event
    return last if last is not None and last.kind == "finished" else None


def _nothing_to_do(found: RunDirectory, end: LogEvent, *, json: bool) -> int:
    if json:
        from optix_core.cli.documents import print_document

        same = {"run_dir": str(found.path), "resumed": False, "stop_reason": end.numbers.get("reason")}
        print_document({**same, **end.numbers, "steps": end.step, "windows": end.window})
    else:
        print(f"nothing to do: this run has finished ({end.numbers.get('message')})")
        print(f"to train longer, give it a new limit: optix resume {found.path} max_steps=...")
    return OK
