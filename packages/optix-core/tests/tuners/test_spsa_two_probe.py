from __future__ import annotations

import json
import math

import numpy as np
import pytest

from optix_core.tuners import SPSAOptimizer
from optix_core.tuners.gains import gradient
from optix_core.types import EvalMetrics, HyperparamSet


def tuner(**options: object) -> SPSAOptimizer:
    settings = {"seed": 2, "mode": "two_probe", "every": 1, **options}
    return SPSAOptimizer({"x": (0.0, 1.0)}, **settings)  # type: ignore[arg-type]


def drive(t: SPSAOptimizer, score, steps: int, start: float = 0.3) -> list[float]:
    """Feed ``score(step, x)`` after every window; the values that were in force."""
    x, history, path = start, [], []
    for i in range(steps):
        history.append(EvalMetrics(score(i, x), {}, i, 0.0))
        x = t.suggest(HyperparamSet({"x": x}), history).params["x"]
        path.append(x)
    return path


def test_two_evaluations_make_a_cycle() -> None:
    path = drive(tuner(), lambda _i, _x: 1.0, 5)
    assert path[0] + path[1] == pytest.approx(0.6)
    assert {round(v, 6) for v in path[:2]} == {0.25, 0.35}
    assert path[2] not in {0.3, path[1]}  # the next cycle has begun


def test_a_constant_score_does_not_drift() -> None:
    t = tuner(every=3)
    path = drive(t, lambda _i, _x: 4.0, 60)
    assert path[2::3] == [0.3] * 20


def test_a_learning_trend_alone_does_not_drift() -> None:
    ends = [drive(tuner(seed=s, every=3), lambda i, _x: float(i), 30)[-1] for s in range(20)]
    assert set(ends) == {0.3}


def test_the_value_that_learns_faster_is_found() -> None:
    ends = []
    for seed in range(5):
        total = [0.0]

        def score(_i: int, x: float, total: list[float] = total) -> float:
            total[0] += 1 - (x - 0.7) ** 2
            return total[0]

        ends.append(np.mean(drive(tuner(seed=seed), score, 200)[-50:]))
    assert np.abs(np.array(ends) - 0.7).max() < 0.12


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_of_scores_changes_nothing(scale: float) -> None:
    def path(factor: float, shift: float) -> list[float]:
        rng = np.random.default_rng(1)
        return drive(tuner(), lambda _i, x: (rng.normal() + x) * factor + shift, 80)

    assert path(scale, -500 * scale) == path(1.0, 0.0)


def test_probing_is_reported_and_pauses_between_cycles() -> None:
    t, history, x, probing = tuner(every=4), [], 0.3, []
    for i in range(9):
        history.append(EvalMetrics(float(i), {}, i, 0.0))
        x = t.suggest(HyperparamSet({"x": x}), history).params["x"]
        probing.append(t.is_probing)
    assert probing == [True, True, False, False, True, True, False, False, True]


def test_a_missing_score_voids_the_cycle() -> None:
    t = tuner(every=9)
    path = drive(t, lambda i, _x: math.nan if i == 1 else 1.0, 3)
    assert path[0] != 0.3
    assert path[1:] == [0.3, 0.3]


def test_a_change_by_someone_else_becomes_the_new_centre() -> None:
    t = tuner(every=9)
    history = [EvalMetrics(1.0, {}, 0, 0.0)]
    t.suggest(HyperparamSet({"x": 0.3}), history)
    assert t.is_probing
    assert t.suggest(HyperparamSet({"x": 0.6}), history).params == {"x": 0.6}
    assert not t.is_probing


def test_single_precision_read_back_is_no_change_by_someone_else() -> None:
    t = tuner(every=9)
    history = [EvalMetrics(1.0, {}, 0, 0.0)]
    probe = t.suggest(HyperparamSet({"x": 0.3}), history).params["x"]
    t.suggest(HyperparamSet({"x": float(np.float32(probe))}), history)
    assert t.is_probing


def test_a_rollback_voids_the_cycle() -> None:
    t = tuner(every=4)
    history = [EvalMetrics(1.0, {}, 0, 0.0)]
    t.suggest(HyperparamSet({"x": 0.3}), history)
    t.on_rollback()
    assert not t.is_probing
    assert t.suggest(HyperparamSet({"x": 0.3}), history).params == {"x": 0.3}


@pytest.mark.parametrize("split", range(1, 8))
def test_a_restored_tuner_continues_in_the_middle_of_a_cycle(split: int) -> None:
    def score(i: int, x: float) -> float:
        return math.sin(i) + x

    whole = drive(tuner(), score, 20)
    first = tuner()
    x = drive(first, score, split)[-1]
    second = tuner(seed=50)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = drive(second, lambda i, v: score(i + split, v), 20 - split, x)
    assert rest == whole[split:]


def test_small_steps_of_whole_numbers_add_up() -> None:
    t = SPSAOptimizer(
        {"n": (1, 101)}, seed=1, mode="two_probe", every=1, learning_rate=0.003, perturbation_scale=0.02
    )
    history, params, total, path = [], {"n": 50}, 0.0, []
    for i in range(120):
        total += params["n"]
        history.append(EvalMetrics(total, {}, i, 0.0))
        params = t.suggest(HyperparamSet(params), history).params
        assert isinstance(params["n"], int)
        path.append(params["n"])
    assert np.mean(path[-10:]) > 55  # every step alone is 0.3 and would round to nothing


def test_the_slope_is_per_distance_that_really_lay_between_the_arms() -> None:
    assert gradient(0.3, [0.55], [0.45], 0.05, 1.0) == pytest.approx([0.3])
    assert gradient(0.3, [1.0], [0.95], 0.05, 1.0) == pytest.approx([0.6])  # cut short by a bound
    assert gradient(0.3, [0.45], [0.55], 0.05, 1.0) == pytest.approx([-0.3])
    assert gradient(0.3, [0.5], [0.5], 0.05, 1.0) == [0.0]
    assert gradient(5.0, [0.55, 0.4], [0.45, 0.6], 0.05, 1.0) == [1.0, -1.0]
