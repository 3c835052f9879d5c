"""Where a run's experience comes from, if not from environments in this process: what a runner is given, and gives.

A runner replaces the training pipeline and nothing else: validation, tuning, convergence, rollback, callbacks,
checkpoints and resuming are the loop's, whoever collects.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline


def _warn(sentence: str) -> None:
    warnings.warn(sentence, RuntimeWarning, stacklevel=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerContext:
    """What a runner's factory is called with, as ``build(ctx, **options)``.

    Attributes:
        agent: What learns.
        env_factories: One callable per environment that was asked for, each of which makes one.
        window_size: Steps per environment in one window; None: the runner chooses.
        seed: Root seed.
        pipeline_options: ``on_env_error`` and the like, as given; a runner refuses what it cannot honour.
        tell: Takes one sentence for the user, for example that this will not pay; the default is a warning.
    """

    agent: BaseAgent
    env_factories: Sequence[Callable[[], Any]]
    window_size: int | None
    seed: int
    pipeline_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tell: Callable[[str], None] = _warn


class Runner(Protocol):
    """The factory of a ``RunnerSpec``."""

    def __call__(self, ctx: RunnerContext, /, **options: Any) -> BasePipeline:
        """The pipeline that collects for ``ctx.agent``."""
        ...


def runner_pipeline(name: str, ctx: RunnerContext, options: Mapping[str, Any]) -> BasePipeline:
    """The training pipeline of the runner ``name``.

    Raises:
        PluginNotFound: There is none of this name.
        HyperparamError: It does not know an option.
        ConfigError: It cannot collect for this agent, or not with these options.
    """
    from optix_core.plugins.registry import default_registry

    return default_registry().create("runner", name, ctx, **options)
