"""Evaluations run whole greedy episodes, can be repeated, and leave training alone."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from optix_core.base_pipeline import SeededEvaluation
from optix_core.errors import ConfigError, EnvironmentFault, NumericalDivergence
from optix_core.evaluators.mean_return import MeanReturnEvaluator
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.evaluation import EvaluationPipeline
from optix_core.seeding import Domain, derive_seed
from optix_core.state import Stateful


def test_it_holds_exactly_the_episodes_in_order(kit):
    data = EvaluationPipeline(kit.CountingEnv, kit.BatchAgent(), episodes=3, seed=5).evaluate(2)
    assert data.observations[:, 1].tolist() == [0, 1, 2, 3, 4] * 3
    assert data.observations[::5, 0].tolist() == [
        derive_seed(5, Domain.VALIDATION, 2, j) % 1000 for j in range(3)
    ]
    assert np.flatnonzero(data.terminated).tolist() == [4, 9, 14]
    assert data.episode_starts == [0, 5, 10]
    assert data.boundary_steps.tolist() == [[4, 0], [9, 0], [14, 0]]
    assert (data.next_observations()[:, 1] == data.observations[:, 1] + 1).all()
    assert [(e.step, e.episode_return, e.length) for e in data.episodes] == [
        (4, 15, 5),
        (9, 15, 5),
        (14, 15, 5),
    ]
    assert [e.seed for e in data.episodes] == [derive_seed(5, Domain.VALIDATION, 2, j) for j in range(3)]
    assert data.n_envs is None
    assert data.episode_id == 2


def test_side_by_side_equals_one_after_another(kit):
    class Uneven(kit.CountingEnv):
        """Episodes of 1 to 12 steps, by seed."""

        def reset(self, *, seed=None, options=None):
            self.length = 1 + seed % 12
            return super().reset(seed=seed)

    agent = kit.BatchAgent()
    batched = EvaluationPipeline(Uneven, agent, episodes=23, seed=1).evaluate(0)
    single = EvaluationPipeline(Uneven(), kit.CountingAgent(), episodes=23, seed=1).evaluate(0)
    kit.assert_same(batched, single)
    assert len(batched.episodes) == 23
    assert max(n for n, _ in agent.batches) == 8  # it did run side by side
    assert len(agent.batches) < single.length / 3


def test_actions_are_greedy_if_the_agent_knows_the_difference(kit):
    agent = kit.BatchAgent()
    EvaluationPipeline(kit.CountingEnv, agent, episodes=1).evaluate(0)
    assert {greedy for _, greedy in agent.batches} == {True}

    class Knows:
        asked = ()

        def act(self, observation, deterministic=False):
            self.asked = (*self.asked, deterministic)
            return 0

    agent = Knows()
    EvaluationPipeline(kit.CountingEnv, agent, episodes=1).evaluate(0)
    assert set(agent.asked) == {True}
    agent = Knows()
    EvaluationPipeline(kit.CountingEnv, agent, episodes=1, deterministic=False).evaluate(0)
    assert set(agent.asked) == {False}
    EvaluationPipeline(kit.CountingEnv, kit.CountingAgent(), episodes=1).evaluate(
        0
    )  # does not know: not told


def test_the_same_index_repeats_and_another_differs(kit):
    pipeline = EvaluationPipeline(kit.WalkEnv, kit.PushAgent(), episodes=4, seed=1)
    first, other, again = pipeline.evaluate(3), pipeline.evaluate(4), pipeline.evaluate(3)
    kit.assert_same(first, again)
    assert (first.observations[0] != other.observations[0]).any()
    assert len(pipeline.evaluate(3, episodes=2).episodes) == 2


def test_policies_are_compared_on_the_same_episodes(kit):
    class Idle(kit.PushAgent):
        def act_batch(self, observations, *, deterministic=False):
            return np.zeros_like(observations)

    pipeline = EvaluationPipeline(kit.WalkEnv, kit.PushAgent(), episodes=5, seed=1)
    a = pipeline.evaluate(0)
    pipeline.set_agent(Idle())
    b = pipeline.evaluate(0)
    assert [e.seed for e in a.episodes] == [e.seed for e in b.episodes]
    np.testing.assert_array_equal(a.observations[a.episode_starts], b.observations[b.episode_starts])
    assert a.length != b.length


def test_windows_follow_each_other_and_the_index_is_state(kit):
    pipeline = EvaluationPipeline(kit.WalkEnv, kit.PushAgent(), episodes=2, seed=1)
    assert isinstance(pipeline, SeededEvaluation)
    assert isinstance(pipeline, Stateful)
    first, second = kit.collect(pipeline, 2)
    kit.assert_same(first, pipeline.evaluate(0))
    kit.assert_same(second, pipeline.evaluate(1))
    other = EvaluationPipeline(kit.WalkEnv, kit.PushAgent(), episodes=2, seed=9)
    other.load_state_dict(pipeline.state_dict())
    kit.assert_same(kit.collect(other, 1)[0], pipeline.evaluate(2))


def test_training_is_not_touched(kit):
    def train(*, evaluate):
        agent = kit.PushAgent()
        training = BatchPipeline(kit.WalkEnv(), agent, 30, seed=1)
        validation = EvaluationPipeline(kit.WalkEnv, agent, episodes=3, seed=1)
        windows = []
        for index in range(3):
            windows.append(training.collect())
            if evaluate:
                validation.evaluate(index)
        return windows

    for a, b in zip(train(evaluate=True), train(evaluate=False), strict=True):
        kit.assert_same(a, b)


class TestEndlessEpisodes:
    def test_are_cut_and_counted(self, kit):
        env = kit.CountingEnv(length=10**9)
        data = EvaluationPipeline(env, kit.CountingAgent(), episodes=2, max_episode_steps=7).evaluate(0)
        assert [e.length for e in data.episodes] == [7, 7]
        assert np.flatnonzero(data.truncated).tolist() == [6, 13]
        assert not data.terminated.any()
        assert data.metadata["cut_by_limit"] == 2

    def test_an_episode_that_ends_at_the_limit_is_not_cut(self, kit):
        data = EvaluationPipeline(
            kit.CountingEnv(7), kit.CountingAgent(), episodes=1, max_episode_steps=7
        ).evaluate(0)
        assert data.terminated[-1]
        assert data.metadata["cut_by_limit"] == 0

    def test_there_is_a_limit_without_asking(self, kit, monkeypatch):
        monkeypatch.setattr("optix_core.pipelines.evaluation.UNLIMITED_EPISODE_STEPS", 50)
        env = kit.CountingEnv(length=10**9)
        assert EvaluationPipeline(env, kit.CountingAgent(), episodes=1).evaluate(0).length == 50


def test_faults_name_the_episode(kit):
    with pytest.raises(EnvironmentFault, match=r"evaluation 4, episode 1, step 2 .*boom"):
        EvaluationPipeline(kit.FaultyEnv("raise", [7]), kit.CountingAgent(), episodes=2).evaluate(4)
    with pytest.raises(EnvironmentFault, match="evaluation 0, episode 0, step 3"):
        EvaluationPipeline(kit.FaultyEnv("nan", [3]), kit.CountingAgent(), episodes=2).evaluate(0)

    class Diverged:
        def act(self, observation):
            return np.full(2, np.nan, np.float32)

    with pytest.raises(NumericalDivergence):
        EvaluationPipeline(kit.WalkEnv, Diverged()).evaluate(0)


def test_fresh_objects_make_evaluations_repeatable(kit):
    used = EvaluationPipeline(kit.DriftingEnv, kit.CountingAgent(), episodes=2, seed=1)
    fresh = EvaluationPipeline(
        kit.DriftingEnv, kit.CountingAgent(), episodes=2, seed=1, fresh_env_per_episode=True
    )
    assert (used.evaluate(0).observations != used.evaluate(0).observations).any()
    kit.assert_same(fresh.evaluate(0), fresh.evaluate(0))
    with pytest.raises(ConfigError, match="function that builds environments"):
        EvaluationPipeline(kit.DriftingEnv(), fresh_env_per_episode=True)


def test_copies_are_made_from_the_registry_and_closed(kit):
    class Lean:
        def act_batch(self, observations, *, deterministic=False):
            self.n = len(observations)
            return (observations[:, 2] > 0).astype(np.int64)

        def env_actions(self, actions):
            return actions

    agent = Lean()
    pipeline = EvaluationPipeline(gym.make("CartPole-v1"), agent, episodes=4, seed=1)
    pipeline.evaluate(0)
    assert pipeline._stepper.n_envs == 4
    made = []

    def make():
        made.append(kit.CountingEnv())
        return made[-1]

    pipeline = EvaluationPipeline(make, kit.BatchAgent(), episodes=3)
    pipeline.evaluate(0)
    pipeline.teardown()
    assert [env.closed for env in made] == [1, 1, 1]


def test_it_is_scored_like_any_window(kit):
    pipeline = EvaluationPipeline(kit.CountingEnv, kit.BatchAgent(), episodes=3)
    metrics = MeanReturnEvaluator().score_validation(pipeline.evaluate(0))
    assert metrics.primary_score == 15.0
    assert metrics.episode_returns == (15.0, 15.0, 15.0)


@pytest.mark.parametrize("options", [{"episodes": 0}, {"max_episode_steps": 0}])
def test_bad_numbers(kit, options):
    with pytest.raises(ConfigError, match="must be at least 1"):
        EvaluationPipeline(kit.CountingEnv, **options)
    with pytest.raises(ConfigError, match="index is -1"):
        EvaluationPipeline(kit.CountingEnv, kit.CountingAgent()).evaluate(-1)
