"""Scores are means of whole episodes, whatever the windows."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.evaluators.mean_return import MeanReturnEvaluator
from optix_core.state import Stateful
from optix_core.types import EpisodeData, EpisodeRecord


def window(rewards, terminated=(), truncated=(), **fields):
    """A window as a third party might make it: no episode records."""
    rewards = np.asarray(rewards, float)
    ends = [np.zeros(rewards.shape, bool) for _ in range(2)]
    for flags, places in zip(ends, (terminated, truncated), strict=True):
        for place in places:
            flags[place] = True
    n_envs = rewards.shape[1] if rewards.ndim == 2 else None
    zeros = np.zeros((*rewards.shape, 1))
    return EpisodeData(zeros, zeros[..., 0], rewards, *ends, n_envs=n_envs, **fields)


def test_a_perfect_policy_scores_the_same_in_every_window():
    """CartPole's longest episode is 500 steps: with windows of 200, two of five windows end one."""
    evaluator = MeanReturnEvaluator()
    scores = []
    for k in range(10):
        ends = [t for t in range(200) if (k * 200 + t + 1) % 500 == 0]
        scores.append(evaluator.score(window(np.ones(200), truncated=ends), {}).primary_score)
    assert [s for s in scores if not math.isnan(s)] == [500.0] * 4
    assert [k for k, s in enumerate(scores) if not math.isnan(s)] == [2, 4, 7, 9]


def test_no_completed_episode_is_no_score():
    metrics = MeanReturnEvaluator().score(window(np.ones(5)), {})
    assert math.isnan(metrics.primary_score)
    assert metrics.episode_returns == ()
    assert metrics.metrics["n_episodes"] == 0
    assert not metrics.beats(metrics)


@given(
    rewards=st.lists(st.integers(-5, 5), min_size=1, max_size=40),
    ends=st.sets(st.integers(0, 39)),
    cuts=st.lists(st.integers(1, 39), max_size=5),
)
def test_window_borders_do_not_matter(rewards, ends, cuts):
    def returns(borders):
        evaluator, found = MeanReturnEvaluator(), []
        edges = sorted({0, len(rewards), *(b for b in borders if b < len(rewards))})
        for a, b in pairwise(edges):
            places = [e - a for e in ends if a <= e < b]
            found += evaluator.score(window(rewards[a:b], terminated=places), {}).episode_returns
        return found

    assert returns(cuts) == returns([])


def test_environments_are_kept_apart():
    evaluator = MeanReturnEvaluator()
    first = evaluator.score(window([[1, 10], [1, 10], [1, 10]], terminated=[(1, 0)]), {})
    assert first.episode_returns == (2.0,)
    second = evaluator.score(window([[1, 10], [1, 10]], terminated=[(0, 0)], truncated=[(1, 1)]), {})
    assert second.episode_returns == (2.0, 50.0)
    assert second.primary_score == 26.0
    assert second.metrics["mean_episode_length"] == 3.5


def test_records_of_the_source_are_believed():
    record = EpisodeRecord(env_index=0, step=1, episode_return=123.0, length=9, terminated=True)
    evaluator = MeanReturnEvaluator()
    assert evaluator.score(window([1, 1], terminated=[1], episodes=(record,)), {}).primary_score == 123.0
    # a boundary that the source does not count as a complete episode (it was cut by a fault) is none
    cut = window([1, 1], truncated=[1], metadata={"episode_records": True})
    assert math.isnan(evaluator.score(cut, {}).primary_score)


def test_metrics():
    data = window([1.0, 3.0, 5.0, 7.0], terminated=[1, 3])
    diagnostics = {
        "policy_loss": -0.5,
        "n_updates": 3,
        "entropy": np.float32(0.25),
        "note": "text",
        "ok": True,
    }
    metrics = MeanReturnEvaluator().score(data, diagnostics).metrics
    assert metrics["total_reward"] == 16.0
    assert metrics["mean_reward"] == 4.0
    assert metrics["reward_std"] == pytest.approx(math.sqrt(5))  # population
    assert metrics["episode_length"] == 4
    assert metrics["n_episodes"] == 2
    assert metrics["primary_score"] == 8.0
    assert metrics["episode_return_std"] == 4.0
    assert metrics["mean_episode_length"] == 2.0
    assert (metrics["policy_loss"], metrics["n_updates"], metrics["entropy"]) == (-0.5, 3, 0.25)
    assert "note" not in metrics
    assert "ok" not in metrics
    assert MeanReturnEvaluator().score(window([2.0]), {}).metrics["reward_std"] == 0.0


def test_a_primary_score_of_ones_own():
    evaluator = MeanReturnEvaluator(lambda data, diagnostics: data.length - diagnostics["loss"])
    result = evaluator.score(window([1.0, 1.0], terminated=[0]), {"loss": 0.5})
    assert result.primary_score == result.metrics["primary_score"] == 1.5
    assert result.episode_returns == (1.0,)


def test_nan_in_a_reward_is_never_averaged_away():
    result = MeanReturnEvaluator().score(window([1.0, math.nan, 1.0], terminated=[0, 2]), {})
    assert math.isnan(result.primary_score)


def test_a_nan_before_an_end_spoils_only_its_own_episode():
    evaluator = MeanReturnEvaluator()
    evaluator.score(window([math.nan, 1.0], terminated=[1]), {})
    assert evaluator.score(window([2.0], terminated=[0]), {}).primary_score == 2.0


def test_validation_does_not_touch_running_episodes_of_training():
    evaluator = MeanReturnEvaluator()
    evaluator.score(window([1.0, 1.0]), {})
    evaluator.score_validation(window([100.0, 100.0], terminated=[1]))
    assert evaluator.score(window([1.0], terminated=[0]), {}).primary_score == 3.0


def test_running_returns_survive_a_restart():
    evaluator = MeanReturnEvaluator()
    assert isinstance(evaluator, Stateful)
    evaluator.score(window([1.0, 2.0]), {})
    resumed = MeanReturnEvaluator()
    resumed.load_state_dict(evaluator.state_dict())
    result = resumed.score(window([4.0], terminated=[0]), {})
    assert result.primary_score == 7.0
    assert result.metrics["mean_episode_length"] == 3.0


def test_both_scores_combine():
    evaluator = MeanReturnEvaluator()
    train = evaluator.score(window([5.0], terminated=[0], episode_id=4), {})
    both = evaluator.combine(train, evaluator.score_validation(window([3.0], terminated=[0])))
    assert both.primary_score == 3.0
    assert both.generalization_gap == 2.0
    assert both.episode_id == 4
    assert both.episode_returns == (3.0,)
