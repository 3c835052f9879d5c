"""``optix eval RUN``: play complete episodes with a stored policy."""

from __future__ import annotations

import argparse
import math
from typing import Any

from optix_core.cli.flags import OK
from optix_core.cli.settings import add_settings, open_run, recorded_config, split_words
from optix_core.errors import ConfigError

SEED = 1000
"""Root seed of the episodes; training uses the run's own, so these are new to it whatever that was."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and how it is measured."""
    add_settings(parser, "directory of the run ('last': the newest)", "RUN")
    parser.add_argument("--episodes", type=int, default=100, metavar="N", help="complete episodes (100)")
    parser.add_argument(
        "--seed", type=int, default=SEED, metavar="N", help=f"root seed of the episodes ({SEED})"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="NAME",
        help="best, latest or a checkpoint's name; by default what the run returned",
    )
    parser.add_argument(
        "--stochastic", action="store_true", help="draw actions as in training instead of the greedy ones"
    )
    parser.add_argument("--allow-import", action="store_true", help="as for optix train")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    name, overrides = split_words(args.words)
    if name is None or overrides:
        raise ConfigError("optix eval takes one run: optix eval RUN [--episodes 100] [--seed 1000]")
    for flag, low in (("episodes", 1), ("seed", 0)):
        if getattr(args, flag) < low:
            raise ConfigError(f"--{flag} is {getattr(args, flag)}; it must be at least {low}")
    result = evaluate(name, args)
    if args.json:
        from optix_core.cli.documents import print_document

        print_document(result)
    else:
        print("\n".join(_lines(result)))
    return OK


def _lines(r: dict[str, Any]) -> list[str]:
    interval = "" if r["low"] is None else f" [{r['low']:.6g}, {r['high']:.6g}]"
    spread = ", ".join(f"{name} {r[name]:.6g}" for name in ("min", "median", "max", "sd"))
    ends = f"{r['terminated']} terminated, {r['truncated']} cut by a limit"
    return [
        f"policy   {r['checkpoint']} of {r['run_dir']}",
        f"return   {r['mean']:.6g}{interval} over {r['episodes']} episodes (seed {r['seed']})",
        f"spread   {spread}",
        f"length   {r['mean_length']:.6g} steps; {ends}",
    ]


def evaluate(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns of ``args.episodes`` episodes and their statistics, as plain data."""
    import numpy as np

    from optix_core.config.build import build_agent_from_config, make_env_from_config
    from optix_core.pipelines.evaluation import EvaluationPipeline
    from optix_core.stats.comparison import mean_interval

    found = open_run(name)
    config = recorded_config(found)
    pipeline = EvaluationPipeline(
        lambda: make_env_from_config(config, allow_import=args.allow_import),
        episodes=args.episodes,
        seed=args.seed,
        deterministic=not args.stochastic,
    )
    env = make_env_from_config(config, allow_import=args.allow_import)
    try:
        agent, _ = build_agent_from_config(config, env)
        registry = found.registry()
        chosen = args.checkpoint or returned_checkpoint(found) or "best"
        snapshot = registry.load(agent, chosen)
        pipeline.set_agent(agent)
        pipeline.setup()
        records = pipeline.evaluate(0).episodes
    finally:
        pipeline.teardown()
        env.close()
    returns = np.array([record.episode_return for record in records])
    interval = mean_interval(returns.tolist())
    bounded = math.isfinite(interval.low)
    return {
        "run_dir": str(found.path),
        "checkpoint": snapshot.snapshot_id,
        "episodes": len(records),
        "seed": args.seed,
        "greedy": not args.stochastic,
        "mean": interval.mean,
        "low": interval.low if bounded else None,
        "high": interval.high if bounded else None,
        "sd": float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
        "min": float(returns.min()),
        "median": float(np.median(returns)),
        "max": float(returns.max()),
        "mean_length": float(np.mean([record.length for record in records])),
        "terminated": sum(record.terminated for record in records),
        "truncated": sum(not record.terminated for record in records),
        "returns": returns.tolist(),
    }


def returned_checkpoint(found: Any) -> str | None:
    """The checkpoint whose weights the run handed back at its end."""
    names = [e.numbers.get("snapshot") for e in found.log().read() if e.kind == "finished"]
    stored = {snapshot.snapshot_id for snapshot in found.registry().snapshots()}
    return names[-1] if names and names[-1] in stored else None
