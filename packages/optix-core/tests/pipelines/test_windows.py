"""Windows hold what happened: every step once, in order, with the true successors."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.errors import ConfigError, SpaceError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.vector import VectorBatchPipeline
from optix_core.rl.returns import generalized_advantage_estimation
from optix_core.seeding import Domain, derive_seed

_shared = {}


def test_a_window_by_hand(kit):
    env = kit.CountingEnv(length=3)
    first, second = kit.collect(BatchPipeline(env, kit.CountingAgent(), 4, seed=7), 2)
    assert first.observations[:, 1].tolist() == [0, 1, 2, 0]
    assert first.rewards.tolist() == [1, 2, 3, 1]
    assert first.terminated.tolist() == [False, False, True, False]
    assert not first.truncated.any()
    assert first.episode_starts == [0, 3]
    assert first.final_obs[1] == 1
    assert first.boundary_steps.tolist() == [[2, 0]]
    assert first.boundary_observations[0, 1] == 3
    assert first.next_observations()[:, 1].tolist() == [1, 2, 3, 1]
    assert [(e.step, e.episode_return, e.length, e.terminated) for e in first.episodes] == [(2, 6.0, 3, True)]
    assert first.metadata["continues_episode"] is False
    # the second window goes on where the first one stopped
    assert second.observations[:, 1].tolist() == [1, 2, 0, 1]
    assert second.episode_starts == [0, 2]
    assert second.metadata["continues_episode"] is True
    assert [(e.step, e.episode_return, e.length) for e in second.episodes] == [(1, 6.0, 3)]
    assert [first.episode_id, second.episode_id] == [0, 1]
    assert first.n_envs is None
    # and every action was carried out
    assert env.received == [*first.actions.tolist(), *second.actions.tolist()]


def test_a_window_that_ends_with_its_episode_keeps_the_true_last_observation(kit):
    first, second = kit.collect(
        BatchPipeline(kit.CountingEnv(length=4, truncates=True), kit.CountingAgent(), 4), 2
    )
    assert first.truncated.tolist() == [False, False, False, True]
    assert not first.terminated.any()
    assert first.final_obs[1] == 4
    assert second.observations[0, 1] == 0
    assert second.metadata["continues_episode"] is False
    assert first.episodes[0].terminated is False


@given(length=st.integers(1, 9), window=st.integers(1, 12), windows=st.integers(1, 5))
@settings(max_examples=40)
def test_joined_windows_are_the_uninterrupted_stream(length, window, windows):
    kit = _shared["kit"]
    data = kit.collect(BatchPipeline(kit.CountingEnv(length), kit.CountingAgent(), window, seed=1), windows)
    steps = np.concatenate([w.observations[:, 1] for w in data])
    assert (steps == np.arange(window * windows) % length).all()
    assert (np.concatenate([w.next_observations()[:, 1] for w in data]) == steps + 1).all()
    assert (np.concatenate([w.terminated for w in data]) == (steps == length - 1)).all()
    returns = [e.episode_return for w in data for e in w.episodes]
    assert returns == [length * (length + 1) / 2] * (window * windows // length)
    for w in data:
        inner = set((np.flatnonzero(w.observations[:, 1] == 0)).tolist())
        assert w.episode_starts == sorted({0} | inner)


@pytest.fixture(autouse=True)
def _share(kit):
    """Hypothesis tests cannot take function-scoped fixtures, so the kit is left where they find it."""
    _shared["kit"] = kit


def test_two_environments_equal_two_single_runs(kit):
    lengths = [3, 5]
    both = kit.collect(
        VectorBatchPipeline([lambda n=n: kit.CountingEnv(n) for n in lengths], kit.BatchAgent(), 8, seed=3), 3
    )

    class Seeded(gym.Wrapper):
        """The seeds that environment n gets in the vector pipeline."""

        def __init__(self, env, index):
            super().__init__(env)
            self.index, self.episode = index, -1

        def reset(self, *, seed=None, options=None):
            self.episode += 1
            return self.env.reset(seed=derive_seed(3, Domain.ENV, self.index, self.episode))

    for n, length in enumerate(lengths):
        single = kit.collect(BatchPipeline(Seeded(kit.CountingEnv(length), n), kit.CountingAgent(), 8), 3)
        for v, s in zip(both, single, strict=True):
            for name in ("observations", "actions", "rewards", "terminated", "truncated"):
                np.testing.assert_array_equal(getattr(v, name)[:, n], getattr(s, name))
            np.testing.assert_array_equal(v.final_obs[n], s.final_obs)
            np.testing.assert_array_equal(v.next_observations()[:, n], s.next_observations())
            mine = [(e.step, e.episode_return, e.length) for e in v.episodes if e.env_index == n]
            assert mine == [(e.step, e.episode_return, e.length) for e in s.episodes]
            starts = set(np.flatnonzero(v.episode_starts[:, n]).tolist())
            assert sorted({0} | starts) == s.episode_starts

            def advantages(w):
                value, following = w.time_major("observations")[..., 1], w.next_observations()
                following = following if w.n_envs else following[:, None]
                ends = w.time_major("terminated")
                return generalized_advantage_estimation(
                    w.time_major("rewards"), value, following[..., 1], ends, ends, gamma=0.9, gae_lambda=0.8
                )

            np.testing.assert_array_equal(advantages(v)[:, n], advantages(s)[:, 0])


def test_no_reset_step_is_in_the_data(kit):
    data = kit.collect(VectorBatchPipeline([kit.CountingEnv] * 3, kit.BatchAgent(), 11), 2)
    for window in data:
        assert (window.rewards >= 1).all()  # a reset step would have reward 0
        assert (window.next_observations()[..., 1] == window.observations[..., 1] + 1).all()
        assert (window.next_observations()[..., 2] == window.actions).all()


def test_every_episode_has_its_own_derived_seed(kit):
    env = kit.CountingEnv(3)
    data = kit.collect(BatchPipeline(env, kit.CountingAgent(), 10, seed=5), 1)[0]
    assert env.resets == [derive_seed(5, Domain.ENV, 0, k) for k in range(4)]
    assert [e.seed for e in data.episodes] == env.resets[:3]


def test_the_same_seed_gives_the_same_windows_and_another_seed_others(kit):
    def run(seed):
        return kit.collect(BatchPipeline(kit.WalkEnv(), kit.PushAgent(), 50, seed=seed), 3)

    for a, b in zip(run(1), run(1), strict=True):
        kit.assert_same(a, b)
    assert (run(1)[0].observations != run(2)[0].observations).any()
    assert (run(None)[0].observations != run(None)[0].observations).any()


def test_setting_up_again_starts_afresh(kit):
    pipeline = BatchPipeline(kit.WalkEnv(), kit.PushAgent(), 30, seed=1)
    pipeline.setup()
    first = kit.collect(pipeline, 2)
    pipeline.teardown()
    pipeline.teardown()
    pipeline.setup()
    for a, b in zip(first, kit.collect(pipeline, 2), strict=True):
        kit.assert_same(a, b)


def test_windows_share_no_memory_with_each_other_or_the_environment(kit):
    pipeline = BatchPipeline(kit.CountingEnv(5, reuse_buffer=True), kit.CountingAgent(), 7, seed=1)
    first = pipeline.collect()
    kept = {
        name: np.array(getattr(first, name)) for name in ("observations", "actions", "rewards", "final_obs")
    }
    second = pipeline.collect()
    for name, value in kept.items():
        np.testing.assert_array_equal(getattr(first, name), value)
        assert not np.shares_memory(getattr(first, name), getattr(second, name))
    assert first.observations[:, 1].tolist() == [0, 1, 2, 3, 4, 0, 1]
    second.observations[...] = -1
    second.final_obs[...] = -1
    assert pipeline.collect().observations[0, 1] == 4


def test_a_window_is_collected_only_when_asked_for(kit):
    env = kit.CountingEnv()
    pipeline = BatchPipeline(env, kit.CountingAgent(), 6)
    pipeline.setup()
    windows = pipeline.episodes()
    assert env.received == []
    next(windows)
    assert len(env.received) == 6


def test_limits_apply_to_the_next_window_only(kit):
    pipeline = VectorBatchPipeline([kit.CountingEnv] * 3, kit.BatchAgent(), 10)
    assert pipeline.steps_per_window == 30
    assert pipeline.limit_next_window(14) is True  # 4 steps of 3 environments
    assert pipeline.limit_next_window(2) is False  # less than a step of each
    assert [w.n_steps for w in kit.collect(pipeline, 2)] == [12, 30]
    assert pipeline.limit_next_window(10_000) is True
    assert pipeline.collect().n_steps == 30


def test_infos_are_kept_on_request_only(kit):
    assert BatchPipeline(kit.CountingEnv(3), kit.CountingAgent(), 4).collect().infos == []
    window = VectorBatchPipeline(
        [lambda: kit.CountingEnv(3), lambda: kit.CountingEnv(9)], kit.BatchAgent(), 4, keep_infos=True
    ).collect()
    assert [info["k"] for info in window.infos] == [1, 1, 2, 2, 3, 3, 1, 4]


def test_batched_acting_is_one_call_per_step_and_changes_nothing(kit):
    agent = kit.BatchAgent()
    batched = kit.collect(VectorBatchPipeline([kit.CountingEnv] * 3, agent, 10, seed=2), 2)
    single = kit.collect(VectorBatchPipeline([kit.CountingEnv] * 3, kit.CountingAgent(), 10, seed=2), 2)
    for a, b in zip(batched, single, strict=True):
        kit.assert_same(a, b)
    assert agent.batches == [(3, False)] * 20


def test_the_window_has_policy_actions_and_the_environment_its_own(kit):
    env = kit.WalkEnv()
    window = BatchPipeline(env, kit.PushAgent(), 30, seed=1).collect()
    np.testing.assert_array_equal(window.actions, np.tanh(-window.observations))
    np.testing.assert_array_equal(np.array(env.received), (0.4 * window.actions).astype(np.float32))
    assert np.abs(window.actions).max() > 0.4


def test_images_keep_their_dtype(kit):
    class Images(kit.CountingEnv):
        def __init__(self):
            super().__init__()
            self.observation_space = gym.spaces.Box(0, 255, (4, 4), np.uint8)

        def _obs(self, action):
            return np.full((4, 4), self.k, np.uint8)

    class Zero:
        def act(self, observation):
            assert observation.dtype == np.uint8
            return 0

    window = BatchPipeline(Images(), Zero(), 8).collect()
    assert window.observations.dtype == np.uint8
    assert window.observations[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]


def test_discrete_observations_are_integers():
    env = gym.make("FrozenLake-v1", is_slippery=False)

    class Right:
        def act(self, observation):
            return 2

    window = BatchPipeline(env, Right(), 5, seed=1).collect()
    assert window.observations.tolist() == [0, 1, 2, 3, 3]
    assert window.observations.dtype == np.int64


class TestStepwiseLearning:
    def test_every_transition_is_told_once_with_its_true_successor(self, kit):
        agent = kit.ObservingAgent()
        windows = kit.collect(
            VectorBatchPipeline(
                [lambda: kit.CountingEnv(3), lambda: kit.CountingEnv(5, truncates=True)], agent, 8
            ),
            3,
        )
        told = [np.stack(parts) for parts in zip(*agent.told, strict=True)]
        for index, name in enumerate(("observations", "actions", "rewards")):
            np.testing.assert_array_equal(told[index], np.concatenate([getattr(w, name) for w in windows]))
        np.testing.assert_array_equal(told[3], np.concatenate([w.next_observations() for w in windows]))
        np.testing.assert_array_equal(told[4], np.concatenate([w.terminated for w in windows]))
        np.testing.assert_array_equal(told[5], np.concatenate([w.truncated for w in windows]))
        assert (told[3][..., 1] == told[0][..., 1] + 1).all()

    def test_the_reward_of_the_terminal_step_is_told(self, kit):
        agent = kit.ObservingAgent()
        BatchPipeline(kit.CountingEnv(4), agent, 4).collect()
        assert [float(t[2][0]) for t in agent.told] == [1, 2, 3, 4]
        assert bool(agent.told[3][4][0]) is True

    def test_it_is_told_during_the_window(self, kit):
        class Watching(kit.ObservingAgent):
            def act_batch(self, observations, *, deterministic=False):
                assert len(self.told) == len(self.batches)
                return super().act_batch(observations)

        BatchPipeline(kit.CountingEnv(4), Watching(), 9).collect()


def test_what_cannot_work_is_refused_at_once(kit):
    with pytest.raises(ConfigError, match="window_size is 0"):
        BatchPipeline(kit.CountingEnv(), window_size=0)
    with pytest.raises(ConfigError, match="without reset, step, close"):
        BatchPipeline(object())
    with pytest.raises(ConfigError, match="It is a function"):
        BatchPipeline(kit.CountingEnv)
    with pytest.raises(ConfigError, match="non-empty list"):
        VectorBatchPipeline([])
    with pytest.raises(ConfigError, match="no agent to act"):
        BatchPipeline(kit.CountingEnv()).collect()
    with pytest.raises(ConfigError, match="no method act"):
        BatchPipeline(kit.CountingEnv(), object()).collect()
    with pytest.raises(ConfigError, match="on_env_error is 'ignore'"):
        BatchPipeline(kit.CountingEnv(), on_env_error="ignore")

    class Wordy(kit.CountingEnv):
        def __init__(self):
            super().__init__()
            self.observation_space = gym.spaces.Dict(a=gym.spaces.Box(-1, 1, (2,)), b=gym.spaces.Text(3))

    with pytest.raises(SpaceError, match=r"the space Text is of a kind optix cannot handle"):
        BatchPipeline(Wordy())
    with pytest.raises(SpaceError, match="environments differ: observation_space of number 1"):
        VectorBatchPipeline([kit.CountingEnv, kit.WalkEnv])


def test_a_new_agent_acts_from_the_next_window(kit):
    class Constant:
        def __init__(self, action):
            self.action = action

        def act(self, observation):
            return self.action

    pipeline = BatchPipeline(kit.CountingEnv(), Constant(1), 5)
    windows = pipeline.episodes()
    assert set(next(windows).actions) == {1}
    pipeline.set_agent(Constant(2))
    assert set(next(windows).actions) == {2}


@pytest.mark.parametrize("bootstraps", [True, False])
def test_a_reward_of_one_for_ever_is_worth_one_over_one_minus_gamma(kit, bootstraps):
    """The time limit of seven steps is no end of the task; treating it as one gives another, lower value."""

    class One(kit.CountingEnv):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, 1.0, *rest

    window = BatchPipeline(One(7, truncates=True), kit.CountingAgent(), 100, seed=1).collect()
    boundary = window.time_major("terminated") | window.time_major("truncated")
    terminated = window.time_major("terminated") if bootstraps else boundary
    value = 0.0
    for _ in range(800):
        v = np.full((100, 1), value)
        advantages = generalized_advantage_estimation(
            window.time_major("rewards"), v, v, terminated, boundary, gamma=0.9, gae_lambda=0.9
        )
        value += 0.5 * float(advantages.mean())
    assert (abs(value - 10.0) < 1e-6) is bootstraps
