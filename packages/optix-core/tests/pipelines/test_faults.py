"""A broken environment or policy stops the run with the place and the reason, or is recovered from in bounds."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest

from optix_core.errors import ConfigError, EnvironmentFault, NumericalDivergence, SpaceError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.vector import VectorBatchPipeline


def faulty(kit, what, at, **options):
    """A pipeline over an environment that misbehaves in the given steps, counted over rebuilt objects too."""
    counter = [0]

    def make():
        return kit.FaultyEnv(what, at, length=6, counter=counter)

    agent = options.pop("agent", None) or kit.CountingAgent()
    return BatchPipeline(make(), agent, 10, seed=1, env_factory=make, **options)


class TestStopping:
    def test_an_exception_keeps_its_traceback_and_says_where(self, kit):
        pipeline = faulty(kit, "raise", [13])
        pipeline.collect()
        with pytest.raises(EnvironmentFault) as caught:
            pipeline.collect()
        assert caught.value.code == "E-ENV-RAISED"
        assert isinstance(caught.value.__cause__, RuntimeError)
        text = str(caught.value)
        for part in ("environment 0", "step 3 of window 1", "after action", "boom", "on_env_error='restart'"):
            assert part in text

    @pytest.mark.parametrize("what,found", [("nan", "component 1 = [nan]"), ("inf", "component 2 = [-inf]")])
    def test_an_observation_that_is_not_finite_is_named(self, kit, what, found):
        with pytest.raises(EnvironmentFault) as caught:
            faulty(kit, what, [4]).collect()
        text = str(caught.value).replace("[1]", "1").replace("[2]", "2")
        assert found in text
        assert "environment 0, step, step 4 of window 0 after action" in text

    def test_it_is_found_at_its_own_step_and_environment(self, kit):
        makers = [kit.CountingEnv, lambda: kit.FaultyEnv("nan", [7]), kit.CountingEnv]
        agent = kit.ObservingAgent()
        with pytest.raises(EnvironmentFault, match="environment 1, step, step 7 of window 0"):
            VectorBatchPipeline(makers, agent, 20).collect()
        assert len(agent.told) == 7  # the broken transition reached nobody
        assert all(np.isfinite(part).all() for t in agent.told for part in t)

    def test_also_in_the_last_observation_of_an_episode(self, kit):
        with pytest.raises(EnvironmentFault, match="step 5 of window 0"):
            faulty(kit, "nan", [5]).collect()  # the sixth step ends the episode

    def test_a_reward_that_is_not_finite_is_named(self, kit):
        with pytest.raises(EnvironmentFault, match=r"step 2 of window 0 after action \d: the reward is nan"):
            faulty(kit, "reward", [2]).collect()

    def test_a_first_observation_that_is_not_finite(self, kit):
        class BadReset(kit.CountingEnv):
            def reset(self, *, seed=None, options=None):
                observation, info = super().reset(seed=seed)
                return observation * np.nan, info

        with pytest.raises(EnvironmentFault, match=r"environment 0, reset, start of episode 0 \(seed \d+\)"):
            BatchPipeline(BadReset(), kit.CountingAgent()).collect()


class TestTruncating:
    def test_the_transition_is_dropped_and_the_episode_cut_before_it(self, kit):
        data = faulty(kit, "nan", [3], on_nonfinite="truncate").collect()
        assert data.length == 10
        assert np.isfinite(data.observations).all()
        # steps 0, 1, 2 are good; the fourth is dropped, and its place taken by the first of a new episode
        assert data.observations[:, 1].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 0]
        assert data.truncated.tolist() == [False, False, True] + [False] * 7
        assert np.flatnonzero(data.terminated).tolist() == [8]
        assert data.boundary_steps.tolist() == [[2, 0], [8, 0]]
        assert data.next_observations()[2, 1] == 3  # what truly followed the last good step
        assert data.episode_starts == [0, 3, 9]
        assert [e.step for e in data.episodes] == [8]  # a cut episode is no complete episode
        assert data.metadata["env_faults"] == {"env_errors": 0, "nonfinite": 1}

    def test_a_reward_too(self, kit):
        data = faulty(kit, "reward", [3], on_nonfinite="truncate").collect()
        assert data.rewards.tolist() == [1, 2, 3, 1, 2, 3, 4, 5, 6, 1]

    def test_in_the_first_step_of_an_episode_nothing_is_marked(self, kit):
        data = faulty(kit, "nan", [6], on_nonfinite="truncate").collect()
        assert not data.truncated.any()
        assert data.observations[:, 1].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]

    def test_in_the_first_step_of_a_window(self, kit):
        pipeline = faulty(kit, "nan", [10], on_nonfinite="truncate")
        first, second = kit.collect(pipeline, 2)
        assert first.final_obs[1] == 4
        assert second.observations[0, 1] == 0
        assert second.episode_starts[:2] == [0, 6]
        assert second.metadata["continues_episode"] is False
        assert [e.episode_return for e in second.episodes] == [21.0]  # without the cut episode's rewards

    def test_only_the_faulty_environment_is_affected(self, kit):
        makers = [kit.CountingEnv, lambda: kit.FaultyEnv("nan", [3])]
        clean = VectorBatchPipeline([kit.CountingEnv] * 2, kit.BatchAgent(), 12, seed=1).collect()
        data = VectorBatchPipeline(makers, kit.BatchAgent(), 12, seed=1, on_nonfinite="truncate").collect()
        np.testing.assert_array_equal(data.observations[:, 0], clean.observations[:, 0])
        assert data.observations[:, 1, 1].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3]
        np.testing.assert_array_equal(data.next_observations()[..., 1], data.observations[..., 1] + 1)

    def test_stepwise_learners_hear_of_the_cut(self, kit):
        agent = kit.ObservingAgent()
        pipeline = faulty(kit, "nan", [3, 11], on_nonfinite="truncate", agent=agent)  # 11: first of window 1
        windows = kit.collect(pipeline, 2)
        told = [np.stack(parts)[:, 0] for parts in zip(*agent.told, strict=True)]
        assert len(agent.told) == 19  # one step late, so that a fault in the next step can still be told
        observations = np.concatenate([w.observations for w in windows])[:19]
        np.testing.assert_array_equal(told[0], observations)
        np.testing.assert_array_equal(told[3][:, 1], observations[:, 1] + 1)
        # wherever the next transition does not go on from this one, the learner was told that the episode ended
        continues = (told[3][:-1] == told[0][1:]).all(axis=1)
        assert (continues | told[4][:-1] | told[5][:-1]).all()
        assert told[5].sum() == 2

    def test_the_budget_ends(self, kit):
        pipeline = faulty(kit, "nan", range(5, 500), on_nonfinite="truncate")
        with pytest.raises(EnvironmentFault) as caught:
            pipeline.collect()
        assert "giving up" in caught.value.__notes__[0]

    def test_ten_in_a_row_are_too_many_even_where_one_percent_is_more(self, kit):
        pipeline = faulty(kit, "nan", range(3000, 9000), on_nonfinite="truncate")
        with pytest.raises(EnvironmentFault) as caught:
            kit.collect(pipeline, 400)
        assert "10 of them in a row" in caught.value.__notes__[0]
        assert pipeline._policy.counts["nonfinite"] == 10

    def test_one_percent_of_the_steps(self, kit):
        pipeline = faulty(kit, "nan", range(0, 3000, 20), on_nonfinite="truncate")
        with pytest.raises(EnvironmentFault) as caught:
            kit.collect(pipeline, 200)
        assert "dropped 10 such transitions" in caught.value.__notes__[0]
        rare = faulty(kit, "nan", range(0, 3000, 200), on_nonfinite="truncate")
        assert kit.collect(rare, 300)[-1].metadata["env_faults"]["nonfinite"] == 15


class TestRestarting:
    def test_the_environment_is_rebuilt(self, kit):
        made = []
        counter = [0]

        def make():
            made.append(kit.FaultyEnv("raise", [3], length=6, counter=counter))
            return made[-1]

        pipeline = BatchPipeline(make(), kit.CountingAgent(), 10, env_factory=make, on_env_error="restart")
        data = pipeline.collect()
        assert len(made) == 2
        assert made[0].closed == 1
        assert data.observations[:, 1].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 0]
        assert data.truncated.tolist() == [False, False, True] + [False] * 7
        assert data.rewards.tolist() == [1, 2, 3, 1, 2, 3, 4, 5, 6, 1]  # never a made-up reward
        assert data.metadata["env_faults"]["env_errors"] == 1

    def test_three_times_in_ten_thousand_steps(self, kit):
        pipeline = faulty(kit, "raise", [10, 20, 30, 40], on_env_error="restart")
        with pytest.raises(EnvironmentFault) as caught:
            kit.collect(pipeline, 10)
        assert "restarted 3 times within 10,000 steps" in caught.value.__notes__[0]
        assert pipeline._policy.counts["env_errors"] == 3

    def test_the_budget_refills(self, kit):
        pipeline = faulty(kit, "raise", [10, 20, 30, 10_040], on_env_error="restart")
        pipeline.window_size = 1000
        assert kit.collect(pipeline, 11)[-1].metadata["env_faults"]["env_errors"] == 4

    def test_a_failing_reset_counts_too(self, kit):
        failures = [2]

        class Flaky(kit.CountingEnv):
            def reset(self, *, seed=None, options=None):
                if failures[0] > 0:
                    failures[0] -= 1
                    raise OSError("simulator not ready")
                return super().reset(seed=seed)

        pipeline = BatchPipeline(Flaky(), kit.CountingAgent(), 4, env_factory=Flaky, on_env_error="restart")
        assert pipeline.collect().metadata["env_faults"]["env_errors"] == 2
        failures[0] = 9
        with pytest.raises(EnvironmentFault, match="simulator not ready"):
            BatchPipeline(
                Flaky(), kit.CountingAgent(), 4, env_factory=Flaky, on_env_error="restart"
            ).collect()

    def test_a_factory_is_derived_from_the_registry_or_asked_for(self, kit):
        assert BatchPipeline(gym.make("CartPole-v1"), on_env_error="restart").env_factory is not None
        with pytest.raises(ConfigError, match="Pass env_factory="):
            BatchPipeline(kit.CountingEnv(), on_env_error="restart")


class Fixed:
    """Gives the same action always."""

    def __init__(self, action):
        self.action = action

    def act(self, observation):
        return self.action


class TestActions:
    def test_a_non_finite_action_never_reaches_the_environment(self, kit):
        env = kit.WalkEnv()
        with pytest.raises(NumericalDivergence) as caught:
            BatchPipeline(env, Fixed(np.array([0.1, np.nan], np.float32))).collect()
        assert "Fixed" in str(caught.value)
        assert env.received == []

    @pytest.mark.parametrize("action", [[0.1, 0.41], [np.inf, 0.0], [-0.5, 0.0]])
    def test_an_action_outside_of_the_box(self, kit, action):
        env = kit.WalkEnv()
        with pytest.raises((SpaceError, NumericalDivergence)):
            BatchPipeline(env, Fixed(np.array(action, np.float32))).collect()
        assert env.received == []

    def test_the_component_is_named(self, kit):
        with pytest.raises(
            SpaceError, match=r"environment 0: component \(1,\) is 0.41.*allowed -0.4.* to 0.4"
        ):
            BatchPipeline(kit.WalkEnv(), Fixed(np.array([0.1, 0.41], np.float32))).collect()

    def test_in_many_dimensions_too(self):
        class Wide(gym.Env):
            observation_space = gym.spaces.Box(-1, 1, (1,))
            action_space = gym.spaces.Box(-1, np.inf, (50,))

            def reset(self, *, seed=None, options=None):
                return np.zeros(1, np.float32), {}

            def step(self, action):
                return np.zeros(1, np.float32), 0.0, False, False, {}

        good = np.zeros(50, np.float32)
        assert BatchPipeline(Wide(), Fixed(good), 3).collect().length == 3
        for value, error in (
            (-1.5, SpaceError),
            (np.nan, NumericalDivergence),
            (np.inf, NumericalDivergence),
        ):
            bad = good.copy()
            bad[37] = value
            with pytest.raises(error, match=r"37|non-finite"):
                BatchPipeline(Wide(), Fixed(bad), 3).collect()

    @pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
    def test_infinity_is_no_action_of_an_unbounded_box_either(self, kit, value):
        env = kit.WalkEnv()
        env.action_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        with pytest.raises(NumericalDivergence):
            BatchPipeline(env, Fixed(np.array([0.0, value], np.float32))).collect()
        assert env.received == []

    @pytest.mark.parametrize("action", [4, -1, 1.0, np.array([1]), None, float("nan")])
    def test_a_discrete_action_must_be_one_of_the_choices(self, kit, action):
        env = kit.CountingEnv()
        with pytest.raises((SpaceError, NumericalDivergence)):
            BatchPipeline(env, Fixed(action)).collect()
        assert env.received == []

    @pytest.mark.parametrize("action", [3, np.int64(3), np.array(3)])
    def test_integers_of_any_make_are_fine(self, kit, action):
        env = kit.CountingEnv()
        BatchPipeline(env, Fixed(action), 2).collect()
        assert env.received == [3, 3]
        assert all(type(a) is int for a in env.received)

    def test_float64_actions_are_cast_to_the_space(self, kit):
        env = kit.WalkEnv()
        BatchPipeline(env, Fixed(np.array([0.1, 0.2])), 2).collect()
        assert env.received[0].dtype == np.float32

    def test_the_wrong_shape(self, kit):
        with pytest.raises(SpaceError, match=r"shape \(1, 3\).*expected \(1, 2\)"):
            BatchPipeline(kit.WalkEnv(), Fixed(np.zeros(3, np.float32))).collect()


class TestInterface:
    def broken(self, kit, **methods):
        return type("Broken", (kit.CountingEnv,), methods)()

    def test_the_old_interface_of_four_values(self, kit):
        env = self.broken(kit, step=lambda self, action: (np.zeros(3), 0.0, False, {}))
        with pytest.raises(EnvironmentFault, match=r"got a tuple of 4.*before version 0.26"):
            BatchPipeline(env, kit.CountingAgent()).collect()

    def test_reset_without_info(self, kit):
        env = self.broken(kit, reset=lambda self, seed=None: np.zeros(3))
        with pytest.raises(EnvironmentFault, match=r"expected a pair \(observation, info\), got a ndarray"):
            BatchPipeline(env, kit.CountingAgent()).collect()

    @pytest.mark.parametrize("reward", [None, "much", np.zeros(2)])
    def test_a_reward_that_is_no_number(self, kit, reward):
        env = self.broken(kit, step=lambda self, action: (np.zeros(3), reward, False, False, {}))
        with pytest.raises(EnvironmentFault, match=r"the reward is .* expected one number"):
            BatchPipeline(env, kit.CountingAgent()).collect()

    @pytest.mark.parametrize("observation", [np.zeros(2), np.zeros((1, 3)), 0.0, np.zeros(3, complex)])
    def test_an_observation_that_does_not_fit_is_not_broadcast(self, kit, observation):
        env = self.broken(kit, step=lambda self, action: (observation, 0.0, False, False, {}))
        if np.iscomplexobj(observation):
            env.reset = lambda seed=None: (observation, {})
        with pytest.raises(EnvironmentFault, match="the observation has shape"):
            BatchPipeline(env, kit.CountingAgent()).collect()

    def test_lists_are_as_good_as_arrays(self, kit):
        env = self.broken(kit, step=lambda self, action: ([1, 2, 3], np.float32(2), np.True_, np.False_, {}))
        window = BatchPipeline(env, kit.CountingAgent(), 3).collect()
        assert window.rewards.tolist() == [2, 2, 2]
        assert window.terminated.all()
        assert (window.next_observations() == [1, 2, 3]).all()


class TestOutsideTheSpace:
    class Liar(gym.Env):
        """Says that observations are at most 1, and goes to 3."""

        observation_space = gym.spaces.Box(-1, 1, (2,))
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.zeros(2, np.float32), {}

        def step(self, action):
            return np.array([0, 3], np.float32), 0.0, False, False, {}

    def test_warned_about_three_times_then_counted(self):
        pipeline = BatchPipeline(self.Liar(), Fixed(0), 5)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            windows = [pipeline.collect() for _ in range(5)]
        assert len(caught) == 3
        text = str(caught[0].message)
        for part in ("environment 0, step 1 of window 0", "component [1]", "3.0", "[-1.0, 1.0]"):
            assert part in text
        assert [w.metadata["observations_outside_space"] for w in windows] == [4, 9, 14, 19, 24]

    def test_strict_raises(self):
        with pytest.raises(EnvironmentFault, match="outside of Box"):
            BatchPipeline(self.Liar(), Fixed(0), 5, strict=True).collect()
