"""Action masks become part of the observation, for agents that understand them and only for those."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from optix_core.checkpoints.codec import decode_components, encode_components
from optix_core.errors import ConfigError, EnvironmentFault, SpaceError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.evaluation import EvaluationPipeline
from optix_core.pipelines.vector import VectorBatchPipeline
from optix_core.rl import structured
from optix_core.rl.masking import sample_allowed, split_masks
from optix_core.rl.spaces import describe_space


class MaskedEnv(gym.Env):
    """Random masks over ``actions``; raises on a masked action; ends after 5 steps, in turn either way."""

    def __init__(self, style="info", actions=None, offer=lambda k, mask: mask):
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = actions or spaces.Discrete(4, start=3)
        self.style, self.offer, self.masks, self.k, self.episode = style, offer, [], 0, 0
        if style == "method":
            self.action_masks = lambda: self.mask.copy()  # noqa: PLW0108 - masks change

    def _observe(self):
        info = describe_space(self.action_space)
        sizes = [info.n] if info.kind == "discrete" else info.nvec.tolist()
        pieces = [self.np_random.random(size) < 0.5 for size in sizes]
        for piece in pieces:
            piece[self.np_random.integers(len(piece))] = True
        self.mask = np.concatenate(pieces)
        self.masks.append(self.mask)
        given = self.offer(self.k, self.mask.astype(np.int8))
        masked = self.style == "info" and given is not None
        return self.np_random.random(2).astype(np.float32), {"action_mask": given} if masked else {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.k = 0
        self.episode += 1
        return self._observe()

    def step(self, action):
        info = describe_space(self.action_space)
        if info.kind == "discrete":
            assert self.mask[action - info.start], f"{action} is masked"
        else:
            starts = np.cumsum([0, *info.nvec[:-1]])
            assert self.mask[starts + action].all(), f"{action} is masked"
        self.k += 1
        observation, told = self._observe()
        over, even = self.k >= 5, self.episode % 2 == 0
        return observation, 1.0, over and even, over and not even, told


class MaskedAgent:
    """Draws uniformly from what is allowed."""

    accepts_action_masks = True

    def __init__(self, space):
        self.space, self.rng = describe_space(space), np.random.default_rng(0)

    def act_batch(self, observations, *, deterministic=False):
        plain, masks = split_masks(observations)
        assert plain.dtype == np.float32
        assert masks.dtype == np.bool_
        return sample_allowed(masks, self.space, self.rng)

    def env_actions(self, actions):
        return actions


class Deaf:
    def __init__(self, action=3):
        self.action = action

    def act_batch(self, observations, *, deterministic=False):
        assert observations.dtype.names is None
        return np.full(len(observations), self.action)

    def env_actions(self, actions):
        return actions


SPACES = [spaces.Discrete(4, start=3), spaces.MultiDiscrete([2, 3, 2])]


@pytest.mark.parametrize("style", ["info", "method"])
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_masks_are_packed_and_true_at_boundaries(style, space):
    env = gym.wrappers.TimeLimit(MaskedEnv(style, space), 1000)
    pipeline = BatchPipeline(env, MaskedAgent(space), 7, seed=1)
    windows = [pipeline.collect() for _ in range(5)]
    masks = iter(env.unwrapped.masks)
    current = next(masks)
    for window in windows:
        following = window.next_observations()
        for t in range(7):
            np.testing.assert_array_equal(window.observations["action_mask"][t], current)
            current = next(masks)
            np.testing.assert_array_equal(following["action_mask"][t], current)
            current = next(masks) if window.dones[t] else current


@pytest.mark.parametrize("style", ["info", "method"])
def test_processes_and_evaluation_carry_masks(style):
    space = SPACES[0]

    def make():
        return MaskedEnv(style)

    one = VectorBatchPipeline([make] * 3, MaskedAgent(space), 8, seed=1)
    other = VectorBatchPipeline([make] * 3, MaskedAgent(space), 8, seed=1, async_envs=True)
    try:
        for a, b in zip([one.collect() for _ in range(3)], [other.collect() for _ in range(3)], strict=True):
            assert structured.same(a.observations, b.observations)
            assert structured.same(a.boundary_observations, b.boundary_observations)
    finally:
        other.teardown()
    window = EvaluationPipeline(make, MaskedAgent(space), episodes=11, seed=1).evaluate(0)
    assert window.observations.dtype.names == ("observation", "action_mask")
    assert len(window.episodes) == 11


def test_a_vector_env_with_infos():
    venv = SyncVectorEnv([MaskedEnv] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    window = VectorBatchPipeline(venv, MaskedAgent(SPACES[0]), 12, seed=1).collect()
    for n in range(2):
        masks = iter(venv.envs[n].masks)
        current = next(masks)
        for t in range(12):
            np.testing.assert_array_equal(window.observations["action_mask"][t, n], current)
            current = next(masks)
            np.testing.assert_array_equal(window.next_observations()["action_mask"][t, n], current)
            current = next(masks) if window.dones[t, n] else current


def test_a_vector_env_with_methods_is_refused():
    venv = SyncVectorEnv([lambda: MaskedEnv("method")] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ConfigError, match=r"info\['action_mask'\], or give a list of functions"):
        VectorBatchPipeline(venv, MaskedAgent(SPACES[0]), 12, seed=1).collect()


def test_an_agent_without_masks_gets_none_and_the_user_is_told():
    def make():
        return MaskedEnv(offer=lambda k, mask: np.ones_like(mask))

    class Anything(MaskedEnv):
        def step(self, action):
            self.mask = np.ones_like(self.mask)
            return super().step(action)

    pipeline = BatchPipeline(Anything(), Deaf(), 6, seed=1)
    with pytest.warns(RuntimeWarning, match="action masks.*but Deaf does not use them") as told:
        window = pipeline.collect()
    assert window.observations.dtype == np.float32
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.collect()
    with pytest.warns(RuntimeWarning, match="does not use them"):
        EvaluationPipeline(Anything, Deaf(), episodes=2, seed=1).evaluate(0)


def test_a_box_action_space_is_never_masked():
    class Odd(MaskedEnv):
        def __init__(self):
            super().__init__()
            self.action_space = spaces.Box(-1, 1, (1,), np.float32)

        def _observe(self):
            return np.zeros(2, np.float32), {"action_mask": np.ones(1)}

        def step(self, action):
            return *self._observe()[:1], 0.0, False, False, {"action_mask": np.ones(1)}

    class Agent:
        accepts_action_masks = True

        def act(self, observation):
            return np.zeros(1, np.float32)

    assert BatchPipeline(Odd(), Agent(), 4, seed=1).collect().observations.shape == (4, 2)


def test_a_masked_choice_is_an_error():
    class Careless(MaskedAgent):
        def act_batch(self, observations, *, deterministic=False):
            masks = split_masks(observations)[1]
            return (~masks).argmax(axis=1) + 3

    with pytest.raises(
        SpaceError, match=r"Careless chose \d in environment 0, step \d+ of window 0, although"
    ):
        BatchPipeline(MaskedEnv(), Careless(SPACES[0]), 50, seed=1).collect()


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_nothing_allowed_is_a_fault_where_something_is_to_be_done(space):
    def offer(k, mask):
        if k == 2:
            mask[:2] = 0
            if space is SPACES[0]:
                mask[:] = 0
        return mask

    pipeline = BatchPipeline(MaskedEnv("info", space, offer), MaskedAgent(space), 9, seed=1)
    with pytest.raises(
        EnvironmentFault, match="step 2 of window 0: the action mask allows nothing"
    ) as caught:
        pipeline.collect()
    assert caught.value.code == "E-ENV-MASK"


def test_nothing_allowed_is_fine_at_the_end():
    offer = lambda k, mask: mask * 0 if k == 5 else mask  # noqa: E731
    window = BatchPipeline(MaskedEnv(offer=offer), MaskedAgent(SPACES[0]), 10, seed=1).collect()
    assert not window.boundary_observations["action_mask"].any()


@pytest.mark.parametrize(
    "offer,text",
    [
        (lambda k, mask: None if k == 3 else mask, "there is no action mask"),
        (lambda k, mask: mask[:3], "has 3 entries of dtype int8, expected 4"),
        (lambda k, mask: None if k == 5 else mask, "there is no action mask"),  # truncated: it has a future
    ],
)
def test_wrong_masks_are_named(offer, text):
    with pytest.raises(EnvironmentFault, match=text):
        BatchPipeline(MaskedEnv(offer=offer), MaskedAgent(SPACES[0]), 20, seed=1).collect()


def test_a_terminal_state_needs_no_mask():
    class Terminal(MaskedEnv):
        def reset(self, **options):
            self.episode = 1
            return super().reset(**options)

    offer = lambda k, mask: None if k == 5 else mask  # noqa: E731
    window = BatchPipeline(Terminal(offer=offer), MaskedAgent(SPACES[0]), 10, seed=1).collect()
    assert window.terminated.any()
    assert window.boundary_observations["action_mask"].all()


def test_a_dict_of_observation_and_mask_means_the_same():
    class Native(MaskedEnv):
        def __init__(self):
            super().__init__("none")
            self.observation_space = spaces.Dict(
                observation=self.observation_space, action_mask=spaces.MultiBinary(4)
            )

        def _observe(self):
            observation, _ = super()._observe()
            mask = self.mask.astype(np.int8)
            return {"observation": observation, "action_mask": mask}, {"action_mask": mask}

    class Careless(MaskedAgent):
        def act_batch(self, observations, *, deterministic=False):
            return (~split_masks(observations)[1]).argmax(axis=1) + 3

    window = BatchPipeline(Native(), MaskedAgent(SPACES[0]), 12, seed=1).collect()
    assert set(window.observations.dtype.names) == {"observation", "action_mask"}  # and not masked twice
    with pytest.raises(SpaceError, match="although the action mask forbids it"):
        BatchPipeline(Native(), Careless(SPACES[0]), 50, seed=1).collect()


def test_a_single_agent_sees_observation_and_mask():
    class Single:
        accepts_action_masks = True

        def act(self, observation):
            assert observation["observation"].shape == (2,)
            return int(np.flatnonzero(observation["action_mask"])[0]) + 3

    assert BatchPipeline(MaskedEnv(), Single(), 12, seed=1).collect().length == 12


@pytest.mark.parametrize("style", ["info", "method"])
def test_resume_is_exact(style):
    class First(MaskedAgent):
        def act_batch(self, observations, *, deterministic=False):
            return split_masks(observations)[1].argmax(axis=1) + 3

    make = lambda seed: VectorBatchPipeline([lambda: MaskedEnv(style)] * 2, First(SPACES[0]), 7, seed=seed)  # noqa: E731
    first, second = make(1), make(2)
    first.collect()
    encoded = encode_components({"p": first.state_dict()})
    second.load_state_dict(decode_components(encoded.document, encoded.arrays)["p"])
    for _ in range(3):
        a, b = first.collect(), second.collect()
        assert structured.same(a.observations, b.observations)
        assert structured.same(a.final_obs, b.final_obs)
        np.testing.assert_array_equal(a.actions, b.actions)


def test_another_kind_of_agent_begins_new_episodes():
    class Anything(MaskedEnv):
        def step(self, action):
            self.mask = np.ones_like(self.mask)
            return super().step(action)

    pipeline = BatchPipeline(Anything(), MaskedAgent(SPACES[0]), 7, seed=1)
    pipeline.collect()
    pipeline.set_agent(Deaf())
    with pytest.warns(RuntimeWarning, match="does not use them"):
        window = pipeline.collect()
    assert window.observations.dtype == np.float32
    assert window.metadata["continues_episode"] is False


def test_faults_keep_masks():
    class Faulty(MaskedEnv):
        calls = 0

        def step(self, action):
            Faulty.calls += 1
            if Faulty.calls in {3, 9}:
                raise RuntimeError("boom")
            return super().step(action)

    Faulty.calls = 0
    pipeline = BatchPipeline(
        Faulty("method"), MaskedAgent(SPACES[0]), 15, seed=1, env_factory=lambda: Faulty("method"),
        on_env_error="restart",
    )  # fmt: skip
    window = pipeline.collect()
    assert window.metadata["env_faults"]["env_errors"] == 2
    assert window.observations["action_mask"].any(axis=1).all()
