"""What every backend must do, wherever its actors are: here, in processes, or on two nodes of a cluster."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from actor_envs import CartPole, Counting, Make, Masked, Misbehaving, Pendulum
from conftest import HAS_RAY, agent_for, eventually

from optix_core import Optimizer
from optix_core.acting.remote import acting_of
from optix_core.errors import EnvironmentFault
from optix_distributed import ActorError, CollectionSettings
from optix_distributed.collection import Collection

NEEDS_RAY = pytest.mark.skipif(not HAS_RAY, reason="ray is missing")
EVERYWHERE = pytest.mark.parametrize(
    "backend", ["inline", "local", pytest.param("ray", marks=[NEEDS_RAY, pytest.mark.slow])], indirect=True
)
"""A cluster takes a while, and gives up on itself where others want the processors too: it is left for -m slow."""
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def backend(request):
    """Options that choose the backend."""
    if request.param == "ray":
        return {"backend": "ray", "address": request.getfixturevalue("cluster").address}
    return {"backend": request.param}


@pytest.fixture
def collect(backend):
    made = []

    def make(agent, env, seed=3, **settings):
        settings = {"n_actors": 2, "envs_per_actor": 3, "trajectory_len": 10, **backend, **settings}
        if settings["backend"] == "inline":
            settings.pop("address", None)
        one = Collection(acting_of(agent), [env], CollectionSettings(**settings), seed)
        made.append(one)
        one.publish()
        return one

    yield make
    for one in made:
        one.close()


@EVERYWHERE
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


@EVERYWHERE
def test_truncated_steps_keep_what_followed_them(collect):
    env = Make(Counting, 4, truncate=True)
    window = collect(agent_for(env), env).collect(2, 2)
    t, n = np.nonzero(window.truncated)
    assert len(t)
    np.testing.assert_array_equal(window.next_observations()[t, n, 0], 4.0)
    np.testing.assert_array_equal(window.boundary_steps, np.stack([t, n], axis=1))


@EVERYWHERE
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
    from optix_distributed.learning.parts import parts_of_agent
    from optix_distributed.learning.update import VTraceSettings, VTraceUpdate

    agent = agent_for(env, algorithm)
    one = collect(agent, env)
    networks, normalizers, _, _ = parts_of_agent(agent)
    update = VTraceUpdate(networks, VTraceSettings(), normalizers, np.random.default_rng(0))
    ends = 0
    for _ in range(7):
        window = one.collect(2, 2)
        ends += int(window.dones.sum())
        batch, found = update.batch(window)
        np.testing.assert_allclose(batch.log_probs, window.log_probs.reshape(-1), atol=1e-5)
        np.testing.assert_allclose(found.rhos, 1.0, atol=1e-5)
    assert ends  # resets were among them


@EVERYWHERE
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


@EVERYWHERE
def test_masks_reach_the_policy_and_the_learner(collect):
    masked = collect(agent_for(Make(Masked)), Make(Masked)).collect(2, 2)
    assert masked.observations.dtype.names == ("observation", "action_mask")
    allowed = np.take_along_axis(masked.observations["action_mask"], masked.actions[..., None], axis=-1)
    assert allowed.all()
    np.testing.assert_allclose(masked.log_probs, 0.0, atol=1e-6)  # one action was allowed


@EVERYWHERE
def test_lockstep_gives_the_same_trajectories_everywhere(collect):
    env = CartPole()
    agent = agent_for(env)
    one = collect(agent, env, sync="lockstep")
    inline = collect(agent, env, sync="lockstep", backend="inline")
    for _ in range(3):
        ours, theirs = one.collect(2, 2), inline.collect(2, 2)
        for name in (
            "observations",
            "actions",
            "rewards",
            "log_probs",
            "terminated",
            "truncated",
            "episode_starts",
            "final_obs",
            "boundary_steps",
            "boundary_observations",
        ):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert ours.episodes == theirs.episodes
        agent.perturb_weights(0.05, seed=ours.episode_id)
        one.publish()
        inline.publish()


@EVERYWHERE
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


@EVERYWHERE
def test_weights_that_are_not_finite_are_never_published(collect):
    agent = agent_for(CartPole())
    one = collect(agent, CartPole())
    agent._networks.flat.vector.data[3] = float("nan")
    assert not one.publish()
    assert one.version == 0
    assert one.stats()["skipped_publications"] == 1


@EVERYWHERE
def test_versions_are_those_that_were_published(collect):
    agent = agent_for(CartPole())
    one = collect(agent, CartPole(), slots_per_actor=1)
    one.collect(2, 2)
    for _ in range(4):
        agent.perturb_weights(0.01)
        assert one.publish()
        assert one.publish()  # the same weights are the same version
        one.collect(2, 2)
    stats = one.stats()
    assert one.version == stats["version"] == 4
    assert stats["lag_max"] <= 2
    assert sum(stats["lag_histogram"].values()) == 10


@EVERYWHERE
def test_an_exception_of_an_environment_arrives_with_its_traceback(collect):
    env = Make(Misbehaving, "raise", 20)
    one = collect(agent_for(env), env)
    with pytest.raises((ActorError, EnvironmentFault)) as caught:
        for _ in range(20):
            one.collect(2, 2)
    kind = EnvironmentFault if one.settings.backend == "inline" else ActorError
    assert isinstance(caught.value, kind)
    assert "the wheel fell off in step 20" in str(caught.value)
    if kind is ActorError:
        assert "actor_envs.py" in str(caught.value)


@EVERYWHERE
def test_with_restart_environments_are_rebuilt_and_faults_counted(collect, tmp_path):
    env = Make(Misbehaving, "raise", 20, str(tmp_path / "once"))
    one = collect(agent_for(env), env, on_env_error="restart")
    for _ in range(6):
        one.collect(2, 2)
    assert eventually(lambda: one.stats()["env_errors"] == 1)
    assert one.stats()["restarts"] == 0


@EVERYWHERE
def test_what_is_closed_stays_closed_and_remembers_its_numbers(collect):
    one = collect(agent_for(CartPole()), CartPole())
    one.collect(2, 2)
    one.close()
    one.close()
    assert one.backend.closed
    stats = one.stats()
    assert stats["steps_trained"] == 60
    assert stats["steps_collected"] >= 60
    assert stats["steps_lost"] == 0


@EVERYWHERE
def test_the_plain_learner_learns_over_it(learner, backend):
    one = learner(**backend)
    seen = []
    one._callbacks.append(seen.append)
    result = one.run(1000)
    assert result["total_steps"] >= 1000
    assert result["total_updates"] == len(seen) > 0
    assert result["steps_collected"] >= result["total_steps"]
    assert result["restarts"] == result["steps_lost"] == result["discarded"] == 0


@EVERYWHERE
def test_the_loop_runs_on_top_of_it(backend, tmp_path):
    env = CartPole()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will pay|.*will not pay", category=RuntimeWarning)
        one = Optimizer(
            agent_for(env),
            env,
            runner="async",
            runner_options={"actors": 2, "envs_per_actor": 2, **backend},
            window_size=64,
            seed=5,
            max_steps=600,
            validation_episodes=2,
            confirm_episodes=4,
            checkpoint_dir=tmp_path,
        )
        result = one.run()
    assert result.steps == 512
    events = [json.loads(line) for line in (one.run_dir / "events.jsonl").read_text().splitlines()]
    assert [e["steps_trained"] for e in events if e["kind"] == "actors"] == [256, 512]
