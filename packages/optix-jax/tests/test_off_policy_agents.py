"""What DQN, SAC and TD3 do around their compiled updates: rounds, cadence, targets, user modules, divergence."""

from __future__ import annotations

import math

import numpy as np
import optax
import pytest
from flax import linen, nnx
from gymnasium.spaces import Box, Discrete

from optix_core import VectorBatchPipeline, make_agent
from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_core.plugin import AgentContext
from optix_core.replay import HindsightReplay
from optix_core.rl.masking import with_masks
from optix_core.testing import GoalGrid
from optix_core.types import HyperparamSet
from optix_jax import FlaxDQNAgent, FlaxSACAgent, FlaxTD3Agent, dqn, sac, td3
from optix_jax.training.optimizers import Adam
from optix_jax.training.rounds import MOST_AT_ONCE, chunks

OBS = 3
BUILD = {"DQN": dqn.build, "SAC": sac.build, "TD3": td3.build}
ALL = pytest.mark.parametrize("kind", list(BUILD))
CONTINUOUS = pytest.mark.parametrize("kind", ["SAC", "TD3"])
SPACE = Box(-10, 10, (OBS,))


def action_space(kind):
    return Discrete(4) if kind == "DQN" else Box(-2, 2, (2,))


def built(kind, options=None, **hp):
    hp = {"learning_starts": 8, "batch_size": 8, **hp}
    ctx = AgentContext(
        observation_space=SPACE, action_space=action_space(kind), seed=1, device="cpu", hyperparams=hp
    )
    return BUILD[kind](ctx, **{"hidden_sizes": (8,), **(options or {})})


def feed(agent, steps, *, n=2, seed=0, reward=lambda rng, n: rng.standard_normal(n)):
    rng = np.random.default_rng(seed)
    seen = rng.standard_normal((n, OBS)).astype(np.float32)
    for _ in range(steps):
        actions = agent.act_batch(seen)
        after = rng.standard_normal((n, OBS)).astype(np.float32)
        kind = rng.random(n)
        agent.observe(seen, actions, reward(rng, n), after, kind < 0.05, (kind >= 0.05) & (kind < 0.1))
        seen = after


def weights(agent):
    return {k: v for t in agent._trainables.values() for k, v in t.arrays().items()}


def equal(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


# --- rounds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 13, 64, 65, 200])
def test_rounds_are_few_sizes_that_add_up(n):
    found = chunks(n)
    assert sum(found) == n
    assert max(found) <= MOST_AT_ONCE
    assert all(size & (size - 1) == 0 for size in found)


@ALL
def test_several_steps_in_one_call_are_single_steps(kind):
    """Steps that fall due together draw, and learn, as if each had been called for by itself."""
    one, other = built(kind, train_freq=6, gradient_steps=3), built(kind, train_freq=6, gradient_steps=3)
    other._gradient_steps = lambda n: [type(other)._gradient_steps(other, 1) for _ in range(n)]
    feed(one, 12)
    feed(other, 12)
    assert one._report()["n_updates"] == other._report()["n_updates"] > 3
    for name, array in weights(one).items():
        np.testing.assert_allclose(array, weights(other)[name], rtol=0, atol=2e-6)


LIVE = {
    "DQN": {
        "learning_rate": 1e-4, "gamma": 0.9, "learning_starts": 9, "train_freq": 2, "target_update_freq": 3,
        "tau": 0.5, "max_grad_norm": 3.0, "per_beta": 0.5, "per_beta_steps": 10, "n_step": 2, "double": False,
        "epsilon": 0.5, "epsilon_min": 0.1, "epsilon_decay_steps": 10,
    },
    "SAC": {
        "learning_rate": 1e-4, "gamma": 0.9, "learning_starts": 9, "train_freq": 2, "tau": 0.5,
        "max_grad_norm": 3.0, "per_beta": 0.5, "n_step": 2, "alpha": 0.3, "target_entropy_per_dim": -0.5,
    },
    "TD3": {
        "learning_rate": 1e-4, "gamma": 0.9, "learning_starts": 9, "train_freq": 2, "tau": 0.5,
        "max_grad_norm": 3.0, "per_beta": 0.5, "n_step": 2, "exploration_noise": 0.3, "policy_delay": 3,
        "target_noise": 0.1, "target_noise_clip": 0.2,
    },
}  # fmt: skip


@ALL
def test_no_hyperparameter_compiles_anything(kind):
    """But those that are shapes: the batch, and how many steps fall due together, here always one."""
    # widths of its own: programs of agents with equal networks are shared, and would count nothing here
    agent = built(kind, {"hidden_sizes": (9,)})
    feed(agent, 10, n=1)
    assert agent._report()["n_compilations"] == 1
    declared = {hyper.name for hyper in agent.hypers if hyper.live}
    assert declared == set(LIVE[kind]) | {"batch_size", "gradient_steps"}
    for name, value in LIVE[kind].items():
        assert agent.get_hyperparams().params[name] != value
        agent.set_hyperparams(HyperparamSet({name: value}))
        agent._report()
        feed(agent, 4, n=1, seed=1)
        assert agent._report()["n_updates"] >= 2
    assert agent.n_compilations == 1
    second = built(kind, {"hidden_sizes": (9,)}, learning_rate=1e-2)
    feed(second, 10, n=1)
    assert second.n_compilations == 0  # its networks are those of the first
    if kind == "DQN":
        agent.set_hyperparams(HyperparamSet({"batch_size": 16}))
        feed(agent, 2, n=1, seed=2)
        assert agent.n_compilations == 2


# --- steps that cannot be made -----------------------------------------------------------------------------------


@ALL
def test_steps_that_are_not_finite_are_left_out_and_three_in_a_row_stop_training(kind):
    agent = built(kind, train_freq=2, gradient_steps=1)
    feed(agent, 5)
    before = weights(agent)
    agent._replay.clear()
    with np.errstate(over="ignore"):
        feed(agent, 1, reward=lambda rng, n: np.full(n, np.inf))
    assert equal(before, weights(agent))
    with np.errstate(over="ignore"):
        feed(agent, 6, reward=lambda rng, n: np.full(n, np.inf))
    assert equal(before, weights(agent))
    report = agent._report()
    assert report["n_skipped"] == 3
    assert math.isnan(report["loss"])
    agent._replay.clear()
    feed(agent, 3)
    assert not equal(before, weights(agent))
    assert all(np.isfinite(array).all() for array in weights(agent).values())


# --- cadence and targets -----------------------------------------------------------------------------------------


def test_the_target_is_copied_when_its_time_has_come_and_before_the_steps_that_are_due():
    agent = built("DQN", target_update_freq=6, train_freq=1)
    moved = []
    move = agent._move_target
    agent._move_target = lambda tau: (moved.append((agent._cadence.env_steps, weights(agent))), move(tau))
    feed(agent, 10)
    assert [steps for steps, _ in moved] == [6, 12, 18]
    _, online = moved[-1]
    target = agent._target.state_dict()
    assert equal(target, online)  # as the online network was before the steps that were due then
    assert not equal(target, weights(agent))


def test_td3_moves_actor_and_slow_copies_only_when_it_is_their_turn():
    agent = built("TD3", policy_delay=4, train_freq=2)
    feed(agent, 4 + 3)
    assert agent._steps.state_dict()["count"] == 3
    before, slow = weights(agent), agent._networks.target.state_dict()
    fresh = built("TD3")
    assert equal(fresh._networks.actor.arrays(), agent._networks.actor.arrays())
    feed(agent, 1, seed=1)
    assert not equal({k: v for k, v in before.items() if k.startswith("actor")}, weights(agent))
    assert not equal(slow, agent._networks.target.state_dict())


def test_a_fixed_temperature_stays_and_an_adapted_one_moves():
    adapted, fixed = built("SAC"), built("SAC", alpha=0.2)
    feed(adapted, 8)
    feed(fixed, 8)
    assert adapted.alpha != 1.0
    assert fixed.alpha == 0.2
    assert fixed._temperature.arrays()["temperature/log_alpha"] == 0.0


@ALL
def test_priorities_are_the_sizes_of_the_errors(kind):
    agent = built(kind, per_alpha=0.6, train_freq=2, gradient_steps=3)
    feed(agent, 8)
    found = agent._prioritized.priorities(np.arange(len(agent._replay)))
    assert len(np.unique(found)) > 4
    assert np.isfinite(found).all()


def test_masked_actions_are_never_chosen():
    agent = built("DQN", epsilon=0.5, epsilon_min=0.5)
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 4), np.bool_)
    masks[:, 2] = True
    for _ in range(10):
        seen = with_masks(rng.standard_normal((2, OBS)).astype(np.float32), masks)
        after = with_masks(rng.standard_normal((2, OBS)).astype(np.float32), masks)
        actions = agent.act_batch(seen)
        assert (actions == 2).all()
        agent.observe(seen, actions, np.ones(2), after, np.zeros(2, np.bool_), np.zeros(2, np.bool_))
    assert agent._report()["n_updates"] > 3


@pytest.mark.parametrize("strategy", ["future", "final"])
def test_goals_that_were_reached_by_chance_are_learned_from(strategy):
    hp = {"learning_starts": 40, "batch_size": 8, "train_freq": 4}
    agent = make_agent("optix-jax:DQN", GoalGrid(), seed=0, device="cpu", hyperparams=hp, hidden_sizes=(8,),
                       hindsight=4.0, hindsight_strategy=strategy)  # fmt: skip
    assert isinstance(agent._replay, HindsightReplay)
    assert agent._replay.strategy == strategy
    pipeline = VectorBatchPipeline([GoalGrid], agent, 60, seed=0)
    pipeline.setup()
    assert agent.learn(next(pipeline.episodes()))["n_updates"] == 5
    pipeline.teardown()


# --- modules and optimizers of users -----------------------------------------------------------------------------


class LinenQ(linen.Module):
    @linen.compact
    def __call__(self, observations):
        return linen.Dense(4)(linen.relu(linen.Dense(8)(observations)))


class Nnx(nnx.Module):
    def __init__(self, sizes, rngs, last=lambda x: x):
        self.first, self.second = nnx.Linear(sizes[0], 8, rngs=rngs), nnx.Linear(8, sizes[1], rngs=rngs)
        self.last = last

    def __call__(self, x):
        return self.last(self.second(nnx.relu(self.first(x))))


class Apart(Nnx):
    """A critic that takes observations and actions apart."""

    def __call__(self, observations, actions):
        import jax.numpy as jnp

        return super().__call__(jnp.concatenate([observations, actions], axis=1))


def injected(rate):
    return optax.inject_hyperparams(optax.adam)(learning_rate=rate)


HP = {"learning_starts": 8, "batch_size": 8}


@pytest.mark.parametrize("network", [LinenQ(), Nnx((OBS, 4), nnx.Rngs(0))], ids=["linen", "nnx"])
def test_dqn_trains_modules_of_users_with_optax(network):
    agent = FlaxDQNAgent(network, 4, injected(5e-3), HP, "cpu", observation_space=SPACE, seed=0)
    assert agent.get_hyperparams().params["learning_rate"] == 5e-3
    before = weights(agent)
    feed(agent, 8)
    assert not equal(before, weights(agent))
    agent.set_hyperparams(HyperparamSet({"learning_rate": 1e-12}))
    before = weights(agent)
    feed(agent, 2, seed=1)
    for name, array in weights(agent).items():  # the rate reached optax
        np.testing.assert_allclose(array, before[name], rtol=0, atol=1e-6)
    assert agent.n_compilations == 1


@CONTINUOUS
@pytest.mark.parametrize("critic", [Nnx, Apart])
def test_sac_and_td3_train_modules_of_users(kind, critic):
    rngs = nnx.Rngs(0)
    actor = Nnx((OBS, 4 if kind == "SAC" else 2), rngs)
    critics = [critic((OBS + 2, 1), rngs) for _ in range(2)]
    cls = FlaxSACAgent if kind == "SAC" else FlaxTD3Agent
    agent = cls(actor, *critics, 2, injected(1e-3), injected(2e-3), hyperparams=HP, device="cpu", seed=0)
    before = weights(agent)
    feed(agent, 9)
    after = weights(agent)
    assert {name.split("/")[0] for name in after if not np.array_equal(before[name], after[name])} >= {
        "actor", "critic1", "critic2",
    }  # fmt: skip
    agent.set_hyperparams(HyperparamSet({"learning_rate": 5e-4}))
    assert agent._networks.critics.learning_rate() == pytest.approx(1e-3)  # still twice the actor's


def test_optimizers_whose_rate_cannot_be_set_are_refused():
    with pytest.raises(ConfigError, match="inject_hyperparams"):
        FlaxDQNAgent(Nnx((OBS, 4), nnx.Rngs(0)), 4, optax.adam(1e-3), HP)
    with pytest.raises(ConfigError, match="transformation of optax"):
        FlaxDQNAgent(Nnx((OBS, 4), nnx.Rngs(0)), 4, "adam", HP)


def test_networks_that_do_not_fit_are_refused():
    rngs = nnx.Rngs(0)
    critic, apart = Nnx((OBS + 2, 1), rngs), Apart((OBS + 2, 1), rngs)
    with pytest.raises(ConfigError, match="pass two"):
        FlaxSACAgent(Nnx((OBS, 4), rngs), critic, critic, 2)
    with pytest.raises(ConfigError, match="one row"):
        FlaxSACAgent(Nnx((OBS, 4), rngs), critic, apart, 2)
    with pytest.raises(ConfigError, match="observation_space"):
        FlaxDQNAgent(LinenQ(), 4, hyperparams=HP)
    with pytest.raises(ConfigError, match="must be a flax"):
        FlaxDQNAgent(lambda x: x, 4, hyperparams=HP)
    trunk = built("DQN")._network
    with pytest.raises(ConfigError, match="4 outputs, expected 5"):
        FlaxDQNAgent(trunk, 5, hyperparams=HP)


def test_states_of_another_optimizer_are_refused():
    trunk = built("DQN")._network
    one = FlaxDQNAgent(trunk, 4, Adam(1e-3), HP, "cpu", seed=0)
    other = FlaxDQNAgent(trunk, 4, injected(1e-3), HP, "cpu", seed=0)
    with pytest.raises(IncompatibleCheckpoint, match="optimizer"):
        other.load_state_dict(one.state_dict())


# --- acting ------------------------------------------------------------------------------------------------------


@ALL
def test_acting_through_numpy_is_the_network(kind):
    agent = built(kind, {"dueling": True} if kind == "DQN" else {})
    feed(agent, 8)
    seen = np.random.default_rng(5).standard_normal((6, OBS)).astype(np.float32)
    if kind == "DQN":
        wanted = agent.q_values(seen).argmax(axis=1)
    else:
        networks = agent._networks
        outputs = np.asarray(networks.network.apply(networks.actor.params["actor"], seen))
        wanted = np.tanh(outputs[:, :2]) if kind == "SAC" else outputs
    np.testing.assert_allclose(agent.act_batch(seen, deterministic=True), wanted, atol=1e-6)


@ALL
def test_inputs_that_must_not_be_written_to_are_left_alone(kind):
    agent = built(kind)
    rng = np.random.default_rng(0)
    for _ in range(8):
        arrays = [rng.standard_normal((2, OBS)).astype(np.float32) for _ in range(2)]
        kept = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        actions = agent.act_batch(arrays[0])
        agent.observe(arrays[0], actions, np.ones(2), arrays[1], np.zeros(2, np.bool_), np.zeros(2, np.bool_))
        assert all(np.array_equal(a, b) for a, b in zip(arrays, kept, strict=True))
