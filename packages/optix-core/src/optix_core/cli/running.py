"""Run a configuration and talk about it: banner, progress, summary, exit status."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from optix_core.callbacks.line_writer import LineWriter
from optix_core.callbacks.progress import ProgressCallback, duration, number, short
from optix_core.cli.flags import OK
from optix_core.config.build import build_optimizer_from_config
from optix_core.config.schema import config_to_dict
from optix_core.errors import CheckpointError, ConfigError, OptixError
from optix_core.loop_callback import LoopCallback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from optix_core.config.schema import TrainConfig
    from optix_core.loop.result import RunResult
    from optix_core.optimizer import Optimizer

_SIGNALS = 128
_DISPLAYS = frozenset({"progress", "rich"})
"""Callbacks that print what happens."""


class _Opening(LoopCallback):
    """Prints the banner once the run's directory exists, and lets the progress line see the loop."""

    def __init__(self, config: TrainConfig, progress: ProgressCallback) -> None:
        self.config = config
        self.progress = progress
        self.optimizer: Optimizer | None = None

    def on_loop_start(self) -> None:
        """The banner."""
        if self.optimizer is None:
            return
        self.progress.attach(_controller_of(self.optimizer))
        for line in banner(self.config, self.optimizer):
            self.progress.writer.line(line)


def execute(
    config: TrainConfig,
    *,
    json: bool,
    resume: bool = False,
    allow_import: bool = False,
    prepare: Callable[[Optimizer], None] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> int:
    """Train as configured.

    Args:
        config: What to run.
        json: One JSON document on standard output, everything else on standard error.
        resume: Continue the run in ``config.run_dir``.
        allow_import: Environments may name a module.
        prepare: Called with the optimizer before it runs.
        extra: Further fields of the JSON document.

    Returns:
        The exit status.

    Raises:
        OptixError: As the run did; standard error says then where it lies.
    """
    out: TextIO = sys.stderr if json else sys.stdout
    progress = ProgressCallback(out if json else None)
    opening = _Opening(config, progress)
    # whoever asked for another display gets that instead of the usual line
    own: list[LoopCallback] = [opening] if _DISPLAYS & set(config.callbacks) else [opening, progress]
    optimizer = build_optimizer_from_config(
        config, callbacks=own, resume=resume, allow_import=allow_import, output=out if json else None
    )
    opening.optimizer = optimizer
    if prepare is not None:
        prepare(optimizer)
    try:
        result = optimizer.run()
    except CheckpointError as error:
        if error.code.startswith("E-RUN-"):
            raise ConfigError(error.message, code=error.code) from error
        _say_where(optimizer)
        raise
    except BaseException as error:
        _show_cause(error)
        _say_where(optimizer)
        raise
    if json:
        from optix_core.cli.documents import print_document

        print_document({**document(config, optimizer, result, resumed=resume), **(extra or {})})
    else:
        writer = LineWriter(None, "plain")
        for line in summary(result):
            writer.line(line)
    return OK if result.signal is None else _SIGNALS + result.signal


def banner(config: TrainConfig, optimizer: Optimizer) -> list[str]:
    """What is about to happen."""
    agent: Any = optimizer.agent
    info: dict[str, Any] = getattr(agent, "optix_spec_info", {}) or {}
    values = ", ".join(f"{k} {_shown(v)}" for k, v in agent.get_hyperparams().params.items())
    chosen = "" if config.algorithm else "  (chosen by the environment's spaces; another: algorithm=NAME)"
    name = f"{info['plugin']}:{info['spec']}" if info else type(agent).__name__
    limits = [
        text
        for value, text in (
            (config.max_steps, f"{config.max_steps or 0:,} steps"),
            (config.max_episodes, f"{config.max_episodes or 0:,} windows"),
            (config.max_seconds, f"{config.max_seconds or 0:g} s"),
        )
        if value is not None
    ]
    budget = f"at most {', '.join(limits)}" if limits else "no limit"
    target = "" if config.target_score is None else f", or a score of {number(config.target_score)}"
    return [
        f"env      {config.env}  x {config.n_envs}, seed {config.seed}",
        *([] if config.preset is None else [f"preset   {config.preset['name']}: {config.preset['source']}"]),
        f"agent    {name}{chosen}",
        f"params   {values}",
        f"budget   {budget}: until converged{target}",
        f"run      {shown_path(optimizer.run_dir)}",
    ]


def summary(result: RunResult) -> list[str]:
    """What happened, and what can be done next."""
    speed = result.steps / result.elapsed if result.elapsed > 0 else 0.0
    place = shown_path(result.run_dir)
    run = shlex.quote(place)
    done = (
        f"done     {result.stop_reason.name.lower()} after {result.steps:,} steps, {result.windows} windows, "
        f"{duration(result.elapsed)} ({short(speed)} steps/s)"
    )
    lines = [done, f"why      {result.message}"]
    confirmed = result.confirmation
    if confirmed is not None:
        lines.append(
            f"policy   {number(confirmed.mean)} [{number(confirmed.low)}, {number(confirmed.high)}] over "
            f"{confirmed.episodes} fresh episodes, checkpoint {confirmed.snapshot_id}"
        )
        if confirmed.selected_score is not None:
            optimism = confirmed.selected_score - confirmed.mean
            lines[-1] += f" (chosen for {number(confirmed.selected_score)}: optimism {number(optimism)})"
    elif result.best_score is not None:
        lines.append(f"policy   best score {number(result.best_score)}, not confirmed on fresh episodes")
    else:
        lines.append("policy   no score was ever measured: no episode was completed")
    lines.append(f"run      {place}")
    lines.append(f"next     optix explain {run}   optix eval {run}   optix resume {run}")
    if result.callback_faults:
        faults = ", ".join(f"{name} {count} times" for name, count in result.callback_faults.items())
        lines.append(f"note     callbacks failed: {faults}")
    return lines


def document(
    config: TrainConfig, optimizer: Optimizer, result: RunResult, *, resumed: bool
) -> dict[str, Any]:
    """The result as plain data."""
    return {
        "resumed": resumed,
        "run_dir": result.run_dir,
        "env": config.env,
        "agent": getattr(optimizer.agent, "optix_spec_info", None),
        "seed": config.seed,
        "stop_reason": result.stop_reason.name.lower(),
        "converged": result.stop_reason.is_convergence,
        "message": result.message,
        "state": result.state.name,
        "best_score": result.best_score,
        "confirmation": None if result.confirmation is None else asdict(result.confirmation),
        "snapshot": result.snapshot_id,
        "steps": result.steps,
        "validation_steps": result.validation_steps,
        "windows": result.windows,
        "episodes": result.episodes,
        "elapsed": result.elapsed,
        "steps_per_second": result.steps / result.elapsed if result.elapsed > 0 else None,
        "signal": result.signal,
        "callback_faults": result.callback_faults,
        "hyperparams": dict(optimizer.agent.get_hyperparams().params),
        "config": config_to_dict(config),
    }


def shown_path(path: Path | str | None) -> str:
    """Relative to the current folder if it lies below it, which is shorter."""
    place = Path(path or "").absolute()
    here = Path.cwd()
    return str(place.relative_to(here)) if place.is_relative_to(here) else str(place)


def _controller_of(optimizer: Optimizer) -> Any:
    """The loop behind ``optimizer``, which exists once it runs."""
    return optimizer.controller


def _show_cause(error: BaseException) -> None:
    """The traceback of somebody else's exception behind one of ours: that is where the mistake is."""
    cause = error.__cause__
    if isinstance(error, OptixError) and cause is not None and not isinstance(cause, OptixError):
        import traceback

        LineWriter(sys.stderr, "plain").line("".join(traceback.format_exception(cause)).rstrip())


def _say_where(optimizer: Optimizer) -> None:
    """After a failure: where the run lies, if it got that far."""
    run = optimizer.run_dir
    if run is not None and run.exists():
        quoted = shlex.quote(shown_path(run))
        LineWriter(sys.stderr, "plain").line(
            f"optix: the run so far lies in {shown_path(run)}; "
            f"explained by: optix explain {quoted}; continued by: optix resume {quoted}"
        )


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
