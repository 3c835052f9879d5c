"""Compiled gradient steps against the same steps written out in float64 numpy, and slips that must be noticed."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import naive_updates as naive
import numpy as np
import pytest

from optix_core.acting import MLPSpec
from optix_jax.action_values import update as q_module
from optix_jax.action_values.q_network import QFunction
from optix_jax.action_values.update import QState, q_update
from optix_jax.continuous import critic_step, sac_update, td3_update
from optix_jax.continuous.sac_update import SACState
from optix_jax.continuous.td3_update import TD3State
from optix_jax.continuous.twin import ActorFunction, CriticFunctions
from optix_jax.networks.mlp import Forward
from optix_jax.training.optimizers import Adam

B, OBS, A, K = 16, 3, 2, 4
TOLERANCE = 1e-10


def jitted(function):
    """Compiled in a hurry: each program runs once."""
    hurry = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(function, compiler_options=hurry)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def net(rng, *sizes, last="linear"):
    spec = MLPSpec.build(sizes, "relu", last)
    return naive.Net(spec, 0.5 * rng.standard_normal(spec.layout.size))


def batches(rng, *, actions, noises=0, masks=False, n_masks=4):
    found = {
        "observations": rng.standard_normal((K, B, OBS)),
        "actions": actions,
        "rewards": rng.standard_normal((K, B)),
        "discounts": rng.choice([0.0, 0.97], (K, B)),
        "following": rng.standard_normal((K, B, OBS)),
        "masks": None,
        "weights": rng.random((K, B)) + 0.1,
    }
    if masks:
        found["masks"] = rng.random((K, B, n_masks)) < 0.6
        found["masks"][..., 0] |= found["discounts"] > 0.0
    return found | ({"noise": rng.standard_normal((K, noises, B, A))} if noises else {})


def one(batch, k):
    return {name: None if array is None else array[k] for name, array in batch.items()}


def device(tree):
    return jax.tree.map(jnp.asarray, tree)


# --- DQN ---------------------------------------------------------------------------------------------------------


def dqn(*, dueling=False, double_q=True, masks=False, seed=0, made=q_update, eps=1e-8):
    """The distance between both after K steps, and what the update returned."""
    rng = np.random.default_rng(seed)
    n = 4
    online, target = (net(rng, OBS, 8, n + int(dueling)) for _ in range(2))
    batch = batches(rng, actions=rng.integers(n, size=(K, B)), masks=masks)
    hp = {"learning_rate": 0.01, "max_grad_norm": 0.4, "double": double_q}
    optimizer = Adam(eps=eps)
    params = {"q_network": jnp.asarray(online.vector)}
    state = QState(params, optimizer.init(params), jnp.int32(0))
    function = QFunction(Forward(online.spec), dueling)
    state, measured, priorities = jitted(made(function, optimizer))(
        state, {"q_network": jnp.asarray(target.vector)}, device(batch), device(hp)
    )
    adam = naive.Adam(len(online.vector))
    losses = [naive.dqn_step(online, target, adam, one(batch, k), hp, dueling=dueling) for k in range(K)]
    found = dict(zip(q_module.MEASURED, np.asarray(measured), strict=True))
    np.testing.assert_array_equal(found["tried"], 1.0)
    return (
        np.abs(np.asarray(state.params["q_network"]) - online.vector).max(),
        np.abs(found["loss"] - [loss.value for loss in losses]).max(),
        np.abs(np.asarray(priorities) - np.abs([loss.each for loss in losses])).max(),
    )


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("double_q,masks", [(True, False), (False, True), (True, True)])
def test_dqn_steps_are_the_definition(dueling, double_q, masks):
    assert max(dqn(dueling=dueling, double_q=double_q, masks=masks)) < TOLERANCE


@pytest.mark.usefixtures("double")
def test_slips_in_dqn_are_noticed(monkeypatch):
    assert dqn(eps=1e-3)[0] > 1e-6
    targets = q_module.q_targets
    with monkeypatch.context() as m:  # the maximum over actions that are not allowed
        m.setattr(q_module, "q_targets", lambda r, d, f, c, masks: targets(r, d, f, c, None))
        assert dqn(masks=True)[0] > 1e-4
    with monkeypatch.context() as m:  # one network chooses and judges
        m.setattr(q_module, "q_targets", lambda r, d, f, c, masks: targets(r, d, c, c, masks))
        assert dqn()[0] > 1e-4
    with monkeypatch.context() as m:  # squared errors
        m.setattr(q_module, "huber", lambda errors: 0.5 * errors**2)
        assert dqn()[1] > 1e-4


# --- SAC and TD3 -------------------------------------------------------------------------------------------------


def networks(rng, outputs, last="linear"):
    actor = net(rng, OBS, 8, outputs, last=last)
    critics = [net(rng, OBS + A, 8, 1) for _ in range(2)]
    target = [naive.Net(c.spec, c.vector + 0.1 * rng.standard_normal(len(c.vector))) for c in critics]
    functions = (
        ActorFunction(Forward(actor.spec)),
        CriticFunctions(Forward(critics[0].spec), Forward(critics[1].spec), None, False),
    )
    return actor, critics, target, functions


def named(nets):
    return {f"critic{i}": jnp.asarray(c.vector) for i, c in enumerate(nets, start=1)}


def distance(found, nets):
    return max(
        float(np.abs(np.asarray(a) - b.vector).max())
        for a, b in zip(jax.tree.leaves(found), nets, strict=True)
    )


COMMON = {"actor_rate": 0.01, "critic_rate": 0.02, "tau": 0.1}


def sac(*, alpha=0.0, max_norm=np.inf, seed=0, eps=1e-8):
    rng = np.random.default_rng(seed)
    actor, critics, target, functions = networks(rng, 2 * A)
    batch = batches(rng, actions=np.tanh(rng.standard_normal((K, B, A))), noises=2)
    hp = {**COMMON, "alpha_rate": 0.03, "max_norm": max_norm, "alpha": alpha, "target_entropy": -2.0}
    log_alpha = np.array([-0.7])
    first, both, temperature = (
        {"actor": jnp.asarray(actor.vector)},
        named(critics),
        {"temperature": {"log_alpha": jnp.asarray(log_alpha)}},
    )
    optimizer = Adam(eps=eps)
    moments = {
        "actor": optimizer.init(first),
        "critics": optimizer.init(both),
        "temperature": optimizer.init(temperature),
    }
    in_a_row = {"actor": jnp.int32(0), "critics": jnp.int32(0)}
    state = SACState(first, both, named(target), temperature, moments, in_a_row)
    update = sac_update.sac_update(*functions, optimizer, optimizer, optimizer)
    state, _, _ = jitted(update)(state, device(batch), device(hp))
    n = len(critics[0].vector)
    s = SimpleNamespace(
        actor=actor,
        critics=critics,
        target=target,
        log_alpha=log_alpha,
        adams={
            "actor": naive.Adam(len(actor.vector)),
            "critics": naive.Adam(2 * n),
            "temperature": naive.Adam(1),
        },
    )
    for k in range(K):
        naive.sac_step(s, one(batch, k), hp)
    found = np.asarray(state.temperature["temperature"]["log_alpha"])
    return {
        "actor": distance(state.actor, [actor]),
        "critics": distance(state.critics, critics),
        "target": distance(state.target, target),
        "temperature": float(np.abs(found - s.log_alpha).max()),
    }


def td3(*, delay=2, max_norm=np.inf, seed=0, eps=1e-8):
    rng = np.random.default_rng(seed)
    actor, critics, target, functions = networks(rng, A, last="tanh")
    slow = naive.Net(actor.spec, actor.vector + 0.1 * rng.standard_normal(len(actor.vector)))
    batch = batches(rng, actions=np.tanh(rng.standard_normal((K, B, A))), noises=1)
    hp = {
        **COMMON,
        "max_norm": max_norm,
        "policy_delay": delay,
        "target_noise": 0.4,
        "target_noise_clip": 0.5,
    }
    first, both = {"actor": jnp.asarray(actor.vector)}, named(critics)
    optimizer = Adam(eps=eps)
    moments = {"actor": optimizer.init(first), "critics": optimizer.init(both)}
    in_a_row = {"actor": jnp.int32(0), "critics": jnp.int32(0)}
    state = TD3State(
        first, both, named(target), {"actor": jnp.asarray(slow.vector)}, jnp.int32(0), moments, in_a_row
    )
    update = td3_update.td3_update(*functions, optimizer, optimizer)
    state, _, _ = jitted(update)(state, device(batch), device(hp))
    n = len(critics[0].vector)
    adams = {"actor": naive.Adam(len(actor.vector)), "critics": naive.Adam(2 * n)}
    s = SimpleNamespace(actor=actor, critics=critics, target=target, target_actor=slow, adams=adams, count=0)
    for k in range(K):
        naive.td3_step(s, one(batch, k), hp)
    return {
        "actor": distance(state.actor, [actor]),
        "critics": distance(state.critics, critics),
        "target": distance(state.target, target),
        "target_actor": distance(state.target_actor, [slow]),
    }


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("options", [{}, {"alpha": 0.2}, {"max_norm": 0.3}], ids=str)
def test_sac_steps_are_the_definition(options):
    assert max(sac(**options).values()) < TOLERANCE


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("options", [{}, {"delay": 1}, {"delay": 3, "max_norm": 0.3}], ids=str)
def test_td3_steps_are_the_definition(options):
    assert max(td3(**options).values()) < TOLERANCE


@pytest.mark.usefixtures("double")
def test_slips_in_sac_are_noticed(monkeypatch):
    assert sac(eps=1e-3)["actor"] > 1e-6
    loss, targets, slow = sac_update.sac_actor_loss, sac_update.soft_targets, sac_update.polyak
    with monkeypatch.context() as m:  # the entropy dropped from the actor's loss
        m.setattr(
            sac_update,
            "sac_actor_loss",
            lambda log_probs, q1, q2, alpha: loss(0.0 * log_probs, q1, q2, alpha),
        )
        assert sac()["actor"] > 1e-4
    with monkeypatch.context() as m:  # and from the targets
        m.setattr(
            sac_update, "soft_targets", lambda r, d, q1, q2, p, alpha: targets(r, d, q1, q2, 0.0 * p, alpha)
        )
        assert sac()["critics"] > 1e-4
    with monkeypatch.context() as m:  # a slow copy that moves late
        m.setattr(sac_update, "polyak", lambda a, b, tau: slow(a, b, 0.0 * tau))
        assert sac()["target"] > 1e-4
    with monkeypatch.context() as m:  # one critic's error averaged away
        twin = critic_step.twin_critic_loss
        m.setattr(
            critic_step, "twin_critic_loss", lambda q1, q2, y: twin(0.5 * (q1 + q2), 0.5 * (q1 + q2), y)
        )
        assert sac()["critics"] > 1e-4


@pytest.mark.usefixtures("double")
def test_slips_in_td3_are_noticed(monkeypatch):
    smoothed, targets = td3_update.smoothed_actions, td3_update.td3_targets
    with monkeypatch.context() as m:  # no smoothing
        m.setattr(td3_update, "smoothed_actions", lambda a, noise, clip: smoothed(a, 0.0 * noise, clip))
        assert td3()["critics"] > 1e-4
    with monkeypatch.context() as m:  # one slow critic instead of the smaller of two
        m.setattr(td3_update, "td3_targets", lambda r, d, q1, q2: targets(r, d, q1, q1))
        assert td3()["critics"] > 1e-4
    with monkeypatch.context() as m:  # a terminal state that has a value
        m.setattr(td3_update, "td3_targets", lambda r, d, q1, q2: targets(r, 0.97 + 0.0 * d, q1, q2))
        assert td3()["critics"] > 1e-4
