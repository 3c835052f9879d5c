"""Tuners that must lose: what a tuner is worth shows only beside them.

All of them use the windows, branches and evaluations of :class:`optix_core.tuners.SPSAOptimizer` with its defaults, so
that they cost the same. What is taken away differs:

* ``Sham`` perturbs both arms and never keeps anything: the price of probing.
* ``SelectionOnly`` trains two arms with the *same* values and keeps the better weights: what choosing among lucky
  branches gives without any tuning.
* ``RandomWalk`` tries SPSA's arms and moves to one of them by a coin, weights included: moving without looking.
"""

from __future__ import annotations

from optix_core.base_optimizer import Trial, TrialVerdict
from optix_core.seeding import Domain, generator
from optix_core.tuners import SPSAOptimizer


class Sham(SPSAOptimizer):
    """Probe and go back."""

    def conclude(self, trial, arm_returns, *, paired):
        verdict = super().conclude(trial, arm_returns, paired=paired)
        centre = {name: values[1] for name, values in trial.details["parameters"].items()}
        return TrialVerdict(
            params={**verdict.params, **centre}, keep_arm=None, committed=False, details=verdict.details
        )


class SelectionOnly(SPSAOptimizer):
    """Two arms alike; the better one's weights survive."""

    def propose(self, current_hyperparams, metrics_history):
        trial = super().propose(current_hyperparams, metrics_history)
        if trial is None:
            return None
        same = dict(current_hyperparams.params)
        alike = Trial(arms=(same, dict(same)), windows=trial.windows, label="selection")
        self._alike = (trial, alike, same)
        return alike

    def conclude(self, trial, arm_returns, *, paired):
        proposed, alike, same = self._alike
        assert alike is trial
        verdict = super().conclude(proposed, arm_returns, paired=paired)
        return TrialVerdict(params=same, keep_arm=verdict.keep_arm, committed=False, details=verdict.details)


class RandomWalk(SPSAOptimizer):
    """A coin decides which arm is next."""

    def bind(self, *, param_bounds=None, log_params=None, seed=None):
        super().bind(param_bounds=param_bounds, log_params=log_params, seed=seed)
        if seed is not None:
            self._coin = generator(seed, Domain.TUNER, 1)

    def conclude(self, trial, arm_returns, *, paired):
        super().conclude(trial, arm_returns, paired=paired)
        arm = int(self._coin.integers(2))
        survived = bool(len(arm_returns[arm]))
        return TrialVerdict(params=dict(trial.arms[arm]), keep_arm=arm if survived else None, committed=True)


CONTROLS = {"sham": Sham, "selection": SelectionOnly, "walk": RandomWalk}
