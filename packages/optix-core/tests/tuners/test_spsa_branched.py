from __future__ import annotations

import json
import math

import numpy as np
import pytest

from optix_core.base_optimizer import BranchingTuner, Trial
from optix_core.errors import ConfigError
from optix_core.tuners import FixedOptimizer, SPSAOptimizer
from optix_core.types import EvalMetrics, HyperparamSet

BOUNDS = {"lr": (1e-5, 1e-1), "ent": (0.0, 0.1), "n": (1, 20)}
START = {"lr": 1e-3, "ent": 0.01, "n": 10, "kind": "tanh"}


def metrics(score: float = 0.0, returns: tuple[float, ...] = ()) -> list[EvalMetrics]:
    return [EvalMetrics(score, {}, 0, 0.0, returns)]


def tuner(**options: object) -> SPSAOptimizer:
    return SPSAOptimizer(BOUNDS, log_params=["lr"], **{"seed": 3, "every": 1, **options})  # type: ignore[arg-type]


def propose(t: SPSAOptimizer, params: dict | None = None, returns: tuple[float, ...] = ()) -> Trial:
    """The next trial; ties make the tuner wait."""
    for _ in range(9):
        trial = t.propose(HyperparamSet(dict(params or START)), metrics(returns=returns))
        if trial is not None:
            return trial
    raise AssertionError("no trial within nine evaluated windows")


def run(t: SPSAOptimizer, objective, steps: int, params: dict | None = None, **arms: float) -> list[dict]:
    """Drive ``t`` with returns ``objective(params) * scale + shift`` of eight paired, noisy episodes."""
    scale, shift, noise = arms.get("scale", 1.0), arms.get("shift", 0.0), arms.get("noise", 0.01)
    rng, params = np.random.default_rng(5), dict(params or START)
    path = []
    for _ in range(steps):
        trial = propose(t, params)
        common = rng.normal(size=8)
        returns = [
            [(objective(a) + common[i] + noise * rng.normal()) * scale + shift for i in range(8)]
            for a in trial.arms
        ]
        params = t.conclude(trial, returns, paired=True).params
        path.append(params)
    return path


def test_it_is_a_branching_tuner_and_suggest_changes_nothing() -> None:
    t = tuner()
    assert isinstance(t, BranchingTuner)
    assert not isinstance(FixedOptimizer(), BranchingTuner)
    assert t.suggest(HyperparamSet(START), metrics()).params == START
    assert FixedOptimizer().suggest(HyperparamSet(START), metrics()).params == START
    assert not t.is_probing


def test_arms_lie_symmetrically_around_the_centre_and_whole_numbers_stay_whole() -> None:
    trial = propose(tuner())
    plus, minus = trial.arms
    assert math.log(plus["lr"] / 1e-3) == pytest.approx(-math.log(minus["lr"] / 1e-3))
    assert abs(math.log10(plus["lr"]) + 3) == pytest.approx(0.05 * 4)
    assert {type(arm["n"]) for arm in trial.arms} == {int}
    assert sorted(arm["n"] for arm in trial.arms) == [9, 11]
    assert plus["kind"] == minus["kind"] == "tanh"
    json.dumps(trial.details, allow_nan=False)


def test_it_finds_an_optimum_in_the_middle_of_the_space() -> None:
    def objective(p: dict) -> float:
        return -((math.log10(p["lr"]) + 2) ** 2) - 100 * (p["ent"] - 0.05) ** 2 - 0.01 * (p["n"] - 5) ** 2

    path = run(tuner(), objective, 60)
    assert objective(path[-1]) > 0.1 * objective(START)
    assert abs(math.log10(path[-1]["lr"]) + 2) < 0.4


def test_a_commit_needs_an_interval_that_excludes_zero() -> None:
    t = tuner()
    trial = propose(t)
    verdict = t.conclude(trial, [[5.0, -4.0, 6.0, -5.0], [0.0, 1.0, -1.0, 2.0]], paired=True)
    assert not verdict.committed
    assert verdict.params == START
    assert verdict.keep_arm is not None  # the training is not thrown away
    assert verdict.details["low"] < 0 < verdict.details["high"]
    trial = propose(t)
    verdict = t.conclude(trial, [[0.0, 1.0, 2.0, 3.0], [5.0, 6.0, 7.5, 8.0]], paired=True)
    assert verdict.committed
    assert verdict.keep_arm == 1
    assert verdict.details["high"] < 0
    for name in BOUNDS:  # towards, and at least as far as, the arm that won
        gone, arm = verdict.params[name] - START[name], trial.arms[1][name] - START[name]
        assert gone * arm > 0
        assert abs(gone) >= abs(arm) * (1 - 1e-9)


@pytest.mark.parametrize("episodes", [1, 2])
def test_too_few_episodes_never_commit(episodes: int) -> None:
    t = tuner()
    verdict = t.conclude(propose(t), [[9.0] * episodes, [0.0] * episodes], paired=True)
    assert not verdict.committed
    assert verdict.keep_arm == 0
    assert verdict.details["low"] is None


def test_false_commits_occur_at_the_nominal_rate() -> None:
    rng, t, commits = np.random.default_rng(0), tuner(), 0
    for _ in range(1000):
        trial = propose(t)
        commits += t.conclude(trial, rng.normal(size=(2, 10)).tolist(), paired=True).committed
    assert 30 <= commits <= 72  # 5 %, three standard errors


def test_pairing_is_used_when_it_is_there() -> None:
    easy = np.arange(10.0) * 100
    for paired in (True, False):
        t = tuner()
        verdict = t.conclude(
            propose(t), [(easy + 1 + np.arange(10) % 2).tolist(), easy.tolist()], paired=paired
        )
        assert verdict.committed is paired


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("shift", [0.0, -500.0])
def test_the_unit_and_offset_of_scores_change_nothing(scale: float, shift: float) -> None:
    def objective(p: dict) -> float:
        return -((math.log10(p["lr"]) + 2) ** 2)

    plain = run(tuner(), objective, 40, noise=0.3)
    assert run(tuner(), objective, 40, noise=0.3, scale=scale, shift=shift * scale) == plain


def test_a_constant_score_never_moves_anything() -> None:
    path = run(tuner(), lambda _: 7.0, 40, noise=0.0)
    assert all(params == START for params in path)


def test_round_off_is_no_difference() -> None:
    t = tuner()
    verdict = t.conclude(propose(t), [[0.1 + 0.2] * 5, [0.3] * 5], paired=True)
    assert not verdict.committed


@pytest.mark.parametrize("bad", [[], [1.0, math.nan, 2.0], [math.inf, 0.0, 0.0]])
def test_a_diverged_arm_loses(bad: list[float]) -> None:
    t = tuner()
    verdict = t.conclude(propose(t), [bad, [-100.0, -90.0, -80.0]], paired=True)
    assert verdict.keep_arm == 1
    assert verdict.committed
    assert verdict.details["outcome"] == "arm 0 diverged"


def test_when_both_arms_diverge_everything_returns_and_the_probe_shrinks() -> None:
    t = tuner()
    t.on_plateau([])
    first = propose(t)
    verdict = t.conclude(first, [[], []], paired=True)
    assert (verdict.keep_arm, verdict.committed, verdict.params) == (None, False, START)
    assert propose(t).details["probe"] < first.details["probe"]


def test_weights_go_back_if_even_the_better_arm_fell_below_the_start() -> None:
    t = tuner()
    trial = propose(t, returns=(100.0, 101.0, 99.0, 100.0))
    verdict = t.conclude(trial, [[50.0, 51.0, 49.0, 50.5], [10.0, 11.0, 9.0, 10.0]], paired=True)
    assert verdict.keep_arm is None
    assert verdict.committed  # the direction was still found
    assert verdict.details["both_below_start"]["high"] < 0


def test_at_a_bound_the_true_distance_is_the_denominator() -> None:
    t = SPSAOptimizer({"x": (0.0, 1.0)}, seed=0, every=1)
    trial = propose(t, {"x": 1.0})
    values = sorted(arm["x"] for arm in trial.arms)
    assert values == pytest.approx([0.95, 1.0])
    better = [arm["x"] for arm in trial.arms].index(1.0)
    returns = [[0.0, 0.1, 0.2], [0.0, 0.1, 0.2]]
    returns[better] = [1.0, 1.1, 1.3]
    verdict = t.conclude(trial, returns, paired=True)
    assert verdict.params == {"x": 1.0}  # not downwards, and not outside


def test_values_outside_their_range_widen_it_and_this_is_reported() -> None:
    t = tuner()
    asked = propose(t, {**START, "lr": 0.5})
    assert asked.arms[1]["lr"] == 0.5
    t.conclude(asked, [[0.0, 0.1, 0.2], [1.0, 1.1, 1.3]], paired=True)  # it is better than a value inside
    trial = propose(t, {**START, "lr": 0.5})
    assert trial.details["widened"] == {"lr": [1e-5, 1e-1]}
    assert all(0 < arm["lr"] <= 0.5 for arm in trial.arms)


def test_small_steps_of_whole_numbers_add_up() -> None:
    t = SPSAOptimizer({"n": (1, 100)}, seed=1, every=1, perturbation_scale=0.003, learning_rate=0.004)
    params = {"n": 50}
    for _ in range(20):
        trial = t.propose(HyperparamSet(params), metrics())
        assert trial is not None
        returns = [[arm["n"] + e for e in (0.0, 0.1, 0.25)] for arm in trial.arms]
        params = t.conclude(trial, returns, paired=True).params
        assert isinstance(params["n"], int)
    assert params["n"] > 55


def test_trials_keep_their_distance_and_wait_for_the_warm_up_and_after_a_rollback() -> None:
    t = tuner(every=3, warmup_episodes=2)
    asked = []
    for i in range(12):
        trial = t.propose(HyperparamSet(START), metrics())
        asked.append(trial is not None)
        if trial is not None:
            t.conclude(trial, [[0.0], [0.0]], paired=True)
        if i == 8:
            t.on_rollback()
    assert [i for i, a in enumerate(asked) if a] == [2, 5, 8, 11]
    t.on_rollback()
    assert t.propose(HyperparamSet(START), metrics()) is None


def test_nothing_to_tune_is_no_trial() -> None:
    assert tuner().propose(HyperparamSet({"kind": "tanh"}), metrics()) is None
    assert SPSAOptimizer().propose(HyperparamSet(START), metrics()) is None
    assert tuner(mode="two_probe").propose(HyperparamSet(START), metrics()) is None


def test_undecided_trials_widen_the_probe_and_improvement_narrows_it() -> None:
    t = tuner()
    first = propose(t).details["probe"]
    for _ in range(3):
        t.conclude(propose(t), [[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]], paired=True)
    wide = propose(t).details["probe"]
    assert wide > 2 * first
    for _ in range(40):
        t.conclude(propose(t), [[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]], paired=True)
    assert propose(t).details["probe"] <= 0.25
    for _ in range(10):
        t.on_improvement(metrics()[0])
    assert propose(t).details["probe"] < wide


def test_gains_follow_spalls_exponents() -> None:
    t = tuner()
    details = []
    for _ in range(3):
        trial = propose(t)
        details.append(trial.details)
        t.conclude(trial, [[0.0, 0.1, 0.3], [1.0, 1.2, 1.1]], paired=True)  # decided: no widening
    assert [d["probe"] for d in details] == pytest.approx([0.05 / (k + 1) ** 0.101 for k in range(3)])
    assert [d["step"] for d in details] == pytest.approx([0.1 * (11 / (k + 11)) ** 0.602 for k in range(3)])


def test_a_restored_tuner_continues_with_the_same_proposals() -> None:
    def objective(p: dict) -> float:
        return -((math.log10(p["lr"]) + 2) ** 2)

    t = tuner()
    params = run(t, objective, 7)[-1]
    state = json.loads(json.dumps(t.state_dict()))
    restored = SPSAOptimizer(BOUNDS, log_params=["lr"], every=1, seed=99)
    restored.load_state_dict(state)
    assert run(restored, objective, 9, params) == run(t, objective, 9, params)


def test_an_interrupted_trial_is_proposed_again() -> None:
    t = tuner()
    state = t.state_dict()
    first = propose(t)
    again = tuner(seed=8)
    again.load_state_dict(state)
    assert propose(again).arms == first.arms


def test_a_state_of_the_other_mode_is_refused_and_changes_nothing() -> None:
    t = tuner()
    before = t.state_dict()
    with pytest.raises(ConfigError, match="mode='two_probe'"):
        t.load_state_dict(tuner(mode="two_probe").state_dict())
    assert t.state_dict() == before


def test_equal_seeds_propose_equally_and_different_ones_do_not() -> None:
    bounds = {f"x{i}": (0.0, 1.0) for i in range(20)}
    params = dict.fromkeys(bounds, 0.5)
    arms = [propose(SPSAOptimizer(bounds, seed=s), params).arms for s in (1, 1, 2)]
    assert arms[0] == arms[1] != arms[2]


def test_bind_fills_gaps_only() -> None:
    t = SPSAOptimizer()
    t.bind(param_bounds=BOUNDS, log_params=["lr"], seed=3)
    assert propose(t).arms == propose(tuner()).arms
    t = tuner()
    t.bind(param_bounds={"other": (0, 1)}, log_params=[], seed=77)
    assert t.param_bounds == BOUNDS
    assert propose(t).arms == propose(tuner()).arms
    unseeded = SPSAOptimizer(BOUNDS)
    propose(unseeded)
    with pytest.raises(ConfigError, match="before the first window"):
        unseeded.bind(seed=1)


def test_conclude_refuses_a_foreign_trial_and_a_wrong_number_of_arms() -> None:
    t = tuner()
    trial = propose(t)
    with pytest.raises(ValueError, match="proposed last"):
        t.conclude(Trial(arms=trial.arms), [[0.0], [0.0]], paired=True)
    with pytest.raises(ValueError, match="2 arms"):
        t.conclude(trial, [[0.0]], paired=True)
    with pytest.raises(ValueError, match="equally many"):
        t.conclude(trial, [[0.0, 1.0], [1.0]], paired=True)


@pytest.mark.parametrize(
    "bad",
    [
        {"perturbation_scale": 0},
        {"learning_rate": 2},
        {"min_perturbation": 0.2},
        {"gradient_clip": 0},
        {"warmup_episodes": -1},
        {"mode": "both"},
        {"windows_per_arm": 0},
        {"every": 0},
        {"confidence": 1.0},
    ],
)
def test_every_argument_is_checked(bad: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        SPSAOptimizer(BOUNDS, **bad)


def test_a_kick_pushes_exploration_first_and_everything_later() -> None:
    t, current = tuner(), HyperparamSet(dict(START))
    first = t.kick(current, {"ent": +1, "lr": -1})
    assert first is not None
    assert first["ent"] > START["ent"] + 0.01
    assert first["lr"] < START["lr"]
    assert first["n"] == START["n"]
    second = t.kick(current, {"ent": +1})
    assert second is not None
    assert second["n"] != START["n"]
    assert second["lr"] != START["lr"]
    for kicked in (first, second):
        assert all(low <= kicked[name] <= high for name, (low, high) in BOUNDS.items())
    assert current.params == START


def test_a_kick_without_exploration_moves_all_and_without_room_none() -> None:
    kicked = tuner().kick(HyperparamSet(dict(START)), {})
    assert kicked is not None
    assert all(kicked[name] != START[name] for name in BOUNDS)
    assert tuner().kick(HyperparamSet({"kind": "tanh"}), {"ent": 1}) is None
    full = SPSAOptimizer({"ent": (0.0, 0.1)}, seed=0)
    assert full.kick(HyperparamSet({"ent": 0.1}), {"ent": +1}) is None


def test_windows_evaluated_between_two_calls_count() -> None:
    t, asked = tuner(every=4), []
    for newest in (0, 3, 4, 9):  # the loop called late: windows were evaluated in between
        history = [EvalMetrics(0.0, {}, i, 0.0) for i in range(newest + 1)]
        trial = t.propose(HyperparamSet(dict(START)), history)
        asked.append(trial is not None)
        if trial is not None:
            t.conclude(trial, [[0.0, 1.0, 2.0], [1.0, 1.5, 0.0]], paired=True)
    assert asked == [True, False, True, True]


def test_at_a_ceiling_trials_become_rare_and_come_back_with_the_first_difference() -> None:
    def gaps(t: SPSAOptimizer, returns: list[list[float]], trials: int) -> list[int]:
        found, waited = [], 0
        while len(found) < trials:
            waited += 1
            trial = t.propose(HyperparamSet(dict(START)), metrics())
            if trial is not None:
                t.conclude(trial, returns, paired=True)
                found.append(waited)
                waited = 0
        return found

    t = tuner(every=2)
    assert gaps(t, [[500.0] * 5, [500.0] * 5], 6) == [1, 4, 8, 16, 16, 16]
    assert gaps(t, [[500.0] * 5, [500.0, 499.0, 500.0, 500.0, 480.0]], 3) == [16, 2, 2]
