"""The stopping protocol of benchmarks/loop with few seeds, and mutants of the rules that it must catch."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optix_core.loop import degradation, evidence, transition
from optix_core.loop.records import Action, LoopConfig, LoopSnapshot, WindowReport
from optix_core.stats import slope

PROTOCOL = Path(__file__).resolve().parents[4] / "benchmarks" / "loop"
if not PROTOCOL.is_dir():
    pytest.skip("the protocol lies in the repository, not in the distribution", allow_module_level=True)


@pytest.fixture(scope="module", autouse=True)
def protocol():
    sys.path.insert(0, str(PROTOCOL))
    import run as module

    yield module
    sys.path.remove(str(PROTOCOL))
    for name in ("run", "simulate", "curves"):
        sys.modules.pop(name, None)


def premature(protocol, family, seeds, config=None, **options):
    outcomes = [protocol.simulate(job, config) for job in protocol.jobs(family, seeds, **options)]
    return float(np.mean([o.by_itself and o.stop < o.t95 for o in outcomes]))


@pytest.mark.parametrize("family", ["logistic", "exponential"])
def test_no_stop_before_95_percent(protocol, family):
    assert premature(protocol, family, 18) == 0.0


def test_a_noisy_ramp_is_never_called_converged(protocol):
    assert not any(protocol.simulate(job).by_itself for job in protocol.jobs("ramp", 18))


def test_a_flat_run_stops_within_three_windows(protocol):
    outcomes = [protocol.simulate(job) for job in protocol.jobs("flat", 18, length=1800)]
    assert np.mean([o.by_itself and o.stop + 1 <= 3 * o.first_window for o in outcomes]) >= 0.9


def test_collapses_are_found_and_noise_is_not(protocol):
    found = [protocol.simulate(job).detected_after for job in protocol.jobs("collapse", 36, mode="collapse")]
    assert np.mean([after is not None and after <= 3 for after in found]) >= 0.9
    watched = [protocol.simulate(job).rollbacks for job in protocol.jobs("linear_then_flat", 9, mode="watch")]
    assert np.mean(watched) <= 1.0


def test_unit_and_zero_do_not_matter(protocol):
    assert all(protocol.invariant(seed) == (True, True) for seed in (0, 8, 10))


# ------------------------------------------------------------------ mutants


def test_mutant_without_autocorrelation(protocol, monkeypatch):
    monkeypatch.setattr(slope, "unbias_lag1", lambda r1, n: np.zeros_like(r1))
    jobs = [protocol.Job("ramp", 0.2, 0.8, tails, seed) for seed in range(10) for tails in ("normal", "t3")]
    assert any(protocol.simulate(job).by_itself for job in jobs)


def test_mutant_that_stops_where_no_rise_can_be_shown(protocol, monkeypatch):
    right = evidence.examine

    def mutant(snapshot, config):
        found = right(snapshot, config)
        return replace(found, equivalent=not found.rising)

    monkeypatch.setattr(transition, "examine", mutant)
    assert premature(protocol, "logistic", 18) > 0.3


def test_mutant_that_does_not_look_at_the_long_run(protocol, monkeypatch):
    calm = evidence.LongRun(rising=False, resolved=True)
    monkeypatch.setattr(evidence, "_long_run", lambda *args: calm)
    stopped = [protocol.simulate(job).by_itself for job in protocol.jobs("ramp", 54) if job.noise == 0.2]
    assert np.mean(stopped) > 0.0


def test_mutant_that_takes_every_low_score_for_a_drop(protocol):
    config = LoopConfig(probe=False, keep_watching=True, degradation_sigmas=0.5)
    watched = [protocol.simulate(job, config).rollbacks for job in protocol.jobs("flat", 9, mode="watch")]
    assert np.mean(watched) > 1.0


def test_mutant_with_an_absolute_threshold(protocol, monkeypatch):
    right = degradation.examine_drop
    absolute = {"min_degradation_drop": 2.0}
    monkeypatch.setattr(transition, "examine_drop", lambda s, c: right(s, replace(c, **absolute)))
    assert not all(practical for _, practical in map(protocol.invariant, (8, 21)))


def test_mutant_that_lowers_the_best(monkeypatch):
    def bests():
        snapshot, seen = LoopSnapshot(), []
        for i, score in enumerate([*range(0, 101, 5), *[5.0] * 10, *range(5, 60, 5)]):
            decision = transition.decide(snapshot, WindowReport(window=i, score=float(score)), LoopConfig())
            snapshot = decision.snapshot
            seen.append(snapshot.best)
        return seen

    assert bests() == sorted(bests())
    right = transition._judge_best

    def mutant(draft, report, config):
        right(draft, report, config)
        if len(draft.snapshot.scores) >= 5:  # overwrites the best on every later evaluation
            draft.snapshot = replace(draft.snapshot, best=report.score)
            draft.actions.add(Action.SAVE_BEST)

    monkeypatch.setattr(transition, "_judge_best", mutant)
    assert bests() != sorted(bests())
