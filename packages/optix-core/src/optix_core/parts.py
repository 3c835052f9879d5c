"""The parts of a run, however they were given: ready-made, by name, or as factories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from optix_core.errors import ConfigError
from optix_core.search.seeded import call_seeded
from optix_core.tuner_choice import chosen_tuner

if TYPE_CHECKING:
    from collections.abc import Callable

    from optix_core.base_agent import BaseAgent
    from optix_core.base_optimizer import BaseOptimizer
    from optix_core.base_pipeline import BasePipeline

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the loop works with.

    Attributes:
        agent: What learns.
        pipeline: Where windows come from.
        val_pipeline: Episodes that decide, or None.
        tuner: Tunes hyperparameters while training; None for fixed ones.
    """

    agent: BaseAgent
    pipeline: BasePipeline
    val_pipeline: BasePipeline | None
    tuner: BaseOptimizer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenParts:
    """What the user gave; see :class:`~optix_core.rl_optimizer.RLOptimizer`. Nothing is made before it is needed."""

    agent: BaseAgent | None
    agent_factory: Callable[..., BaseAgent] | None
    pipeline: BasePipeline | None
    pipeline_factory: Callable[..., BasePipeline] | None
    val_pipeline: BasePipeline | None
    val_pipeline_factory: Callable[..., BasePipeline] | None
    tuner: BaseOptimizer | str | None
    seed: int | None

    def the_agent(self) -> BaseAgent:
        """The agent of a run without a search before it.

        Raises:
            ConfigError: None is given, or two are.
        """
        factory = self.agent_factory
        make = None if factory is None else lambda: call_seeded(factory, self.seed, {})
        return one_of("agent", self.agent, "agent_factory", make)

    def around(self, agent: BaseAgent) -> Parts:
        """All parts of a run with this agent.

        Raises:
            ConfigError: There is no pipeline or two, or the tuner cannot be.
        """
        from optix_core.loop.branching import can_branch

        factory, val_pipeline = self.pipeline_factory, self.val_pipeline
        make = None if factory is None else lambda: call_seeded(factory, self.seed)
        pipeline = one_of("pipeline", self.pipeline, "pipeline_factory", make)
        if val_pipeline is None and self.val_pipeline_factory is not None:
            val_pipeline = call_seeded(self.val_pipeline_factory, self.seed)
        tuner = chosen_tuner(self.tuner, agent, self.seed, can_branch=can_branch(agent, val_pipeline))
        return Parts(agent=agent, pipeline=pipeline, val_pipeline=val_pipeline, tuner=tuner)


def one_of(name: str, value: T | None, factory_name: str, factory: Callable[[], T] | None) -> T:
    """A part, or what its factory makes.

    Raises:
        ConfigError: Both are given, or neither is.
    """
    if value is not None and factory is not None:
        raise ConfigError(f"both {name} and {factory_name} are given; give one of them")
    if value is not None:
        return value
    if factory is None:
        raise ConfigError(f"neither {name} nor {factory_name} is given; the loop needs one of them")
    return factory()
