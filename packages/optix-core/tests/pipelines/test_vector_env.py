"""gymnasium's vector environments, and environments in processes of their own."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from optix_core.errors import ConfigError, EnvironmentFault, ResumeError
from optix_core.pipelines.vector import VectorBatchPipeline

CARTPOLE = partial(gym.make, "CartPole-v1")


class Lean:
    """Pushes to the side the pole leans to."""

    def act_batch(self, observations, *, deterministic=False):
        return (observations[:, 2] > 0).astype(np.int64)

    def env_actions(self, actions):
        return actions


def sync(makers, mode=AutoresetMode.SAME_STEP):
    return SyncVectorEnv(makers, autoreset_mode=mode)


class TestAsync:
    def test_processes_give_the_windows_of_the_list_and_resume_exactly(self, kit):
        listed = VectorBatchPipeline([CARTPOLE] * 2, Lean(), 60, seed=1)
        apart = VectorBatchPipeline([CARTPOLE] * 2, Lean(), 60, True, seed=1)
        try:
            for a, b in zip(kit.collect(listed, 2), kit.collect(apart, 2), strict=True):
                kit.assert_same(a, b)
            state = apart.state_dict()
            expected = kit.collect(listed, 2)
            kit.collect(apart, 1)
            apart.load_state_dict(state)
            for a, b in zip(expected, kit.collect(apart, 2), strict=True):
                kit.assert_same(a, b)
            assert apart.resume_level == "exact"
        finally:
            apart.teardown()
            apart.teardown()

    def test_lambdas_are_no_obstacle_and_setting_up_again_works(self, kit):
        pipeline = VectorBatchPipeline(
            [lambda: kit.CountingEnv(3)] * 2, kit.BatchAgent(), 5, async_envs=True, seed=1
        )
        try:
            first = pipeline.collect()
            pipeline.teardown()
            pipeline.setup()
            kit.assert_same(first, pipeline.collect())
        finally:
            pipeline.teardown()

    @pytest.mark.filterwarnings("ignore")
    def test_a_worker_that_raises_stops_the_run(self, kit):
        pipeline = VectorBatchPipeline(
            [lambda: kit.FaultyEnv("raise", [4]), kit.CountingEnv], kit.BatchAgent(), 9, True
        )
        with pytest.raises(EnvironmentFault, match="boom"):
            pipeline.collect()
        pipeline.teardown()

    def test_an_environment_that_does_not_repeat_is_found_out(self, kit):
        pipeline = VectorBatchPipeline([lambda: kit.DriftingEnv(5)], kit.BatchAgent(), 7, True, seed=1)
        try:
            kit.collect(pipeline, 2)
            with pytest.raises(ResumeError, match="fresh_env_per_episode=True"):
                pipeline.load_state_dict(pipeline.state_dict())
        finally:
            pipeline.teardown()


class TestGivenVectorEnv:
    def test_same_step_autoreset(self, kit):
        windows = kit.collect(VectorBatchPipeline(sync([CARTPOLE] * 3), Lean(), 80, seed=1), 3)
        listed = kit.collect(VectorBatchPipeline([CARTPOLE] * 3, Lean(), 80, seed=1), 1)[0]
        first_end = int(windows[0].boundary_steps[0, 0])
        # first episodes have the same seeds as those of the list
        np.testing.assert_array_equal(
            windows[0].observations[: first_end + 1], listed.observations[: first_end + 1]
        )
        np.testing.assert_array_equal(windows[0].boundary_observations[0], listed.boundary_observations[0])
        assert windows[0].episodes[0] == listed.episodes[0]
        lengths = [e.length for w in windows for e in w.episodes]
        assert len(lengths) > 5
        assert [e.episode_return for w in windows for e in w.episodes] == lengths

    def test_successors_are_true_ones(self, kit):
        makers = [lambda: kit.CountingEnv(3), lambda: kit.CountingEnv(5)]
        window = VectorBatchPipeline(sync(makers), kit.BatchAgent(), 16).collect()
        assert (window.next_observations()[..., 1] == window.observations[..., 1] + 1).all()
        assert window.observations[:, 0, 1].tolist() == [k % 3 for k in range(16)]
        assert window.observations[:, 1, 1].tolist() == [k % 5 for k in range(16)]

    @pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
    def test_other_autoreset_modes_are_refused(self, kit, mode):
        with pytest.raises(ConfigError, match="SAME_STEP"):
            VectorBatchPipeline(sync([kit.CountingEnv], mode), kit.BatchAgent())

    def test_a_resumed_run_begins_new_episodes_and_is_repeatable(self, kit):
        def make():
            return VectorBatchPipeline(sync([kit.CountingEnv] * 2), kit.BatchAgent(), 7, seed=1)

        first = make()
        kit.collect(first, 2)
        assert first.resume_level == "restart-episode"
        state = first.state_dict()
        second, third = make(), make()
        second.load_state_dict(state)
        third.load_state_dict(state)
        a, b = second.collect(), third.collect()
        kit.assert_same(a, b)
        assert a.episode_id == 2
        assert (a.observations[0, :, 1] == 0).all()
        assert not a.metadata["continues_episode"].any()
        assert [e.episode_return for e in a.episodes] == [15.0, 15.0]  # not mixed with the lost episodes
        unseen = first.collect().observations[0, :, 0]
        assert (a.observations[0, :, 0] != unseen).all()

    @pytest.mark.parametrize("what", ["nan", "reward"])
    def test_what_is_not_finite_stops_the_run(self, kit, what):
        makers = [kit.CountingEnv, lambda: kit.FaultyEnv(what, [6])]
        with pytest.raises(EnvironmentFault, match="environment 1, step, step 6 of window 0"):
            VectorBatchPipeline(sync(makers), kit.BatchAgent(), 9).collect()

    def test_also_in_a_last_observation(self, kit):
        makers = [kit.CountingEnv, lambda: kit.FaultyEnv("nan", [4])]
        with pytest.raises(EnvironmentFault, match="environment 1, step, step 4 of window 0"):
            VectorBatchPipeline(sync(makers), kit.BatchAgent(), 9).collect()


@pytest.mark.parametrize(
    "option",
    [
        {"on_env_error": "restart"},
        {"on_nonfinite": "truncate"},
        {"keep_infos": True},
        {"fresh_env_per_episode": True},
    ],
)
def test_options_that_need_a_list_are_refused_and_not_ignored(kit, option):
    with pytest.raises(ConfigError, match=f"{next(iter(option))}=.*cannot be honoured with a VectorEnv"):
        VectorBatchPipeline(sync([kit.CountingEnv]), kit.BatchAgent(), **option)
    if "fresh_env_per_episode" not in option:
        with pytest.raises(ConfigError, match="cannot be honoured with async_envs=True"):
            VectorBatchPipeline([kit.CountingEnv], kit.BatchAgent(), async_envs=True, **option)


def test_async_with_a_vector_env_is_refused(kit):
    with pytest.raises(ConfigError, match="already has its own way"):
        VectorBatchPipeline(sync([kit.CountingEnv]), async_envs=True)
