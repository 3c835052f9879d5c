"""What every tuner of core promises, in both modes."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_toys import BOUNDS, LOG, MODES, START, TUNERS, Quadratic, drive, make, position, random_walk

from optix_core.errors import ConfigError
from optix_core.stats.comparison import mean_interval
from optix_core.types import EvalMetrics, HyperparamSet

SEEDS = range(10)
each_tuner = pytest.mark.parametrize("name", TUNERS)
each_mode = pytest.mark.parametrize("mode", MODES)


def same_courses(a: list[dict], b: list[dict], rel: float) -> bool:
    return len(a) == len(b) and all(
        x.keys() == y.keys()
        and all(
            math.isclose(x[k], y[k], rel_tol=rel, abs_tol=0) if isinstance(x[k], float) else x[k] == y[k]
            for k in x
        )
        for x, y in zip(a, b, strict=True)
    )


# --- does it tune? --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def walks() -> dict[float, np.ndarray]:
    return {
        drift: np.array([random_walk(Quadratic(drift=drift, seed=s)).mean_loss for s in SEEDS])
        for drift in (0.0, 0.25)
    }


@each_mode
@each_tuner
@pytest.mark.parametrize("drift", [0.0, 0.25], ids=["still", "drifting"])
def test_a_noisy_quadratic_is_improved_faster_than_by_a_random_walk_and_by_the_sham(
    name: str, mode: str, drift: float, walks: dict[float, np.ndarray]
) -> None:
    losses = np.array(
        [drive(make(name, mode, seed=s), Quadratic(drift=drift, seed=s)).mean_loss for s in SEEDS]
    )
    assert mean_interval((walks[drift] - losses).tolist(), confidence=0.99).low > 0
    sham = drive(make(name, mode), Quadratic(drift=drift), commit=False).mean_loss
    assert sham > 1.5 * losses.mean()


# --- invariance -----------------------------------------------------------------------------------------------------


@each_mode
@each_tuner
def test_a_power_of_two_as_unit_changes_no_bit(name: str, mode: str) -> None:
    plain = drive(make(name, mode), Quadratic(), 250)
    for scale in (2.0**-10, 2.0**10):
        scaled = drive(make(name, mode), Quadratic(), 250, transform=lambda r, k=scale: r * k)
        assert scaled.values == plain.values


@each_mode
@each_tuner
@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("shift", [0.0, -500.0])
def test_the_unit_and_offset_of_scores_change_nothing(
    name: str, mode: str, scale: float, shift: float
) -> None:
    plain = drive(make(name, mode), Quadratic(), 250)
    other = drive(make(name, mode), Quadratic(), 250, transform=lambda r: (r + shift) * scale)
    assert same_courses(plain.values, other.values, 1e-9)
    assert any(v != START for v in plain.values)


# --- no drift -------------------------------------------------------------------------------------------------------


@each_mode
@each_tuner
def test_a_constant_score_never_moves_the_centre(name: str, mode: str) -> None:
    tuner, params, history, bases = make(name, mode, every=4), dict(START), [], []
    for i in range(80):
        history.append(EvalMetrics(7.0, {}, i, 0.0, (7.0,) * 8))
        trial = tuner.propose(HyperparamSet(dict(params)), history)
        if trial is not None:
            assert any(arm != START for arm in trial.arms)
            verdict = tuner.conclude(trial, [[7.0] * 8 for _ in trial.arms], paired=True)
            assert not verdict.committed
            params = verdict.params
        else:
            params = tuner.suggest(HyperparamSet(dict(params)), history).params
        if not tuner.is_probing:
            bases.append(params)
    assert all(base == START for base in bases)  # bit for bit, after every probe
    assert len(bases) > 15


@each_tuner
def test_a_score_that_becomes_constant_stops_what_moved(name: str) -> None:
    tuner, params, history, bases = make(name, "two_probe", every=4), dict(START), [], []
    for i in range(160):
        score = -float(((position(params) - 0.7) ** 2).sum()) if i < 80 else 3.0
        history.append(EvalMetrics(score, {}, i, 0.0))
        params = tuner.suggest(HyperparamSet(dict(params)), history).params
        if not tuner.is_probing:
            bases.append((i, params))
    assert bases[0][1] != next(base for i, base in bases if i > 80)
    settled = [base for i, base in bases if i > 92]  # the last cycle that saw a difference is over
    assert len(settled) > 10
    assert all(base == settled[0] for base in settled)


@each_tuner
def test_a_learning_trend_alone_moves_nothing(name: str) -> None:
    tuner, params, history, probed = make(name, "two_probe", every=3), dict(START), [], 0
    for i in range(60):
        history.append(EvalMetrics(float(i), {}, i, 0.0))
        params = tuner.suggest(HyperparamSet(dict(params)), history).params
        probed += tuner.is_probing
        assert tuner.is_probing or params == START
    assert probed > 20


@each_tuner
def test_noise_alone_is_taken_for_an_improvement_no_more_often_than_stated(name: str) -> None:
    rng, tuner, trials, commits = np.random.default_rng(5), make(name, every=1), 0, 0
    history = [EvalMetrics(0.0, {}, 0, 0.0, ())]
    for _ in range(400):
        history.append(EvalMetrics(float(rng.normal()), {}, len(history), 0.0, ()))
        trial = tuner.propose(HyperparamSet(dict(START)), history[-30:])
        if trial is not None:
            trials += 1
            returns = rng.normal(size=(len(trial.arms), 10)).tolist()
            commits += tuner.conclude(trial, returns, paired=True).committed
    assert trials >= 300
    assert commits <= 0.05 * trials + 3 * math.sqrt(0.05 * 0.95 * trials)


# --- bounds ---------------------------------------------------------------------------------------------------------

WIDE = {"lr": (1e-5, 1e-1), "gamma": (0.9, 0.999), "ent": (-0.1, 0.1), "n": (1, 20)}
finite = st.floats(-1e12, 1e12, allow_nan=False)
scores = st.lists(st.one_of(finite, st.just(math.nan), st.just(0.0)), min_size=3, max_size=12)


@st.composite
def starts(draw: st.DrawFn) -> dict:
    """Values inside their ranges, at the ends more often than chance."""
    values = {k: draw(st.one_of(st.sampled_from(b), st.floats(*b))) for k, b in WIDE.items() if k != "n"}
    return {**values, "n": draw(st.one_of(st.sampled_from((1, 20)), st.integers(1, 20))), "flag": True}


def stays_inside(name: str, mode: str, start: dict, course: list[float], seed: int) -> None:
    tuner = TUNERS[name](WIDE, log_params=LOG, seed=seed, mode=mode, every=1)
    params, history = dict(start), []
    for i, score in enumerate(course):
        history.append(EvalMetrics(score, {}, i, 0.0, (score,) * 4))
        if i % 5 == 3:
            tuner.on_improvement(history[-1])
        if i % 5 == 4:
            tuner.on_plateau(history)
        trial = tuner.propose(HyperparamSet(dict(params)), history)
        found = [] if trial is None else list(trial.arms)
        if trial is None:
            params = tuner.suggest(HyperparamSet(dict(params)), history).params
        else:
            shifted = [[(score + j) * (k + 1) for k in range(4)] for j in range(len(trial.arms))]
            arms = [arm if all(map(math.isfinite, arm)) else [] for arm in shifted]
            params = tuner.conclude(trial, arms, paired=bool(i % 2)).params
        for values in (*found, params):
            assert values.keys() == start.keys()
            assert values["flag"] is True
            assert type(values["n"]) is int
            assert all(low <= values[k] <= high for k, (low, high) in WIDE.items()), values


@each_mode
@each_tuner
@settings(max_examples=30)
@given(start=starts(), course=scores, seed=st.integers(0, 9))
def test_values_stay_inside_their_ranges(name: str, mode: str, start: dict, course: list, seed: int) -> None:
    stays_inside(name, mode, start, course, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=10_000)
@given(
    name=st.sampled_from(list(TUNERS)),
    mode=st.sampled_from(MODES),
    start=starts(),
    course=scores,
    seed=st.integers(0, 9),
)
def test_values_stay_inside_their_ranges_in_10000_examples(
    name: str, mode: str, start: dict, course: list, seed: int
) -> None:
    stays_inside(name, mode, start, course, seed)


@each_tuner
def test_at_a_bound_that_is_best_the_value_stays_there(name: str) -> None:
    for end, sign in ((1.0, 1.0), (0.0, -1.0)):
        tuner, params, history = TUNERS[name]({"x": (0.0, 1.0)}, seed=1, every=1), {"x": end}, []
        for i in range(30):
            history.append(EvalMetrics(0.0, {}, i, 0.0, ()))
            trial = tuner.propose(HyperparamSet(dict(params)), history)
            if trial is not None:
                arms = [[sign * arm["x"] + e for e in (0.0, 0.1, 0.2)] for arm in trial.arms]
                params = tuner.conclude(trial, arms, paired=True).params
            assert params == {"x": end}


# --- state ----------------------------------------------------------------------------------------------------------


@each_mode
@each_tuner
@pytest.mark.parametrize("after", [7, 10, 40, 41, 43])
def test_a_restored_tuner_goes_on_exactly_also_in_the_middle_of_a_cycle(
    name: str, mode: str, after: int
) -> None:
    options = {"every": 3}
    tuner, history, toy = make(name, mode, seed=3, **options), [], Quadratic()
    first = drive(tuner, toy, after, history=history)
    state = json.loads(json.dumps(tuner.state_dict()))  # plain data
    other = make(name, mode, seed=99, **options)
    other.load_state_dict(state)
    assert other.is_probing == tuner.is_probing
    assert other.state_dict() == tuner.state_dict()
    last = first.values[-1]
    courses = [
        drive(t, copy.deepcopy(toy), 60, start=last, history=list(history)).values for t in (tuner, other)
    ]
    assert courses[0] == courses[1]


@each_tuner
def test_a_state_is_a_copy(name: str) -> None:
    tuner = make(name, "two_probe", every=1)
    drive(tuner, Quadratic(), 6)
    state = tuner.state_dict()
    before = copy.deepcopy(state)
    drive(tuner, Quadratic(), 20)
    assert state == before


@each_tuner
def test_a_state_of_the_other_mode_is_refused_and_changes_nothing(name: str) -> None:
    tuner = make(name)
    before = tuner.state_dict()
    with pytest.raises(ConfigError, match="mode='two_probe'"):
        tuner.load_state_dict(make(name, "two_probe").state_dict())
    assert tuner.state_dict() == before


@each_mode
@each_tuner
def test_one_seed_one_course_and_another_seed_another(name: str, mode: str) -> None:
    courses = [drive(make(name, mode, seed=s), Quadratic(), 120).values for s in (4, 4, 5)]
    assert courses[0] == courses[1]
    assert courses[0] != courses[2]


# --- events ---------------------------------------------------------------------------------------------------------


@each_tuner
def test_probes_are_reported_while_they_are_in_force(name: str) -> None:
    tuner, params, history = make(name, "two_probe", every=5), dict(START), []
    for i in range(30):
        history.append(EvalMetrics(1.0, {}, i, 0.0))
        params = tuner.suggest(HyperparamSet(dict(params)), history).params
        away = not np.array_equal(position(params), position(START))
        assert tuner.is_probing or not away
    assert not make(name).is_probing


@each_tuner
def test_a_rollback_voids_what_is_under_way(name: str) -> None:
    tuner, history = make(name, "two_probe", every=4), [EvalMetrics(1.0, {}, 0, 0.0)]
    tuner.suggest(HyperparamSet(dict(START)), history)
    assert tuner.is_probing
    tuner.on_rollback()
    assert not tuner.is_probing
    other = {**START, "lr": 1e-3}
    for i in range(1, 4):  # the restored values stay, for a full interval
        history.append(EvalMetrics(50.0 * i, {}, i, 0.0))
        assert tuner.suggest(HyperparamSet(dict(other)), history).params == other
    branched = make(name, every=4)
    trial = branched.propose(HyperparamSet(dict(START)), history)
    branched.on_rollback()
    with pytest.raises(ValueError, match="not the one proposed last"):
        branched.conclude(trial, [[1.0]] * len(trial.arms), paired=True)


@each_tuner
def test_values_that_somebody_else_changed_end_a_cycle(name: str) -> None:
    tuner = make(name, "two_probe", every=9)
    tuner.suggest(HyperparamSet(dict(START)), [EvalMetrics(1.0, {}, 0, 0.0)])
    foreign = {**START, "lr": 5e-3}
    assert tuner.suggest(HyperparamSet(foreign), [EvalMetrics(2.0, {}, 1, 0.0)]).params == foreign
    assert not tuner.is_probing


@each_tuner
def test_arms_that_diverge_lose_and_when_all_do_everything_returns(name: str) -> None:
    history = [EvalMetrics(0.0, {}, 0, 0.0, ())]
    tuner = make(name)
    trial = tuner.propose(HyperparamSet(dict(START)), history)
    survivor = len(trial.arms) - 1
    returns = [[] for _ in trial.arms]
    returns[survivor] = [-100.0, -90.0, -80.0]
    verdict = tuner.conclude(trial, returns, paired=True)
    assert (verdict.keep_arm, verdict.committed) == (survivor, True)
    tuner = make(name)
    trial = tuner.propose(HyperparamSet(dict(START)), history)
    verdict = tuner.conclude(trial, [[] for _ in trial.arms], paired=True)
    assert (verdict.keep_arm, verdict.committed, verdict.params) == (None, False, START)


@each_tuner
def test_weights_go_back_if_even_the_best_arm_fell_below_the_start(name: str) -> None:
    history = [EvalMetrics(100.0, {}, 0, 0.0, (100.0, 101.0, 99.0, 100.0))]
    tuner = make(name)
    trial = tuner.propose(HyperparamSet(dict(START)), history)
    returns = [[10.0 * k, 10.5 * k, 11.0 * k, 10.2 * k] for k in range(1, len(trial.arms) + 1)]
    verdict = tuner.conclude(trial, returns, paired=True)
    assert verdict.keep_arm is None
    json.dumps({**trial.details, **verdict.details}, allow_nan=False)  # fit for the decision log


# --- wiring ---------------------------------------------------------------------------------------------------------


@each_tuner
def test_the_loop_fills_in_what_the_constructor_was_not_given(name: str) -> None:
    tuner = TUNERS[name]()
    tuner.bind(param_bounds=BOUNDS, log_params=LOG, seed=3)
    assert tuner.param_bounds == BOUNDS
    assert tuple(tuner.log_params) == LOG
    given = make(name, seed=3)
    given.bind(param_bounds={"lr": (0.0, 1.0)}, log_params=[], seed=8)
    assert given.param_bounds == BOUNDS
    assert drive(tuner, Quadratic(), 60).values == drive(given, Quadratic(), 60).values
    late = TUNERS[name](BOUNDS)
    drive(late, Quadratic(), 20)
    with pytest.raises(ConfigError, match="already running"):
        late.bind(seed=1)


@each_tuner
def test_scales_declared_for_other_ranges_do_not_stand_in_the_way_of_ones_own(name: str) -> None:
    tuner = TUNERS[name]({"lr": (0.0, 1.0), "gamma": (0.9, 1.0), "other": (1.0, 2.0)})
    tuner.bind(log_params=["lr", "1-gamma", "other"])
    assert tuple(tuner.log_params) == ("other",)


@each_mode
@each_tuner
def test_nothing_to_tune_changes_nothing(name: str, mode: str) -> None:
    history = [EvalMetrics(0.0, {}, 0, 0.0, ())]
    for tuner in (make(name, mode), TUNERS[name](mode=mode, seed=0)):
        params = {"kind": "tanh"}
        assert tuner.propose(HyperparamSet(dict(params)), history) is None
        assert tuner.suggest(HyperparamSet(dict(params)), history).params == params
        assert tuner.suggest(HyperparamSet(dict(params)), []).params == params
        assert not tuner.is_probing


@each_tuner
@pytest.mark.parametrize(
    "options", [{"mode": "both"}, {"every": 0}, {"windows_per_arm": 0}, {"confidence": 1.0}], ids=str
)
def test_impossible_options_are_refused(name: str, options: dict) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is"):
        make(name, **options)


@each_tuner
def test_a_conclusion_needs_the_right_trial_and_all_its_arms(name: str) -> None:
    tuner = make(name)
    trial = tuner.propose(HyperparamSet(dict(START)), [EvalMetrics(0.0, {}, 0, 0.0, ())])
    with pytest.raises(ValueError, match="arms, but returns of"):
        tuner.conclude(trial, [[1.0]], paired=True)
    with pytest.raises(ValueError, match="not the one proposed last"):
        make(name).conclude(trial, [[1.0]] * len(trial.arms), paired=True)


@pytest.mark.parametrize("name", ["momentum", "backoff"])
def test_a_trial_along_one_coordinate_leaves_the_others_exactly(name: str) -> None:
    bounds = {"a": (1, 100), "b": (1, 100), "x": (0.0, 1.0)}
    tuner, params = TUNERS[name](bounds, seed=2, every=1), {"a": 50, "b": 50, "x": 0.37}
    turns = []
    for i in range(30):
        trial = tuner.propose(HyperparamSet(dict(params)), [EvalMetrics(0.0, {}, i, 0.0, ())])
        probed = trial.details["parameter"]
        turns.append(probed)
        for arm in trial.arms:
            assert {k: v for k, v in arm.items() if k != probed} == {
                k: params[k] for k in params if k != probed
            }
        returns = [[arm["a"] + 100 * arm["x"] - arm["b"] + e for e in (0.0, 0.1, 0.3)] for arm in trial.arms]
        after = tuner.conclude(trial, returns, paired=True).params
        assert {k: v for k, v in after.items() if k != probed} == {
            k: params[k] for k in params if k != probed
        }
        assert (after[probed] >= params[probed]) == (probed != "b") or after[probed] == params[probed]
        params = after
    assert turns[:6] == ["a", "b", "x"] * 2
    assert params["a"] > 60
    assert params["b"] < 40
    assert params["x"] > 0.45
