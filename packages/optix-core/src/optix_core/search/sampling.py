"""Where proposals come from, and when a trial is hopeless.

Optuna's samplers keep their random state in memory, so a study that is killed and continued proposes something else
than one that ran through. Here every trial draws from a sampler seeded anew by the trial's place among those that
count, so the proposals depend on the study alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from optix_core.errors import ConfigError
from optix_core.search.owners import is_void
from optix_core.search.plan import Plan
from optix_core.seeding import Domain, derive_seed

SamplerFactory = Callable[[int], BaseSampler]
"""A seed to a sampler."""


def sampler_factory(sampler: Any, n_startup_trials: int) -> SamplerFactory:
    """What makes the sampler of one trial.

    Args:
        sampler: ``"tpe"``, ``"random"``, or a function from a seed to an Optuna sampler.
        n_startup_trials: Trials drawn at random before TPE uses what it has seen.

    Raises:
        ConfigError: It is something else; a sampler object cannot be seeded for each trial.
    """
    if sampler == "tpe":
        return lambda seed: optuna.samplers.TPESampler(n_startup_trials=n_startup_trials, seed=seed)
    if sampler == "random":
        return lambda seed: optuna.samplers.RandomSampler(seed=seed)
    if callable(sampler) and not isinstance(sampler, BaseSampler):
        return cast("SamplerFactory", sampler)
    raise ConfigError(
        f"sampler is {sampler!r}; it must be 'tpe', 'random', or a function from a seed to an Optuna sampler such as "
        "lambda seed: optuna.samplers.CmaEsSampler(seed=seed)"
    )


def make_pruner(pruner: Any, plan: Plan) -> optuna.pruners.BasePruner:
    """The pruner that a name stands for.

    Args:
        pruner: ``"median"``, ``"wilcoxon"`` (compares whole seeds), ``"none"``, or an Optuna pruner.
        plan: Says how long trials are left in peace, in rungs.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(pruner, optuna.pruners.BasePruner):
        return pruner
    if pruner == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=plan.n_startup_trials,
            n_warmup_steps=plan.pruner_warmup_steps * plan.rung,
            interval_steps=plan.pruner_interval * plan.rung,
        )
    if pruner == "wilcoxon":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # it is asked for by name
            return optuna.pruners.WilcoxonPruner()
    if pruner in {"none", None}:
        return optuna.pruners.NopPruner()
    raise ConfigError(
        f"pruner is {pruner!r}; it must be 'median', 'wilcoxon', 'none' or an Optuna pruner object"
    )


def place_of(study: optuna.Study, number: int) -> int:
    """How many trials before ``number`` count: all but those that were given back."""
    void = study.user_attrs
    return sum(t.number < number and not is_void(void, t.number) for t in study.get_trials(deepcopy=False))


class SeededByPlace(BaseSampler):
    """Hands every trial to a sampler of its own, seeded by the search's seed and the trial's place.

    Args:
        factory: A seed to a sampler.
        seed: Root seed of the search.
    """

    def __init__(self, factory: SamplerFactory, seed: int) -> None:
        self._factory = factory
        self._seed = seed
        self._number: int | None = None
        self._inner: BaseSampler | None = None

    def _for(self, study: optuna.Study, trial: FrozenTrial) -> BaseSampler:
        if self._inner is None or self._number != trial.number:
            place = place_of(study, trial.number)
            self._inner = self._factory(derive_seed(self._seed, Domain.TRIAL, 0, place))
            self._number = trial.number
        return self._inner

    def reseed_rng(self) -> None:
        """Nothing: seeds depend on the trial only."""

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As the trial's own sampler does."""
        self._for(study, trial).before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As the trial's own sampler does."""
        self._for(study, trial).after_trial(study, trial, state, values)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As the trial's own sampler does."""
        return self._for(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the trial's own sampler does."""
        return self._for(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As the trial's own sampler does."""
        return self._for(study, trial).sample_independent(study, trial, param_name, param_distribution)
