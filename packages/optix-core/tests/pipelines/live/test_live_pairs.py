"""The closed loop: which item belongs to which action, proved against a pipeline that steps the environment itself."""

from __future__ import annotations

import time
from itertools import islice

import numpy as np
import pytest

from optix_core import BatchPipeline, LivePipeline
from optix_core.errors import ConfigError, SpaceError
from optix_core.pipelines.live import EnvSource
from optix_core.testing import LinearAgent, TinyRecall
from optix_core.testing.components import PIPELINE_CHECKS
from optix_core.testing.report import run_checks
from optix_core.testing.subjects import ComponentSubject


def live(env, agent=None, window=4, seed=7, **options):
    return LivePipeline(
        EnvSource(env, seed=seed),
        agent,
        LivePipeline.every_n_steps(window),
        end_on_done=False,
        seed=seed,
        **options,
    )


def windows(pipeline, n):
    try:
        return list(islice(pipeline.episodes(), n))
    finally:
        pipeline.teardown()


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("length, window", [(3, 4), (4, 4), (1, 5), (9, 4), (5, 1)])
def test_an_environment_as_a_source_gives_the_windows_of_a_batch_pipeline(kit, length, window, truncates):
    """LV9, and D13: bit for bit, with every action carried out for the observation that it was chosen for."""
    one, two = (kit.CountingEnv(length, truncates=truncates, reuse_buffer=True) for _ in range(2))
    batch = BatchPipeline(one, kit.CountingAgent(), window, seed=7)
    for a, b in zip(kit.collect(batch, 6), windows(live(two, kit.CountingAgent(), window), 6), strict=True):
        kit.assert_same(a, b)
        assert a.metadata["continues_episode"] == b.metadata["continues_episode"]
        assert (a.observations.dtype, a.actions.dtype) == (b.observations.dtype, b.actions.dtype)
        assert b.metadata["live"]["counters"]["gaps"] == 0
    assert one.received == two.received[: len(one.received)]


def test_continuous_actions_reach_the_source_scaled_and_the_window_as_the_policy_meant_them(kit):
    one, two = kit.WalkEnv(), kit.WalkEnv()
    batch = kit.collect(BatchPipeline(one, kit.PushAgent(), 30, seed=3), 4)
    for a, b in zip(batch, windows(live(two, kit.PushAgent(), 30, seed=3), 4), strict=True):
        kit.assert_same(a, b)
    np.testing.assert_array_equal(one.received, two.received[: len(one.received)])


def test_an_agent_that_learns_ends_with_the_same_weights(kit):
    def trained(pipeline, agent):
        pipeline.set_agent(agent)
        for window in islice(pipeline.episodes(), 5):
            agent.learn(window)
        pipeline.teardown()
        return agent.state_dict()

    env = kit.WalkEnv()
    one, two = (LinearAgent(env.observation_space, env.action_space, seed=0) for _ in range(2))
    a = trained(BatchPipeline(kit.WalkEnv(), window_size=20, seed=3), one)
    b = trained(live(kit.WalkEnv(), window=20, seed=3), two)
    np.testing.assert_array_equal(a["weights"]["policy"], b["weights"]["policy"])
    assert a["rng"] == b["rng"]
    assert np.abs(a["weights"]["policy"]).max() > 0


def test_a_stepwise_learner_is_told_the_same_and_never_before_the_next_item(kit):
    told = []
    for pipeline in (
        BatchPipeline(kit.CountingEnv(3), window_size=4, seed=7, on_nonfinite="truncate"),
        live(kit.CountingEnv(3)),
    ):
        agent = kit.ObservingAgent()
        pipeline.set_agent(agent)
        windows(pipeline, 3)
        told.append(agent.told)
    assert len(told[0]) == len(told[1]) == 11  # the last one waits for what follows it
    for a, b in zip(*told, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


class RememberingAgent:
    """Its memory counts the steps of an episode; it acts on it."""

    memory_size = 1

    def act_batch_with_memory(self, observations, memory, *, deterministic=False):
        return memory[:, 0].astype(np.int64) % 2, memory + 1

    def env_actions(self, actions):
        return actions

    def act(self, observation):
        return 0


def test_a_recurrent_memory_is_kept_per_episode_and_over_windows(kit):
    a = kit.collect(BatchPipeline(TinyRecall(), RememberingAgent(), 5, seed=1), 4)
    b = windows(live(TinyRecall(), RememberingAgent(), 5, seed=1), 4)
    for x, y in zip(a, b, strict=True):
        kit.assert_same(x, y)
        np.testing.assert_array_equal(x.hidden_states, y.hidden_states)
    assert max(x.hidden_states.max() for x in b) > 0


def test_the_conformance_kit_finds_nothing_wrong():
    def make(env, *, window_size, seed):
        return LivePipeline(
            EnvSource(env, seed=seed), None, LivePipeline.every_n_steps(window_size), end_on_done=False
        )

    report = run_checks(
        "live", PIPELINE_CHECKS, ComponentSubject(name="live", factory=make, options={}), slow=False
    )
    passed = {r.id for r in report.results if r.outcome == "passed"}
    assert [(r.id, r.message) for r in report.results if r.outcome == "failed"] == []
    asked = {c.id for c in PIPELINE_CHECKS if c.id.startswith("pipeline-")}
    assert asked - passed == {"pipeline-on-demand"}  # which does not apply to what goes on by itself


def test_windows_may_end_with_their_episode(kit):
    pipeline = LivePipeline(EnvSource(kit.CountingEnv(3), seed=0), kit.CountingAgent())
    found = windows(pipeline, 3)
    assert [w.length for w in found] == [3, 3, 3]
    assert all(w.terminated.tolist() == [False, False, True] for w in found)
    assert [e.episode_return for w in found for e in w.episodes] == [6.0, 6.0, 6.0]
    pipeline = LivePipeline(
        EnvSource(kit.CountingEnv(5), seed=0), kit.CountingAgent(), LivePipeline.every_n_steps(3)
    )
    assert [w.length for w in windows(pipeline, 4)] == [3, 2, 3, 2]


def test_boundaries_say_true_and_false_and_nothing_like_it():
    steps, seconds = LivePipeline.every_n_steps(3), LivePipeline.every_n_seconds(2.0)
    assert steps(3, 0.0, None) is True
    assert steps(np.int64(2), 0.0, None) is False
    assert steps(np.int64(4), 0.0, None) is True
    assert seconds(1, np.float64(2.0), None) is True
    assert seconds(100, 1.9, None) is False
    assert LivePipeline.on_done_signal()(10**6, 1e9, None) is False


def test_seconds_end_a_window_with_the_step_under_way():
    class Slow(Plain):
        def stream(self):
            for item in self.items:
                time.sleep(0.01)
                yield item

    items = [([float(k)], 0.0, False, False, {}) for k in range(40)]
    agent = type("A", (), {"act": lambda self, o: 0})()
    pipeline = LivePipeline(Slow(items), agent, LivePipeline.every_n_seconds(0.1))
    stream = pipeline.episodes()
    next(stream)
    before = time.monotonic()
    window = next(stream)
    assert 0.1 <= time.monotonic() - before < 1.0
    assert 1 <= window.length <= 12
    pipeline.teardown()


def test_a_boundary_of_ones_own_sees_steps_seconds_and_the_observation(kit):
    seen = []

    def boundary(steps, seconds, observation):
        seen.append((steps, seconds >= 0, float(observation[1])))
        return observation[1] == 4

    pipeline = LivePipeline(EnvSource(kit.CountingEnv(9), seed=0), kit.CountingAgent(), boundary)
    assert windows(pipeline, 1)[0].length == 4
    assert seen == [(1, True, 1.0), (2, True, 2.0), (3, True, 3.0), (4, True, 4.0)]


def test_endless_episodes_can_be_cut_into_pieces_with_a_return(kit):
    pipeline = live(kit.CountingEnv(10**6), kit.CountingAgent(), 4, max_episode_steps=3)
    a, b = windows(pipeline, 2)
    assert a.truncated.tolist() == [False, False, True, False]
    assert not a.terminated.any()
    assert [(e.length, e.episode_return) for e in (*a.episodes, *b.episodes)] == [(3, 6.0), (3, 15.0)]
    assert a.observations[:, 1].tolist() == [0, 1, 2, 3]  # the stream goes on: no observation is skipped
    assert a.next_observations()[:, 1].tolist() == [1, 2, 3, 4]
    assert a.episode_starts == [0, 3]


def test_the_next_window_can_be_limited(kit):
    pipeline = live(kit.CountingEnv(5), kit.CountingAgent(), 4)
    assert pipeline.steps_per_window == 4
    stream = pipeline.episodes()
    assert pipeline.limit_next_window(0) is False
    assert pipeline.limit_next_window(2) is True
    assert [next(stream).length for _ in range(2)] == [2, 4]
    pipeline.teardown()


class Plain:
    """A stream without spaces, without send: the least that a source can be."""

    def __init__(self, items):
        self.items = items

    def stream(self):
        yield from self.items


def test_a_plain_generator_is_enough_and_pairs_as_documented():
    items = [([float(k)], 10.0 * k, k == 3, False, {}) for k in range(6)]
    pipeline = LivePipeline(
        Plain(items),
        type("A", (), {"act": lambda self, o: int(o[0])})(),
        LivePipeline.every_n_steps(50),
        end_on_done=False,
    )
    (window,) = windows(pipeline, 5)
    # item 4 begins an episode; its reward (40) belongs to no action of ours
    assert window.observations[:, 0].tolist() == [0, 1, 2, 4]
    assert window.actions.tolist() == [0, 1, 2, 4]
    assert window.rewards.tolist() == [10, 20, 30, 50]
    assert window.terminated.tolist() == [False, False, True, False]
    assert window.next_observations()[:, 0].tolist() == [1, 2, 3, 5]
    assert pipeline.counters.to_dict() | {"sent": 0} == pipeline.counters.to_dict()
    assert (pipeline.counters.produced, pipeline.counters.consumed) == (6, 6)


def test_actions_of_a_declared_space_are_checked(kit):
    class Wild:
        def act(self, observation):
            return 17

    with pytest.raises(SpaceError, match="17"):
        windows(live(kit.CountingEnv(5), Wild()), 1)


def test_what_is_no_source_is_refused_with_advice(kit):
    with pytest.raises(ConfigError, match="EnvSource"):
        LivePipeline(kit.CountingEnv())
    with pytest.raises(ConfigError, match="stream"):
        LivePipeline(object())
    with pytest.raises(ConfigError, match="never end"):
        LivePipeline(Plain([]), end_on_done=False)
    with pytest.raises(ConfigError, match="overflow"):
        LivePipeline(Plain([]), overflow="lose")
    with pytest.raises(ConfigError, match="at least 1"):
        LivePipeline(Plain([]), buffer_size=0)
    with pytest.raises(ConfigError, match="reconnect_delay"):
        LivePipeline(Plain([]), reconnect_delay=(2.0, 1.0))
    with pytest.raises(ConfigError, match="no agent"):
        LivePipeline(Plain([])).collect()


def test_send_may_ask_for_the_number_or_not(kit):
    class Numbered(Plain):
        def __init__(self, items):
            super().__init__(items)
            self.sent = []

        def send(self, action, seq):
            self.sent.append((action, seq))

    class Bare(Numbered):
        def send(self, action):
            self.sent.append(action)

    items = [([float(k)], 0.0, False, False, {"seq": 100 + k}) for k in range(4)]
    agent = type("A", (), {"act": lambda self, o: int(o[0])})()
    for kind, expected in ((Numbered, [(k, 100 + k) for k in range(4)]), (Bare, [0, 1, 2, 3])):
        source = kind(items)
        pipeline = LivePipeline(source, agent, LivePipeline.every_n_steps(10))
        assert [w.length for w in windows(pipeline, 2)] == [3]
        assert source.sent == expected
        assert pipeline.counters.sent == 4
