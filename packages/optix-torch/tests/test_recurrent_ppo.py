"""Recurrent PPO: what was acted is what is learned from, across episode ends, sequences and windows."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from optix_core import VectorBatchPipeline, make_agent
from optix_core.agents import ppo_update
from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_core.plugin import AgentContext
from optix_core.rl.masking import with_masks
from optix_core.rl.returns import generalized_advantage_estimation
from optix_core.rl.successors import rows
from optix_core.types import EpisodeData
from optix_torch import GaussianActor, TorchRecurrentPPOAgent, recurrent_ppo
from optix_torch.policy_gradient.sequence_engine import SequenceBatch

OBS = 3
SPACES = {
    "discrete": spaces.Discrete(4, start=2),
    "box": spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32)),
    "multi_discrete": spaces.MultiDiscrete([3, 2]),
    "multi_binary": spaces.MultiBinary(3),
}


def built(kind="discrete", *, seed=0, observation_space=None, hyperparams=None, **options):
    ctx = AgentContext(
        observation_space=observation_space or spaces.Box(-10, 10, (OBS,)),
        action_space=SPACES[kind],
        seed=seed,
        device="cpu",
        hyperparams={"minibatch_size": 32, "n_epochs": 3, "bptt_len": 8, **(hyperparams or {})},
    )
    options = {"memory_size": 12, "hidden_sizes": (10,), "normalize_rewards": False, **options}
    return recurrent_ppo.build(ctx, **options)


def random_window(agent, t=40, n=3, seed=0, *, ends=0.1, memory=None, observations=None):
    """A window of random observations in which ``agent`` acted as a pipeline lets it; and the memory after it."""
    rng = np.random.default_rng(seed)
    if observations is None:
        observations = rng.standard_normal((t + 1, n, OBS)).astype(np.float32)
    kind = rng.random((t, n))
    terminated, truncated = kind < ends / 2, (kind >= ends / 2) & (kind < ends)
    memory = np.zeros((n, agent.memory_size), np.float32) if memory is None else memory
    actions, memories = [], []
    for row in range(t):
        memories.append(memory)
        action, memory = agent.act_batch_with_memory(observations[row], memory)
        actions.append(action)
        memory[terminated[row] | truncated[row]] = 0.0
    boundary = np.argwhere(terminated | truncated)
    return EpisodeData(
        observations=observations[:-1],
        actions=np.stack(actions),
        rewards=rng.standard_normal((t, n)),
        terminated=terminated,
        truncated=truncated,
        final_obs=observations[-1],
        n_envs=n,
        boundary_steps=boundary,
        boundary_observations=rng.permutation(observations.reshape(-1))[: len(boundary)]
        if observations.dtype.names
        else rng.standard_normal((len(boundary), OBS)).astype(np.float32),
        hidden_states=np.stack(memories),
        timestamp=0.0,
    ), memory


class Enough(Exception):
    """Stops ``learn`` where the engine would begin."""


def prepared(agent, window):
    """What ``learn`` hands to the engine; nothing is learned."""
    seen = []

    def update(batch, hp, rng):
        seen.append(batch)
        raise Enough

    agent._networks.update = update
    with pytest.raises(Enough):
        agent.learn(window)
    del agent._networks.update
    assert isinstance(seen[0], SequenceBatch)
    return seen[0]


def log_ratios(agent, window, minibatch=32):
    """Of every step, before any gradient step, in the order of minibatches; and the largest difference of values."""
    batch, engine = prepared(agent, window), agent._networks.engine
    ratios, values = [], []
    with torch.no_grad():
        for found in engine._minibatches(engine._staged(batch), minibatch, np.random.default_rng(0)):
            ratios.append(found.log_probs - found.columns[0])
            values.append(found.values - found.columns[3])
    return torch.cat(ratios).numpy(), torch.cat(values).numpy()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("kind", list(SPACES))
def test_ratio_is_one_before_the_first_step(kind, cell, shared):
    """Across episode ends, in the middle of episodes, and after windows that were learned from."""
    agent = built(kind, cell=cell, shared_memory=shared, hyperparams={"learning_rate": 1e-2})
    memory = None
    for seed in range(3):
        window, memory = random_window(agent, seed=seed, memory=memory)
        assert window.terminated.any()
        assert window.truncated.any()
        ratios, values = log_ratios(agent, window)
        assert len(ratios) == window.n_steps
        np.testing.assert_allclose(np.exp(ratios), 1.0, atol=1e-5)
        np.testing.assert_allclose(values, 0.0, atol=1e-5)
        assert agent.learn(window)["n_updates"] > 0


@pytest.mark.parametrize("wrong", ["start", "carried"])
def test_the_ratio_notices_memory_that_is_not_what_was_acted_with(wrong):
    agent = built(hyperparams={"learning_rate": 1e-2})
    memory = None
    for seed in range(3):
        window, memory = random_window(agent, seed=seed, memory=memory)
        agent.learn(window)
    window, _ = random_window(agent, seed=9, memory=memory)
    assert window.hidden_states is not None
    if wrong == "start":  # not reset after an end
        t, n = window.boundary_steps[0]
        acted = window.terminated.copy(), window.truncated.copy()
        window.terminated[t, n] = window.truncated[t, n] = False
        ratios, _ = log_ratios(agent, window)
        window.terminated, window.truncated = acted
    else:  # forgotten where the window begins
        window.hidden_states[0] = 0.0
        ratios, _ = log_ratios(agent, window)
    assert np.abs(ratios).max() > 1e-4


def test_what_came_before_an_end_is_forgotten_inside_a_sequence():
    agent = built(hyperparams={"bptt_len": 0})
    window, _ = random_window(agent, t=20, n=1, ends=0.0)
    window.terminated[9, 0] = True
    window.boundary_steps, window.boundary_observations = np.array([[9, 0]]), np.zeros((1, OBS), np.float32)
    first = prepared(agent, window)
    window.observations = window.observations.copy()
    window.observations[:10] += 1.0
    second = prepared(agent, window)
    engine = agent._networks.engine
    with torch.no_grad():
        one, two = (
            next(engine._minibatches(engine._staged(batch), 100, np.random.default_rng(0)))
            for batch in (first, second)
        )
    packed = next(first.sequences.minibatches(100, np.random.default_rng(0)))
    later = packed.rows >= 10
    np.testing.assert_array_equal(one.log_probs[later], two.log_probs[later])
    assert not np.allclose(one.log_probs[~later], two.log_probs[~later])
    # and what comes within one episode is not
    window.terminated[9, 0], window.boundary_steps = False, None
    third = prepared(agent, window)
    with torch.no_grad():
        whole = next(engine._minibatches(engine._staged(third), 100, np.random.default_rng(0)))
    row = next(third.sequences.minibatches(100, np.random.default_rng(0))).rows.tolist().index(10)
    assert whole.values[row] != two.values[packed.rows.tolist().index(10)]


def by_hand(cell="lstm", *, continuous=False, own_critic=True, layers=1, dtype=torch.float64, lr=0.1, **hp):
    """From a user's own modules, with plain gradient descent, so that one step shows the gradient."""
    g = torch.Generator().manual_seed(3)
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
    modules = [
        kind(OBS, 6, layers, batch_first=True),
        GaussianActor(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)), 2)
        if continuous
        else nn.Linear(6, 4),
        nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)),
        *([kind(OBS, 6, layers, batch_first=True)] if own_critic else []),
    ]
    parameters = [p for module in modules for p in module.to(dtype).parameters()]
    with torch.no_grad():
        for p in parameters:
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.4)
    optimizer = torch.optim.SGD(parameters, lr=lr)
    rnn, actor, critic = modules[:3]
    agent = TorchRecurrentPPOAgent(
        rnn, actor, critic, 2 if continuous else 4, optimizer, {"n_epochs": 1, "minibatch_size": 10**6, **hp}, "cpu",
        critic_rnn=modules[3] if own_critic else None, seed=0,
        action_space=SPACES["box"] if continuous else None,
    )  # fmt: skip
    return agent, modules, parameters


def naive_loss(agent, modules, window, advantages, targets, old, hp):
    """The same loss, one step of one environment at a time, with PyTorch's own layers and the window's own resets."""
    rnn, actor, critic = modules[:3]
    critic_rnn = modules[3] if len(modules) == 4 else rnn
    steps, n_envs = window.rewards.shape
    lstm = isinstance(rnn, nn.LSTM)
    width = agent.memory_size // (2 if len(modules) == 4 else 1)

    def state(row):
        blocks = torch.from_numpy(row).double().view(-1, rnn.num_layers, 1, rnn.hidden_size)
        return (blocks[0].contiguous(), blocks[1].contiguous()) if lstm else blocks[0].contiguous()

    total = 0.0
    for n in range(n_envs):
        since, ended = 0, True
        for t in range(steps):
            if (t and ended) or t == 0 or since == hp["bptt_len"]:
                row = np.zeros(agent.memory_size, np.float32) if t and ended else window.hidden_states[t, n]
                memory, theirs, since = state(row[:width]), state(row[-width:]), 0
            x = torch.from_numpy(window.observations[t, n]).double().view(1, 1, -1)
            h, memory = rnn(x, memory)
            c, theirs = critic_rnn(x, theirs)
            out, value = actor(h.view(1, -1))[0], critic(c.view(1, -1))[0, 0]
            if window.actions.dtype.kind == "f":
                mean, log_std = out.chunk(2)
                policy = torch.distributions.Normal(mean, log_std.exp())
                log_prob = policy.log_prob(torch.from_numpy(window.actions[t, n]).double()).sum()
                entropy = policy.entropy().sum()
            else:
                policy = torch.distributions.Categorical(logits=out)
                log_prob, entropy = policy.log_prob(torch.tensor(window.actions[t, n])), policy.entropy()
            r, a = (log_prob - old[t, n]).exp(), advantages[t, n]
            clipped = r.clamp(1 - hp["clip_ratio"], 1 + hp["clip_ratio"])
            total = total - torch.minimum(r * a, clipped * a) - hp["entropy_coef"] * entropy
            total = total + hp["vf_coef"] * (value - targets[t, n]) ** 2
            since, ended = since + 1, bool(window.terminated[t, n] or window.truncated[t, n])
    return total / window.n_steps


@pytest.mark.parametrize("bptt_len", [0, 5])
@pytest.mark.parametrize(
    "cell,continuous,own_critic,layers",
    [("lstm", False, True, 1), ("gru", True, True, 1), ("gru", False, False, 2), ("lstm", True, False, 1)],
)
def test_one_update_is_a_step_on_the_loss_written_out_step_by_step(
    cell, continuous, own_critic, layers, bptt_len
):
    hp = {"bptt_len": bptt_len, "entropy_coef": 0.05, "vf_coef": 0.7, "max_grad_norm": 1e9}
    agent, modules, parameters = by_hand(
        cell, continuous=continuous, own_critic=own_critic, layers=layers, **hp
    )
    start = np.random.default_rng(5).standard_normal((3, agent.memory_size)).astype(np.float32) * 0.3
    window, _ = random_window(agent, t=17, n=3, ends=0.15, memory=start)
    assert window.dones.any()
    rng = np.random.default_rng(6)
    window.log_probs = np.full(window.rewards.shape, -1.5) + 0.3 * rng.standard_normal(window.rewards.shape)
    batch = prepared(agent, window)
    hp = agent.get_hyperparams().params
    advantages, targets = (torch.from_numpy(a.reshape(17, 3)) for a in (batch.advantages, batch.targets))
    before = [p.detach().clone() for p in parameters]
    loss = naive_loss(agent, modules, window, advantages, targets, window.log_probs, hp)
    gradients = torch.autograd.grad(loss, parameters)
    report = agent.learn(window)
    assert report["n_updates"] == 1
    for p, old, gradient in zip(parameters, before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.1 * gradient, rtol=1e-6, atol=1e-7)


def test_successors_have_the_value_of_the_memory_before_any_reset(monkeypatch):
    agent, _, _ = by_hand("lstm")
    window, _ = random_window(agent, t=12, n=2, ends=0.3, seed=4)
    assert window.truncated.any()
    told = {}

    def spy(rewards, values, following, *rest, **options):
        told["following"] = np.array(following)
        return generalized_advantage_estimation(rewards, values, following, *rest, **options)

    monkeypatch.setattr(ppo_update, "generalized_advantage_estimation", spy)
    agent.learn(window)
    _, (_, _, critic, critic_rnn), _ = by_hand("lstm")  # as it was before
    following = window.next_observations()
    for n in range(2):
        memory = None
        for t in range(12):
            _, memory = critic_rnn(
                torch.from_numpy(window.observations[t, n]).double().view(1, 1, -1), memory
            )
            h, _ = critic_rnn(torch.from_numpy(following[t, n]).double().view(1, 1, -1), memory)
            assert (
                told["following"][t, n] == pytest.approx(critic(h.view(1, -1)).item(), abs=1e-6)
                or (window.terminated[t, n])
            )
            if window.dones[t, n]:
                memory = None


class Constant(gym.Env):
    """One for every step of five, after which the episode is cut or over."""

    def __init__(self, *, terminal=False):
        self.observation_space, self.action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)
        self.terminal, self.t = terminal, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.t += 1
        end = self.t == 5
        return np.ones(1, np.float32), 1.0, end and self.terminal, end and not self.terminal, {}


def train(agent, make_env, *, windows, n_envs, steps, seed=0):
    pipeline = VectorBatchPipeline([make_env] * n_envs, agent, steps, seed=seed)
    pipeline.setup()
    episodes = pipeline.episodes()
    for _ in range(windows):
        agent.learn(next(episodes))
    window = next(episodes)
    pipeline.teardown()
    return window


@pytest.mark.parametrize("terminal", [False, True])
def test_constant_reward_is_worth_its_sum_and_a_time_limit_is_no_end(terminal):
    """1 / (1 - gamma) = 5 if episodes are only cut; at most 1 + ... + 0.8^4 = 3.4 where they end."""
    hp = {"learning_rate": 1e-2, "gamma": 0.8, "n_epochs": 5, "minibatch_size": 64}
    agent = make_agent("RecurrentPPO", Constant(), seed=0, device="cpu", cell="gru", memory_size=8, hidden_sizes=(8,),
                       normalize_rewards=False, normalize_observations=False, hyperparams=hp)  # fmt: skip
    window = train(agent, lambda: Constant(terminal=terminal), windows=60, n_envs=4, steps=16)
    values = prepared(agent, window).values
    if terminal:
        assert values.max() < 3.8
    else:
        np.testing.assert_allclose(values, 5.0, atol=0.35)


class Recall(gym.Env):
    """The first observation says which action will be right three steps later."""

    def __init__(self):
        self.observation_space, self.action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)
        self.cue = self.t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cue, self.t = int(self.np_random.integers(2)), 0
        return np.array([2 * self.cue - 1, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == 4
        reward = float(int(action) == self.cue) if over else 0.0
        return np.array([0, self.t == 3], np.float32), reward, over, False, {}


class Forgetful(TorchRecurrentPPOAgent):
    """Remembers nothing from one step to the next."""

    def act_batch_with_memory(self, observations, memory, *, deterministic=False):
        actions, after = super().act_batch_with_memory(observations, memory, deterministic=deterministic)
        return actions, np.zeros_like(after)


def share_right(agent, episodes=60):
    env, right = Recall(), 0.0
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        memory, over = np.zeros((1, agent.memory_size), np.float32), False
        while not over:
            action, memory = agent.act_batch_with_memory(observation[None], memory, deterministic=True)
            observation, reward, over, _, _ = env.step(action[0])
        right += reward
    return right / episodes


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_what_was_seen_once_is_recalled_and_without_memory_it_is_not(cell):
    hp = {"learning_rate": 2e-2, "gamma": 0.9, "n_epochs": 4, "minibatch_size": 128, "entropy_coef": 0.0}
    options = {
        "cell": cell,
        "memory_size": 8,
        "hidden_sizes": (8,),
        "device": "cpu",
        "normalize_rewards": False,
    }
    agent = make_agent("RecurrentPPO", Recall(), seed=0, hyperparams=hp, **options)
    train(agent, Recall, windows=10, n_envs=8, steps=32)
    assert share_right(agent) > 0.95
    agent.__class__ = Forgetful
    assert share_right(agent) < 0.7
    other = make_agent("RecurrentPPO", Recall(), seed=0, hyperparams=hp | {"bptt_len": 1}, **options)
    other.__class__ = Forgetful
    train(other, Recall, windows=10, n_envs=8, steps=32)
    assert share_right(other) < 0.7


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_memory_is_carried_from_window_to_window(cell):
    windows = []
    for steps in (30, 10):
        agent = make_agent("RecurrentPPO", Recall(), seed=0, device="cpu", cell=cell, memory_size=4)
        pipeline = VectorBatchPipeline([Recall] * 2, agent, steps, seed=1)
        pipeline.setup()
        episodes = pipeline.episodes()
        windows.append([next(episodes) for _ in range(30 // steps)])
        pipeline.teardown()
    (whole,), pieces = windows
    for name in ("observations", "actions", "hidden_states"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(p, name) for p in pieces]), getattr(whole, name)
        )
    assert np.abs(pieces[1].hidden_states[0]).min() > 0.0
    assert (whole.hidden_states[::4] == 0.0).all()  # episodes of four steps


@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_a_resumed_run_goes_on_exactly(kind):
    def begin():
        env = gym.make("CartPole-v1" if kind == "discrete" else "Pendulum-v1")
        agent = make_agent(
            "RecurrentPPO", env, seed=0, device="cpu", memory_size=8, hyperparams={"n_epochs": 2}
        )
        pipeline = VectorBatchPipeline([lambda: gym.make(env.spec.id)] * 2, agent, 24, seed=3)
        return agent, pipeline, env

    def go_on(agent, pipeline, windows):
        episodes, found = pipeline.episodes(), []
        for _ in range(windows):
            window = next(episodes)
            found.append((window.observations.copy(), window.actions.copy(), window.hidden_states.copy()))
            agent.learn(window)
        return found

    agent, pipeline, env = begin()
    pipeline.setup()
    go_on(agent, pipeline, 2)
    observation = env.observation_space.sample()
    agent.act(observation)  # moves the memory of its own
    state = agent.state_dict(), pipeline.state_dict()
    expected, alone = go_on(agent, pipeline, 3), agent.act(observation)
    other, resumed, _ = begin()
    resumed.setup()
    other.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    for one, two in zip(go_on(other, resumed, 3), expected, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(other._networks.flat.to_numpy(), agent._networks.flat.to_numpy())
    np.testing.assert_array_equal(other.act(observation), alone)
    assert np.abs(expected[0][2][0]).min() > 0.0  # there was memory to be resumed


def test_saved_weights_act_alike_and_fit_only_their_own(tmp_path):
    agent, other = built(seed=0), built(seed=1)
    agent.learn(random_window(agent)[0])
    agent.save_weights(str(tmp_path / "weights"))
    other.load_weights(str(tmp_path / "weights"))
    x, memory = np.ones((2, OBS), np.float32), np.full((2, agent.memory_size), 0.1, np.float32)
    one, two = (a._networks.remember(a._normalizers.observations(x), memory) for a in (agent, other))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(IncompatibleCheckpoint):
        built(cell="gru").load_weights(str(tmp_path / "weights"))


@pytest.mark.parametrize("kind", list(SPACES))
def test_act_remembers_like_whoever_keeps_the_memory(kind):
    agent = built(kind)
    agent.learn(random_window(agent)[0])
    observations = np.random.default_rng(0).standard_normal((6, OBS)).astype(np.float32)
    state, memory = agent.acting_state(), np.zeros((1, agent.memory_size), np.float32)
    sequence = []
    for row in observations:
        actions, memory = agent.act_batch_with_memory(row[None], memory, deterministic=True)
        sequence.append(agent.env_actions(actions)[0])
        action = agent.act(row, deterministic=True)
        np.testing.assert_allclose(action, sequence[-1], atol=1e-6)
        assert SPACES[kind].contains(action)
    np.testing.assert_array_equal(agent._own.memory, memory)
    agent.reset_memory()
    assert not agent._own.memory.any()
    np.testing.assert_allclose(agent.act(observations[0], deterministic=True), sequence[0], atol=1e-6)
    agent.load_acting_state(state)
    assert not agent._own.memory.any()


def test_acting_writes_nowhere_and_gives_fresh_memory():
    agent = built()
    x, memory = np.zeros((3, OBS), np.float32), np.zeros((3, agent.memory_size), np.float32)
    x.flags.writeable = memory.flags.writeable = False
    _, first = agent.act_batch_with_memory(x, memory)
    kept = first.copy()
    agent.act_batch_with_memory(x + 1, first)
    np.testing.assert_array_equal(first, kept)
    assert first.dtype == np.float32
    with pytest.raises(ConfigError, match="memory has shape"):
        agent.act_batch_with_memory(x, memory[:, :-1])


def test_learning_writes_nowhere():
    agent = built()
    window, _ = random_window(agent)
    for array in (window.observations, window.actions, window.hidden_states, window.rewards):
        array.flags.writeable = False
    agent.learn(window)


@pytest.mark.parametrize("kind", ["discrete", "multi_discrete"])
def test_masked_actions_are_never_taken_and_the_ratio_stays_one(kind):
    agent = built(kind, hyperparams={"learning_rate": 1e-2})
    assert agent.accepts_action_masks
    rng = np.random.default_rng(0)
    plain = rng.standard_normal((41, 3, OBS)).astype(np.float32)
    masks = rng.random((41, 3, 4 if kind == "discrete" else 5)) < 0.5
    masks[..., 0] = masks[..., 3] = True
    window, _ = random_window(agent, observations=with_masks(plain, masks))
    chosen = window.actions if kind == "discrete" else window.actions + np.array([0, 3])
    allowed = np.take_along_axis(masks[:-1], chosen.reshape(40, 3, -1), axis=2)
    assert allowed.all()
    ratios, _ = log_ratios(agent, window)
    np.testing.assert_allclose(np.exp(ratios), 1.0, atol=1e-5)
    assert np.isfinite(list(agent.learn(window).values())).all()
    assert not built("box").accepts_action_masks


def test_observations_with_parts_and_images_are_encoded():
    space = spaces.Dict({"where": spaces.Box(-1, 1, (2,)), "room": spaces.Discrete(3)})
    agent = built(observation_space=space)
    space.seed(0)
    for _ in range(3):
        assert agent.act(space.sample()) in range(2, 6)
    image = spaces.Box(0, 255, (3, 40, 40), np.uint8)
    seeing = built(observation_space=image, memory_size=4)
    rng = np.random.default_rng(0)
    observations = rng.integers(0, 255, (7, 2, 3, 40, 40), np.uint8)
    window, _ = random_window(seeing, t=6, n=2, observations=observations, ends=0.0)
    assert np.isfinite(list(seeing.learn(window).values())).all()
    assert (
        np.abs(
            log_ratios(seeing, random_window(seeing, t=6, n=2, observations=observations, ends=0.0)[0])[0]
        ).max()
        < 1e-5
    )


def test_it_is_found_where_memory_is_asked_for():
    env = gym.make("CartPole-v1")
    assert type(make_agent(env, recurrent=True, seed=0)) is TorchRecurrentPPOAgent
    assert type(make_agent(env, seed=0)) is not TorchRecurrentPPOAgent
    assert type(make_agent("RecurrentPPO", gym.make("Pendulum-v1"), seed=0)) is TorchRecurrentPPOAgent


def test_what_does_not_fit_is_refused():
    agent = built()
    window, _ = random_window(agent)
    window.hidden_states = None
    with pytest.raises(ConfigError, match="hidden_states"):
        agent.learn(window)
    with pytest.raises(ConfigError, match="n_actions is 3, but"):
        head = nn.Linear(4, 3)
        rnn = nn.GRU(2, 4)
        optimizer = torch.optim.Adam([*rnn.parameters(), *head.parameters()])
        TorchRecurrentPPOAgent(rnn, head, nn.Linear(4, 1), 3, optimizer, action_space=spaces.Discrete(2))
    with pytest.raises(ConfigError, match="the optimizer lacks"):
        TorchRecurrentPPOAgent(rnn, head, nn.Linear(4, 1), 3, optimizer)
    with pytest.raises(ConfigError, match="critic_encoder needs a critic_rnn"):
        TorchRecurrentPPOAgent(rnn, head, nn.Linear(4, 1), 3, optimizer, critic_encoder=nn.Linear(2, 2))


def test_an_empty_window_is_no_work_and_a_window_of_one_environment_is_flat():
    agent = built()
    window, _ = random_window(agent, t=9, n=1, ends=0.0)
    flat = EpisodeData(
        observations=window.observations[:, 0],
        actions=window.actions[:, 0],
        rewards=window.rewards[:, 0],
        terminated=window.terminated[:, 0],
        truncated=window.truncated[:, 0],
        final_obs=window.final_obs[0],
        hidden_states=window.hidden_states[:, 0],
    )
    np.testing.assert_array_equal(rows(flat, "hidden_states"), rows(window, "hidden_states"))
    assert agent.learn(flat)["n_updates"] > 0
