"""Actors in processes: what arrives is what happened, nothing is dropped, and nothing is left behind."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from actor_envs import CartPole, Counting, Make, Masked, Parts, Pendulum
from conftest import eventually, held, is_there

from optix_core import make_agent
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


def agent_for(env, algorithm=None, **options):
    made = env()
    try:
        return make_agent(*([algorithm] if algorithm else []), made, framework="torch", seed=1, **options)
    finally:
        made.close()


def test_every_row_is_where_it_belongs(collect):
    """Counting environments: rewards count the steps of an episode, across the borders of trajectories."""
    env = Make(Counting, 7)
    one = collect(agent_for(env), env, slots_per_actor=2)
    running = {}
    for _ in range(6):
        window = one.collect(2, 2)
        for column in range(window.n_envs):
            for t in range(window.length):
                count = window.observations[t, column, 0]
                assert window.rewards[t, column] == count + 1
                assert window.terminated[t, column] == (count + 1 == 7)
                following = window.next_observations()[t, column]
                assert following[0] == count + 1
                assert following[1] == window.observations[t, column, 1]
        for episode in window.episodes:
            assert (episode.length, episode.episode_return) == (7, 28.0)
            running[episode.seed] = running.get(episode.seed, 0) + 1
    assert running
    assert max(running.values()) == 1  # no two episodes began with the same seed
    stats = one.stats()
    assert stats["steps_trained"] == 6 * 2 * 30
    assert stats["steps_collected"] >= stats["steps_trained"]
    assert sum(stats["steps_discarded"].values()) == stats["steps_lost"] == 0


def test_truncated_steps_keep_what_followed_them(collect):
    env = Make(Counting, 4, truncate=True)
    window = collect(agent_for(env), env).collect(2, 2)
    t, n = np.nonzero(window.truncated)
    assert len(t)
    np.testing.assert_array_equal(window.next_observations()[t, n, 0], 4.0)
    np.testing.assert_array_equal(window.boundary_steps, np.stack([t, n], axis=1))


@pytest.mark.parametrize(
    "algorithm, env",
    [
        ("PPO", CartPole()),
        ("GaussianPPO", Pendulum()),
        ("RecurrentPPO", CartPole()),
        ("RecurrentPPO", Pendulum()),
    ],
)
def test_log_probabilities_are_those_of_the_learner_over_many_trajectories(collect, algorithm, env):
    """With weights that stand still the learner's log-probabilities are the actors', resets and borders included."""
    from optix_distributed.async_learner import _of_agent
    from optix_distributed.learning.update import VTraceSettings, VTraceUpdate

    agent = agent_for(env, algorithm)
    one = collect(agent, env)
    networks, normalizers, _, _ = _of_agent(agent)
    update = VTraceUpdate(networks, VTraceSettings(), normalizers, np.random.default_rng(0))
    ends = 0
    for _ in range(7):
        window = one.collect(2, 2)
        ends += int(window.dones.sum())
        batch, found = update.batch(window)
        np.testing.assert_allclose(batch.log_probs, window.log_probs.reshape(-1), atol=1e-5)
        np.testing.assert_allclose(found.rhos, 1.0, atol=1e-5)
    assert ends  # resets were among them


def test_normalisation_travels_with_the_weights(collect):
    agent = agent_for(Pendulum(), "GaussianPPO")
    assert agent._normalizers.observation is not None
    one = collect(agent, Pendulum())
    one.collect(2, 2)
    agent._normalizers.observation.update(np.random.default_rng(0).normal(3.0, 2.0, (500, 3)))
    one.publish()
    for _ in range(6):  # until everything under way was made with the new statistics
        window = one.collect(2, 2)
    found = agent._policy.log_probs(window.observations.reshape(-1, 3), window.actions.reshape(-1, 1))
    np.testing.assert_allclose(found, window.log_probs.reshape(-1), atol=1e-5)


def test_masks_and_observations_with_parts(collect):
    masked = collect(agent_for(Make(Masked)), Make(Masked)).collect(2, 2)
    assert masked.observations.dtype.names == ("observation", "action_mask")
    allowed = np.take_along_axis(masked.observations["action_mask"], masked.actions[..., None], axis=-1)
    assert allowed.all()
    np.testing.assert_allclose(masked.log_probs, 0.0, atol=1e-6)  # one action was allowed
    with pytest.raises(ConfigError, match="numpy"):  # an encoder of PyTorch comes before the perceptron
        collect(agent_for(Make(Parts)), Make(Parts))


def test_actors_are_quick_small_and_know_no_framework(collect):
    one = collect(agent_for(CartPole()), CartPole(), envs_per_actor=8, trajectory_len=64)
    began = time.monotonic()
    one.collect(1, 1)
    assert time.monotonic() - began < 3.0 * 3  # three seconds, on a machine that others use as well
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


def test_trajectories_that_are_too_old_are_discarded_and_counted(collect):
    agent = agent_for(CartPole())
    one = collect(agent, CartPole(), slots_per_actor=2, max_policy_lag=1)
    one.collect(1, 1)
    assert eventually(lambda: (one.backend.poll(0.0), len(one.backend.ready))[1] >= 3)
    for _ in range(4):
        agent.perturb_weights(0.01)
        one.publish()
    one.collect(2, 2)
    stats = one.stats()
    assert stats["steps_discarded"]["lag"] >= 3 * 30
    assert stats["lag_max"] <= 1
    assert stats["steps_trained"] == 3 * 30


def test_weights_that_are_not_finite_are_never_published(collect):
    agent = agent_for(CartPole())
    one = collect(agent, CartPole())
    agent._networks.flat.vector.data[3] = float("nan")
    assert not one.publish()
    assert one.version == 0
    assert one.stats()["skipped_publications"] == 1


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


def test_inline_gives_the_same_trajectories(collect):
    env = CartPole()
    agent = agent_for(env)
    local = collect(agent, env, sync="lockstep")
    inline = collect(agent, env, sync="lockstep", backend="inline")
    for _ in range(3):
        one, two = local.collect(2, 2), inline.collect(2, 2)
        for name in (
            "observations",
            "actions",
            "rewards",
            "log_probs",
            "terminated",
            "final_obs",
            "boundary_steps",
        ):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert one.episodes == two.episodes
        agent.perturb_weights(0.05, seed=one.episode_id)
        local.publish()
        inline.publish()


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
