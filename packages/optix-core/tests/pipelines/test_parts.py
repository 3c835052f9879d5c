"""Observations with parts travel through every pipeline unchanged, dtype by dtype, and resume exactly."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from optix_core.checkpoints.codec import decode_components, encode_components
from optix_core.errors import EnvironmentFault, ResumeError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.evaluation import EvaluationPipeline
from optix_core.pipelines.vector import VectorBatchPipeline
from optix_core.rl import structured
from optix_core.rl.spaces import describe_space
from optix_core.rl.successors import next_values, successors

SPACE = spaces.Dict(
    camera=spaces.Box(0, 255, (3, 4), np.uint8),
    inner=spaces.Tuple((spaces.Discrete(5), spaces.Box(-10, 10, (2,), np.float32))),
    switches=spaces.MultiBinary(3),
)


class PartsEnv(gym.Env):
    """Random parts; reward = the Discrete one; ends after 6 steps (terminated) or, where it drew 4, truncates."""

    observation_space = SPACE
    action_space = spaces.Discrete(3)

    def __init__(self, spoil=None, at=-1):
        self.spoil, self.at, self.seen, self.k = spoil, at, [], 0

    def _observe(self):
        rng = self.np_random
        observation = {
            "camera": rng.integers(0, 256, (3, 4), np.uint8),
            "inner": (np.int64(rng.integers(5)), rng.normal(size=2).astype(np.float32)),
            "switches": rng.integers(0, 2, 3, np.int8),
        }
        if self.spoil is not None and self.k == self.at:
            self.spoil(observation)
        self.seen.append(observation)
        return observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.k = 0
        return self._observe(), {}

    def step(self, action):
        self.k += 1
        observation = self._observe()
        drawn = int(observation["inner"][0])
        return observation, float(drawn), self.k >= 6, drawn == 4, {}


class PartsAgent:
    """Chooses from the Discrete part and the switches."""

    def act_batch(self, observations, *, deterministic=False):
        return (observations["inner"]["0"] + observations["switches"].sum(axis=-1)) % 3

    def env_actions(self, actions):
        return actions

    def act(self, observation):
        assert isinstance(observation, dict)
        assert isinstance(observation["inner"], tuple)
        return int((observation["inner"][0] + observation["switches"].sum()) % 3)


class SingleAgent:
    act = PartsAgent.act


def equal(record, raw):
    return structured.same(record, structured.pack(raw, describe_space(SPACE).dtype))


def windows_equal(a, b):
    for name in ("observations", "final_obs", "boundary_observations"):
        assert structured.same(getattr(a, name), getattr(b, name)), name
    for name in ("actions", "rewards", "terminated", "truncated", "boundary_steps"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.episodes == b.episodes


@pytest.mark.parametrize("agent", [PartsAgent(), SingleAgent()])
def test_windows_hold_what_happened(agent):
    env = PartsEnv()
    pipeline = BatchPipeline(env, agent, 7, seed=3)
    windows = [pipeline.collect() for _ in range(6)]
    raw = iter(env.seen)
    current = next(raw)
    for window in windows:
        assert window.observations.dtype == structured.element_dtype(SPACE)
        assert window.observations["camera"].shape == (7, 3, 4)
        assert window.observations["camera"].dtype == np.uint8
        following = window.next_observations()
        for t in range(7):
            assert equal(window.observations[t, ...], current)
            current = next(raw)
            assert equal(following[t, ...], current)
            if window.dones[t]:
                current = next(raw)
    assert any(w.truncated.any() for w in windows)
    assert any(w.terminated.any() for w in windows)


def test_successors_and_their_values():
    pipeline = VectorBatchPipeline([PartsEnv] * 3, PartsAgent(), 9, seed=1)
    window = pipeline.collect()
    found = successors(window)
    assert found.dtype == window.observations.dtype
    value = lambda o: o["inner"]["1"].sum(axis=-1).astype(np.float64)  # noqa: E731
    expected = value(window.next_observations())
    np.testing.assert_array_equal(next_values(window, value(window.observations), value(found)), expected)


def test_the_list_and_the_vector_environments_agree():
    seeds = {"seed": 5}
    lists = VectorBatchPipeline([PartsEnv] * 2, PartsAgent(), 10, **seeds)
    processes = VectorBatchPipeline([PartsEnv] * 2, PartsAgent(), 10, async_envs=True, **seeds)
    try:
        first = [lists.collect() for _ in range(3)]
        for a, b in zip(first, [processes.collect() for _ in range(3)], strict=True):
            windows_equal(a, b)
        resumed = VectorBatchPipeline([PartsEnv] * 2, PartsAgent(), 10, async_envs=True)
        resumed.load_state_dict(stored(lists.state_dict()))
        windows_equal(lists.collect(), resumed.collect())
        resumed.teardown()
    finally:
        processes.teardown()


def test_a_vector_env_gives_true_successors():
    venv = SyncVectorEnv([PartsEnv] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    window = VectorBatchPipeline(venv, PartsAgent(), 12, seed=2).collect()
    seen = [list(env.seen) for env in venv.envs]
    for n in range(2):
        raw = iter(seen[n])
        current = next(raw)
        for t in range(12):
            assert equal(window.observations[t, n, ...], current)
            current = next(raw)
            assert equal(window.next_observations()[t, n, ...], current)
            current = next(raw) if window.dones[t, n] else current


def stored(state):
    encoded = encode_components({"pipeline": state})
    return decode_components(encoded.document, encoded.arrays)["pipeline"]


@pytest.mark.parametrize("options", [{}, {"on_nonfinite": "truncate"}])
def test_resume_is_exact(options):
    class Observing(PartsAgent):
        def __init__(self):
            self.told = []

        def observe(self, *parts):
            self.told.append([p.copy() for p in parts])

    def make(seed):
        agent = Observing()
        return agent, VectorBatchPipeline([PartsEnv] * 2, agent, 8, seed=seed, **options)

    head, first = make(4)
    first.collect()
    state = stored(first.state_dict())
    tail, second = make(9)
    second.load_state_dict(state)
    before = len(head.told)
    for _ in range(3):
        windows_equal(first.collect(), second.collect())
    assert len(tail.told) == len(head.told) - before > 0
    for a, b in zip(head.told[before:], tail.told, strict=True):
        assert all(structured.same(x, y) for x, y in zip(a, b, strict=True))


def test_another_environment_is_refused_on_resume():
    first = BatchPipeline(PartsEnv(), PartsAgent(), 5, seed=1)
    first.collect()

    class Other(PartsEnv):
        observation_space = spaces.Dict({**SPACE.spaces, "camera": spaces.Box(0, 255, (4, 4), np.uint8)})

    with pytest.raises(ResumeError, match=r"stored part camera has shape \(3, 4\)"):
        BatchPipeline(Other(), PartsAgent(), 5).load_state_dict(first.state_dict())


class TestFaults:
    def spoiled(self, spoil, at=2, **options):
        env = PartsEnv(spoil, at)
        return env, BatchPipeline(env, PartsAgent(), 12, seed=1, **options)

    def test_nan_in_a_part_is_named(self):
        def spoil(observation):
            observation["inner"][1][1] = np.nan

        _, pipeline = self.spoiled(spoil)
        with pytest.raises(
            EnvironmentFault, match=r"inner\.1 of the observation is not finite: component \[1\]"
        ):
            pipeline.collect()

    def test_nan_is_cut_out(self):
        count = [0]

        def spoil(observation):
            count[0] += 1
            if count[0] == 1:
                observation["inner"][1][0] = np.inf

        _, pipeline = self.spoiled(spoil, on_nonfinite="truncate")
        window = pipeline.collect()
        assert window.metadata["env_faults"]["nonfinite"] == 1
        assert np.isfinite(window.next_observations()["inner"]["1"]).all()
        assert window.truncated[0]

    @pytest.mark.parametrize(
        "spoil,text",
        [
            (lambda o: o.pop("camera"), r"has the keys \['inner', 'switches'\]"),
            (lambda o: o.update(extra=1), "extra"),
            (lambda o: o.update(camera=o["camera"][:2]), r"camera has shape \(2, 4\)"),
            (lambda o: o.update(camera=o["camera"] / 2.0), "camera has shape .* dtype float64"),
            (lambda o: o.update(inner=o["inner"][:1]), "inner has 1 parts, expected 2"),
            (lambda o: o.update(camera="no"), "camera has shape .. and dtype <U2"),
        ],
    )
    def test_what_does_not_fit_is_named(self, spoil, text):
        _, pipeline = self.spoiled(spoil)
        with pytest.raises(EnvironmentFault, match=text):
            pipeline.collect()

    def test_values_outside_are_counted_by_part(self):
        def spoil(observation):
            observation["inner"][1][0] = 11.0

        _, pipeline = self.spoiled(spoil)
        with pytest.warns(
            RuntimeWarning, match=r"component \[0\] of inner\.1 is 11\.0, outside of Box\(2,\)"
        ):
            window = pipeline.collect()
        assert window.metadata["observations_outside_space"] >= 1
        _, strict = self.spoiled(spoil, strict=True)
        with pytest.raises(EnvironmentFault, match=r"inner\.1"):
            strict.collect()


class TestEvaluation:
    def test_keeps_small_observations(self):
        window = EvaluationPipeline(PartsEnv, PartsAgent(), episodes=5, seed=1).evaluate(0)
        assert window.metadata["observations_kept"] is True
        assert window.observations.dtype == structured.element_dtype(SPACE)
        drawn = window.next_observations()["inner"]["0"]
        np.testing.assert_array_equal(drawn, window.rewards)

    def test_same_episodes_one_by_one(self):
        a = EvaluationPipeline(PartsEnv, PartsAgent(), episodes=9, seed=1).evaluate(2)
        b = EvaluationPipeline(PartsEnv, SingleAgent(), episodes=9, seed=1).evaluate(2)
        windows_equal(a, b)

    def test_forgets_images(self):
        class Pictures(PartsEnv):
            observation_space = spaces.Box(0, 255, (80, 80), np.uint8)

            def _observe(self):
                super()._observe()
                return self.np_random.integers(0, 256, (80, 80), np.uint8)

            def step(self, action):
                self.k += 1
                return self._observe(), 1.0, self.k >= 6, False, {}

        class Agent:
            def act(self, observation):
                assert observation.shape == (80, 80)
                return 0

        make = lambda **o: EvaluationPipeline(Pictures, Agent(), episodes=4, seed=1, **o).evaluate(0)  # noqa: E731
        light, full = make(), make(keep_observations=True)
        assert light.metadata["observations_kept"] is False
        assert light.observations.shape == (24, 0)
        assert light.boundary_observations.shape == (4, 0)
        assert light.episodes == full.episodes
        assert full.observations.shape == (24, 80, 80)


@pytest.mark.parametrize(
    "space", [spaces.Discrete(4, start=2), spaces.MultiDiscrete([3, 4]), spaces.MultiBinary((2, 2))]
)
def test_discrete_observations_are_integer_arrays(space):
    class Env(PartsEnv):
        observation_space = space

        def reset(self, *, seed=None, options=None):
            self.observation_space.seed(seed)
            self.k = 0
            return self.observation_space.sample(), {}

        def step(self, action):
            self.k += 1
            return self.observation_space.sample(), 0.0, self.k >= 4, False, {}

    class Agent:
        def act(self, observation):
            return 0

    window = VectorBatchPipeline([Env] * 2, Agent(), 6, seed=1).collect()
    assert window.observations.dtype.kind in "iu"
    assert window.observations.shape == (6, 2, *space.shape)
    assert all(space.contains(o) for row in window.observations for o in row)
