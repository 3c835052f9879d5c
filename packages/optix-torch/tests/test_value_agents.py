"""What DQN and Rainbow do with experience: cadence, targets, exploration, masks, persistence."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from torch import nn

from optix_core import BatchPipeline, VectorBatchPipeline, make_agent
from optix_core.agents import value_agent
from optix_core.errors import ConfigError, HyperparamError, IncompatibleCheckpoint, SpaceError
from optix_core.plugin import AgentContext
from optix_core.rl.masking import with_masks
from optix_core.rl.structured import element_dtype, pack
from optix_core.testing.windows import collect
from optix_core.types import HyperparamSet
from optix_torch import RainbowQNetwork, TorchDQNAgent, TorchRainbowDQNAgent, dqn, rainbow

OBS, A = 3, 4
BOTH = pytest.mark.parametrize("kind", ["DQN", "Rainbow"])


def make(kind="DQN", *, actions=None, observations=None, seed=0, hyperparams=None, **options):
    ctx = AgentContext(
        observation_space=observations or Box(-10, 10, (OBS,)),
        action_space=actions or Discrete(A),
        seed=seed,
        device="cpu",
        hyperparams={"learning_starts": 10, "batch_size": 8, "replay_capacity": 1000, **(hyperparams or {})},
    )
    return (dqn if kind == "DQN" else rainbow).build(ctx, **{"hidden_sizes": (16,), **options})


def feed(agent, steps, *, n=1, seed=0, reward=None, ends=0.1, start=0):
    """Show ``steps`` random vector steps of N environments that go on from each other."""
    rng = np.random.default_rng(seed)
    seen = rng.standard_normal((n, OBS)).astype(np.float32)
    for _ in range(steps):
        after = rng.standard_normal((n, OBS)).astype(np.float32)
        kind = rng.random(n)
        terminated, truncated = kind < ends / 2, (kind >= ends / 2) & (kind < ends)
        rewards = rng.standard_normal(n) if reward is None else np.full(n, reward)
        agent.observe(seen, start + rng.integers(A, size=n), rewards, after, terminated, truncated)
        seen = np.where((terminated | truncated)[:, None], rng.standard_normal((n, OBS)), after).astype(
            np.float32
        )


def weights(agent):
    return agent._training.flat.to_numpy()


def target(agent):
    return agent._target.flat.to_numpy()


# --- cadence ---------------------------------------------------------------------------------------------------


@BOTH
def test_nothing_is_learned_in_warm_up_and_then_one_step_per_environment_step(kind):
    agent = make(kind)
    before = weights(agent)
    feed(agent, 10)
    np.testing.assert_array_equal(weights(agent), before)
    feed(agent, 7, seed=1)
    assert agent._descent.n_updates == 7
    assert not np.array_equal(weights(agent), before)


@BOTH
@pytest.mark.parametrize("n", [1, 4])
def test_the_target_is_copied_on_time_in_environment_steps(kind, n):
    agent = make(kind, hyperparams={"target_update_freq": 20})
    feed(agent, 16 // n, n=n)
    assert not np.array_equal(weights(agent), target(agent))
    held = target(agent)
    feed(agent, 3 if n == 1 else 0, n=n, seed=1)
    np.testing.assert_array_equal(target(agent), held)  # 16 or 19 steps
    online = weights(agent)
    feed(agent, 1, n=n, seed=2)
    np.testing.assert_array_equal(target(agent), online)  # at 20, before the gradient steps that are due then
    feed(agent, 16 // n, n=n, seed=3)
    np.testing.assert_array_equal(target(agent), online)


def test_polyak_goes_a_share_of_the_way():
    agent = make(hyperparams={"tau": 0.25, "target_update_freq": 1, "learning_starts": 5})
    feed(agent, 6)
    before, online = target(agent), weights(agent)
    feed(agent, 1, seed=1)
    np.testing.assert_allclose(target(agent), before + 0.25 * (online - before), atol=1e-7)


def test_gradient_steps_minus_one_are_as_many_as_the_steps():
    agent = make(hyperparams={"train_freq": 4, "gradient_steps": -1, "learning_starts": 8})
    feed(agent, 11)
    assert agent._descent.n_updates == 0
    feed(agent, 1, seed=1)
    assert agent._descent.n_updates == 4
    with pytest.raises(HyperparamError, match="gradient_steps is 0"):
        agent.set_hyperparams(HyperparamSet({"gradient_steps": 0}))
    assert agent.get_hyperparams().params["gradient_steps"] == -1


def test_epsilon_falls_linearly_over_environment_steps():
    agent = make(hyperparams={"epsilon": 0.9, "epsilon_min": 0.1, "epsilon_decay_steps": 40})
    assert agent.epsilon == pytest.approx(0.9)
    feed(agent, 5, n=4)
    assert agent.epsilon == pytest.approx(0.5)
    feed(agent, 10, n=4, seed=1)
    assert agent.epsilon == pytest.approx(0.1)


@BOTH
def test_a_window_that_nobody_observed_is_learned_from_the_same(kind):
    env = gym.make("CartPole-v1")
    watched, unwatched = (
        make_agent(kind, env, seed=1, device="cpu", learning_starts=20, batch_size=8) for _ in range(2)
    )
    data = collect(watched, env, 60, seed=0)
    unwatched.load_acting_state(watched.acting_state())
    value_agent.observe_window(watched.observe, data)
    first, second = watched.learn(data), unwatched.learn(data)
    assert first == second
    assert first["n_updates"] == 40
    np.testing.assert_array_equal(weights(watched), weights(unwatched))


@BOTH
def test_a_state_taken_inside_a_window_knows_that_the_window_was_shown(kind):
    env = gym.make("CartPole-v1")
    first, second = (
        make_agent(kind, env, seed=1, device="cpu", learning_starts=20, batch_size=8) for _ in range(2)
    )
    data = collect(first, env, 60, seed=0)
    value_agent.observe_window(first.observe, data)
    second.load_state_dict(first.state_dict())
    assert second.learn(data)["env_steps"] == first.learn(data)["env_steps"] == 60
    assert second.learn(data)["env_steps"] == 120  # nobody showed it this one


# --- targets ---------------------------------------------------------------------------------------------------


class Endless(gym.Env):
    """One state, reward 0.1, and a clock that stops after 4 steps: a time limit, or an end.

    Errors stay below 1, where the Huber loss is a squared error and its minimum the mean.
    """

    def __init__(self, *, truncate):
        self.observation_space, self.action_space = Box(0.0, 1.0, (1,)), Discrete(2)
        self._truncate, self._t = truncate, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._t = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self._t += 1
        over = self._t >= 4
        return np.ones(1, np.float32), 0.1, over and not self._truncate, over and self._truncate, {}


def learned_value(kind, *, truncate, n_step=1):
    env = Endless(truncate=truncate)
    more = {"v_min": 0.0, "v_max": 1.2} if kind == "Rainbow" else {}
    agent = make_agent(
        kind, env, seed=0, device="cpu", hidden_sizes=(16,), gamma=0.9, learning_rate=1e-2, learning_starts=50,
        batch_size=16, target_update_freq=20, n_step=n_step, **more,
    )  # fmt: skip
    pipeline = BatchPipeline(env, agent=agent, window_size=700, seed=0)
    pipeline.setup()
    episodes = pipeline.episodes()
    for _ in range(2):
        agent.learn(next(episodes))
    return float(agent.q_values(np.ones((1, 1), np.float32)).mean())


@BOTH
@pytest.mark.parametrize("n_step", [1, 3])
def test_a_reward_for_ever_is_worth_it_by_one_minus_gamma_whatever_the_clock(kind, n_step):
    assert learned_value(kind, truncate=True, n_step=n_step) == pytest.approx(0.1 / (1 - 0.9), rel=0.06)


@BOTH
def test_an_end_has_no_future(kind):
    # one state for the learner, from which one step in four ends the episode: v = 0.1 + 3/4 gamma v
    assert learned_value(kind, truncate=False) == pytest.approx(0.1 / (1.0 - 0.75 * 0.9), rel=0.15)


@BOTH
def test_taking_a_time_limit_for_an_end_would_be_noticed(kind, monkeypatch):
    right = value_agent.ValueAgent.observe

    def slipped(self, observations, actions, rewards, following, terminated, truncated):
        right(self, observations, actions, rewards, following, terminated | truncated, truncated)

    monkeypatch.setattr(value_agent.ValueAgent, "observe", slipped)
    assert learned_value(kind, truncate=True) < 0.5


@BOTH
def test_the_online_network_chooses_and_the_target_network_says_what_it_is_worth(kind, monkeypatch):
    agent = make(kind, hyperparams={"v_min": -5.0, "v_max": 5.0} if kind == "Rainbow" else {})
    feed(agent, 11)
    calls = []
    module = dqn if kind == "DQN" else rainbow
    if kind == "DQN":
        right = module.double_q_targets
        monkeypatch.setattr(module, "double_q_targets", lambda *a: calls.append(a) or right(*a))
        online = agent._engine.online
        monkeypatch.setattr(agent._engine, "online", lambda x: np.tile(np.float32([0, 0, 9, 0]), (len(x), 1)))
        feed(agent, 1, seed=5)
        assert (calls[0][3].argmax(axis=1) == 2).all()
        assert online is not agent._engine.online
    else:
        monkeypatch.setattr(
            agent._engine, "online_values", lambda x, _: np.tile(np.float32([0, 0, 9, 0]), (len(x), 1))
        )
        right = agent._engine.target_probabilities
        monkeypatch.setattr(
            agent._engine, "target_probabilities", lambda x, chosen: calls.append(chosen) or right(x, chosen)
        )
        feed(agent, 1, seed=5)
        assert (calls[0] == 2).all()


def test_without_double_the_target_network_chooses():
    quick = {"learning_rate": 1e-2, "train_freq": 1}  # so that the two networks soon prefer other actions
    with_it, without = make(hyperparams=quick), make(hyperparams={"double": False, **quick})
    for agent in (with_it, without):
        feed(agent, 100)
    assert not np.array_equal(weights(with_it), weights(without))


@BOTH
def test_importance_weights_come_before_the_mean_and_beta_reaches_one(kind, monkeypatch):
    agent = make(kind, hyperparams={"per_alpha": 0.6, "per_beta": 0.4, "per_beta_steps": 40})
    seen, betas = [], []
    sample, gradient = agent._replay.sample, agent._engine.gradient

    def sampling(size, rng, *, n_step, gamma, beta):
        betas.append(beta)
        return sample(size, rng, n_step=n_step, gamma=gamma, beta=beta)

    def differentiating(observations, actions, targets, given):
        seen.append((given, *gradient(observations, actions, targets, given)))
        return seen[-1][1:]

    monkeypatch.setattr(agent._replay, "sample", sampling)
    monkeypatch.setattr(agent._engine, "gradient", differentiating)
    feed(agent, 60)
    assert betas[0] == pytest.approx(0.4 + 0.6 * 11 / 40)
    assert betas[-1] == 1.0
    given, loss, each = seen[-1]
    assert np.ptp(given) > 0.01
    if kind == "DQN":
        each = np.where(np.abs(each) <= 1, each**2 / 2, np.abs(each) - 0.5)
    assert float(loss) == pytest.approx(float((given * each).mean()), rel=1e-5)


def test_priorities_are_the_sizes_of_the_errors(monkeypatch):
    agent = make(hyperparams={"per_alpha": 0.6})
    found = []
    gradient = agent._engine.gradient
    monkeypatch.setattr(agent._engine, "gradient", lambda *a: found.append(gradient(*a)) or found[-1])
    given = []
    monkeypatch.setattr(agent._prioritized, "update_priorities", lambda i, p: given.append(p))
    feed(agent, 12)
    np.testing.assert_array_equal(given[-1], np.abs(found[-1][1]))


def test_priorities_of_rainbow_are_divergences_and_zero_for_a_perfect_prediction(monkeypatch):
    agent = make("Rainbow", hyperparams={"v_min": -5.0, "v_max": 5.0})
    found, given = [], []
    gradient = agent._engine.gradient

    def differentiating(observations, actions, targets, weights):
        found.append((targets, gradient(observations, actions, targets, weights)[1]))
        return 0.0, found[-1][1]

    monkeypatch.setattr(agent._engine, "gradient", differentiating)
    monkeypatch.setattr(agent._prioritized, "update_priorities", lambda i, p: given.append(p))
    feed(agent, 12)
    targets, cross_entropies = found[-1]
    own = -(targets * np.log(np.where(targets > 0, targets, 1.0))).sum(axis=1)
    np.testing.assert_allclose(given[-1], cross_entropies - own, atol=1e-5)
    assert (given[-1] >= 0).all()
    assert own.max() > 0.5  # what cross entropy alone would add


# --- exploration and masks -------------------------------------------------------------------------------------


@BOTH
def test_warm_up_is_uniform_and_greedy_acting_draws_nothing(kind):
    agent = make(kind)
    seen = np.zeros((4000, OBS), np.float32)
    counts = np.bincount(agent.act_batch(seen), minlength=A)
    assert counts.min() > 900
    before = agent.acting_state()
    assert len(set(agent.act_batch(seen, deterministic=True).tolist())) == 1
    assert agent.acting_state() == before
    training = agent._streams.policy.bit_generator.state
    agent.act(seen[0])
    assert agent._streams.policy.bit_generator.state == training


def test_epsilon_greedy_draws_that_share_at_random():
    agent = make(hyperparams={"learning_starts": 0, "epsilon": 0.5, "epsilon_min": 0.5})
    seen = np.zeros((8000, OBS), np.float32)
    best = agent.act_batch(seen[:1], deterministic=True)[0]
    share = (agent.act_batch(seen) == best).mean()
    assert share == pytest.approx(0.5 + 0.5 / A, abs=0.02)


def test_noise_explores_and_is_new_for_every_action():
    agent = make("Rainbow", hyperparams={"learning_starts": 0}, sigma_0=5.0)
    seen = np.ones((500, OBS), np.float32)
    assert len(set(agent.act_batch(seen).tolist())) > 1
    assert len({agent.act(seen[0]) for _ in range(100)}) > 1
    assert len({agent.act(seen[0], deterministic=True) for _ in range(20)}) == 1


@BOTH
@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_masked_actions_are_never_taken_in_acting_or_targets(kind, engine, monkeypatch):
    always_random = {"epsilon": 1.0, "epsilon_min": 1.0} if kind == "DQN" else {}
    agent = make(kind, engine=engine, hyperparams={"learning_starts": 8, **always_random})
    assert agent.accepts_action_masks
    rng = np.random.default_rng(0)
    chosen = []
    module = dqn if kind == "DQN" else rainbow

    def masks(n):
        found = rng.random((n, A)) < 0.4
        found[np.arange(n), rng.integers(A, size=n)] = True
        return found

    drawn = value_agent.ValueAgent._draw

    def drawing(self):
        found = drawn(self)
        chosen.append([found.masks])
        return found

    monkeypatch.setattr(value_agent.ValueAgent, "_draw", drawing)
    if kind == "DQN":
        targets = module.double_q_targets
        monkeypatch.setattr(module, "double_q_targets", lambda *a: chosen[-1].append(a[4]) or targets(*a))
    else:
        slow = agent._engine.target_probabilities
        monkeypatch.setattr(
            agent._engine, "target_probabilities", lambda x, a: chosen[-1].append(a) or slow(x, a)
        )
    seen = with_masks(rng.standard_normal((2, OBS)).astype(np.float32), masks(2))
    for t in range(30):
        for deterministic in (False, True):
            actions = agent.act_batch(seen, deterministic=deterministic)
            assert seen["action_mask"][np.arange(2), actions].all()
        after = with_masks(rng.standard_normal((2, OBS)).astype(np.float32), masks(2))
        over = np.array([t % 5 == 4, False])
        after["action_mask"][0] &= not over[0]  # a terminal state allows nothing
        agent.observe(seen, actions, rng.standard_normal(2), after, over, np.zeros(2, bool))
        seen = after.copy()
        seen["action_mask"][0] |= over[0]
    assert len(chosen) > 20
    for allowed, used in chosen:
        if kind == "DQN":
            np.testing.assert_array_equal(used, allowed)  # double_q_targets itself has a test of its own
        else:
            assert (allowed[np.arange(8), used] | ~allowed.any(axis=1)).all()
    assert np.isfinite(weights(agent)).all()
    allowed = {"observation": np.zeros(OBS, np.float32), "action_mask": np.array([0, 0, 1, 0], bool)}
    assert {agent.act(allowed) for _ in range(20)} == {2}


class Masked(gym.Env):
    """The action that the observation names earns 1; the mask forbids the one that would earn 2."""

    def __init__(self):
        self.observation_space, self.action_space = Box(0, 1, (3,)), Discrete(3, start=5)
        self._good = self._t = 0

    def _observation(self):
        seen = np.zeros(3, np.float32)
        seen[self._good] = 1.0
        return seen, {"action_mask": (np.arange(3) != (self._good + 1) % 3).astype(np.int8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._good, self._t = int(self.np_random.integers(3)), 0
        return self._observation()

    def step(self, action):
        choice = int(action) - 5
        assert choice != (self._good + 1) % 3, "a masked action"
        reward = float(choice == self._good)
        self._good, self._t = int(self.np_random.integers(3)), self._t + 1
        seen, info = self._observation()
        return seen, reward, False, self._t >= 10, info


@BOTH
def test_a_masked_environment_with_actions_from_five_is_learned(kind):
    agent = make_agent(kind, Masked(), seed=0, device="cpu", hidden_sizes=(32,), gamma=0.5, learning_starts=100,
                       batch_size=32, target_update_freq=50, learning_rate=3e-3,
                       **({"epsilon_decay_steps": 300} if kind == "DQN" else {}))  # fmt: skip
    pipeline = VectorBatchPipeline([Masked] * 2, agent=agent, window_size=250, seed=0)
    pipeline.setup()
    episodes = pipeline.episodes()
    for _ in range(3):
        data = next(episodes)
        agent.learn(data)
    seen = np.eye(3, dtype=np.float32)
    mask = np.stack([np.arange(3) != (g + 1) % 3 for g in range(3)])
    found = agent.env_actions(agent.act_batch(with_masks(seen, mask), deterministic=True))
    np.testing.assert_array_equal(found, [5, 6, 7])
    assert agent.act({"observation": seen[1], "action_mask": mask[1]}, deterministic=True) == 6


@BOTH
@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (2, 2)),
        Box(0, 255, (36, 36, 1), np.uint8),
        Discrete(4, start=1),
        MultiDiscrete([2, 3]),
        Dict({"goal": Box(-1, 1, (2,)), "at": Discrete(3)}),
    ],
    ids=lambda s: type(s).__name__ + str(s.shape or ""),
)
def test_every_kind_of_observation(kind, space):
    agent = make(kind, observations=space, hyperparams={"learning_starts": 4, "batch_size": 4})
    space.seed(0)
    dtype = element_dtype(space)
    raw = [space.sample() for _ in range(8)]
    rows = np.stack([pack(row, dtype) if dtype.names else np.asarray(row, dtype) for row in raw])
    before = weights(agent)
    for t in range(6):
        actions = agent.act_batch(rows[t : t + 1])
        agent.observe(
            rows[t : t + 1], actions, np.ones(1), rows[t + 1 : t + 2], np.zeros(1, bool), np.zeros(1, bool)
        )
    assert agent._descent.n_updates == 2
    assert not np.array_equal(before, weights(agent))
    greedy = agent.act_batch(rows, deterministic=True)
    assert [agent.act(row, deterministic=True) for row in raw] == greedy.tolist()


@BOTH
def test_other_action_spaces_are_refused_by_name(kind):
    with pytest.raises(SpaceError, match="discrete"):
        make(kind, actions=Box(-1, 1, (2,)))


# --- failures --------------------------------------------------------------------------------------------------


@BOTH
def test_gradients_that_are_not_finite_are_skipped_and_three_in_a_row_are_a_divergence(kind, monkeypatch):
    agent = make(kind, hyperparams={"v_min": -100.0, "v_max": 100.0} if kind == "Rainbow" else {})
    feed(agent, 12)
    gradient = agent._engine.gradient
    poisoned = [0]

    def poison(*args):
        found = gradient(*args)
        poisoned[0] -= 1
        if poisoned[0] >= 0:
            agent._training.flat.grad[3] = float("nan")
        return found

    monkeypatch.setattr(agent._engine, "gradient", poison)
    poisoned[0] = 2
    before = weights(agent)
    feed(agent, 2, seed=1)
    np.testing.assert_array_equal(weights(agent), before)
    feed(agent, 1, seed=2)
    window = collect(agent, _Env(), 5)
    report = agent.learn(window)
    assert (report["n_skipped"], report["n_updates"]) == (2, 3)
    assert np.isfinite(report["loss"])
    poisoned[0] = 3
    feed(agent, 5, seed=3)
    report = agent.learn(window)
    assert report["n_skipped"] == 3
    assert np.isnan(report["loss"])
    assert np.isfinite(weights(agent)).all()


class _Env(gym.Env):
    observation_space, action_space = Box(-1, 1, (OBS,)), Discrete(A)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(OBS, np.float32), {}

    def step(self, action):
        return np.zeros(OBS, np.float32), 0.0, False, False, {}


@BOTH
def test_too_large_a_buffer_is_refused_before_memory_is_taken(kind):
    large = Box(0, 255, (200, 200, 3), np.uint8)
    agent = make(kind, observations=large, encoder="flatten", hyperparams={"replay_capacity": 10**9})
    frame = np.zeros((1, 200, 200, 3), np.uint8)
    with pytest.raises(ConfigError, match="replay buffer"):
        agent.observe(frame, np.zeros(1, np.int64), np.zeros(1), frame, np.zeros(1, bool), np.zeros(1, bool))


# --- persistence -----------------------------------------------------------------------------------------------


@BOTH
def test_a_full_state_continues_exactly(kind):
    options = {"per_alpha": 0.5, "target_update_freq": 13, "n_step": 3}
    one, other = make(kind, hyperparams=options), make(kind, hyperparams=options, seed=9)
    feed(one, 40, n=2)
    other.load_state_dict(one.state_dict())
    for agent in (one, other):
        feed(agent, 30, n=2, seed=4)
    np.testing.assert_array_equal(weights(one), weights(other))
    np.testing.assert_array_equal(target(one), target(other))
    seen = np.random.default_rng(0).standard_normal((50, OBS)).astype(np.float32)
    np.testing.assert_array_equal(one.act_batch(seen), other.act_batch(seen))


@BOTH
def test_weights_from_outside_reach_the_target_and_leave_noise_alone(kind, tmp_path):
    one, other = make(kind), make(kind, seed=5)
    feed(one, 30)
    one.save_weights(str(tmp_path / "w"))
    other.load_weights(str(tmp_path / "w"))
    np.testing.assert_array_equal(target(other), weights(one))
    if kind == "Rainbow":
        assert (one._support.v_min, one._support.v_max) == (other._support.v_min, other._support.v_max)
        np.testing.assert_array_equal(one._atoms, other._atoms)
    seen = np.random.default_rng(0).standard_normal((50, OBS)).astype(np.float32)
    np.testing.assert_array_equal(one.q_values(seen), other.q_values(seen))
    other.perturb_weights(0.1)
    np.testing.assert_array_equal(target(other), weights(other))
    other.average_weights([str(tmp_path / "w"), str(tmp_path / "w")])
    np.testing.assert_array_equal(target(other), weights(one))
    with pytest.raises(IncompatibleCheckpoint):
        make("Rainbow" if kind == "DQN" else "DQN").load_weights(str(tmp_path / "w"))


CHILD = """
import sys, json, numpy as np
sys.path.insert(0, {folder!r})
import test_value_agents as t
from optix_core.checkpoints import codec
agent = t.make({kind!r}, hyperparams={{"per_alpha": 0.5}}, seed=77)
agent.load_weights({path!r})
seen = np.random.default_rng(0).standard_normal((20, t.OBS)).astype(np.float32)
print(json.dumps([agent.act_batch(seen, deterministic=True).tolist(), agent.q_values(seen).tolist()]))
"""


@BOTH
def test_another_process_acts_the_same(kind, tmp_path):
    import json
    from pathlib import Path

    agent = make(kind, hyperparams={"per_alpha": 0.5})
    feed(agent, 30)
    path = str(tmp_path / "w")
    agent.save_weights(path)
    code = CHILD.format(folder=str(Path(__file__).parent), kind=kind, path=path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    actions, values = json.loads(done.stdout)
    seen = np.random.default_rng(0).standard_normal((20, OBS)).astype(np.float32)
    np.testing.assert_array_equal(agent.act_batch(seen, deterministic=True), actions)
    np.testing.assert_allclose(agent.q_values(seen), values, atol=1e-6)


# --- Rainbow's support -----------------------------------------------------------------------------------------


def test_the_support_is_chosen_from_warm_up_and_reported():
    agent = make("Rainbow", hyperparams={"gamma": 0.99})
    feed(agent, 10, reward=1.0)
    assert not agent._support.is_chosen
    feed(agent, 1, seed=1, reward=1.0)
    report = agent.learn(collect(agent, _Env(), 5))
    assert report["support_from_data"] is True
    assert report["v_min"] == 0.0
    assert 100.0 < report["v_max"] < 115.0  # 1 / (1 - gamma) and a tenth
    assert agent.get_hyperparams().params["v_max"] == 0.0  # still: not given


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rewards_of_one_sign_put_zero_at_an_end(sign):
    agent = make("Rainbow", hyperparams={"gamma": 0.9})
    feed(agent, 11, reward=sign * 2.0)
    bounds = sorted([0.0, sign * 22.0])
    assert [agent._support.v_min, agent._support.v_max] == pytest.approx(bounds, rel=1e-3)


def test_rewards_of_both_signs_give_a_symmetric_support_and_none_give_one():
    agent = make("Rainbow")
    feed(agent, 11)
    assert agent._support.v_min == -agent._support.v_max < 0
    quiet = make("Rainbow")
    feed(quiet, 11, reward=0.0)
    assert (quiet._support.v_min, quiet._support.v_max) == (-1.0, 1.0)


def test_a_support_that_clips_is_warned_about_once():
    agent = make("Rainbow", hyperparams={"v_min": -1.0, "v_max": 1.0})
    window = collect(agent, _Env(), 5)
    feed(agent, 30, reward=1.0)
    with pytest.warns(RuntimeWarning, match="lie outside of the support, -1 to 1"):
        assert agent.learn(window)["clipped_share"] > 0.1
    feed(agent, 5, reward=1.0, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert agent.learn(window)["clipped_share"] > 0.1
    fitting = make("Rainbow", hyperparams={"v_min": -0.0, "v_max": 100.0})
    feed(fitting, 30, reward=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitting.learn(window)["clipped_share"] == 0.0


def test_what_is_said_about_the_network_must_be_true():
    network = RainbowQNetwork.build(OBS, A, 16, 21)
    adam = torch.optim.Adam(network.parameters())
    with pytest.raises(ConfigError, match="n_atoms is 51, but the network was built with 21"):
        TorchRainbowDQNAgent(network, A, OBS, adam, {"n_atoms": 51}, "cpu")
    with pytest.raises(ConfigError, match="obs_dim is 9"):
        TorchRainbowDQNAgent(network, A, 9, adam, {"n_atoms": 21}, "cpu")
    with pytest.raises(HyperparamError, match="v_min is 2, above v_max"):
        TorchRainbowDQNAgent(network, A, OBS, adam, {"v_min": 2, "v_max": 1, "n_atoms": 21}, "cpu")
    agent = TorchRainbowDQNAgent(network, A, OBS, adam, {"n_atoms": 21, "learning_rate": 2e-3}, "cpu", seed=0)
    assert agent.get_hyperparams().params["learning_rate"] == 2e-3
    with pytest.raises(HyperparamError, match="fixed"):
        agent.set_hyperparams(HyperparamSet({"n_atoms": 51}))


def test_any_network_and_optimizer_by_hand():
    network = nn.Sequential(nn.Linear(OBS, 8), nn.GELU(), nn.Linear(8, A))
    agent = TorchDQNAgent(
        network,
        A,
        torch.optim.SGD(network.parameters(), lr=0.1),
        {"learning_starts": 5, "batch_size": 4},
        "cpu",
        seed=0,
    )
    before = weights(agent)
    feed(agent, 10)
    assert not np.array_equal(before, weights(agent))
    assert agent.act(np.zeros(OBS)) in range(A)
