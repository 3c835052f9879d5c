"""A recurrent agent's memory belongs to the pipeline: zero at episode starts, carried over borders, resumed exactly."""

from __future__ import annotations

import numpy as np
import pytest

from optix_core.checkpoints.codec import decode_components, encode_components
from optix_core.errors import SpaceError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.evaluation import EvaluationPipeline
from optix_core.pipelines.vector import VectorBatchPipeline


class Counter:
    """Remembers how many steps its episode has and the sum of what it saw; acts on the count."""

    memory_size = 2

    def act_batch_with_memory(self, observations, memory, *, deterministic=False):
        assert memory.dtype == np.float32
        assert memory.shape == (len(observations), 2)
        after = memory + np.stack([np.ones(len(memory)), observations[:, 1]], axis=1).astype(np.float32)
        return memory[:, 0].astype(np.int64) % 4, after

    def env_actions(self, actions):
        return actions


def check(window, steps_before=0):
    """CountingEnv observes its step count, so memory is known: (k, 0 + 1 + ... + k - 1)."""
    k = window.time_major("observations")[..., 1]
    memory = window.time_major("hidden_states")
    assert memory.dtype == np.float32
    np.testing.assert_array_equal(memory[..., 0], k)
    np.testing.assert_array_equal(memory[..., 1], k * (k - 1) / 2)
    np.testing.assert_array_equal(window.time_major("actions"), k % 4)


def test_memory_is_stored_before_each_step_and_carried_over_borders(kit):
    pipeline = BatchPipeline(kit.CountingEnv(5), Counter(), 7, seed=1)
    windows = kit.collect(pipeline, 4)
    assert windows[0].hidden_states.shape == (7, 2)
    for window in windows:
        check(window)


@pytest.mark.parametrize("async_envs", [False, True])
def test_every_environment_has_its_own(kit, async_envs):
    pipeline = VectorBatchPipeline(
        [lambda n=n: kit.CountingEnv(n) for n in (3, 5, 8)], Counter(), 7, async_envs, seed=1
    )
    try:
        for window in kit.collect(pipeline, 4):
            assert window.hidden_states.shape == (7, 3, 2)
            check(window)
    finally:
        pipeline.teardown()


def test_other_agents_have_none(kit):
    assert BatchPipeline(kit.CountingEnv(), kit.BatchAgent(), 7, seed=1).collect().hidden_states is None


def test_windows_share_nothing(kit):
    pipeline = BatchPipeline(kit.CountingEnv(50), Counter(), 7, seed=1)
    first = pipeline.collect()
    first.hidden_states[:] = 99.0
    check(pipeline.collect())


def test_faults_begin_anew(kit):
    env = kit.FaultyEnv("nan", [3, 11], 6)
    pipeline = BatchPipeline(env, Counter(), 10, seed=1, on_nonfinite="truncate")
    windows = kit.collect(pipeline, 3)
    for window in windows:
        check(window)
    assert windows[-1].metadata["env_faults"]["nonfinite"] == 2


def test_resume_is_exact(kit):
    make = lambda seed: VectorBatchPipeline([lambda: kit.CountingEnv(9)] * 2, Counter(), 7, seed=seed)  # noqa: E731
    first, second = make(1), make(2)
    first.collect()
    encoded = encode_components({"p": first.state_dict()})
    state = decode_components(encoded.document, encoded.arrays)["p"]
    assert state["collector"]["memory"].shape == (2, 2)
    second.load_state_dict(state)
    for _ in range(3):
        a, b = first.collect(), second.collect()
        kit.assert_same(a, b)
        np.testing.assert_array_equal(a.hidden_states, b.hidden_states)


def test_states_of_before_there_were_memories_load(kit):
    first = BatchPipeline(kit.CountingEnv(9), kit.BatchAgent(), 7, seed=1)
    first.collect()
    state = first.state_dict()
    del state["collector"]["memory"], state["collector"]["masks"]
    second = BatchPipeline(kit.CountingEnv(9), kit.BatchAgent(), 7, seed=2)
    second.load_state_dict(state)
    kit.assert_same(first.collect(), second.collect())


def test_evaluation_has_its_own(kit):
    class Watched(Counter):
        def __init__(self):
            self.seen = []

        def act_batch_with_memory(self, observations, memory, *, deterministic=False):
            assert deterministic
            self.seen.append((observations[:, 1].copy(), memory.copy()))
            return super().act_batch_with_memory(observations, memory)

    agent = Watched()
    evaluation = EvaluationPipeline(lambda: kit.CountingEnv(6), agent, episodes=19, seed=1)
    window = evaluation.evaluate(0)
    assert len(window.episodes) == 19
    for k, memory in agent.seen:
        np.testing.assert_array_equal(memory[:, 0], k)
        np.testing.assert_array_equal(memory[:, 1], k * (k - 1) / 2)


def test_evaluation_leaves_training_alone(kit):
    agent = Counter()
    pipeline = BatchPipeline(kit.CountingEnv(50), agent, 7, seed=1)
    pipeline.collect()
    EvaluationPipeline(lambda: kit.CountingEnv(6), agent, episodes=3, seed=1).evaluate(0)
    check(pipeline.collect())


def test_another_size_begins_new_episodes(kit):
    class Bigger(Counter):
        memory_size = 3

        def act_batch_with_memory(self, observations, memory, *, deterministic=False):
            return np.zeros(len(observations), np.int64), memory + 1

    pipeline = BatchPipeline(kit.CountingEnv(50), Counter(), 7, seed=1)
    pipeline.collect()
    pipeline.set_agent(Bigger())
    window = pipeline.collect()
    assert window.metadata["continues_episode"] is False
    np.testing.assert_array_equal(window.hidden_states[:, 0], np.arange(7))


def test_a_memory_of_another_shape_is_refused(kit):
    class Wrong(Counter):
        def act_batch_with_memory(self, observations, memory, *, deterministic=False):
            return np.zeros(len(observations), np.int64), memory[:, :1]

    with pytest.raises(SpaceError, match=r"Wrong gave a memory of shape \(1, 1\) for one of shape \(1, 2\)"):
        BatchPipeline(kit.CountingEnv(50), Wrong(), 7, seed=1).collect()
