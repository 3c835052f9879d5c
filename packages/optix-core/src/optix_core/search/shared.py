"""The study that a search works on, together with whoever else has its name and storage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import optuna

from optix_core.search.owners import Owner, dismiss, reclaim
from optix_core.search.plan import Plan
from optix_core.search.sampling import SeededByPlace, make_pruner, sampler_factory
from optix_core.search.seeded import call_seeded
from optix_core.search.space import SearchSpace, declared_space
from optix_core.search.storage import open_storage
from optix_core.search.study import open_study

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent


class SharedStudy:
    """Opens the study, and knows what all that work on it must agree on.

    Args:
        plan: The numbers.
        storage: Where trials are kept; see :mod:`~optix_core.search.storage`.
        agent_factory: Makes an agent that declares what may be varied, if ``param_space`` is None.
        param_space: What to vary, see :mod:`~optix_core.search.space`.
        sampler: See :func:`~optix_core.search.sampling.sampler_factory`.
        pruner: See :func:`~optix_core.search.sampling.make_pruner`.

    Raises:
        ConfigError: The space, the sampler or the pruner cannot be.
    """

    def __init__(
        self,
        plan: Plan,
        storage: Any,
        agent_factory: Callable[..., BaseAgent],
        param_space: Mapping[str, Any] | None,
        *,
        sampler: Any,
        pruner: Any,
    ) -> None:
        self._plan = plan
        self.storage = storage
        self._agent_factory = agent_factory
        self.known_space = None if param_space is None else SearchSpace.parse(param_space)
        """What is varied; None until the agent has been asked."""
        self._sampler = SeededByPlace(sampler_factory(sampler, plan.n_startup_trials), plan.seed)
        self._pruner = make_pruner(pruner, plan)

    @property
    def space(self) -> SearchSpace:
        """What is varied; an agent is made, once, if it has to be asked.

        Raises:
            ConfigError: The agent declares nothing to search.
        """
        if self.known_space is None:
            agent = call_seeded(self._agent_factory, self._plan.seed, {})
            try:
                self.known_space = declared_space(agent)
            finally:
                agent.teardown()
        return self.known_space

    def open(self) -> optuna.Study:
        """The study, new or continued, with this search's sampler and pruner.

        Raises:
            ConfigError: The storage cannot be opened, or the study belongs to something else.
        """
        plan = self._plan
        settings = {"space": self.space.forms, "trial_steps": plan.trial_steps, "n_seeds": plan.n_seeds}
        settings |= {"aggregate": plan.aggregate, "direction": plan.direction, "seed": plan.seed}
        storage = open_storage(self.storage)
        study = open_study(storage, plan.study_name, direction=plan.direction, settings=settings)
        study.sampler, study.pruner = self._sampler, self._pruner
        return study

    def give_back(self, seats: Collection[str]) -> list[int]:
        """Give back the trials of whoever had one of these seats and is gone; their numbers.

        Raises:
            ConfigError: As for :meth:`open`.
        """
        study, me = self.open(), Owner.here()
        dismiss(study, seats, me)
        return reclaim(study, me, self._plan.stale_after, size=len(self.space))
