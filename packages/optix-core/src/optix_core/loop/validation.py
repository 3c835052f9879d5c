"""How good the policy is now, measured on episodes that training never sees."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optix_core.base_agent import ActingState
from optix_core.base_pipeline import BasePipeline, SeededEvaluation
from optix_core.errors import ConfigError, StreamError
from optix_core.state import Stateful

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from optix_core.base_agent import BaseAgent
    from optix_core.base_evaluator import BaseEvaluator
    from optix_core.state import State
    from optix_core.types import EpisodeData, EvalMetrics


@contextmanager
def undisturbed(agent: BaseAgent) -> Generator[None]:
    """Let ``agent`` act inside the context without any effect on its training.

    What acting changes is put back at the end. Agents that offer neither :class:`ActingState` nor full state
    stay as acting left them.
    """
    if isinstance(agent, ActingState):
        before = agent.acting_state()
        try:
            yield
        finally:
            agent.load_acting_state(before)
    elif isinstance(agent, Stateful):
        before = agent.state_dict()
        try:
            yield
        finally:
            agent.load_state_dict(before)
    else:
        yield


CONFIRMATION_INDEX = 1_000_000_000
"""First evaluation index of confirmations; validations count from 0, so the two never share an episode seed."""


class Validator:
    """Runs validations, paced so that they cost at most ``share`` of the training steps.

    Args:
        pipeline: Any pipeline; one with :class:`SeededEvaluation` also allows paired comparisons.
        evaluator: Scores what the pipeline yields.
        share: Validation steps allowed per training step, over the run so far. Pacing depends on step
            counts only, so it is the same in every repetition of a run.
    """

    def __init__(self, pipeline: BasePipeline, evaluator: BaseEvaluator, *, share: float = 0.5) -> None:
        if not share > 0:
            raise ConfigError(
                f"validation_share is {share}; it must be positive (0.5: one validation step per two of training)"
            )
        self._pipeline = pipeline
        self._evaluator = evaluator
        self._share = share
        self._windows: Iterator[EpisodeData] | None = None
        self._agent: BaseAgent | None = None
        self.count = 0
        self.steps = 0

    @property
    def paired(self) -> bool:
        """Whether two policies can be compared on the same episodes."""
        return isinstance(self._pipeline, SeededEvaluation)

    def setup(self, agent: BaseAgent) -> None:
        """Get the pipeline ready and let ``agent`` act in it."""
        self._agent = agent
        self._pipeline.set_agent(agent)
        self._pipeline.setup()
        self._windows = None if self.paired else self._pipeline.episodes()

    def teardown(self) -> None:
        """Close the pipeline."""
        self._pipeline.teardown()

    def due(self, training_steps: int) -> bool:
        """Whether the budget of validation steps allows another one now; the first is always due."""
        return self.count == 0 or self.steps <= self._share * training_steps

    def next_index(self) -> int:
        """Reserve the episode seeds of one evaluation; several policies may then be measured on them."""
        index = self.count
        self.count += 1
        return index

    def measure(self, index: int, *, episodes: int | None = None) -> EvalMetrics:
        """Evaluate the current policy on the episodes of ``index``, or on the next window of an unseeded pipeline."""
        if self._agent is None:
            raise RuntimeError("call setup(agent) before measuring")
        with undisturbed(self._agent):
            data = self._collect(index, episodes)
        self.steps += data.n_steps
        data.episode_id = index
        return self._evaluator.score_validation(data)

    def _collect(self, index: int, episodes: int | None) -> EpisodeData:
        if isinstance(self._pipeline, SeededEvaluation):
            return self._pipeline.evaluate(index, episodes=episodes)
        if self._windows is None:
            self._windows = self._pipeline.episodes()
        data = next(self._windows, None)
        if data is None:
            raise StreamError(
                f"the validation pipeline {type(self._pipeline).__name__} ended, so nothing can be measured any more. "
                "Validate on something without an end, for example EvaluationPipeline on a simulator."
            )
        return data

    def state_dict(self) -> State:
        """Counters, and the pipeline's own state if it has one."""
        state: State = {"count": self.count, "steps": self.steps}
        if isinstance(self._pipeline, Stateful):
            state["pipeline"] = self._pipeline.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue counting, and with the same episodes, as before."""
        if isinstance(self._pipeline, Stateful) and "pipeline" in state:
            self._pipeline.load_state_dict(state["pipeline"])
        self.count = int(state["count"])
        self.steps = int(state["steps"])
