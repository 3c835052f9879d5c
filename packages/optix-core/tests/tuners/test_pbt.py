"""What is particular to population-based training in one run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tuner_toys import BOUNDS, START, make, position

from optix_core.errors import ConfigError
from optix_core.tuners import PBTOptimizer
from optix_core.tuners.pbt import DEFAULT_LOG_PARAMS
from optix_core.tuners.population import Ancestry, advantages
from optix_core.types import EvalMetrics, HyperparamSet


def generation(tuner: PBTOptimizer, params: dict[str, Any], window: int = 0) -> Any:
    history = [EvalMetrics(0.0, {}, window, 0.0, ())]
    for _ in range(70):
        trial = tuner.propose(HyperparamSet(dict(params)), history)
        if trial is not None:
            return trial
    raise AssertionError("no generation within seventy windows")


def around(mean: float, n: int = 6) -> list[float]:
    return [mean + 1e-3 * ((i % 3) - 1) for i in range(n)]


def test_a_generation_is_the_present_values_and_variants_within_the_explore_scale() -> None:
    trial = generation(make("pbt", population=5), START)
    assert len(trial.arms) == 5
    assert trial.arms[0] == START
    for arm in trial.arms[1:]:
        assert (np.abs(position(arm) - position(START)) <= 0.1 + 1e-12).all()
        assert arm != START
        assert arm["kind"] == "tanh"


@pytest.mark.parametrize("best", [1, 2, 3])
def test_the_best_member_survives_with_weights_and_values(best: int) -> None:
    tuner = make("pbt")
    trial = generation(tuner, START)
    verdict = tuner.conclude(trial, [around(float(k == best)) for k in range(4)], paired=True)
    assert (verdict.keep_arm, verdict.committed) == (best, True)
    assert verdict.params == trial.arms[best]


def test_what_is_better_by_chance_gives_its_weights_only() -> None:
    tuner, rng = make("pbt"), np.random.default_rng(0)
    trial = generation(tuner, START)
    returns = rng.normal(size=(4, 6))
    verdict = tuner.conclude(trial, returns.tolist(), paired=True)
    assert verdict.keep_arm == int(returns.mean(axis=1).argmax())
    assert not verdict.committed
    assert verdict.params == START


def test_a_tie_keeps_the_present_member() -> None:
    tuner = make("pbt")
    verdict = tuner.conclude(generation(tuner, START), [[0.1 + 0.2] * 5, *[[0.3] * 5] * 3], paired=True)
    assert (verdict.keep_arm, verdict.committed) == (0, False)
    assert all(member.advantage == 0 for member in tuner._ancestry.members)


def test_members_of_different_times_are_ranked_by_what_they_were_worth_then() -> None:
    tuner, params = make("pbt"), dict(START)
    for level in (0.0, 1000.0, 2000.0):  # later generations return more, for they trained longer
        trial = generation(tuner, params)
        tuner.conclude(trial, [around(level + 1.0 * (k == 0)) for k in range(4)], paired=True)
    members = list(tuner._ancestry.members)
    assert len(members) == 12
    for first in (0, 4, 8):  # the best of each generation, and not the last generation
        assert members[first].advantage > max(m.advantage for m in members[first + 1 : first + 4])
    assert members[8].advantage == pytest.approx(members[0].advantage, rel=1e-6)
    assert max(abs(m.advantage) for m in members) <= 1.0 + 1e-9  # in units of their own spread


def test_present_values_that_did_badly_are_replaced_by_copies_of_good_ones() -> None:
    tuner = make("pbt", exploit_scale=0.02)
    good = {**START, "lr": 1e-2, "gamma": 0.99}
    for i in range(20):  # nothing significant, but the present values were the worst of all
        tuner._ancestry.add({"lr": good["lr"], "gamma": good["gamma"]}, 1.0 + 0.001 * i)
    tuner._ancestry.add({"lr": START["lr"], "gamma": START["gamma"]}, -1.0)
    tuner._latest = -1.0
    trial = generation(tuner, START)
    assert trial.details["explore"] == "around good members"
    for arm in trial.arms[1:]:
        assert (np.abs(position(arm) - position(good)) <= 0.02 + 1e-9).all()


def test_nobody_is_copied_before_three_members_are_known_or_where_all_are_alike() -> None:
    memory = Ancestry(50, 0.2, 0.2)
    memory.add({"x": 0.0}, -1.0)
    memory.add({"x": 0.0}, 1.0)
    assert not memory.at_bottom(-1.0)
    memory.add({"x": 0.0}, 0.5)
    assert memory.at_bottom(-1.0)
    assert not memory.at_bottom(0.5)
    alike = Ancestry(50, 0.2, 0.2)
    for _ in range(10):
        alike.add({"x": 0.0}, 0.0)
    assert not alike.at_bottom(0.0)


def test_memory_forgets_the_oldest_and_a_plateau_forgets_all() -> None:
    tuner = make("pbt", history_size=6)
    for _ in range(3):
        tuner.conclude(generation(tuner, START), [around(float(k)) for k in range(4)], paired=True)
    assert len(tuner._ancestry.members) == 6
    tuner.on_plateau([])
    assert len(tuner._ancestry.members) == 0


def test_variants_lie_wider_while_nothing_is_decided() -> None:
    tuner, rng = make("pbt"), np.random.default_rng(1)
    spread = []
    for _ in range(8):
        trial = generation(tuner, START)
        spread.append(max(np.abs(position(a) - position(START)).max() for a in trial.arms))
        tuner.conclude(trial, rng.normal(size=(4, 8)).tolist(), paired=True)
    assert max(spread[4:]) > 2 * spread[0]
    assert max(spread) <= 0.45 + 1e-9


def test_without_any_scale_the_names_of_step_sizes_are_logarithmic() -> None:
    tuner = PBTOptimizer({"lr": (1e-5, 1e-1), "alpha": (0.0, 1.0), "x": (0.1, 1.0)}, seed=0)
    generation(tuner, {"lr": 1e-3, "alpha": 0.5, "x": 0.5})
    assert tuner.log_params == ("lr",)  # alpha starts at 0, and x is no such name
    assert "learning_rate" in DEFAULT_LOG_PARAMS
    named = PBTOptimizer(BOUNDS, log_scale_params=["lr"])
    named.bind(log_params=["1-gamma"])
    assert named.log_params == ("lr",)
    with pytest.raises(ConfigError, match="only where log_scale_params is not given"):
        PBTOptimizer(log_scale_params=["lr"], log_params=["lr"])


def test_advantages_sum_to_nothing() -> None:
    found = advantages([1.0, 2.0, 6.0])
    assert found == [-2.0, -1.0, 3.0]
    assert math.fsum(found) == 0
    assert advantages([0.1 + 0.2, 0.3]) == [0.0, 0.0]


@pytest.mark.parametrize(
    "options",
    [{"history_size": 2}, {"exploit_percentile": 0.0}, {"top_percentile": 0.6}, {"explore_scale": 0.0},
     {"exploit_scale": 0.6}, {"population": 1}],
    ids=str,
)  # fmt: skip
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        make("pbt", **options)
