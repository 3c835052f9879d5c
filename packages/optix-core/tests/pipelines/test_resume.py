"""A pipeline that is loaded from a state gives the windows the first one would have given, bit for bit."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.errors import EnvironmentFault, ResumeError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.vector import VectorBatchPipeline
from optix_core.state import Stateful, arrays_in

_shared = {}


@pytest.fixture(autouse=True)
def _share(kit):
    _shared["kit"] = kit


def stored(state):
    """``state`` as a checkpoint gives it back: arrays as arrays, the rest through JSON."""

    def walk(value):
        if isinstance(value, np.ndarray):
            return value.copy()
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            return {key: walk(item) for key, item in value.items()}
        return json.loads(json.dumps(value))

    arrays_in(state)
    return walk(state)


@given(
    window=st.integers(1, 60), before=st.integers(0, 4), n_envs=st.integers(1, 3), seed=st.integers(0, 10_000)
)
@settings(max_examples=30, deadline=None)
def test_resuming_at_any_border_changes_nothing(window, before, n_envs, seed):
    kit = _shared["kit"]

    def make(seed):
        return VectorBatchPipeline([kit.WalkEnv] * n_envs, kit.PushAgent(), window, seed=seed)

    first = make(seed)
    for _ in range(before):
        first.collect()
    state = stored(first.state_dict()) if before else None
    expected = kit.collect(first, 3)
    if state is None:
        return
    resumed = make(seed + 1)
    resumed.load_state_dict(state)
    resumed.setup()
    assert resumed.root_seed == seed
    for a, b in zip(expected, kit.collect(resumed, 3), strict=True):
        kit.assert_same(a, b)


@pytest.mark.parametrize("set_up_first", [True, False])
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCarContinuous-v0"])
def test_stock_environments(kit, name, set_up_first):
    class Sampler:
        def __init__(self, space):
            self.space = space

        def act(self, observation):
            return self.space.sample()  # moves the action space's own generator, which is part of the state

    def make(seed):
        env = gym.make(name)
        return BatchPipeline(env, Sampler(env.action_space), 130, seed=seed)

    first = make(4)
    kit.collect(first, 2)
    state = stored(first.state_dict())
    expected = kit.collect(first, 3)
    second = make(99)
    if set_up_first:
        second.setup()
    second.load_state_dict(state)
    if not set_up_first:
        second.setup()
    second._agent.space = second._stepper.envs[0].action_space
    for a, b in zip(expected, kit.collect(second, 3), strict=True):
        kit.assert_same(a, b)


def test_it_is_stateful_and_the_state_is_a_copy(kit):
    pipeline = BatchPipeline(kit.WalkEnv(), kit.PushAgent(), 17, seed=1)
    assert isinstance(pipeline, Stateful)
    pipeline.collect()
    state = pipeline.state_dict()
    before = stored(state)
    pipeline.collect()
    np.testing.assert_equal(state, before)


def test_a_state_taken_before_the_first_window(kit):
    first = BatchPipeline(kit.WalkEnv(), kit.PushAgent(), 17, seed=1)
    first.setup()
    state = first.state_dict()
    second = BatchPipeline(kit.WalkEnv(), kit.PushAgent(), 17, seed=2)
    second.load_state_dict(state)
    second.setup()
    kit.assert_same(first.collect(), second.collect())


def test_an_interrupted_window_counts_for_nothing(kit):
    """The state after an error inside a window is that of the last border."""

    class Interrupting(kit.PushAgent):
        left = 45

        def act_batch(self, observations, *, deterministic=False):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return super().act_batch(observations)

    pipeline = BatchPipeline(kit.WalkEnv(), Interrupting(), 20, seed=1)
    kit.collect(pipeline, 2)
    with pytest.raises(KeyboardInterrupt):
        pipeline.collect()
    clean = BatchPipeline(kit.WalkEnv(), kit.PushAgent(), 20, seed=1)
    expected = kit.collect(clean, 4)[2:]
    resumed = BatchPipeline(kit.WalkEnv(), kit.PushAgent(), 20, seed=5)
    resumed.load_state_dict(stored(pipeline.state_dict()))
    for a, b in zip(expected, kit.collect(resumed, 2), strict=True):
        kit.assert_same(a, b)
    # the interrupted pipeline itself may go on, with new episodes
    window = pipeline.collect()
    assert window.episode_starts[0] == 0
    assert window.metadata["continues_episode"] is False


def test_a_running_return_survives(kit):
    first = BatchPipeline(kit.CountingEnv(10), kit.CountingAgent(), 7, seed=1)
    first.collect()
    second = BatchPipeline(kit.CountingEnv(10), kit.CountingAgent(), 7)
    second.load_state_dict(first.state_dict())
    assert [(e.episode_return, e.length, e.step) for e in second.collect().episodes] == [(55.0, 10, 2)]


class TestEnvironmentsThatDoNotRepeat:
    def state_after(self, kit, windows, **options):
        pipeline = BatchPipeline(
            kit.DriftingEnv(), kit.CountingAgent(), 7, seed=1, env_factory=kit.DriftingEnv, **options
        )
        kit.collect(pipeline, windows)
        return pipeline, stored(pipeline.state_dict())

    def resumed(self, kit, **options):
        return BatchPipeline(
            kit.DriftingEnv(), kit.CountingAgent(), 7, env_factory=kit.DriftingEnv, **options
        )

    def test_are_found_out(self, kit):
        _, state = self.state_after(kit, 2)
        resumed = self.resumed(kit)
        with pytest.raises(ResumeError) as caught:
            resumed.load_state_dict(state)
        for part in ("environment 0", "step 4 of 4", "fresh_env_per_episode=True", "get_state()"):
            assert part in str(caught.value)

    def test_leave_the_pipeline_as_it_was(self, kit):
        _, state = self.state_after(kit, 2)
        resumed, twin = self.resumed(kit, seed=3), self.resumed(kit, seed=3)
        resumed.collect(), twin.collect()
        with pytest.raises(ResumeError):
            resumed.load_state_dict(state)
        kit.assert_same(resumed.collect(), twin.collect())

    def test_without_a_factory_the_pipeline_goes_on_with_new_episodes(self, kit):
        _, state = self.state_after(kit, 2)
        pipeline = BatchPipeline(kit.DriftingEnv(), kit.CountingAgent(), 7, seed=3)
        first = pipeline.collect()
        with pytest.raises(ResumeError):
            pipeline.load_state_dict(state)
        assert pipeline.root_seed == 3
        window = pipeline.collect()
        assert first.final_obs[1] == 2
        assert window.observations[:, 1].tolist() == [0, 1, 2, 3, 4, 0, 1]
        assert window.metadata["continues_episode"] is False

    def test_resume_exactly_with_fresh_objects(self, kit):
        pipeline, state = self.state_after(kit, 2, fresh_env_per_episode=True)
        resumed = self.resumed(kit, fresh_env_per_episode=True)
        resumed.load_state_dict(state)
        for a, b in zip(kit.collect(pipeline, 3), kit.collect(resumed, 3), strict=True):
            kit.assert_same(a, b)

    def test_that_end_elsewhere_are_found_at_the_step(self, kit):
        first = BatchPipeline(kit.CountingEnv(20), kit.CountingAgent(), 8, seed=1)
        first.collect()
        with pytest.raises(ResumeError, match=r"step 5 of 8 .the episode ended there"):
            BatchPipeline(kit.CountingEnv(5), kit.CountingAgent(), 8).load_state_dict(first.state_dict())

    def test_that_raise_are_named(self, kit):
        first = BatchPipeline(kit.CountingEnv(20), kit.CountingAgent(), 8, seed=1)
        first.collect()
        with pytest.raises(ResumeError, match="step 3 of 8 raised RuntimeError"):
            BatchPipeline(kit.FaultyEnv("raise", [2], 20), kit.CountingAgent(), 8).load_state_dict(
                first.state_dict()
            )


class TestCapturedState:
    def test_is_used_instead_of_repeating(self, kit):
        first = BatchPipeline(kit.CapturedWalkEnv(), kit.PushAgent(), 25, seed=1)
        kit.collect(first, 2)
        state = stored(first.state_dict())
        env = kit.CapturedWalkEnv()
        resumed = BatchPipeline(env, kit.PushAgent(), 25, seed=2)
        resumed.load_state_dict(state)
        assert env.restored == 1
        assert env.received == []
        for a, b in zip(kit.collect(first, 3), kit.collect(resumed, 3), strict=True):
            kit.assert_same(a, b)

    def test_needs_an_environment_that_takes_it(self, kit):
        first = BatchPipeline(kit.CapturedWalkEnv(), kit.PushAgent(), 25, seed=1)
        first.collect()
        with pytest.raises(ResumeError, match="this WalkEnv has no set_state"):
            BatchPipeline(kit.WalkEnv(), kit.PushAgent(), 25).load_state_dict(first.state_dict())


def test_a_used_environment_is_replaced_and_closed(kit):
    first = BatchPipeline(kit.CountingEnv(10), kit.CountingAgent(), 7, seed=1)
    first.collect()
    env = kit.CountingEnv(10)
    pipeline = BatchPipeline(env, kit.CountingAgent(), 7, env_factory=lambda: kit.CountingEnv(10))
    pipeline.collect()
    pipeline.load_state_dict(first.state_dict())
    assert env.closed == 1
    kit.assert_same(first.collect(), pipeline.collect())


def test_another_number_of_environments_is_refused(kit):
    first = VectorBatchPipeline([kit.WalkEnv] * 2, kit.PushAgent(), 5, seed=1)
    first.collect()
    with pytest.raises(ResumeError, match=r"had 2 environment\(s\), this one has 3"):
        VectorBatchPipeline([kit.WalkEnv] * 3, kit.PushAgent(), 5).load_state_dict(first.state_dict())
    with pytest.raises(ResumeError, match="not a state of BatchPipeline"):
        BatchPipeline(kit.WalkEnv()).load_state_dict({"window": 3})


def test_endless_episodes_are_not_recorded_for_ever(kit, monkeypatch):
    monkeypatch.setattr("optix_core.pipelines.episode_log.LONGEST", 20)
    pipeline = BatchPipeline(kit.CountingEnv(1000), kit.CountingAgent(), 15, seed=1)
    kit.collect(pipeline, 2)
    state = pipeline.state_dict()
    assert state["collector"]["envs"]["0"]["actions"] is None
    with pytest.raises(ResumeError, match="too long to be recorded"):
        BatchPipeline(kit.CountingEnv(1000), kit.CountingAgent(), 15).load_state_dict(state)


def test_what_a_stepwise_learner_has_still_to_hear_is_kept(kit):
    def make():
        agent = kit.ObservingAgent()
        return agent, BatchPipeline(kit.CountingEnv(4), agent, 6, seed=1, on_nonfinite="truncate")

    whole, pipeline = make()
    kit.collect(pipeline, 4)
    head, first = make()
    kit.collect(first, 2)
    tail, second = make()
    second.load_state_dict(stored(first.state_dict()))
    kit.collect(second, 2)
    for a, b in zip(whole.told, head.told + tail.told, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_fault_counts_continue(kit):
    def make(at):
        counter = [0]
        return BatchPipeline(
            kit.FaultyEnv("raise", at, 6, counter),
            kit.CountingAgent(),
            10,
            seed=1,
            env_factory=lambda: kit.FaultyEnv("raise", at, 6, counter),
            on_env_error="restart",
        )

    first = make([5, 15, 25])
    kit.collect(first, 4)
    second = make([20])  # the fourth within ten thousand steps
    second.load_state_dict(stored(first.state_dict()))
    with pytest.raises(EnvironmentFault):
        kit.collect(second, 4)
