"""``optix export RUN``: write a run's policy to a file that other programs can use."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optix_core.cli.flags import OK
from optix_core.cli.settings import add_settings, open_run, recorded_config, split_words
from optix_core.errors import ConfigError

_SUFFIXES = {"onnx": ".onnx", "numpy": ".safetensors"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the format and the file."""
    add_settings(parser, "directory of the run ('last': the newest)", "RUN")
    parser.add_argument(
        "--format", default="onnx", metavar="NAME", help="onnx, numpy or what a plugin offers (onnx)"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="the file; policy.onnx in the run's directory, or alike"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="NAME",
        help="best, latest or a checkpoint's name; by default what the run returned",
    )
    parser.add_argument(
        "--action-mask",
        action="store_true",
        help="let the file take the masks that environments give in info",
    )
    parser.add_argument("--allow-import", action="store_true", help="as for optix train")


def run(args: argparse.Namespace) -> int:
    """Export and say what was written."""
    name, overrides = split_words(args.words)
    if name is None or overrides:
        raise ConfigError("optix export takes one run: optix export RUN [--format onnx] [--out FILE]")
    result = export(name, args)
    if args.json:
        from optix_core.cli.documents import print_document

        print_document(result)
    else:
        found = result["verification"]
        compared = (
            ""
            if found is None
            else f"; acts as the agent does on {found['observations']} observations (largest difference "
            f"{found['largest_difference']:.2g})"
        )
        print(f"wrote {result['path']}: {result['checkpoint']} as {result['format']}{compared}")
    return OK


def export(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Write the policy of a run; what was written, as plain data.

    Raises:
        ConfigError: There is no such run, checkpoint or format, or the policy cannot be exported.
    """
    from optix_core.cli.evaluate_cmd import returned_checkpoint
    from optix_core.config.build import build_agent_from_config, make_env_from_config
    from optix_core.plugins.lookup import load_factory
    from optix_core.plugins.registry import default_registry

    registry = default_registry()
    offered = {component.spec.format: component for component in registry.exporters()}
    if args.format not in offered:
        raise ConfigError(
            f"no exporter writes {args.format!r}; there are {', '.join(sorted(offered))} (optix components exporters)"
        )
    component = offered[args.format]
    found = open_run(name)
    config = recorded_config(found)
    target = Path(args.out) if args.out else found.path / f"policy{_SUFFIXES.get(args.format, '')}"
    env = make_env_from_config(config, allow_import=args.allow_import)
    try:
        agent, _ = build_agent_from_config(config, env)
        checkpoints = found.registry()
        chosen = args.checkpoint or returned_checkpoint(found) or "best"
        snapshot = checkpoints.load(agent, chosen)
        write = load_factory(component)
        options = {"action_mask": True} if args.action_mask else {}
        verification = write(agent, target, **options)
    finally:
        env.close()
    return {
        "run_dir": str(found.path),
        "checkpoint": snapshot.snapshot_id,
        "format": args.format,
        "path": str(target),
        "verification": None if verification is None else asdict(verification),
    }
