"""The runner ``async``: how ``Optimizer(agent, env, runner="async")`` collects, and whether that will pay."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optix_core.errors import ConfigError
from optix_core.optimizer import default_window
from optix_core.runner import RunnerContext
from optix_distributed.pipeline import DistributedPipeline
from optix_distributed.settings import CollectionSettings

ENVS_PER_ACTOR = 8
"""By default: beyond that, stepping more environments together saves little per step."""
PROBE_S, PROBE_STEPS = 0.25, 500
"""How long, and for how many steps at most, one environment is tried beforehand."""
OVERHEAD_US = 12.0
"""Microseconds per step, besides the environment's own, of acting and collecting (measured with 8 environments)."""


def build(ctx: RunnerContext, /, **options: Any) -> DistributedPipeline:
    """The pipeline of a run.

    Args:
        ctx: The agent, its environments and the window that is wanted.
        **options: See ``optix_distributed.plugin``.

    Raises:
        ConfigError: An option cannot be honoured, or the agent's policy cannot act in actors.
    """
    actors, per_actor = options.pop("actors", None), options.pop("envs_per_actor", None)
    if actors is None and options.get("backend") == "ray":
        raise ConfigError(
            "backend='ray' needs the runner option actors: the processors of this machine say nothing about a cluster's"
        )
    cores = usable_cores()
    actors = cores if actors is None else actors
    if per_actor is None:
        per_actor = len(ctx.env_factories) if len(ctx.env_factories) > 1 else ENVS_PER_ACTOR
    for name, value in (("actors", actors), ("envs_per_actor", per_actor)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"runner option {name} is {value!r}; it must be a whole number of at least 1")
    pipeline_options = dict(ctx.pipeline_options)
    for name in ("on_env_error", "on_nonfinite", "strict"):
        if name in pipeline_options:
            options[name] = pipeline_options.pop(name)
    refused = sorted(name for name, value in pipeline_options.items() if value)
    if refused:
        raise ConfigError(
            f"the async runner cannot honour {', '.join(refused)}; leave runner= away, or these"
        )
    steps = ctx.window_size
    if steps is None:
        steps = default_window(ctx.agent, [*ctx.env_factories[:1]] * (actors * per_actor))
    settings = CollectionSettings(
        n_actors=actors, envs_per_actor=per_actor, trajectory_len=steps, **{"slots_per_actor": 1, **options}
    )
    if settings.backend == "local":
        cost = probe(ctx.env_factories[0], ctx.seed)
        advice = "" if cost is None else cost.advice(actors, cores)
        if advice:
            ctx.tell(advice)
    return DistributedPipeline(ctx.agent, list(ctx.env_factories), settings, seed=ctx.seed)


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step of an environment costs, in microseconds.

    Attributes:
        cpu: Of a processor's time.
        wall: On the clock.
        pauses: How often it gave its processor away of its own accord.
    """

    cpu: float
    wall: float
    pauses: float

    @property
    def waits(self) -> bool:
        """Whether most of a step is waiting, for something else than a processor that others use."""
        return self.pauses >= 0.5 and self.wall > 2.0 * (self.cpu + OVERHEAD_US)

    def bound(self, actors: int, cores: int) -> float:
        """How many times faster than one process collection can be at most.

        Waiting overlaps as often as there are actors; computing, as often as there are processors.
        """
        each = self.cpu + OVERHEAD_US
        alone = self.wall + OVERHEAD_US if self.waits else each
        return min(float(actors), cores * alone / each)

    def advice(self, actors: int, cores: int) -> str:
        """A sentence if actors will not pay, else nothing."""
        if self.waits:
            return ""
        facts = f"one step of this environment takes {self.cpu:.0f} us of a processor and does not wait"
        if cores < 2:
            return (
                f"the async runner will not pay here: {facts}, and this process may use 1 processor, which the learner "
                "needs as well. Without runner= the same takes less time"
            )
        if actors > cores:
            return (
                f"{actors} actors are more than will pay: {facts}, and this process may use {cores} "
                "processors. Collection "
                f"can be {self.bound(actors, cores):.1f} times as fast as in one process at most, with "
                f"{cores} actors as "
                "with more"
            )
        return ""


def probe(factory: Callable[[], Any], seed: int) -> StepCost | None:
    """Step one environment with random actions for a moment, in this process; None if it fails at that."""
    env = factory()
    try:
        env.action_space.seed(seed)
        env.reset(seed=seed)
        steps, cpu, wall, pauses = 0, time.process_time(), time.perf_counter(), _pauses()
        end = wall + PROBE_S
        while steps < PROBE_STEPS and time.perf_counter() < end:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            steps += 1
            if terminated or truncated:
                env.reset()
        n = max(steps, 1)
        return StepCost(
            (time.process_time() - cpu) / n * 1e6,
            (time.perf_counter() - wall) / n * 1e6,
            (_pauses() - pauses) / n,
        )
    except Exception:  # noqa: BLE001 - where it fails in the run, that is reported with everything known about it
        return None
    finally:
        env.close()


def _pauses() -> int:
    """Voluntary context switches of this process so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def usable_cores() -> int:
    """Processors that this process may use: by its affinity, and by the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, int(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no control groups of this kind
    return cores
