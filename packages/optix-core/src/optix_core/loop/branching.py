"""Experiments: several branches trained from one state, judged on the same validation episodes.

Both the tuner's trials and the probe before convergence is declared are run here. Environments go on stepping across
branches (most cannot be rewound); only what the agent has learned is put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from optix_core.state import Stateful
from optix_core.types import HyperparamSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline
    from optix_core.loop.training import TrainedWindow, WindowTrainer
    from optix_core.loop.validation import Validator
    from optix_core.state import State
    from optix_core.types import EvalMetrics


@dataclass(frozen=True, slots=True)
class Branch:
    """One finished arm.

    Attributes:
        params: The hyperparameters it trained with.
        state: The agent's full state at its end, or None if it diverged.
        metrics: Its validation, or None if it diverged.
    """

    params: dict[str, Any]
    state: State | None
    metrics: EvalMetrics | None

    @property
    def returns(self) -> tuple[float, ...]:
        """Validation returns per episode; empty if the arm diverged."""
        return () if self.metrics is None else self.metrics.episode_returns


@dataclass(frozen=True, slots=True)
class Experiment:
    """All arms of one experiment, and the reference they started from.

    Attributes:
        origin: The agent's full state before the first arm.
        origin_params: Its hyperparameters.
        reference: Validation of that state on the same episodes, if it was asked for.
        branches: The arms, in order.
    """

    origin: State
    origin_params: dict[str, Any]
    reference: EvalMetrics | None
    branches: tuple[Branch, ...]


class Interrupted(Exception):
    """A stop was requested, or the data ended, inside an experiment; the state before it has been restored."""


def can_branch(agent: BaseAgent, validator: Validator | BasePipeline | None) -> bool:
    """Whether branches are possible: the agent can be put back completely and there is something to judge by."""
    return validator is not None and isinstance(agent, Stateful)


def run_experiment(
    agent: BaseAgent,
    trainer: WindowTrainer,
    validator: Validator,
    arms: Sequence[Mapping[str, Any]],
    windows: int,
    *,
    with_reference: bool,
    on_window: Callable[[TrainedWindow], None],
    stop_requested: Callable[[], bool],
) -> Experiment:
    """Train every arm for ``windows`` windows from the present state and validate each on the same episodes.

    Afterwards the agent is in the state of the last arm; the caller decides how to go on and calls
    :func:`continue_from`.

    Raises:
        Interrupted: ``stop_requested`` turned true; the agent is back in its state before the experiment.
    """
    agent_state = cast("Stateful", agent)
    origin, origin_params = agent_state.state_dict(), agent.get_hyperparams().params
    index = validator.next_index()
    reference = validator.measure(index) if with_reference else None
    branches: list[Branch] = []
    for number, arm in enumerate(arms):
        if number > 0:
            agent_state.load_state_dict(origin)
        params = {**origin_params, **arm}
        agent.set_hyperparams(HyperparamSet(params))
        branches.append(
            _run_arm(agent, trainer, validator, params, windows, index, on_window, stop_requested, origin)
        )
    return Experiment(origin, origin_params, reference, tuple(branches))


def continue_from(agent: BaseAgent, state: State, params: Mapping[str, Any]) -> None:
    """Put the agent into ``state`` and let it go on with ``params``."""
    cast("Stateful", agent).load_state_dict(state)
    agent.set_hyperparams(HyperparamSet(dict(params)))


def _run_arm(
    agent: BaseAgent,
    trainer: WindowTrainer,
    validator: Validator,
    params: dict[str, Any],
    windows: int,
    index: int,
    on_window: Callable[[TrainedWindow], None],
    stop_requested: Callable[[], bool],
    origin: State,
) -> Branch:
    agent_state = cast("Stateful", agent)
    for _ in range(windows):
        window = None if stop_requested() else trainer.train()
        if window is None:
            agent_state.load_state_dict(origin)
            raise Interrupted
        on_window(window)
        if window.diverged:
            return Branch(params, None, None)
    metrics = validator.measure(index)
    return Branch(params, agent_state.state_dict(), metrics)
