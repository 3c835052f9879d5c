"""Which tuner a run gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from optix_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optix_core.base_agent import BaseAgent
    from optix_core.base_optimizer import BaseOptimizer
    from optix_core.types import ParamBounds


@runtime_checkable
class BindableTuner(Protocol):
    """Tuners that let the loop fill in what their constructor was not given."""

    def bind(
        self,
        *,
        param_bounds: ParamBounds | None = None,
        log_params: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> None:
        """Take what is missing; what was given stays."""
        ...


def chosen_tuner(
    choice: BaseOptimizer | str | None, agent: BaseAgent, seed: int | None, *, can_branch: bool
) -> BaseOptimizer | None:
    """The tuner to use; without a choice, SPSA over whatever the agent declares as tunable."""
    from optix_core.loop.tuning import ScheduledTuner

    bounds = dict(type(agent).default_param_bounds)
    logs = list(type(agent).default_log_params)
    if choice is not None and not isinstance(choice, str):
        if isinstance(choice, BindableTuner):
            choice.bind(param_bounds=bounds or None, log_params=logs or None, seed=seed)
        if isinstance(choice, ScheduledTuner):
            choice.check(agent)
        return choice
    name = choice or ("spsa" if bounds else "fixed")
    if name == "fixed":
        from optix_core.tuners.fixed import FixedOptimizer

        return FixedOptimizer()
    if not bounds:
        raise ConfigError(
            f"tuner {name!r} has nothing to tune: {type(agent).__name__} declares no default_param_bounds. Pass a "
            "tuner object with param_bounds, or optimizer='fixed'."
        )
    from optix_core.plugins.registry import default_registry

    if name == "replay":
        raise ConfigError(
            "tuner 'replay' needs the run to replay: pass optimizer=ScheduleReplay.from_run(path), or use "
            "optix train --replay-schedule RUN"
        )
    # Without branches the tuners of core can still probe in the windows of ordinary training.
    probing = {"spsa", "momentum", "backoff", "pbt", "adaptive"}
    options: dict[str, Any] = {"mode": "two_probe"} if name in probing and not can_branch else {}
    tuner: BaseOptimizer = default_registry().create(
        "tuner", name, param_bounds=bounds, log_params=logs, **options
    )
    if isinstance(tuner, BindableTuner):
        tuner.bind(seed=seed)
    return tuner
