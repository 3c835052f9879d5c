"""Trials of two branches, one on either side of the centre."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optix_core.base_optimizer import Trial, TrialVerdict
from optix_core.tuners.base import SpaceTuner
from optix_core.tuners.gains import DifferenceScale
from optix_core.tuners.homing import Homing
from optix_core.tuners.judging import Judgement, judge
from optix_core.tuners.probe import Probe

if TYPE_CHECKING:
    from optix_core.state import State
    from optix_core.types import History


class TwoArmTuner(SpaceTuner):
    """Moves its centre towards the better of two arms, where the interval of their difference excludes zero.

    Values outside of their declared ranges are asked about first, see :mod:`optix_core.tuners.homing`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._homing = Homing()

    def begin_trial(self, params: dict[str, Any], history: History) -> Trial | None:
        """Two arms around ``params``, trained from the present state."""
        space = self._prober.space(params)
        inside = self._homing.inside(space, params)
        if inside:
            return self._begin_homing(params, inside, space.widened, history)
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
        if probe is None:
            return self._conclude_homing(trial, arm_returns, before, paired=paired)
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

    def _begin_homing(
        self,
        params: dict[str, Any],
        inside: Mapping[str, Any],
        declared: Mapping[str, tuple[float, float]],
        history: History,
    ) -> Trial:
        details = {
            "outside": {
                name: {"value": params[name], "declared": list(declared[name]), "tried": value}
                for name, value in inside.items()
            }
        }
        trial = Trial(
            arms=({**params, **inside}, dict(params)),
            windows=self._homing.windows(self.windows_per_arm),
            label=f"{self.label}: values outside of their ranges",
            details=details,
        )
        self._pending = (trial, None, history[-1].episode_returns)
        return trial

    def _conclude_homing(
        self, trial: Trial, arm_returns: Sequence[Sequence[float]], before: Sequence[float], *, paired: bool
    ) -> TrialVerdict:
        # a scale of its own: what such a leap gains says nothing about the steps that follow
        found = judge(arm_returns, before, DifferenceScale(), paired=paired, confidence=self.confidence)
        taken = found.decided and found.winner == 0
        self._homing.learned(trial.details["outside"], decided=found.decided)
        outcome = "undecided: asked again with longer branches"
        if found.decided:
            outcome = (
                "decided: into the declared ranges" if taken else "decided: the values outside are better"
            )
        elif not self._homing.asking:
            outcome = "undecided: the values outside are left as they are"
        return TrialVerdict(
            params=dict(trial.arms[0 if taken else 1]),
            keep_arm=found.keep,
            committed=taken,
            details={"outcome": outcome, **found.details},
        )

    def _due(self) -> bool:
        if self._homing.asking and self._last_start is not None:
            return self._seen > self._last_start  # an open question is asked again at the next evaluation
        return super()._due()

    def state_dict(self) -> State:
        """As for every tuner, and what was asked about values outside of their ranges."""
        return {**super().state_dict(), "homing": self._homing.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``.

        Raises:
            ConfigError: It was written by a tuner in the other mode.
        """
        super().load_state_dict(state)
        self._homing.load_state_dict(state["homing"])

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
