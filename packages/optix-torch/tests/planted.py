"""Planting a slip into code that runs, and the checks that should notice slips.

A slip is a piece of one function's source and what stands there instead; it is put in force through pytest's
monkeypatch, so it is gone after the test. Where the piece cannot be found, the page has changed, and the slip has to be
written anew: that fails loudly, for a slip that is not planted proves nothing.
"""

from __future__ import annotations

import importlib
import inspect
import math
import textwrap
import warnings
from typing import Any

import naive_ppo
import naive_replay
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from optix_core.plugin import AgentContext
from optix_core.replay import HindsightReplay, ReplayBuffer
from optix_core.rl.reference import actor_critic
from optix_core.types import HyperparamSet
from optix_torch import gaussian_ppo, ppo
from optix_torch.continuous import squashed


def plant(monkeypatch: Any, where: str, *edits: tuple[str, str]) -> None:
    """Put ``edits`` (piece, replacement) in force in the function ``"module:Class.function"``.

    A function that a module has imported is changed for this module only.
    """
    name, path = where.split(":")
    owner: Any = importlib.import_module(f"optix_{name}")
    *inner, last = path.split(".")
    for part in inner:
        owner = getattr(owner, part)
    function = inspect.getattr_static(owner, last)
    plain = inspect.unwrap(getattr(function, "__func__", function))
    source = textwrap.dedent(inspect.getsource(plain))
    for piece, replacement in edits:
        assert source.count(piece) == 1, (
            f"{where} has {source.count(piece)} times {piece!r}; write this slip anew"
        )
        source = source.replace(piece, replacement)
    source = source.replace("super()", f"super({'.'.join(inner)}, self)")  # outside of a class it needs both
    made: dict[str, Any] = {}
    exec(compile(source, f"<slip in {where}>", "exec"), plain.__globals__, made)
    monkeypatch.setattr(owner, last, made[last])


# --- checks: each raises AssertionError where something is wrong ----------------------------------------------------


def ppo_update(monkeypatch: Any, kind: str = "discrete", *, masked: bool = False, **options: Any) -> None:
    engine = options.pop("engine", "closed_form")
    agent = naive_ppo.feed_forward(kind, engine=engine, **options)
    naive_ppo.check(agent, kind, monkeypatch, masked=masked)


def recurrent_update(monkeypatch: Any, **options: Any) -> None:
    naive_ppo.check(naive_ppo.recurrent("discrete", "gru", **options), "discrete", monkeypatch)


def replay_update(kind: str, **options: Any) -> None:
    naive_replay.check(kind, steps=16, **options)


def built(module: Any, *, action_space: Any = None, hyperparams: Any = None, **options: Any) -> Any:
    ctx = AgentContext(
        observation_space=Box(-10, 10, (3,)), action_space=action_space or Discrete(4), seed=0, device="cpu",
        hyperparams={} if hyperparams is None else hyperparams,
    )  # fmt: skip
    return module.build(ctx, **options)


BOX = Box(-1.0, 1.0, (2,))
SEEN = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)


def first_policy_is_nearly_uniform() -> None:
    agent = built(ppo, normalize_observations=False)
    p = np.array([agent.action_probs(row) for row in SEEN])
    assert -(p * np.log(p)).sum(axis=1).mean() > 0.999 * math.log(4)


def layers_begin_as_published() -> None:
    from optix_torch import dqn, rainbow
    from optix_torch.networks import noisy, recurrent

    assert built(ppo)._networks.training.optimizer.param_groups[0]["eps"] == 1e-5
    layer: Any = recurrent.recurrent_layer("lstm", 3, 4, generator=torch.Generator().manual_seed(0))
    drawn = torch.cat([p.detach().reshape(-1) for p in layer.parameters()])
    assert 0.45 < float(drawn.abs().max()) <= 0.5
    assert float(drawn.min()) < -0.4
    for noisy_layer in built(rainbow)._network.layers:
        assert torch.all((noisy_layer.sigma_w * noisy_layer.in_features**0.5 - 0.5).abs() < 1e-6)
    assert built(rainbow)._training.optimizer.param_groups[0]["eps"] == 1.5e-4
    drawn = noisy.factors(np.random.default_rng(0), (50_000,)).astype(np.float64)
    assert abs((drawn**4).mean() - 1.0) < 0.05  # E x^2
    assert abs(drawn.mean()) < 0.02
    assert np.abs(built(dqn).q_values(SEEN)).max() < 10.0


def a_divergence_limit_ends_the_update(engine: str) -> None:
    agent = naive_ppo.feed_forward("discrete", engine=engine, target_kl=1e-9, n_epochs=7)
    assert agent.learn(naive_ppo.window_for(agent, "discrete"))["n_updates"] <= 8


def asking_changes_nothing(kind: str) -> None:
    agent = naive_replay.agent_for(kind, learning_starts=0) if kind in naive_replay.OF else built(ppo)
    before = agent._streams.policy.bit_generator.state
    for row in SEEN[:5]:
        agent.act(row)
    assert agent._streams.policy.bit_generator.state == before


def every_sequence_is_learned_from() -> None:
    from optix_torch.policy_gradient.sequences import Sequences

    cut = Sequences.cut(np.random.default_rng(0).random((40, 3)) < 0.1, 8)
    rows = np.concatenate([packed.rows for packed in cut.minibatches(32, np.random.default_rng(1))])
    np.testing.assert_array_equal(np.sort(rows), np.arange(120))


def one_sample_is_no_catastrophe(monkeypatch: Any) -> None:
    agent = naive_ppo.feed_forward("discrete")
    window: Any = naive_ppo.window_for(agent, "discrete")
    for name in ("observations", "actions", "rewards", "terminated", "truncated"):
        setattr(window, name, getattr(window, name)[:1, :1])
    window.n_envs, window.final_obs = 1, window.final_obs[:1]
    window.boundary_steps = window.boundary_observations = None
    window.terminated[:], window.truncated[:] = True, False
    with np.errstate(all="ignore"):
        report = agent.learn(window)
    assert report["n_updates"] == 2
    assert all(math.isfinite(value) for value in report.values())


def ratio_is_one_with_statistics(module: Any, space: Any) -> None:
    """Before the first step, after statistics have moved."""
    agent = built(module, action_space=space, normalize_observations=True, normalize_rewards=False)
    kind = "gaussian" if space is BOX else "discrete"
    for seed in range(2):
        window = naive_ppo.window_for(agent, kind, seed=seed)
        window.observations = window.observations * 3 + 5
        seen, update = [], agent._networks.update
        rows = window.observations.reshape(-1, 3)
        acted = agent._policy.log_probs(rows, window.actions.reshape(len(rows), *window.actions.shape[2:]))
        agent._networks.update = lambda batch, hp, rng: (seen.append(batch), update(batch, hp, rng))[1]  # noqa: B023
        agent.learn(window)
        agent._networks.update = update
        np.testing.assert_allclose(seen[0].log_probs, acted, atol=1e-5)


def reward_discount_follows() -> None:
    agent = built(gaussian_ppo, action_space=BOX)
    agent.set_hyperparams(HyperparamSet({"gamma": 0.5}))
    assert agent._normalizers.reward.gamma == 0.5


def warm_up_is_uniform(kind: str) -> None:
    options: Any = {"epsilon": 0.2} if kind == "DQN" else {}
    agent = naive_replay.agent_for(kind, **options)
    seen = np.repeat(SEEN[:1], 4000, axis=0)
    actions = agent.act_batch(seen)
    if kind in {"DQN", "Rainbow"}:
        assert np.bincount(actions, minlength=4).min() > 800
    else:
        assert np.histogram(actions, bins=4, range=(-1, 1))[0].min() > 1600


def greedy_draws_nothing(kind: str, **options: Any) -> None:
    agent = naive_replay.agent_for(kind, learning_starts=0, **options)
    if kind in {"DQN", "Rainbow"}:
        one, two = agent.q_values(SEEN), agent.q_values(SEEN)
    else:
        one, two = (agent.act_batch(SEEN, deterministic=True) for _ in range(2))
        outputs = agent._actor.mirror.outputs(SEEN)
        np.testing.assert_allclose(one, np.tanh(outputs[:, :2]) if kind == "SAC" else outputs, atol=1e-6)
    np.testing.assert_array_equal(one, two)


def actions_stay_in_the_box() -> None:
    agent = naive_replay.agent_for("TD3", learning_starts=0, exploration_noise=2.0)
    assert np.abs(agent.act_batch(SEEN)).max() <= 1.0


def noise_is_new_for_every_action() -> None:
    engine = naive_replay.agent_for("Rainbow", learning_starts=0)._engine
    rng, atoms = np.random.default_rng(0), np.linspace(-1, 1, naive_replay.Z)
    one, two = (engine.act_values(SEEN, atoms, rng) for _ in range(2))
    assert np.abs(one - two).max() > 1e-3


def epsilon_explores() -> None:
    agent = naive_replay.agent_for("DQN", learning_starts=0, epsilon=0.5, epsilon_min=0.5)
    seen = np.repeat(SEEN[:1], 4000, axis=0)
    best = agent.act_batch(seen[:1], deterministic=True)[0]
    assert abs((agent.act_batch(seen) == best).mean() - (0.5 + 0.5 / 4)) < 0.04


def masked_actions_are_never_taken(kind: str) -> None:
    from optix_core.rl.masking import with_masks

    agent = naive_replay.agent_for(kind, learning_starts=0)
    masks = np.random.default_rng(0).random((64, 4)) < 0.4
    masks[:, 2] = True
    for deterministic in (False, True):
        actions = agent.act_batch(with_masks(SEEN, masks), deterministic=deterministic)
        assert masks[np.arange(64), actions].all()


def density_is_exact_far_out() -> None:
    """Means up to 12 and standard deviations beyond their clamp, against core's definition."""
    rng = np.random.default_rng(0)
    outputs = np.concatenate([rng.uniform(-12, 12, (200, 2)), rng.uniform(-3, 4, (200, 2))], axis=1)
    noise = rng.standard_normal((200, 2))
    exact = actor_critic.squashed_gaussian(outputs[:, :2], outputs[:, 2:], noise)
    found = squashed.sample(outputs, noise)
    np.testing.assert_allclose(found.log_probs, exact.log_probs, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.actions, exact.actions, rtol=1e-9, atol=1e-12)


def clipped_targets_are_warned_about() -> None:
    agent = naive_replay.agent_for("Rainbow", v_min=-0.5, v_max=0.5)
    naive_replay.Follower(agent, "Rainbow", naive_replay.Stream("Rainbow", 15))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        report = agent.learn(naive_ppo.window_for(agent, "discrete"))
    assert report["clipped_share"] > 0.01
    assert any("outside of the support" in str(warning.message) for warning in said)


def hindsight() -> None:
    """In environment 0, what is achieved after step t is t; episodes of 10 steps, the second cut by a time limit."""
    part = (np.float32, (1,))
    dtype = np.dtype([(name, *part) for name in ("observation", "achieved_goal", "desired_goal")])

    def reward(achieved: Any, desired: Any, info: Any) -> Any:
        return achieved[..., 0] + 1000.0 * desired[..., 0]

    replay = HindsightReplay(ReplayBuffer(100), reward, k=4, strategy="future")
    for t in range(20):
        seen, after = np.zeros(1, dtype), np.zeros(1, dtype)
        seen["observation"], seen["achieved_goal"] = t, t - 1
        after["observation"], after["achieved_goal"] = t + 1, t
        seen["desired_goal"] = after["desired_goal"] = -7.0
        replay.add(seen, np.zeros(1), np.zeros(1), after, np.array([t == 9]), np.array([t == 19]))
    drawn = replay.sample(3000, np.random.default_rng(0), gamma=0.9)
    goals, t = drawn.observations["desired_goal"][:, 0], drawn.observations["observation"][:, 0]
    np.testing.assert_array_equal(goals, drawn.next_observations["desired_goal"][:, 0])
    changed = goals != -7.0
    assert abs(changed.mean() - 0.8) < 0.03
    assert (goals[changed] >= t[changed]).all()
    assert (goals[changed] > t[changed]).mean() > 0.5
    assert (goals[changed] // 10 == t[changed] // 10).all()
    np.testing.assert_allclose(drawn.rewards[changed], t[changed] + 1000.0 * goals[changed])
    np.testing.assert_allclose(drawn.discounts, np.where(t == 9, 0.0, 0.9), rtol=1e-6)
