"""TFDQN, TFSAC and TFTD3 against the definitions: losses, cadence, targets, compilations, state, user's own models."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from optix_core.errors import ConfigError, HyperparamError, IncompatibleCheckpoint, SpaceError
from optix_core.plugin import AgentContext
from optix_core.rl import reference
from optix_core.rl.masking import with_masks
from optix_core.rl.spaces import describe_space
from optix_core.types import EpisodeData, HyperparamSet
from optix_tf import Adam, Dueling, TFDQNAgent, TFSACAgent, TFTD3Agent, TFTDDAgent, dqn, sac, td3
from optix_tf.continuous import losses, squashed
from optix_tf.networks.fan_in import fan_in_mlp
from optix_tf.training import rounds

OBS, A, ACT, B = 3, 4, 2, 16
SPACE = Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))
KINDS = ["dqn", "sac", "td3"]
CONTINUOUS = ["sac", "td3"]
SMALL = {"batch_size": B, "learning_starts": 8, "replay_capacity": 1000}
PAGES = {"dqn": dqn, "sac": sac, "td3": td3}


def make(kind, *, observations=None, seed=0, hyperparams=None, **options):
    """The standard agent, small."""
    ctx = AgentContext(
        observation_space=observations or Box(-10, 10, (OBS,)),
        action_space=Discrete(A) if kind == "dqn" else SPACE,
        seed=seed,
        device="cpu",
        hyperparams={**SMALL, **(hyperparams or {})},
    )
    return PAGES[kind].build(ctx, **{"hidden_sizes": (9, 8), **options})


def descent():
    """Plain steps of rate 1: a gradient is then a difference of weights."""
    return keras.optimizers.SGD(1.0)


def by_hand(kind, *, dtype="float64", seed=0, hyperparams=None, optimizer=descent, dueling=False):
    """An agent from a user's own Keras models and optimizers."""
    rng = np.random.default_rng(seed)
    hp = {**SMALL, **(hyperparams or {})}
    if kind == "dqn":
        model = fan_in_mlp((OBS, 9, 8, A + int(dueling)), "tanh", rng, dtype=dtype)
        if dueling:
            model.add(Dueling(dtype=dtype))
        return TFDQNAgent(model, A, optimizer(), hp, seed=seed)
    outputs, last = (2 * ACT, None) if kind == "sac" else (ACT, "tanh")
    actor = fan_in_mlp((OBS, 9, 8, outputs), "tanh", rng, output=last, dtype=dtype)
    critics = [fan_in_mlp((OBS + ACT, 9, 8, 1), "tanh", rng, dtype=dtype) for _ in range(2)]
    cls = TFSACAgent if kind == "sac" else TFTD3Agent
    given = [optimizer() for _ in range(3 if kind == "sac" else 2)]
    if kind == "sac":
        hp["log_alpha_init"] = math.log(0.3)
    return cls(actor, *critics, ACT, *given, hp, action_space=SPACE, seed=seed)


def feed(agent, steps, seed=0, *, n=2, ends=0.2, start=0):
    """Random experience in which the agent acted."""
    rng = np.random.default_rng(seed)
    seen = rng.standard_normal((n, OBS)).astype(np.float32)
    for _ in range(steps):
        after = rng.standard_normal((n, OBS)).astype(np.float32)
        kind = rng.random(n)
        terminated, truncated = kind < ends / 2, (kind >= ends / 2) & (kind < ends)
        agent.observe(seen, agent.act_batch(seen), rng.standard_normal(n), after, terminated, truncated)
        seen = after


def warm(kind, **options):
    """An agent with experience that has made no gradient step yet, and whose slow copies differ from the originals."""
    agent = by_hand(kind, **options)
    starts = agent._hp["learning_starts"]
    agent.set_hyperparams(HyperparamSet({"learning_starts": 10_000}))
    feed(agent, 50)
    agent.set_hyperparams(HyperparamSet({"learning_starts": starts}))
    for slow in targets(agent):
        slow.vector = 0.9 * slow.vector
    return agent


def targets(agent):
    if isinstance(agent, TFDQNAgent):
        return [agent._target]
    nets = agent._networks
    return [nets.target, nets.slow_actor] if isinstance(agent, TFTDDAgent) else [nets.target]


def vectors(agent):
    """Copies of all trained parameters."""
    return [np.array(t.vector) for t in agent._trainables.values()]


def next_draws(agent, noises, k=1):
    """What the agent's next gradient steps will draw, without disturbing it."""
    before = agent._streams.state_dict()
    found = [(agent._draw(), agent._noise(noises) if noises else None) for _ in range(k)]
    agent._streams.load_state_dict(before)
    return found


def outputs_of(training, model, vector, *inputs):
    return training.network(model)(training.layout.split(vector), *inputs)


def weighted_gradient(layout, vector, outputs_of_parts, slopes):
    """What derivatives by outputs mean for a vector."""
    parts = layout.split(vector)
    with tf.GradientTape() as tape:
        tape.watch(parts)
        found = sum(tf.reduce_sum(o * s) for o, s in zip(outputs_of_parts(parts), slopes, strict=True))
    return layout.join(tape.gradient(found, parts)).numpy()


# --- one gradient step is the reference's --------------------------------------------------------------------------


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dueling", [False, True])
def test_one_step_of_dqn_is_the_reference(double, dueling):
    agent = warm("dqn", dueling=dueling, hyperparams={"double": double, "n_step": 3, "max_grad_norm": 1e9})
    ((batch, _),) = next_draws(agent, 0)
    training = agent._training
    online, slow = training.vector, agent._target.vector

    def q(vector, observations):
        outputs = outputs_of(training, agent._model, vector, tf.constant(observations, tf.float64)).numpy()
        return reference.dueling(outputs[:, :1], outputs[:, 1:]) if dueling else outputs

    following = q(slow, batch.following)
    chosen_by = q(online, batch.following) if double else None
    y = reference.q_targets(batch.rewards, batch.discounts, following, chosen_by=chosen_by)
    loss = reference.td_loss(q(online, batch.observations), batch.actions, y)
    slopes = loss.gradients["q"]
    if dueling:
        parts = reference.dueling_gradients(slopes)
        slopes = np.concatenate([parts["values"], parts["advantages"]], axis=1)
    network, seen = training.network(agent._model), tf.constant(batch.observations, tf.float64)
    expected = weighted_gradient(training.layout, online, lambda p: [network(p, seen)], [slopes])
    agent._gradient_steps(1)
    np.testing.assert_allclose(np.array(online - training.vector), expected, rtol=0, atol=1e-9)
    report = agent._report()
    assert report["loss"] == pytest.approx(loss.value, abs=1e-9)
    assert report["grad_norm"] == pytest.approx(float(np.linalg.norm(expected)), rel=1e-9)
    np.testing.assert_array_equal(agent._target.vector, slow)


def joined(observations, actions):
    return tf.constant(np.concatenate([observations, actions], axis=1), tf.float64)


def critic_values(nets, vector, observations, actions):
    parts = nets.critics.layout.split(vector)
    rows = joined(observations, actions)
    return [network(parts, rows).numpy().reshape(-1) for network in (nets.twin.first, nets.twin.second)]


def critic_gradient(nets, vector, batch, y):
    q = critic_values(nets, vector, batch.observations, batch.actions)
    loss = reference.twin_critic_loss(*q, y)
    rows = joined(batch.observations, batch.actions)
    gradient = weighted_gradient(
        nets.critics.layout,
        vector,
        lambda p: [nets.twin.first(p, rows), nets.twin.second(p, rows)],
        [loss.gradients[name][:, None] for name in ("q1", "q2")],
    )
    return loss, gradient


def slopes_by_actions(nets, vector, observations, actions):
    """``[B, A]`` of both critics."""
    parts, a = nets.critics.layout.split(vector), tf.constant(actions, tf.float64)
    found = []
    for network in (nets.twin.first, nets.twin.second):
        with tf.GradientTape() as tape:
            tape.watch(a)
            value = tf.reduce_sum(
                network(parts, tf.concat([tf.constant(observations, tf.float64), a], axis=1))
            )
        found.append(tape.gradient(value, a).numpy())
    return found


def test_one_step_of_sac_is_the_reference():
    agent = warm("sac", hyperparams={"n_step": 3, "tau": 0.1})
    ((batch, noise),) = next_draws(agent, 2)
    nets, alpha, log_alpha = agent._networks, agent.alpha, agent._temperature.log_alpha
    actor, critics, slow = nets.actor.vector, nets.critics.vector, nets.target.vector
    network = nets.actor.network(nets.model)

    def policy(observations, eps):
        outputs = network(nets.actor.layout.split(actor), tf.constant(observations, tf.float64)).numpy()
        mean, log_std = np.split(outputs, 2, axis=1)
        bounds = squashed.LOG_STD_BOUNDS
        return reference.squashed_gaussian(mean, log_std, eps.astype(np.float64), log_std_bounds=bounds)

    next_ = policy(batch.following, noise[0])
    next_q = critic_values(nets, slow, batch.following, next_.actions)
    y = reference.soft_targets(batch.rewards, batch.discounts, *next_q, next_.log_probs, alpha)
    loss, expected = critic_gradient(nets, critics, batch, y)
    agent._gradient_steps(1)
    np.testing.assert_allclose(np.array(critics - nets.critics.vector), expected, rtol=0, atol=1e-9)
    # the actor sees the critics after their step
    chosen = policy(batch.observations, noise[1])
    q = critic_values(nets, nets.critics.vector, batch.observations, chosen.actions)
    slopes = slopes_by_actions(nets, nets.critics.vector, batch.observations, chosen.actions)
    actor_loss = reference.sac_actor_loss(chosen, *q, *slopes, alpha)
    by_outputs = np.concatenate([actor_loss.gradients[name] for name in ("mean", "log_std")], axis=1)
    seen = tf.constant(batch.observations, tf.float64)
    wanted = weighted_gradient(nets.actor.layout, actor, lambda p: [network(p, seen)], [by_outputs])
    np.testing.assert_allclose(np.array(actor - nets.actor.vector), wanted, rtol=0, atol=1e-9)
    gap = reference.temperature_loss(log_alpha, chosen.log_probs, -float(ACT)).gradients["log_alpha"]
    assert log_alpha - agent._temperature.log_alpha == pytest.approx(float(gap), abs=1e-9)
    np.testing.assert_allclose(nets.target.vector, 0.9 * slow + 0.1 * nets.critics.vector, rtol=0, atol=1e-12)
    report = agent._report()
    assert report["critic_loss"] == pytest.approx(loss.value, abs=1e-9)
    assert report["actor_loss"] == pytest.approx(actor_loss.value, abs=1e-9)
    assert report["entropy"] == pytest.approx(-float(chosen.log_probs.mean()), abs=1e-9)


def test_one_step_of_td3_is_the_reference():
    agent = warm("td3", hyperparams={"tau": 0.1, "policy_delay": 1, "target_noise": 0.9})
    ((batch, noise),) = next_draws(agent, 1)
    nets = agent._networks
    actor, critics = nets.actor.vector, nets.critics.vector
    slow, slow_actor = nets.target.vector, nets.slow_actor.vector
    network = nets.actor.network(nets.model)
    proposed = network(nets.actor.layout.split(slow_actor), tf.constant(batch.following, tf.float64)).numpy()
    smoothed = reference.smoothed_actions(proposed, 0.9 * noise[0].astype(np.float64), 0.5)
    assert np.abs(smoothed - proposed).max() == pytest.approx(0.5)  # the clip of the noise is at work
    next_q = critic_values(nets, slow, batch.following, smoothed)
    y = reference.td3_targets(batch.rewards, batch.discounts, *next_q)
    loss, expected = critic_gradient(nets, critics, batch, y)
    agent._gradient_steps(1)
    np.testing.assert_allclose(np.array(critics - nets.critics.vector), expected, rtol=0, atol=1e-7)
    seen = tf.constant(batch.observations, tf.float64)
    actions = network(nets.actor.layout.split(actor), seen).numpy()
    q = critic_values(nets, nets.critics.vector, batch.observations, actions)[0]
    slope = slopes_by_actions(nets, nets.critics.vector, batch.observations, actions)[0]
    by_actions = reference.td3_actor_loss(q, slope).gradients["actions"]
    wanted = weighted_gradient(nets.actor.layout, actor, lambda p: [network(p, seen)], [by_actions])
    np.testing.assert_allclose(np.array(actor - nets.actor.vector), wanted, rtol=0, atol=1e-9)
    for now, before, online in (
        (nets.target.vector, slow, nets.critics.vector),
        (nets.slow_actor.vector, slow_actor, nets.actor.vector),
    ):
        np.testing.assert_allclose(now, 0.9 * before + 0.1 * online, rtol=0, atol=1e-12)
    assert agent._report()["critic_loss"] == pytest.approx(loss.value, abs=1e-7)


def test_slips_in_a_step_are_noticed(monkeypatch):
    rounds._shared.cache_clear()
    from optix_tf.continuous import sac_update

    plain = losses.soft_targets
    monkeypatch.setattr(
        sac_update, "soft_targets", lambda r, d, a, b, p, alpha: plain(r, d, a, b, 0.0 * p, alpha)
    )
    with pytest.raises(AssertionError):
        test_one_step_of_sac_is_the_reference()


# --- rounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_steps_in_one_round_are_the_steps_one_by_one(kind):
    found = []
    for sizes in ([7], [1] * 7, [3, 4]):
        agent = warm(kind, optimizer=lambda: Adam(1e-2))
        for size in sizes:
            agent._gradient_steps(size)
        found.append(vectors(agent) + [np.array(slow.vector) for slow in targets(agent)])
        assert agent._report()["n_updates"] == 7
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


CHANGES = {
    "dqn": {
        "double": False, "max_grad_norm": 1.0, "epsilon": 0.5, "epsilon_min": 0.1, "epsilon_decay_steps": 9,
        "target_update_freq": 3,
    },
    "sac": {"alpha": 0.1, "target_entropy_per_dim": -0.5, "max_grad_norm": 1.0},
    "td3": {
        "policy_delay": 3, "target_noise": 0.1, "target_noise_clip": 0.3, "exploration_noise": 0.3,
        "max_grad_norm": 1.0,
    },
}  # fmt: skip
EVERYWHERE = {
    "learning_rate": 1e-3, "gamma": 0.9, "tau": 0.5, "batch_size": 7, "n_step": 2, "train_freq": 3, "gradient_steps": 5,
    "learning_starts": 3,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_no_hyperparameter_compiles_anything_again(kind):
    agent = make(kind, hidden_sizes=(6, 5))
    feed(agent, 10)
    before = agent.n_compilations
    assert before >= 1
    changes = EVERYWHERE | CHANGES[kind]
    live = {hyper.name for hyper in agent.hypers if hyper.live}
    assert changes.keys() >= live - {"per_beta", "per_beta_steps", "per_alpha"}
    for seed, (name, value) in enumerate(changes.items()):
        agent.set_hyperparams(HyperparamSet({name: value}))
        feed(agent, 4, seed=seed)
    assert agent.n_compilations == before
    other = make(kind, hidden_sizes=(6, 5), seed=1)
    feed(other, 10)
    assert other.n_compilations == before  # equal shapes, one function


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_steps_are_counted_in_environment_steps(kind):
    agent = make(kind, hyperparams={"learning_starts": 10, "train_freq": 4, "gradient_steps": 3})
    feed(agent, 20, n=2)  # 40 steps: rounds at 12, 16, ..., 40
    report = agent.learn(empty(kind))
    assert report["n_updates"] == 8 * 3
    assert report["env_steps"] == report["buffer_size"] == 40
    assert agent.learn(empty(kind))["n_updates"] == 0


def empty(kind):
    actions = np.zeros((0, 2), np.int64) if kind == "dqn" else np.zeros((0, 2, ACT), np.float32)
    return EpisodeData(
        observations=np.zeros((0, 2, OBS), np.float32),
        actions=actions,
        rewards=np.zeros((0, 2)),
        terminated=np.zeros((0, 2), bool),
        truncated=np.zeros((0, 2), bool),
        n_envs=2,
        timestamp=0.0,
    )


def test_td3_moves_actor_and_all_targets_every_second_step_only():
    agent = warm("td3")
    for k in range(1, 7):
        nets = agent._networks
        before = [np.array(v.vector) for v in (nets.actor, nets.slow_actor, nets.target, nets.critics)]
        agent._gradient_steps(1)
        after = [np.array(v.vector) for v in (nets.actor, nets.slow_actor, nets.target, nets.critics)]
        moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
        assert moved == [k % 2 == 0] * 3 + [True]


@pytest.mark.parametrize("n", [1, 4])
def test_the_target_of_dqn_is_copied_on_time_in_environment_steps(n):
    agent = make("dqn", hyperparams={"target_update_freq": 20})
    feed(agent, 16 // n, n=n)
    online = np.array(agent._training.vector)
    assert not np.array_equal(agent._target.vector, online)
    feed(agent, 4 // n - 1, n=n, seed=1)
    online = np.array(agent._training.vector)
    feed(agent, 1, n=n, seed=2)
    np.testing.assert_array_equal(agent._target.vector, online)  # before the gradient steps that are due then


def test_polyak_of_dqn_goes_a_share_of_the_way():
    agent = make("dqn", hyperparams={"tau": 0.25, "target_update_freq": 1, "learning_starts": 5})
    feed(agent, 6, n=1)
    before, online = np.array(agent._target.vector), np.array(agent._training.vector)
    feed(agent, 1, n=1, seed=1)
    np.testing.assert_allclose(agent._target.vector, before + 0.25 * (online - before), atol=1e-7)


# --- priorities, masks, divergence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_priorities_of_each_step_decide_the_next_draw(kind, monkeypatch):
    agent = make(kind, hyperparams={"per_alpha": 0.6, "train_freq": 4, "gradient_steps": 3})
    events = []
    draw, update = agent._draw, agent._prioritized.update_priorities

    def drawing():
        events.append(("draw", draw()))
        return events[-1][1]

    monkeypatch.setattr(agent, "_draw", drawing)
    monkeypatch.setattr(
        agent._prioritized,
        "update_priorities",
        lambda rows, sizes: events.append(("update", rows, sizes)) or update(rows, sizes),
    )
    feed(agent, 10)
    assert [event[0] for event in events[:6]] == ["draw", "update"] * 3
    (_, batch), (_, rows, sizes) = events[:2]
    assert batch.weights is not None
    np.testing.assert_array_equal(rows, batch.indices)
    assert sizes.shape == (B,)
    assert (sizes >= 0).all()
    assert sizes.max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_importance_weights_scale_the_gradient(kind):
    moved = []
    for scale in (1.0, 0.5):
        agent = warm(kind, hyperparams={"per_alpha": 0.6, "max_grad_norm": 1e9})
        draw = agent._draw

        def drawing(draw=draw, scale=scale):
            import dataclasses

            return dataclasses.replace(draw(), weights=np.full(B, scale, np.float32))

        agent._draw = drawing
        index = 0 if kind == "dqn" else 1
        before = vectors(agent)[index]
        agent._gradient_steps(1)
        moved.append(before - vectors(agent)[index])
    np.testing.assert_allclose(moved[1], 0.5 * moved[0], rtol=0, atol=1e-12)


def test_masked_actions_are_never_drawn_chosen_or_the_maximum_of_a_target():
    agent = make("dqn", hyperparams={"learning_starts": 20, "n_step": 1})
    rng = np.random.default_rng(0)

    def masked(n):
        masks = np.zeros((n, A), bool)
        masks[:, [1, 3]] = True
        return with_masks(rng.standard_normal((n, OBS)).astype(np.float32), masks)

    none = np.zeros(2, bool)
    for _ in range(20):
        seen = masked(2)
        actions = agent.act_batch(seen)
        assert set(actions.tolist()) <= {1, 3}
        agent.observe(seen, actions, np.zeros(2), masked(2), none, none)
    seen = masked(200)
    for deterministic in (True, False):
        assert set(agent.act_batch(seen, deterministic=deterministic).tolist()) <= {1, 3}
    batch = next_draws(agent, 0)[0][0]
    slow = outputs_of(
        agent._training, agent._model, agent._target.vector, tf.constant(batch.following)
    ).numpy()
    online = agent.q_values(batch.following)
    y = reference.q_targets(batch.rewards, batch.discounts, slow, chosen_by=online, masks=batch.masks)
    agent._report()
    agent._gradient_steps(1)
    assert agent._report()["target_mean"] == pytest.approx(float(y.mean()), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_that_are_not_finite_are_left_out_and_three_in_a_row_end_it(kind, monkeypatch):
    agent = make(kind, hyperparams={"learning_starts": 10_000})
    feed(agent, 20)
    draw, poisoned = agent._draw, [True, False, True, True, True, True]

    def drawing():
        batch = draw()
        if poisoned and poisoned.pop(0):
            batch.rewards[:] = np.nan
        return batch

    monkeypatch.setattr(agent, "_draw", drawing)
    agent._gradient_steps(2)
    before, slow = vectors(agent), np.array(targets(agent)[0].vector)
    assert all(np.isfinite(v).all() for v in before)
    agent._gradient_steps(4)  # none of them is made
    assert all(np.array_equal(a, b) for a, b in zip(before, vectors(agent), strict=True))
    np.testing.assert_array_equal(targets(agent)[0].vector, slow)
    report = agent._report()
    assert (report["n_updates"], report["n_skipped"]) == (1, 4)
    assert math.isnan(report["loss"])
    agent._gradient_steps(2)
    assert agent._report()["n_updates"] == 2


# --- persistence -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keras_optimizer", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_agent_continues_to_the_bit(kind, keras_optimizer):
    def made(seed):
        optimizer = (lambda: keras.optimizers.Adam(1e-2)) if keras_optimizer else (lambda: Adam(1e-2))
        return by_hand(kind, dtype="float32", seed=seed, optimizer=optimizer)

    first, second = made(0), made(1)
    feed(first, 25)
    first.learn(empty(kind))
    second.load_state_dict(first.state_dict())
    for agent in (first, second):
        feed(agent, 15, seed=3)
    for one, other in zip(vectors(first), vectors(second), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(targets(first), targets(second), strict=True):
        np.testing.assert_array_equal(one.vector, other.vector)
    assert first.learn(empty(kind)) == second.learn(empty(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_from_outside_reach_the_targets_and_the_users_models(kind, tmp_path):
    agent, other = by_hand(kind, seed=0), by_hand(kind, seed=1)
    feed(agent, 30)
    path, second = str(tmp_path / "a"), str(tmp_path / "b")
    agent.save_weights(path)
    other.save_weights(second)

    def synchronised(a):
        originals = [a._training] if kind == "dqn" else [a._networks.critics, a._networks.actor]
        for slow, training in zip(targets(a), originals, strict=False):
            np.testing.assert_array_equal(slow.vector, training.vector)

    with pytest.raises(AssertionError):
        synchronised(agent)
    agent.perturb_weights(0.1)
    synchronised(agent)
    other.load_weights(path)
    synchronised(other)
    other.average_weights([path, second])
    synchronised(other)
    model = other._model if kind == "dqn" else other._networks.model
    training = other._training if kind == "dqn" else other._networks.actor
    seen = np.ones((5, OBS))
    expected = outputs_of(training, model, training.vector, tf.constant(seen))
    np.testing.assert_allclose(model(seen), expected, rtol=0, atol=1e-12)


def test_the_state_of_another_architecture_is_refused_and_changes_nothing():
    agent, other = make("sac"), make("sac", hidden_sizes=(5,))
    feed(agent, 12)
    before = vectors(agent)
    with pytest.raises(IncompatibleCheckpoint):
        agent.load_state_dict(other.state_dict())
    for one, now in zip(before, vectors(agent), strict=True):
        np.testing.assert_array_equal(one, now)


# --- spaces and users' own models ----------------------------------------------------------------------------------

SPACES = {
    "dict": Dict({"a": Box(-1, 1, (2, 2)), "b": Discrete(3)}),
    "choices": MultiDiscrete([3, 2]),
    "image": Box(0, 255, (1, 36, 36), np.uint8),
    "grid": Box(-1, 1, (2, 3)),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_observation_space_is_acted_in_and_learned_from(kind, space):
    spec, n = SPACES[space], 2
    spec.seed(0)
    agent = make(
        kind, observations=spec, hyperparams={"learning_starts": 4, "batch_size": 4}, hidden_sizes=(8,)
    )
    dtype = describe_space(spec).dtype

    def rows():
        from optix_core.rl.structured import pack

        return np.stack([pack(spec.sample(), dtype) if dtype.names else spec.sample() for _ in range(n)])

    before, none = vectors(agent), np.zeros(n, bool)
    for _ in range(5):
        seen = rows()
        agent.observe(seen, agent.act_batch(seen), np.ones(n), rows(), none, none)
    for one, now in zip(before[: 1 if kind == "dqn" else 2], vectors(agent), strict=False):
        assert not np.array_equal(one, now)
    agent.act(spec.sample())


def two_inputs(rng):
    seen, acted = keras.Input((OBS,)), keras.Input((ACT,))
    x = keras.layers.Concatenate()([seen, acted])
    x = keras.layers.Dense(
        8, "relu", kernel_initializer=keras.initializers.RandomNormal(seed=int(rng.integers(99)))
    )(x)
    return keras.Model([seen, acted], keras.layers.Dense(1)(x))


class Apart(keras.Model):
    """A critic as users write them: two arguments, no ``training``."""

    def __init__(self, seed):
        super().__init__()
        self.inner = fan_in_mlp((OBS + ACT, 8, 1), "relu", np.random.default_rng(seed))
        self.built = True

    def call(self, observations, actions):
        return self.inner(tf.concat([observations, actions], axis=1))


@pytest.mark.parametrize("form", ["functional", "subclass"])
def test_models_that_the_mirror_does_not_know_and_critics_of_two_inputs(form):
    rng = np.random.default_rng(0)
    inputs = keras.Input((OBS,))
    initial = keras.initializers.RandomNormal(seed=1)
    hidden = keras.layers.LayerNormalization()(
        keras.layers.Dense(8, "gelu", kernel_initializer=initial)(inputs)
    )
    actor = keras.Model(inputs, keras.layers.Dense(2 * ACT, kernel_initializer=initial)(hidden))
    critics = [two_inputs(rng) for _ in range(2)] if form == "functional" else [Apart(0), Apart(1)]
    optimizers = [keras.optimizers.AdamW(1e-2), keras.optimizers.RMSprop(2e-2), keras.optimizers.SGD(1e-2)]
    agent = TFSACAgent(actor, *critics, ACT, *optimizers, SMALL, action_space=SPACE, seed=0)
    before = vectors(agent)
    feed(agent, 12)
    for one, now in zip(before, vectors(agent), strict=True):
        assert not np.array_equal(one, now)
    agent.set_hyperparams(HyperparamSet({"learning_rate": 5e-3}))
    assert float(optimizers[1].learning_rate) == pytest.approx(1e-2)  # it keeps its ratio
    assert agent.n_compilations == 1
    assert agent.act(np.zeros(OBS, np.float32), deterministic=True).shape == (ACT,)
    agent.learn(empty("sac"))
    seen = np.ones((3, OBS), np.float32)
    expected = np.tanh(np.array(actor(seen))[:, :ACT])
    np.testing.assert_allclose(agent.act_batch(seen, deterministic=True), expected, atol=1e-6)


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    actor = fan_in_mlp((OBS, 8, 2 * ACT), "relu", rng)
    one, two = (fan_in_mlp((OBS + ACT, 8, 1), "relu", rng) for _ in range(2))
    with pytest.raises(ConfigError, match="one model"):
        TFSACAgent(actor, one, one, ACT, Adam(), Adam())
    shared = Adam()
    with pytest.raises(ConfigError, match="one type"):
        doubled = fan_in_mlp((OBS, 8, 2 * ACT), "relu", rng, dtype="float64")
        TFSACAgent(doubled, one, two, ACT, shared, Adam())
    with pytest.raises(ConfigError, match="2 outputs"):
        TFSACAgent(actor, fan_in_mlp((OBS + ACT, 2), "relu", rng), two, ACT, Adam(), Adam())
    with pytest.raises(ConfigError, match="outputs for 3 actions, expected 4"):
        TFDQNAgent(fan_in_mlp((OBS, 8, 3), "relu", rng), A, Adam())
    with pytest.raises(SpaceError, match="no finite bounds"):
        TFSACAgent(actor, one, two, ACT, Adam(), Adam(), action_space=Box(-np.inf, np.inf, (ACT,)))
    with pytest.raises(HyperparamError, match="gradient_steps is 0"):
        make("td3", hyperparams={"gradient_steps": 0})


def test_the_name_of_the_contract_and_the_right_one_are_one_class():
    assert TFTD3Agent is TFTDDAgent


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_exploring_differs_from_call_to_call_and_greedy_acting_does_not(kind):
    agent = make(kind, hyperparams={"learning_starts": 0})
    seen = np.zeros((500, OBS), np.float32)
    explored = agent.act_batch(seen)
    assert len(np.unique(explored[:, 0])) > 100
    assert np.abs(explored).max() <= 1.0
    assert len(np.unique(agent.act_batch(seen, deterministic=True), axis=0)) == 1
    acted = agent.act(np.zeros(OBS, np.float32))
    assert SPACE.contains(acted)
