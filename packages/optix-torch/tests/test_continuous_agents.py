"""SAC and TD3 against the definitions: losses, gradients, cadence, targets, state."""

from __future__ import annotations

import copy
import dataclasses
import json
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import nn

from optix_core import VectorBatchPipeline, make_agent
from optix_core.errors import ConfigError, HyperparamError, SpaceError
from optix_core.rl import reference
from optix_core.types import HyperparamSet
from optix_torch import TorchSACAgent, TorchTD3Agent
from optix_torch.continuous import squashed
from optix_torch.continuous.standard import fan_in_mlp

OBS, ACT, B = 3, 2, 16
SPACE = Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))
ENGINES = ["closed_form", "autograd"]
KINDS = ["sac", "td3"]
SMALL = {"batch_size": B, "learning_starts": 8, "replay_capacity": 1000}


def by_hand(kind, *, engine="auto", sgd=True, dtype=torch.float64, seed=0, hyperparams=None, **options):
    """An agent from a user's own networks; plain SGD with the rate 1 shows gradients as differences of weights."""
    g = torch.Generator().manual_seed(seed)
    outputs = 2 * ACT if kind == "sac" else ACT
    actor = fan_in_mlp((OBS, 9, 8, outputs), "relu", g)
    if kind == "td3":
        actor = nn.Sequential(*actor, nn.Tanh())
    critics = [fan_in_mlp((OBS + ACT, 9, 8, 1), "relu", g) for _ in range(2)]
    for m in (actor, *critics):
        m.to(dtype)

    def optimizer(parameters):
        return torch.optim.SGD(parameters, lr=1.0) if sgd else torch.optim.Adam(parameters, lr=1e-2)

    given = [optimizer(actor.parameters()), optimizer([p for c in critics for p in c.parameters()])]
    if kind == "sac":
        given.append(optimizer([torch.tensor([math.log(0.3)], dtype=dtype, requires_grad=True)]))
    cls = TorchSACAgent if kind == "sac" else TorchTD3Agent
    hp = {**SMALL, **(hyperparams or {})}
    return cls(
        actor, *critics, ACT, *given, hp, "cpu", action_space=SPACE, engine=engine, seed=seed, **options
    )


def feed(agent, steps, seed=0, *, n=2, ends=0.2):
    """Random experience in which the agent acted."""
    rng = np.random.default_rng(seed)
    seen = rng.standard_normal((n, OBS)).astype(np.float32)
    for _ in range(steps):
        after = rng.standard_normal((n, OBS)).astype(np.float32)
        kind = rng.random(n)
        agent.observe(
            seen,
            agent.act_batch(seen),
            rng.standard_normal(n),
            after,
            kind < ends / 2,
            (kind >= ends / 2) & (kind < ends),
        )
        seen = after


def warm(kind, **options):
    """An agent with experience that has made no gradient step yet."""
    agent = by_hand(kind, **options)
    starts = agent._hp["learning_starts"]
    agent.set_hyperparams(HyperparamSet({"learning_starts": 10_000}))
    feed(agent, 50)
    agent.set_hyperparams(HyperparamSet({"learning_starts": starts}))
    slow = [agent._critics.target, *([agent._target_actor] if kind == "td3" else [])]
    with torch.no_grad():  # slow copies that are not equal to what they follow
        for target in slow:
            target.flat.vector.mul_(0.9)
    return agent


def networks(agent):
    modules = agent._critics.modules
    return agent._actor.module, modules["critic1"], modules["critic2"]


def flat(module):
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def next_draw(agent, noises):
    """What the agent's next gradient step will draw, without disturbing it."""
    rng = copy.deepcopy(agent._streams.minibatch)
    hp = agent._hp
    batch = agent._replay.sample(B, rng, n_step=hp["n_step"], gamma=hp["gamma"])
    noise = rng.standard_normal((noises, B, ACT), np.float32)
    as_tensor = torch.tensor(np.concatenate([batch.observations, batch.actions], 1), dtype=torch.float64)
    return batch, noise, as_tensor


def step(agent):
    agent._begin_round()
    agent._gradient_step()


def differences(before, after):
    return [(a - flat(b)).numpy() for a, b in zip(before, after, strict=True)]


def gradients_of(outputs, slopes, modules):
    """What derivatives by outputs mean for weights."""
    for module in modules:
        module.zero_grad()
    torch.autograd.backward(
        outputs, [torch.as_tensor(s).reshape(o.shape) for o, s in zip(outputs, slopes, strict=True)]
    )
    return [torch.cat([p.grad.reshape(-1) for p in m.parameters()]).numpy() for m in modules]


# --- losses and gradients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n_step", [1, 3])
def test_one_step_of_sac_is_the_reference(engine, n_step):
    agent = warm("sac", engine=engine, hyperparams={"n_step": n_step, "tau": 0.1})
    batch, noise, pairs = next_draw(agent, 2)
    actor, critic1, critic2 = copy.deepcopy(networks(agent))
    slow = copy.deepcopy(agent._critics.target.module)
    slow_before = [flat(slow["critic1"]), flat(slow["critic2"])]
    before = [flat(m) for m in networks(agent)]
    alpha, log_alpha = agent.alpha, agent._temperature.log_alpha
    step(agent)
    moved = differences(before, networks(agent))

    def policy(observations, eps):
        mean, log_std = actor(torch.tensor(observations, dtype=torch.float64)).chunk(2, -1)
        found = reference.squashed_gaussian(
            mean.detach(), log_std.detach(), eps, log_std_bounds=squashed.LOG_STD_BOUNDS
        )
        return mean, log_std, found

    *_, following = policy(batch.next_observations, noise[0])
    nexts = torch.tensor(np.concatenate([batch.next_observations, following.actions], 1), dtype=torch.float64)
    y = reference.soft_targets(
        batch.rewards,
        batch.discounts,
        slow["critic1"](nexts).detach().reshape(-1),
        slow["critic2"](nexts).detach().reshape(-1),
        following.log_probs,
        alpha,
    )
    q1, q2 = critic1(pairs).reshape(-1), critic2(pairs).reshape(-1)
    loss = reference.twin_critic_loss(q1.detach(), q2.detach(), y)
    expected = gradients_of([q1, q2], [loss.gradients["q1"], loss.gradients["q2"]], [critic1, critic2])
    np.testing.assert_allclose(moved[1], expected[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(moved[2], expected[1], rtol=0, atol=1e-9)
    # the actor sees the critics after their step
    first, second = networks(agent)[1:]
    mean, log_std, chosen = policy(batch.observations, noise[1])
    a = torch.tensor(chosen.actions, requires_grad=True)
    joined = torch.cat([torch.tensor(batch.observations, dtype=torch.float64), a], 1)
    v1, v2 = first(joined).reshape(-1), second(joined).reshape(-1)
    d1, d2 = (torch.autograd.grad(v.sum(), a, retain_graph=True)[0] for v in (v1, v2))
    actor_loss = reference.sac_actor_loss(chosen, v1.detach(), v2.detach(), d1, d2, alpha)
    (expected_actor,) = gradients_of(
        [mean, log_std], [actor_loss.gradients["mean"], actor_loss.gradients["log_std"]], [actor]
    )
    np.testing.assert_allclose(moved[0], expected_actor, rtol=0, atol=1e-9)
    # temperature and slow critics
    gap = reference.temperature_loss(log_alpha, chosen.log_probs, -float(ACT))
    assert log_alpha - agent._temperature.log_alpha == pytest.approx(
        float(gap.gradients["log_alpha"]), abs=1e-9
    )
    for now, old, online in zip(("critic1", "critic2"), slow_before, (first, second), strict=True):
        found = flat(agent._critics.target.module[now])
        assert torch.allclose(found, 0.9 * old + 0.1 * flat(online), rtol=0, atol=1e-12)
    report = agent._critic_descent.report() | agent._actor_descent.report()
    assert report["critic_loss"] == pytest.approx(loss.value, abs=1e-9)
    assert report["actor_loss"] == pytest.approx(actor_loss.value, abs=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_step_of_td3_is_the_reference(engine):
    agent = warm("td3", engine=engine, hyperparams={"tau": 0.1, "policy_delay": 1, "target_noise": 0.5})
    with torch.no_grad():  # near the bounds, so that smoothing would pass them
        for actor in (agent._actor.module, agent._target_actor.module):
            list(actor.parameters())[-1].copy_(torch.tensor([1.5, -1.5]))
    batch, noise, pairs = next_draw(agent, 1)
    actor, critic1, critic2 = copy.deepcopy(networks(agent))
    slow, slow_actor = copy.deepcopy(agent._critics.target.module), copy.deepcopy(agent._target_actor.module)
    before, slow_actor_before = [flat(m) for m in networks(agent)], flat(slow_actor)
    step(agent)
    moved = differences(before, networks(agent))
    proposed = slow_actor(torch.tensor(batch.next_observations, dtype=torch.float64)).detach().numpy()
    smoothed = reference.smoothed_actions(proposed, 0.5 * noise[0].astype(np.float64), 0.5)
    assert np.abs(smoothed - proposed).max() > 0.4  # the clip of the noise is at work
    assert (np.abs(smoothed) == 1.0).any()  # and that of the action
    nexts = torch.tensor(np.concatenate([batch.next_observations, smoothed], 1), dtype=torch.float64)
    y = reference.td3_targets(
        batch.rewards,
        batch.discounts,
        slow["critic1"](nexts).detach().reshape(-1),
        slow["critic2"](nexts).detach().reshape(-1),
    )
    q1, q2 = critic1(pairs).reshape(-1), critic2(pairs).reshape(-1)
    loss = reference.twin_critic_loss(q1.detach(), q2.detach(), y)
    expected = gradients_of([q1, q2], [loss.gradients["q1"], loss.gradients["q2"]], [critic1, critic2])
    np.testing.assert_allclose(moved[1], expected[0], rtol=0, atol=1e-7)
    np.testing.assert_allclose(moved[2], expected[1], rtol=0, atol=1e-7)
    first = networks(agent)[1]
    seen = torch.tensor(batch.observations, dtype=torch.float64)
    actions = actor(seen)
    a = actions.detach().requires_grad_()
    value = first(torch.cat([seen, a], 1)).reshape(-1)
    (slope,) = torch.autograd.grad(value.sum(), a)
    (expected_actor,) = gradients_of(
        [actions], [reference.td3_actor_loss(value.detach(), slope).gradients["actions"]], [actor]
    )
    np.testing.assert_allclose(moved[0], expected_actor, rtol=0, atol=1e-9)
    online = flat(networks(agent)[0])
    assert torch.allclose(
        flat(agent._target_actor.module), 0.9 * slow_actor_before + 0.1 * online, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_walk_the_same_way(kind):
    found = []
    for engine in ENGINES:
        agent = by_hand(kind, engine=engine, sgd=False)
        feed(agent, 40)
        found.append([flat(m) for m in networks(agent)])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_importance_weights_and_priorities(kind):
    moved = []
    for scale in (1.0, 0.5):
        agent = warm(kind, hyperparams={"per_alpha": 0.6})
        before, given = flat(networks(agent)[1]), {}
        draw = agent._replay.sample

        def sample(*args, draw=draw, scale=scale, **kwargs):
            return dataclasses.replace(draw(*args, **kwargs), weights=np.full(B, scale, np.float32))

        agent._replay.sample = sample
        agent._replay.update_priorities = lambda rows, sizes, given=given: given.update(
            rows=rows, sizes=sizes
        )
        batch, *_ = next_draw(agent, 2)
        step(agent)
        moved.append(before - flat(networks(agent)[1]))
        assert np.array_equal(given["rows"], batch.indices)
        assert given["sizes"].shape == (B,)
        assert (given["sizes"] > 0).all()
    assert torch.allclose(moved[1], 0.5 * moved[0], rtol=0, atol=1e-12)


# --- the squashed Gaussian ---------------------------------------------------------------------------------------


def test_density_integrates_to_one_and_is_that_of_the_draws():
    mean, log_std = 0.4, -0.2
    u = np.linspace(-12, 12, 200_001)
    noise = ((u - mean) / math.exp(log_std))[:, None]
    found = squashed.sample(np.tile([[mean, log_std]], (len(u), 1)), noise)
    actions, density = found.actions[:, 0], np.exp(found.log_probs)
    assert np.trapezoid(density, actions) == pytest.approx(1.0, abs=1e-6)
    below = actions < 0.5
    draws = squashed.act(np.tile([[mean, log_std]], (200_000, 1)), np.random.default_rng(0))
    share = np.trapezoid(density[below], actions[below])
    assert share == pytest.approx(float((draws < 0.5).mean()), abs=5e-3)


def test_log_density_is_exact_far_out():
    for mean in (10.0, -10.0):
        found = squashed.sample(np.array([[mean, 0.0]]), np.zeros((1, 1)))
        # log N(0; 0, 1) - log(1 - tanh(10)^2), the latter from 4 exp(-2u) / (1 + exp(-2u))^2
        correction = math.log(4.0) - 20.0 - 2.0 * math.log1p(math.exp(-20.0))
        expected = -0.5 * math.log(2 * math.pi) - correction
        assert float(found.log_probs[0]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mean", [0.0, 30.0, -1e4, 1e30])
@pytest.mark.parametrize("log_std", [-1e4, -20.0, 2.0, 1e4])
def test_nothing_is_nan_at_extremes(mean, log_std):
    outputs = np.array([[mean, log_std]], np.float32)
    found = squashed.sample(outputs, np.array([[1.5]], np.float32))
    gradient = found.gradient(np.ones((1, 1), np.float32), 1.0)
    for array in (found.actions, found.log_probs, gradient):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert (np.abs(squashed.act(outputs, np.random.default_rng(0))) <= 1.0).all()


def test_gradients_are_those_of_the_definition():
    g = torch.Generator().manual_seed(0)
    outputs = torch.randn(7, 6, dtype=torch.float64, generator=g)
    outputs[0, 3:] = torch.tensor([-21.0, 2.0, 0.0])
    noise = torch.randn(7, 3, dtype=torch.float64, generator=g)
    found = squashed.sample(outputs.numpy(), noise.numpy())
    theirs = outputs.clone().requires_grad_()
    mean, log_std = theirs.chunk(2, -1)
    clamped = log_std.clamp(*squashed.LOG_STD_BOUNDS)
    u = mean + clamped.exp() * noise
    gaussian = -0.5 * noise.square() - clamped - 0.5 * math.log(2 * math.pi)
    density = (gaussian - torch.log1p(-u.tanh().square())).sum(-1)  # digits are left where |u| is small
    np.testing.assert_allclose(found.log_probs, density.detach(), rtol=1e-7, atol=1e-9)
    slopes = torch.randn(7, 3, dtype=torch.float64, generator=g)
    ((u.tanh() * slopes).sum() + 0.7 * density.sum()).backward()
    gradient = found.gradient(slopes.numpy(), 0.7)
    np.testing.assert_allclose(gradient, theirs.grad, rtol=1e-6, atol=1e-9)
    assert gradient[0, 3] == 0.0  # beyond the clamp


# --- cadence and targets -----------------------------------------------------------------------------------------


def test_td3_moves_actor_and_all_targets_every_second_step_only():
    agent = warm("td3")
    for k in range(1, 7):
        before = [
            flat(networks(agent)[0]),
            agent._target_actor.flat.vector.clone(),
            agent._critics.target.flat.vector.clone(),
        ]
        critics = agent._critics.training.flat.vector.clone()
        step(agent)
        after = [flat(networks(agent)[0]), agent._target_actor.flat.vector, agent._critics.target.flat.vector]
        moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert moved == [k % 2 == 0] * 3
        assert not torch.equal(critics, agent._critics.training.flat.vector)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_steps_are_counted_in_environment_steps(kind):
    agent = by_hand(kind, hyperparams={"learning_starts": 10, "train_freq": 4, "gradient_steps": 3})
    feed(agent, 20, n=2)  # 40 steps: rounds at 12, 16, ..., 40
    report = agent.learn(_empty_window())
    assert report["n_updates"] == 8 * 3
    assert report["env_steps"] == report["buffer_size"] == 40
    assert agent.learn(_empty_window())["n_updates"] == 0


def _empty_window():
    from optix_core.types import EpisodeData

    return EpisodeData(
        observations=np.zeros((0, 2, OBS), np.float32),
        actions=np.zeros((0, 2, ACT), np.float32),
        rewards=np.zeros((0, 2)),
        terminated=np.zeros((0, 2), bool),
        truncated=np.zeros((0, 2), bool),
        n_envs=2,
        timestamp=0.0,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_weights_from_outside_reach_the_targets(kind, tmp_path):
    agent, other = by_hand(kind, seed=0), by_hand(kind, seed=1)
    feed(agent, 30)
    path, second = str(tmp_path / "a"), str(tmp_path / "b")
    agent.save_weights(path)
    other.save_weights(second)

    def synchronised(a):
        assert torch.equal(a._critics.target.flat.vector, a._critics.training.flat.vector)
        if kind == "td3":
            assert torch.equal(a._target_actor.flat.vector, a._actor.training.flat.vector)

    assert not torch.equal(agent._critics.target.flat.vector, agent._critics.training.flat.vector)
    agent.perturb_weights(0.1)
    synchronised(agent)
    other.load_weights(path)
    synchronised(other)
    other.average_weights([path, second])
    synchronised(other)


def test_perturbing_leaves_the_temperature_alone():
    agent = by_hand("sac")
    before = agent.alpha
    agent.perturb_weights(0.5)
    assert agent.alpha == before


# --- acting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_warm_up_is_uniform_in_the_real_box(kind):
    agent = by_hand(kind, hyperparams={"learning_starts": 10})
    seen = np.zeros((4000, OBS), np.float32)
    drawn = agent.env_actions(agent.act_batch(seen))
    assert drawn.dtype == np.float32
    for column, (low, high) in zip(drawn.T, ((-2.0, 2.0), (0.0, 5.0)), strict=True):
        quarters = np.histogram(column, bins=4, range=(low, high))[0]
        assert quarters.sum() == 4000
        assert quarters.min() > 880
    greedy = agent.act_batch(seen, deterministic=True)
    assert (greedy == greedy[0]).all()


def test_td3_explores_in_training_and_not_in_evaluation():
    agent = warm("td3", hyperparams={"exploration_noise": 0.3})
    seen = np.zeros((20_000, OBS), np.float32)
    mean = agent.act_batch(seen[:1], deterministic=True)
    assert np.array_equal(mean, agent.act_batch(seen[:1], deterministic=True))
    noise = agent.act_batch(seen) - mean
    inside = noise[np.abs(noise + mean) < 1.0]
    assert inside.std() == pytest.approx(0.3, rel=0.05)
    assert not np.array_equal(agent.act(seen[0]), agent.act(seen[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_bounds_of_the_box_are_reached_and_not_passed(kind):
    agent = make_agent(kind.upper(), gym.make("Pendulum-v1"), seed=0, hidden_sizes=(8,))
    with torch.no_grad():
        list(agent._actor.module.parameters())[-1].fill_(50.0)
    greedy = agent.act(np.zeros(3, np.float32), deterministic=True)
    assert greedy == pytest.approx([2.0])
    assert agent.env_actions(
        -agent.act_batch(np.zeros((1, 3), np.float32), deterministic=True)
    ) == pytest.approx(-2.0)


def test_defaults_of_the_factory():
    pendulum = gym.make("Pendulum-v1")
    assert type(make_agent(pendulum, seed=0)) is TorchSACAgent
    assert type(make_agent(pendulum, seed=0, deterministic=True)) is TorchTD3Agent


@pytest.mark.parametrize("kind", KINDS)
def test_unbounded_boxes_are_refused_with_what_to_do(kind):
    from optix_core.plugin import AgentContext
    from optix_torch import sac, td3

    ctx = AgentContext(
        observation_space=Box(-1, 1, (3,)), action_space=Box(-1.0, np.inf, (2,)), seed=0, device="cpu"
    )
    with pytest.raises(SpaceError, match=r"no finite bounds.*GaussianPPO"):
        (sac if kind == "sac" else td3).build(ctx)


# --- optimizers and hyperparameters ------------------------------------------------------------------------------


def test_the_alpha_optimizer_is_used_and_its_groups_are_kept():
    log_alpha = torch.tensor([-1.0], requires_grad=True)
    given = torch.optim.SGD([{"params": [log_alpha], "lr": 0.25, "momentum": 0.5, "note": "mine"}], lr=0.1)
    a, c1, c2 = (copy.deepcopy(m).float() for m in networks(by_hand("sac")))
    agent = TorchSACAgent(
        a,
        c1,
        c2,
        ACT,
        torch.optim.Adam(a.parameters(), lr=1e-3),
        torch.optim.Adam([*c1.parameters(), *c2.parameters()], lr=2e-3),
        given,
        SMALL,
        "cpu",
        seed=0,
    )
    assert agent._temperature.training.optimizer is given
    assert agent.alpha == pytest.approx(math.exp(-1.0))
    feed(agent, 30)
    assert float(log_alpha.detach()) != -1.0
    assert agent.alpha == pytest.approx(math.exp(float(log_alpha.detach())))
    group = given.param_groups[0]
    assert (group["lr"], group["momentum"], group["note"]) == (0.25, 0.5, "mine")
    assert given.state  # its momentum was used
    # a new rate keeps the ratios
    agent.set_hyperparams(HyperparamSet({"learning_rate": 5e-4}))
    assert group["lr"] == pytest.approx(0.125)
    assert agent._critics.training.learning_rate() == pytest.approx(1e-3)
    assert agent.get_hyperparams().params["learning_rate"] == 5e-4


def test_the_temperature_starts_where_it_is_told_to():
    assert by_hand("sac").alpha == pytest.approx(0.3)  # the number that the optimizer holds
    assert by_hand("sac", hyperparams={"log_alpha_init": -2.0}).alpha == pytest.approx(math.exp(-2.0))


def test_an_alpha_optimizer_over_anything_else_is_refused():
    with pytest.raises(ConfigError, match="alpha_optimizer"):
        from optix_torch.continuous.temperature import Temperature

        Temperature(torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))]), 1e-3)


def test_a_fixed_temperature_stays():
    agent = by_hand("sac", hyperparams={"alpha": 0.2})
    feed(agent, 30)
    assert agent.alpha == 0.2
    assert agent._temperature.log_alpha == pytest.approx(math.log(0.3))
    agent.set_hyperparams(HyperparamSet({"alpha": 0.0}))
    assert agent.alpha == pytest.approx(0.3)


def test_target_entropy_is_live():
    moved = []
    for per_dim in (-1.0, 1.0):
        agent = by_hand("sac", sgd=False)
        agent.set_hyperparams(HyperparamSet({"target_entropy_per_dim": per_dim}))
        feed(agent, 60)
        moved.append(agent.alpha)
    assert moved[1] > moved[0]


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_cannot_work_are_refused(kind):
    agent = by_hand(kind)
    for wrong in ({"gradient_steps": 0}, {"batch_size": 0}, {"tau": 0.0}, {"replay_capacity": 5}):
        with pytest.raises(HyperparamError):
            agent.set_hyperparams(HyperparamSet(wrong))
    actor, critic1, _ = networks(by_hand(kind))
    with pytest.raises(ConfigError, match="one module"):
        type(agent)(
            actor,
            critic1,
            critic1,
            ACT,
            torch.optim.SGD(actor.parameters()),
            torch.optim.SGD(critic1.parameters()),
        )


def test_an_actor_of_the_wrong_width_is_refused_at_the_first_action():
    g = torch.Generator().manual_seed(0)
    actor, *critics = (
        fan_in_mlp((OBS, 4, ACT), "relu", g),
        *(fan_in_mlp((OBS + ACT, 4, 1), "relu", g) for _ in "ab"),
    )
    agent = TorchSACAgent(
        actor,
        *critics,
        ACT,
        torch.optim.Adam(actor.parameters()),
        torch.optim.Adam([p for c in critics for p in c.parameters()]),
        device="cpu",
    )
    with pytest.raises(SpaceError, match=r"must be \[N, 4\]"):
        agent.act(np.zeros(OBS))


# --- state -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_alpha", [0.0, 0.6])
def test_resume_is_exact(kind, per_alpha):
    hp = {"per_alpha": per_alpha, "n_step": 2, "learning_starts": 9}  # an odd number of gradient steps
    agent = by_hand(kind, sgd=False, hyperparams=hp)
    feed(agent, 31)
    other = by_hand(kind, sgd=False, seed=9, hyperparams=hp)
    other.load_state_dict(agent.state_dict())
    for one in (agent, other):
        feed(one, 21, seed=5)
    for a, b in zip(networks(agent), networks(other), strict=True):
        assert torch.equal(flat(a), flat(b))
    assert torch.equal(agent._critics.target.flat.vector, other._critics.target.flat.vector)
    assert json.dumps(agent.learn(_empty_window()), default=float)
    seen = np.ones((3, OBS), np.float32)
    assert np.array_equal(agent.act_batch(seen), other.act_batch(seen))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_that_are_not_finite_are_skipped_and_then_reported(kind):
    agent = warm(kind)
    before = [flat(m) for m in networks(agent)]
    column = agent._replay.column("reward")
    kept = column[: len(agent._replay)].copy()
    column[: len(agent._replay)] = np.inf
    step(agent)
    assert all(torch.equal(a, flat(b)) for a, b in zip(before, networks(agent), strict=True))
    column[: len(kept)] = kept
    step(agent)
    agent._cadence.unreported = 1
    report = agent.learn(_empty_window())
    assert report["n_skipped"] == 1
    assert report["n_updates"] == 1
    assert math.isfinite(report["critic_loss"])
    column[: len(kept)] = np.inf
    for _ in range(3):
        step(agent)
    agent._cadence.unreported = 1
    report = agent.learn(_empty_window())
    assert any(isinstance(v, float) and math.isnan(v) for v in report.values())


# --- a time limit is no end --------------------------------------------------------------------------------------


class Constant(gym.Env):
    """Reward 1 for ever, cut by a time limit of four steps."""

    observation_space, action_space = Box(0.0, 1.0, (1,)), Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._t = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self._t += 1
        return np.ones(1, np.float32), 1.0, False, self._t >= 4, {}


def learned_value(kind, gamma=0.8):
    entropy = {"alpha": 1e-8} if kind == "sac" else {}
    agent = make_agent(
        kind.upper(),
        Constant(),
        seed=0,
        hidden_sizes=(16,),
        hyperparams={
            "gamma": gamma,
            "learning_rate": 1e-2,
            "batch_size": 32,
            "tau": 0.05,
            "learning_starts": 20,
            **entropy,
        },
    )
    pipeline = VectorBatchPipeline([Constant] * 2, agent, 100, seed=0)
    pipeline.setup()
    for _ in range(4):
        agent.learn(pipeline.collect())
    return float(agent._critics.values(torch.ones(1, 1), np.zeros((1, 1), np.float32)).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_endless_reward_is_worth_one_over_one_minus_gamma(kind):
    assert learned_value(kind) == pytest.approx(5.0, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_taking_a_time_limit_for_an_end_would_be_noticed(kind, monkeypatch):
    from optix_core.replay import ReplayBuffer

    right = ReplayBuffer.add

    def slipped(self, observations, actions, rewards, next_observations, terminated, truncated):
        right(self, observations, actions, rewards, next_observations, terminated | truncated, truncated)

    monkeypatch.setattr(ReplayBuffer, "add", slipped)
    assert learned_value(kind) < 0.7 * 5.0


# --- other observations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_observations_with_parts_images_and_choices(kind):
    from optix_core.testing.tiny_envs import SpaceProbe

    spaces = {
        "parts": gym.spaces.Dict({"a": Box(-1, 1, (2,)), "b": gym.spaces.Discrete(3)}),
        "choice": gym.spaces.Discrete(4),
        "table": Box(-1, 1, (2, 3)),
        "image": Box(0, 255, (36, 36, 1), np.uint8),
    }
    for space in spaces.values():
        env = SpaceProbe(space, Box(-2.0, 1.0, (2,)))
        agent = make_agent(
            kind.upper(),
            env,
            seed=0,
            device="cpu",
            hidden_sizes=(8,),
            batch_size=4,
            learning_starts=4,
            replay_capacity=50,
        )
        pipeline = VectorBatchPipeline(
            [lambda space=space: SpaceProbe(space, Box(-2.0, 1.0, (2,)))], agent, 8, seed=0
        )
        pipeline.setup()
        report = agent.learn(pipeline.collect())
        assert report["n_updates"] == 4
        assert env.action_space.contains(agent.act(env.reset(seed=0)[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_critics_that_share_an_encoder_evaluate_it_once(kind):
    from optix_core.testing.tiny_envs import SpaceProbe

    env = SpaceProbe(gym.spaces.Discrete(4), Box(-2.0, 1.0, (2,)))
    calls = []

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 3)

        def forward(self, x):
            calls.append(len(x))
            return self.layer(x.reshape(-1, 1).float())

    agent = make_agent(
        kind.upper(), env, seed=0, device="cpu", hidden_sizes=(8,), encoder=lambda space: Counting()
    )
    calls.clear()
    agent._critics.values(torch.zeros(5), np.zeros((5, 2), np.float32))
    assert calls == [5]
