"""What is done with one member at a time, in this process or in another: train for a while, then evaluate."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optix_core.base_pipeline import SeededEvaluation
from optix_core.errors import ConfigError
from optix_core.search.seeded import call_seeded
from optix_core.search.training import check_in_force
from optix_core.seeding import Domain, derive_seed
from optix_core.state import State, Stateful
from optix_core.types import HyperparamSet

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline
    from optix_core.types import EpisodeData

AGENT, TRAINING, EVALUATION = range(3)
"""Uses of a population's seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One interval of one member.

    Attributes:
        member: Whose.
        generation: Which interval, from 0.
        params: Hyperparameters.
        state: The agent's at its beginning; None: as the factory makes it.
        steps: Environment steps to learn from; 0: evaluate only.
        episodes: Of the evaluation.
    """

    member: int
    generation: int
    params: dict[str, Any]
    state: State | None
    steps: int
    episodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it.

    Attributes:
        state: The agent's at the end; None after a failure, and where nothing was trained.
        returns: Of the evaluation's episodes.
        steps: Environment steps learned from.
        failure: The traceback of an exception; empty if there was none.
    """

    state: State | None = None
    returns: tuple[float, ...] = ()
    steps: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Does the work of any member; travels to other processes by value.

    Attributes:
        agent_factory: ``(params) -> agent``; a parameter named ``seed`` receives one.
        pipeline_factory: ``() -> pipeline``, likewise.
        val_pipeline_factory: ``() -> pipeline`` whose evaluations can be repeated, likewise.
        seed: Root seed of the population.
    """

    agent_factory: Callable[..., BaseAgent]
    pipeline_factory: Callable[..., BasePipeline]
    val_pipeline_factory: Callable[..., BasePipeline]
    seed: int

    def __call__(self, work: Work) -> Done:
        """Train and evaluate. An exception is told in the result, unless it is about how this was set up.

        Raises:
            ConfigError: The parts do not fit each other.
        """
        try:
            return self._done(work)
        except ConfigError:
            raise
        except Exception:  # noqa: BLE001  # whatever a member does: it is logged, and the population goes on
            return Done(failure=traceback.format_exc())

    def agent(self, work: Work) -> Any:
        """The member's agent, as its work begins.

        Raises:
            ConfigError: It cannot say or take up its state, or has other hyperparameters than it was given.
        """
        seed = derive_seed(self.seed, Domain.POPULATION, AGENT, work.member)
        agent: Any = call_seeded(self.agent_factory, seed, dict(work.params))
        try:
            if not _is_stateful(agent):
                raise ConfigError(
                    f"{type(agent).__name__} has no state_dict and load_state_dict, so no member could copy another "
                    "one's weights; population-based training needs both"
                )
            if work.state is not None:
                agent.load_state_dict(work.state)
                agent.set_hyperparams(HyperparamSet({**agent.get_hyperparams().params, **work.params}))
            check_in_force(agent, work.params)
        except BaseException:
            agent.teardown()
            raise
        return agent

    def _done(self, work: Work) -> Done:
        with ExitStack() as held:
            agent = self.agent(work)
            held.callback(agent.teardown)
            steps = self._trained(agent, work, held) if work.steps else 0
            returns = self._evaluated(agent, work, held)
            if not all(map(math.isfinite, returns)):
                return Done(failure=f"the evaluation gave returns that are not finite: {returns}")
            return Done(state=agent.state_dict() if work.steps else None, returns=returns, steps=steps)

    def _trained(self, agent: BaseAgent, work: Work, held: ExitStack) -> int:
        seed = derive_seed(self.seed, Domain.POPULATION, TRAINING, work.member, work.generation)
        pipeline = call_seeded(self.pipeline_factory, seed)
        held.callback(pipeline.teardown)
        pipeline.set_agent(agent)
        pipeline.setup()
        windows, steps = pipeline.episodes(), 0
        while (left := work.steps - steps) > 0:
            size = pipeline.steps_per_window
            if size is not None and size > left and not pipeline.limit_next_window(left):
                break  # less than a step of every environment is left, or windows cannot be shortened
            window: EpisodeData = next(windows)
            agent.learn(window)
            steps += window.n_steps
        if not steps:
            raise ConfigError(
                f"an interval of {work.steps} environment steps is shorter than one window; raise interval_steps, or "
                "use smaller windows"
            )
        return steps

    def _evaluated(self, agent: BaseAgent, work: Work, held: ExitStack) -> tuple[float, ...]:
        # one seed for all members: in a generation they meet the same episodes
        seed = derive_seed(self.seed, Domain.POPULATION, EVALUATION)
        pipeline: Any = call_seeded(self.val_pipeline_factory, seed)
        held.callback(pipeline.teardown)
        if not _is_repeatable(pipeline):
            raise ConfigError(
                f"val_pipeline_factory made a {type(pipeline).__name__}, whose evaluations cannot be repeated on the "
                "same episodes; use EvaluationPipeline(make_env, seed=seed)"
            )
        pipeline.set_agent(agent)
        pipeline.setup()
        found = pipeline.evaluate(work.generation, episodes=work.episodes)
        return tuple(float(record.episode_return) for record in found.episodes)


def _is_stateful(agent: object) -> bool:  # apart, so that an agent's type is not narrowed to the protocol
    return isinstance(agent, Stateful)


def _is_repeatable(pipeline: object) -> bool:
    return isinstance(pipeline, SeededEvaluation)
