"""Population-based training in one run: a generation is a set of branches from one state, and the best survives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from optix_core.base_optimizer import Trial, TrialVerdict
from optix_core.stats.comparison import compare_returns
from optix_core.tuners.base import Mode, SpaceTuner
from optix_core.tuners.judging import fell, numbers_of, usable
from optix_core.tuners.population import Ancestry, advantages, perturbed
from optix_core.tuners.space import as_number

if TYPE_CHECKING:
    from optix_core.state import State
    from optix_core.tuners.probe import Probe
    from optix_core.types import History, ParamBounds

DEFAULT_LOG_PARAMS = ("learning_rate", "lr", "alpha", "epsilon", "weight_decay")
"""Names on a logarithmic scale if neither the user nor the agent says which."""
_WIDER, _NARROWER = 2.0, 0.8  # explore scale after an undecided and after a decided generation
_SUCCESS, _FAILURE = 1.5, 1.5**-0.25  # the same in two-probe mode: the one-fifth rule (Rechenberg 1973)
_WIDEST = 0.45  # half-width of perturbations at most, as a part of the range; its deviation is that of SPSA's widest


class PBTOptimizer(SpaceTuner):
    """Exploit and explore (Jaderberg et al. 2017, arXiv:1711.09846) with branches as the population.

    A generation has ``population`` members, all trained from the same full state for ``windows_per_arm`` windows and
    validated on the same episodes: the values in force, and variants of them.

    *Exploit*: the run goes on with the weights and the optimizer state of the best member, and with its hyperparameters
    if the interval of its difference to the present values excludes zero, shared among the variants by Bonferroni (the
    paper's t-test selection). *Explore*: variants are uniform perturbations of the present values; a share
    ``exploit_percentile`` of them, and all where the present values did badly among their contemporaries, are
    perturbations of a member that did well. Members of different times are compared by their advantage within their
    own generation, never by raw scores, which rise with training time.

    It is a virtual population: one lineage of weights at any time, and as much experience as there are members per
    generation. In two-probe mode there is no population of weights at all: one variant and the present values take
    turns in ordinary windows, and the variant's values are adopted if the score gained more under them.

    Args:
        param_bounds: Tuning range per hyperparameter; None lets the loop fill in what the agent declares.
        history_size: Members remembered, >= 3.
        exploit_percentile: Share of a generation that starts from remembered members; also the bottom share of the
            memory in which present values count as bad; in (0, 0.5].
        top_percentile: Share of the memory that such variants start from, in (0, 0.5].
        explore_scale: Half-width of perturbations of the present values, as a part of the range, in (0, 0.5].
        exploit_scale: Half-width of perturbations of copied values, in (0, 0.5].
        log_scale_params: Names on a logarithmic scale; ``"1-gamma"`` puts ``1 - gamma`` on one. None: as for the
            bounds, and without any, :data:`DEFAULT_LOG_PARAMS` where their range allows it.
        log_params: Another name of ``log_scale_params``, for what the tuners share.
        mode: ``"branched"`` or ``"two_probe"``.
        seed: Root seed; None lets the loop fill in the run's (or takes a fresh one).
        population: Members per generation, the present values included, >= 2 (branched mode).
        windows_per_arm: Training windows per member.
        every: At most one generation per so many evaluated windows; doubled while all members score exactly the same.
        confidence: Of the intervals of one generation together.

    Raises:
        ConfigError: An argument is outside its range.
    """

    label: ClassVar[str] = "pbt"

    def __init__(
        self,
        param_bounds: ParamBounds | None = None,
        history_size: int = 50,
        exploit_percentile: float = 0.2,
        top_percentile: float = 0.2,
        explore_scale: float = 0.1,
        exploit_scale: float = 0.05,
        log_scale_params: Iterable[str] | None = None,
        *,
        log_params: Sequence[str] | None = None,
        mode: Mode = "branched",
        seed: int | None = None,
        population: int = 4,
        windows_per_arm: int = 2,
        every: int = 8,
        confidence: float = 0.95,
    ) -> None:
        self._require("history_size", history_size, history_size >= 3, "of 3 or more")
        for name, share in (("exploit_percentile", exploit_percentile), ("top_percentile", top_percentile)):
            self._require(name, share, 0 < share <= 0.5, "in (0, 0.5]")
        for name, scale in (("explore_scale", explore_scale), ("exploit_scale", exploit_scale)):
            self._require(name, scale, 0 < scale <= 0.5, "in (0, 0.5]")
        self._require("population", population, population >= 2, "of 2 or more")
        both = log_scale_params is not None and log_params is not None
        self._require("log_params", log_params, not both, "only where log_scale_params is not given")
        super().__init__(
            param_bounds,
            log_params if log_scale_params is None else log_scale_params,
            mode=mode,
            seed=seed,
            windows_per_arm=windows_per_arm,
            every=every,
            confidence=confidence,
        )
        self.explore_scale, self.exploit_scale, self.population = explore_scale, exploit_scale, population
        self._ancestry = Ancestry(history_size, exploit_percentile, top_percentile)
        self._widening = 1.0
        self._latest = 0.0  # advantage of the values in force in the last generation that they were part of

    # --- explore ----------------------------------------------------------------------------------------------------

    def _space(self, params: Mapping[str, Any]) -> Any:
        if self._prober.log_params is None:
            bounds = self._prober.bounds or {}
            self._prober.log_params = tuple(n for n in DEFAULT_LOG_PARAMS if n in bounds and bounds[n][0] > 0)
        return self._prober.space(params)

    def _variant(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """One perturbation: of a good member if the present values did badly, else mostly of these."""
        space, rng, ancestry = self._space(params), self._prober.rng, self._ancestry
        copied = rng.random() < ancestry.exploit_percentile or ancestry.at_bottom(self._latest)
        if copied and ancestry.is_known:
            top = ancestry.top()
            return perturbed(space, params, top[int(rng.integers(len(top)))].values, self.exploit_scale, rng)
        scale = min(self.explore_scale * self._widening, max(_WIDEST, self.explore_scale))
        return perturbed(space, params, {}, scale, rng)

    def draw_probe(self, params: Mapping[str, Any]) -> Probe | None:
        """One variant against the present values."""
        if not self._space(params).axes:
            return None
        variant = self._variant(params)
        return (
            None if variant == params else self._prober.rebuild(params, variant, params, self.explore_scale)
        )

    def begin_trial(self, params: dict[str, Any], history: History) -> Trial | None:
        """A generation: the present values first, then the variants."""
        if not self._space(params).axes:
            return None
        copying = self._ancestry.at_bottom(self._latest)
        arms = (dict(params), *(self._variant(params) for _ in range(self.population - 1)))
        if all(arm == params for arm in arms):
            return None
        details = {"explore": "around good members" if copying else "around the present values"}
        trial = Trial(arms=arms, windows=self.windows_per_arm, label=self.label, details=details)
        self._pending = (trial, None, history[-1].episode_returns)
        return trial

    # --- exploit ----------------------------------------------------------------------------------------------------

    def conclude(self, trial: Trial, arm_returns: Sequence[Sequence[float]], *, paired: bool) -> TrialVerdict:
        """The best member survives: its weights, and its values if they are significantly better.

        Raises:
            ValueError: ``trial`` is not the one proposed last, or the number of arms differs.
        """
        _, before = self._taken_up(trial, arm_returns)
        finished = [k for k, returns in enumerate(arm_returns) if usable(returns)]
        present = trial.arms[0]
        if not finished:
            self._widening = max(self._widening * 0.5, 0.1)
            details: dict[str, Any] = {"outcome": "every member diverged"}
            return TrialVerdict(params=dict(present), keep_arm=None, committed=False, details=details)
        means = {k: math.fsum(arm_returns[k]) / len(arm_returns[k]) for k in finished}
        standing = self._remember(trial, means)
        best = max(finished, key=lambda k: (means[k], -k))
        details = {"better_arm": best, "advantages": [standing.get(k) for k in range(len(trial.arms))]}
        decided = best != 0
        if decided and 0 in finished:
            confidence = 1.0 - (1.0 - self.confidence) / (len(trial.arms) - 1)
            result = compare_returns(arm_returns[best], arm_returns[0], paired=paired, confidence=confidence)
            details |= numbers_of(result, paired=paired)
            decided = result.low > 0
        self._ties = self._ties + 1 if len(finished) > 1 and len(set(means.values())) == 1 else 0
        worse = fell(arm_returns[best], before, self.confidence)
        if worse is not None:
            details["both_below_start"] = numbers_of(worse, paired=False)
        keep = None if worse is not None else best
        self._latest = standing[best if decided else 0] if decided or 0 in finished else self._latest
        if not decided:
            if self._widening * self.explore_scale < _WIDEST:  # the differences drown in noise
                self._widening *= _WIDER
            details["outcome"] = "no member is significantly better, the values stay"
            return TrialVerdict(params=dict(present), keep_arm=keep, committed=False, details=details)
        self._widening = max(self._widening * _NARROWER, 1.0)
        details["outcome"] = f"member {best + 1} takes over"
        return TrialVerdict(params=dict(trial.arms[best]), keep_arm=keep, committed=True, details=details)

    def probed(self, probe: Probe, standard: float) -> dict[str, Any]:
        """The variant's values if the score gained more under them."""
        for arm, advantage in zip(probe.arms, (standard / 2, -standard / 2), strict=True):
            self._ancestry.add(self._tuned(arm), advantage)
        self._latest = abs(standard) / 2
        if standard:
            wider = self._widening * (_SUCCESS if standard > 0 else _FAILURE)
            self._widening = min(max(wider, 1.0), max(_WIDEST / self.explore_scale, 1.0))
        return dict(probe.arms[0] if standard > 0 else probe.params)

    def witness(self, trial: Trial, arm_returns: Sequence[Sequence[float]]) -> None:
        """Remember the arms of another tuner's trial: they were a generation, too."""
        means = {k: math.fsum(r) / len(r) for k, r in enumerate(arm_returns) if usable(r)}
        self._remember(trial, means)

    def _remember(self, trial: Trial, means: Mapping[int, float]) -> dict[int, float]:
        """Add the members of a generation to the memory; their standardised advantages."""
        if len(means) < 2:
            return dict.fromkeys(means, 0.0)
        raw = advantages(list(means.values()))
        self._scale.standardise(max(raw, key=abs))
        unit = math.sqrt(self._scale.mean_square or 0.0)
        standing = {k: round(a / unit, 9) if unit else 0.0 for k, a in zip(means, raw, strict=True)}
        for k, advantage in standing.items():
            self._ancestry.add(self._tuned(trial.arms[k]), advantage)
        return standing

    def _tuned(self, params: Mapping[str, Any]) -> dict[str, float]:
        """The tuned values of ``params``."""
        numbers = {name: as_number(params.get(name)) for name in self._prober.bounds or {}}
        return {name: float(value) for name, value in numbers.items() if value is not None}

    # --- events and state -------------------------------------------------------------------------------------------

    def on_plateau(self, metrics_history: History) -> None:
        """Nothing moves: what was good before may not be any more."""
        del metrics_history
        self._ancestry.members.clear()

    def own_state(self) -> State:
        """The memory."""
        return {
            "ancestry": self._ancestry.state_dict(),
            "widening": self._widening,
            "latest": self._latest,
        }

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take it up."""
        widening, latest = float(state["widening"]), float(state["latest"])
        self._ancestry.load_state_dict(state["ancestry"])
        self._widening, self._latest = widening, latest
