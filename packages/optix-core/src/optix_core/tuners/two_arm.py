"""Trials of two branches, one on either side of the centre."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optix_core.base_optimizer import Trial, TrialVerdict
from optix_core.tuners.base import SpaceTuner
from optix_core.tuners.judging import Judgement, judge
from optix_core.tuners.probe import Probe

if TYPE_CHECKING:
    from optix_core.types import History


class TwoArmTuner(SpaceTuner):
    """Moves its centre towards the better of two arms, where the interval of their difference excludes zero."""

    def begin_trial(self, params: dict[str, Any], history: History) -> Trial | None:
        """Two arms around ``params``, trained from the present state."""
        probe = self.draw_probe(params)
        if probe is None:
            return None
        details = self.probe_details(probe)
        details["parameters"] = {
            axis.name: [probe.arms[0][axis.name], probe.params[axis.name], probe.arms[1][axis.name]]
            for axis in probe.space.axes
        }
        if probe.space.widened:
            details["widened"] = {name: list(declared) for name, declared in probe.space.widened.items()}
        if probe.space.skipped:
            details["skipped"] = dict(probe.space.skipped)
        trial = Trial(arms=probe.arms, windows=self.windows_per_arm, label=self.label, details=details)
        self._pending = (trial, probe, history[-1].episode_returns)
        return trial

    def conclude(self, trial: Trial, arm_returns: Sequence[Sequence[float]], *, paired: bool) -> TrialVerdict:
        """Move the centre if the interval of the difference excludes zero; else return to it.

        Either way the better branch's weights are kept, so that its training is not lost, unless both branches fell
        significantly below the evaluation before the trial.

        Raises:
            ValueError: ``trial`` is not the one proposed last, or the number of arms differs.
        """
        probe, before = self._taken_up(trial, arm_returns)
        assert probe is not None
        found = judge(arm_returns, before, self._scale, paired=paired, confidence=self.confidence)
        self._ties = self._ties + 1 if found.tie else 0
        details = dict(found.details)
        steps = self.judged(probe, found)
        if found.winner is None or not found.decided:
            details.setdefault("outcome", "undecided: the interval includes zero, back to the centre")
            return TrialVerdict(
                params=dict(probe.params), keep_arm=found.keep, committed=False, details=details
            )
        details.setdefault("outcome", "decided: the centre moves towards the better arm")
        details["standardised"] = found.standard
        towards = [
            self._towards(step, (plus, minus)[found.winner] - centre) if plus != minus else 0.0
            for step, plus, minus, centre in zip(steps, probe.plus, probe.minus, probe.centre, strict=True)
        ]
        params = self._prober.moved(probe, towards)
        return TrialVerdict(params=params, keep_arm=found.keep, committed=True, details=details)

    @staticmethod
    def _towards(step: float, to_arm: float) -> float:
        """At least as far as the arm that was shown to be better, and never against the evidence."""
        return math.copysign(max(abs(step) if step * to_arm > 0 else 0.0, abs(to_arm)), to_arm)

    @abstractmethod
    def judged(self, probe: Probe, found: Judgement) -> list[float]:
        """Learn from a finished trial.

        Returns:
            The steps it would take, one per axis of the unit cube; a decided trial goes at least to the better arm.
        """

    @abstractmethod
    def probe_details(self, probe: Probe) -> dict[str, Any]:
        """Numbers behind a proposal, for the decision log."""
