"""Actors in processes: what arrives is what happened, nothing is dropped, and nothing is left behind."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from actor_envs import CartPole, Make, Parts, Pendulum
from conftest import agent_for, eventually, held, is_there

from optix_core.acting.remote import ActingSpec, acting_of
from optix_core.errors import ConfigError
from optix_distributed.collection import Collection
from optix_distributed.local.backend import LocalBackend
from optix_distributed.settings import CollectionSettings


@pytest.fixture
def collect():
    made = []

    def make(agent, env, seed=3, **settings):
        settings = {"n_actors": 2, "envs_per_actor": 3, "trajectory_len": 10, **settings}
        one = Collection(acting_of(agent), [env], CollectionSettings(**settings), seed)
        made.append(one)
        one.publish()
        return one

    yield make
    for one in made:
        one.close()


def test_observations_with_parts_are_refused(collect):
    with pytest.raises(ConfigError, match="numpy"):  # an encoder of PyTorch comes before the perceptron
        collect(agent_for(Make(Parts)), Make(Parts))


def test_actors_are_small_and_know_no_framework(collect):
    one = collect(agent_for(CartPole()), CartPole(), envs_per_actor=8, trajectory_len=64)
    one.collect(1, 1)
    assert len(one.backend.pids) == 2
    for pid in one.backend.pids:
        text = Path(f"/proc/{pid}/maps").read_text()
        assert not [name for name in ("libtorch", "tensorflow", "jaxlib") if name in text]
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        private = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
        assert private <= 30 * 1024, f"{private} KiB"


def test_actors_wait_when_nobody_takes_what_they_have(collect):
    one = collect(agent_for(CartPole()), CartPole(), slots_per_actor=2)
    one.collect(1, 1)
    assert eventually(lambda: (one.backend.poll(0.0), len(one.backend.ready))[1] >= 3)
    time.sleep(0.3)
    one.backend.poll(0.0)
    steps = one.stats()["steps_collected"]
    time.sleep(0.3)
    assert one.stats()["steps_collected"] == steps  # all slots are full, so nobody steps
    assert steps <= 5 * 30
    one.collect(2, 2)
    assert eventually(lambda: one.stats()["steps_collected"] > steps)


def test_weights_are_fetched_between_trajectories_only_and_their_age_is_known(collect):
    agent = agent_for(CartPole())
    one = collect(agent, CartPole(), slots_per_actor=1)
    one.collect(2, 2)
    for _ in range(4):
        agent.perturb_weights(0.01)
        one.publish()
        one.collect(2, 2)
    assert one.version == 4
    assert one.stats()["lag_max"] <= 2
    assert sum(one.stats()["lag_histogram"].values()) == 10


def test_nothing_is_left_after_many_lives(collect):
    agent, env = agent_for(CartPole()), CartPole()
    collect(agent, env).collect(1, 1)
    for _ in range(2):
        one = collect(agent, env)
        one.collect(1, 1)
        pids = [*one.backend.pids, one.backend._held.guard.pid]
        one.close()
        one.close()
        assert not [pid for pid in pids if is_there(pid)]
    before = held()
    for _ in range(5):
        one = collect(agent, env)
        one.collect(1, 1)
        one.close()
    assert held() == before


def test_what_was_forgotten_is_given_back_too():
    env = CartPole()
    one = Collection(acting_of(agent_for(env)), [env], CollectionSettings(n_actors=1), 0)
    one.publish()
    one.collect(1, 1)
    pids = [*one.backend.pids, one.backend._held.guard.pid]
    assert all(map(is_there, pids))
    del one
    assert eventually(lambda: not any(map(is_there, pids)))


@pytest.mark.parametrize(
    "change, match",
    [
        ({"n_actors": 0}, "n_actors"),
        ({"trajectory_len": 1.5}, "trajectory_len"),
        ({"sync": "sometimes"}, "sync"),
        ({"backend": "elsewhere"}, "backend"),
        ({"lag": 1}, "lockstep"),
        ({"sync": "lockstep", "lag": 1, "slots_per_actor": 1}, "slots_per_actor"),
        ({"sync": "lockstep", "lag": 1, "backend": "inline"}, "inline"),
        ({"max_policy_lag": 0}, "nothing would ever"),
        ({"actor_timeout_s": 0}, "actor_timeout_s"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, match):
    with pytest.raises(ConfigError, match=match):
        CollectionSettings(**change)


def test_more_actors_must_be_left_than_there_are(collect):
    with pytest.raises(ConfigError, match="min_actors"):
        collect(agent_for(CartPole()), CartPole(), min_actors=3)


def test_other_agents_are_told_why_they_cannot(collect):
    with pytest.raises(ConfigError, match="no numpy_acting"):
        collect(agent_for(CartPole(), "DQN"), CartPole())
    with pytest.raises(ConfigError, match="plain"):
        collect(
            agent_for(CartPole(), "PPO", encoder="torch.nn:Flatten") if False else _relu6_agent(), CartPole()
        )


def _relu6_agent():
    import torch
    from torch import nn

    from optix_torch import TorchPPOAgent

    actor = nn.Sequential(nn.Linear(4, 8), nn.ReLU6(), nn.Linear(8, 2))
    critic = nn.Linear(4, 1)
    return TorchPPOAgent(actor, critic, torch.optim.Adam([*actor.parameters(), *critic.parameters()]))


def test_weights_survive_the_journey():
    agent = agent_for(Pendulum(), "RecurrentPPO")
    acting = acting_of(agent)
    spec = ActingSpec.of(acting)
    payload = np.zeros(spec.nbytes, np.uint8)
    assert spec.write(acting, payload)
    from optix_core.acting.remote import remote_policy

    there = remote_policy(spec, lambda actions: actions, np.random.default_rng(0))
    there.weights[:] = payload
    there.changed()
    rng = np.random.default_rng(1)
    observations, memory = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, spec.memory_size))
    here = agent.act_batch_with_memory(observations, memory.astype(np.float32), deterministic=True)
    remote = there.act_batch_with_memory(observations, memory.astype(np.float32), deterministic=True)
    np.testing.assert_array_equal(here[0], remote[0])
    np.testing.assert_array_equal(here[1], remote[1])


def test_a_backend_that_never_started_is_closed_without_a_word():
    assert LocalBackend is not None
    env = CartPole()
    one = Collection(acting_of(agent_for(env)), [env], CollectionSettings(n_actors=1), 0)
    one.close()
    assert one.stats()["steps_collected"] == 0
