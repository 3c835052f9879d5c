"""Actors on a cluster: killed, lost with their machine, stuck; placed where they fit; and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from actor_envs import Make, Misbehaving
from conftest import HAS_RAY, agent_for, eventually, is_there, shared_memory, weights

from optix_core.cli.main import main
from optix_core.errors import ConfigError, MissingDependencyError
from optix_distributed import ActorDiedError, AsyncActorLearner, CollectionSettings, RayExecutor

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not HAS_RAY, reason="ray is missing"),
]
DRIVER = Path(__file__).with_name("ray_driver.py")
FOLDERS = Path("/tmp")


@pytest.fixture
def remote(learner, cluster):
    """Learners whose actors are on the cluster."""
    return lambda env=None, **options: learner(env, backend="ray", address=cluster.address, **options)


def watched(one):
    """Ratios of every window from now on: 1 if rows belong together and weights stand still."""
    ratios, real = [], one.update.batch

    def looked_at(window):
        batch, found = real(window)
        ratios.append(float(np.abs(found.rhos - 1.0).max()))
        assert (window.rewards == 1.0).all()  # CartPole's; anything else is a row that was not written
        assert np.isfinite(window.observations).all()
        return batch, found

    one.update.batch = looked_at
    one._networks.training.set_learning_rate(1e-9)
    return ratios


def all_there(one, n=2):
    return eventually(
        lambda: (one.collection.backend.poll(0.05), len(one.collection.backend.pids) == n)[1], 60
    )


def test_killed_actors_are_replaced_and_every_row_is_whole(remote):
    one = remote(max_restarts=100, restart_window_s=1e-9)
    ratios = watched(one)
    one.run(200)
    before = one.collection.backend.pids
    for k in range(2):
        os.kill(one.collection.backend.pids[k], signal.SIGKILL)
        one.run(one.total_steps + 512)  # the other one goes on meanwhile
        assert all_there(one)
    one.run(one.total_steps + 512)
    assert not set(before) & set(one.collection.backend.pids)
    assert max(ratios) < 1e-3
    stats = one.stats()
    assert stats["restarts"] == 2
    told = stats["steps_trained"] + stats["steps_lost"] + stats["discarded"]
    assert told <= stats["steps_collected"] <= told + 6 * one.settings.slot_steps


def test_a_lost_node_is_replaced_by_those_that_are_left(remote, cluster):
    from ray_cluster import node_of

    one = remote(n_actors=2, max_restarts=5)
    ratios = watched(one)
    one.run(500)
    assert all_there(one)
    homes = {node_of(pid, cluster) for pid in one.collection.backend.pids}
    assert len(homes) == 2  # spread
    lost = next(iter(homes))
    pids = [pid for pid in one.collection.backend.pids if node_of(pid, cluster) is lost]
    try:
        cluster.lose(lost)
        one.run(one.total_steps + 2000)
        assert eventually(lambda: (one.run(one.total_steps + 64), one.stats()["restarts"] >= 1)[1], 60)
        assert all_there(one)
        assert not set(pids) & set(one.collection.backend.pids)
        assert {node_of(pid, cluster) for pid in one.collection.backend.pids} == homes - {lost}
        one.run(one.total_steps + 500)
    finally:
        cluster.nodes.append(cluster.add())
    assert max(ratios) < 1e-3
    assert one.stats()["restarts"] == 1


def test_an_actor_beyond_its_limit_ends_the_run(remote):
    one = remote(max_restarts=0)
    one.run(200)
    os.kill(one.collection.backend.pids[0], signal.SIGKILL)
    with pytest.raises(ActorDiedError, match="after 0 restarts"):
        one.run(one.total_steps + 100_000)
    assert one.collection.backend.closed


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sleep", "spin"])
def test_a_stuck_environment_is_replaced(cluster, tmp_path, caplog, how):
    """One that only waits can be asked where it is; one that never lets another thread run cannot."""
    env = Make(Misbehaving, how, 30, str(tmp_path / "once"))
    agent = agent_for(env)
    with (
        AsyncActorLearner(
            agent, None, None, env, 1, 16, envs_per_actor=2, backend="ray", address=cluster.address,
            actor_timeout_s=2.0,
        ) as one,
        caplog.at_level("WARNING", logger="optix.distributed"),
    ):  # fmt: skip
        one.run(16)
        stuck = one.collection.backend.pids
        result = one.run(500)
        assert eventually(lambda: not any(map(is_there, stuck)))
    assert result["restarts"] == 1
    if how == "sleep":
        assert "actor_envs.py" in caplog.text
        assert "in step" in caplog.text
    else:
        assert "stuck where no other thread" in caplog.text


def test_actors_know_no_framework_and_end_with_the_learner(remote):
    import ray

    one = remote()
    one.run(200)
    backend = one.collection.backend
    lives = [seat.life for seat in backend._seats]
    for modules in ray.get([life.handle.modules.remote() for life in lives]):
        assert "numpy" in modules
        assert not {"torch", "tensorflow", "jax", "flax", "keras"} & set(modules)
    pids = backend.pids
    assert all(map(is_there, pids))
    one.close()
    assert eventually(lambda: not any(map(is_there, pids)))
    assert not ray.is_initialized()  # it was connected for this learner


def test_what_is_initialised_is_used_and_left_as_it_is(remote, learner, cluster):
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        before = signal.getsignal(signal.SIGTERM)
        one, two = learner(backend="ray"), remote()  # by itself, and by the same address
        one.run(100)
        two.run(100)
        with pytest.raises(ConfigError, match="connected to the Ray cluster"):
            learner(backend="ray", address="192.0.2.1:6379")
        one.close()
        two.close()
        assert ray.is_initialized()
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_two_learners_share_a_connection_and_the_last_one_ends_it(remote):
    import ray

    one, two = remote(n_actors=1), remote(n_actors=1)
    one.run(100)
    one.close()
    assert ray.is_initialized()
    assert two.run(100)["total_steps"] >= 100
    two.close()
    assert not ray.is_initialized()


@pytest.mark.slow
def test_room_is_reserved_for_all_actors_and_given_back(remote):
    from ray.util import placement_group_table

    one = remote(placement="reserve", n_actors=3)
    one.run(300)
    groups = [g for g in placement_group_table().values() if g["state"] == "CREATED"]
    assert [len(g["bundles"]) for g in groups] == [3]
    assert {bundle["CPU"] for bundle in groups[0]["bundles"].values()} == {1.0}
    other = remote(n_actors=1)  # keeps the connection
    one.close()
    assert eventually(lambda: all(g["state"] == "REMOVED" for g in placement_group_table().values()))
    other.close()


@pytest.mark.slow
def test_old_weights_are_given_back(remote, cluster):
    """Thirty stores full of weights, of which two are kept."""
    one = remote(n_actors=1)
    one.run(100)
    backend = one.collection.backend
    for _ in range(300):
        backend.publish(np.zeros(2**23, np.uint8))
    assert sorted(backend._weights) == [backend.version - 1, backend.version]
    assert not [path for path in Path(cluster.folder).rglob("*spilled*/*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("lag", [0, 1])
def test_lockstep_gives_the_same_weights_as_on_one_machine(remote, learner, networks, lag):
    options = {"sync": "lockstep", "lag": lag, "trajectory_len": 8}
    here, there = learner(nets=networks(), **options), remote(nets=networks(), **options)
    here.run(400)
    there.run(400)
    np.testing.assert_array_equal(weights(here), weights(there))


@pytest.mark.slow
def test_ray_that_somebody_shuts_down_is_not_started_again(remote):
    import ray

    one = remote(n_actors=1)
    one.run(100)
    ray.shutdown()
    with pytest.raises(ConfigError, match="Ray was shut down"):
        one.run(one.total_steps + 100)
    assert not ray.is_initialized()
    assert one.collection.backend.closed


@pytest.mark.slow
def test_a_connection_that_somebody_made_instead_of_ours_is_left_alone(remote, cluster):
    import ray

    one = remote(n_actors=1)
    one.run(100)
    ray.shutdown()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        two = remote(n_actors=1)
        two.run(100)
        one.close()
        two.close()
        assert ray.is_initialized()
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_the_command_line_trains_on_a_cluster_and_resumes(cluster, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"train CartPole-v1 --runner async --actors 2 runner.backend=ray runner.address={cluster.address} --json"
    rest = "runner.envs_per_actor=2 window_size=64 max_steps=600 validation.episodes=2 optimizer.confirm_episodes=4"
    assert main([*words.split(), *rest.split(), "--run-dir", "r"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 512
    assert main(["resume", "r", "max_steps=1100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 1024
    assert main(["train", "CartPole-v1", "--runner", "async", "runner.backend=ray"]) != 0
    assert "needs the runner option actors" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_begins_with_those_actors_that_there_is_room_for(remote):
    one = remote(n_actors=5, min_actors=4)
    one.run(500)
    assert all_there(one, 4)
    assert one.stats()["actors_alive"] == 4


def test_clusters_without_room_and_addresses_that_cannot_be_are_refused_at_once(remote, learner):
    with pytest.raises(ConfigError, match="5 actors take 5 CPU, and the cluster has 4 in all"):
        remote(n_actors=5)
    with pytest.raises(ConfigError, match="2 actors take 2 simulator"):
        remote(actor_resources={"simulator": 1})
    with pytest.raises(ConfigError, match="a machine of the cluster"):
        learner(backend="ray", address="ray://192.0.2.1:10001")


@pytest.mark.parametrize(
    "options, match",
    [
        ({"address": "auto"}, "address belongs to backend='ray'"),
        ({"placement": "reserve"}, "placement belongs to backend='ray'"),
        ({"actor_resources": {"CPU": 1}, "backend": "inline"}, "actor_resources belongs to backend='ray'"),
        ({"backend": "ray", "placement": "anywhere"}, "placement is 'anywhere'"),
        ({"backend": "ray", "actor_resources": {"CPU": -1}}, "amounts of at least 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        CollectionSettings(**options)


def test_without_ray_the_message_names_the_extra(learner, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'optix-distributed\[ray\]'"):
        learner(backend="ray")
    with pytest.raises(MissingDependencyError, match=r"RayExecutor .*pip install 'optix-distributed\[ray\]'"):
        RayExecutor()


def test_ray_is_not_imported_unless_it_is_chosen():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import optix_distributed, optix_distributed.collection, optix_distributed.on_ray, optix_distributed.runner\n"
        "import optix_distributed.async_learner, optix_distributed.local.backend, optix_distributed.plugin\n"
        "assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(DRIVER.parent)], check=True, timeout=120)


# ------------------------------------------------------------------ a cluster of our own


def ours():
    """Folders of clusters that were started by learners."""
    return sorted(path.name for path in FOLDERS.glob("oxray-*"))


def drive(*words):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, str(DRIVER), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**kept, "OMP_NUM_THREADS": "1", "TMPDIR": str(FOLDERS)},
    )  # fmt: skip


def left_of(told):
    from ray_cluster import inside

    return (
        [pid for pid in told["pids"] if is_there(pid)],
        inside(told["folder"]),
        Path(told["folder"]).exists(),
    )


@pytest.mark.slow
def test_a_cluster_of_our_own_leaves_nothing(tmp_path):
    memory, home = shared_memory(), Path.home() / ".ray"
    had_home = home.exists()
    process = drive("train")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    told, end = map(json.loads, out.splitlines())
    assert end["total_steps"] >= 1000
    assert not end["initialised"]
    assert left_of(told) == ([], [], False)
    assert shared_memory() == memory
    assert home.exists() == had_home


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_learner_that_is_ended_takes_its_cluster_with_it(number):
    memory = shared_memory()
    process = drive("forever")
    line = process.stdout.readline()
    assert line, process.stderr.read()
    told = json.loads(line)
    assert all(map(is_there, told["pids"]))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert json.loads(out.splitlines()[-1])["interrupted"], err
    assert eventually(lambda: left_of(told) == ([], [], False), 30), left_of(told)
    assert shared_memory() == memory


# ------------------------------------------------------------------ more of the same


@pytest.mark.slow
def test_three_nodes_actors_killed_and_nodes_lost_again_and_again(learner, record_property):
    """What is published in docs: how long an actor is away."""
    import random

    from ray_cluster import RayCluster, inside, node_of

    rng, away = random.Random(0), {"actor": [], "node": [], "silent node": []}
    cluster = RayCluster(3, cpus=2)
    folder = cluster.folder
    try:
        one = learner(
            backend="ray", address=cluster.address, n_actors=3, max_restarts=1000, restart_window_s=1e-9,
            slots_per_actor=2,
        )  # fmt: skip
        ratios = watched(one)
        one.run(500)
        assert all_there(one, 3)
        for k, what in enumerate(["actor", "actor", "node", "actor", "actor", "silent node"] * 4):
            pid = rng.choice(one.collection.backend.pids)
            node = node_of(pid, cluster)
            began, before = time.monotonic(), one.total_steps
            if what == "actor":
                os.kill(pid, signal.SIGKILL)
            elif what == "node":
                cluster.lose(node)
            else:
                cluster.silence(node)
            while time.monotonic() - began < 90:
                one.run(one.total_steps + 64)
                pids = one.collection.backend.pids
                if pid not in pids and len(pids) == 3:
                    break
            assert len(one.collection.backend.pids) == 3, (k, what)
            away[what].append(round(time.monotonic() - began, 2))
            assert one.total_steps > before
            if what == "silent node":
                cluster.lose(node)
            if what != "actor":
                cluster.nodes.append(cluster.add())
        assert max(ratios) < 1e-3
        assert one.stats()["restarts"] >= 24
        one.close()
    finally:
        cluster.close()
    record_property("away", json.dumps(away))
    print("seconds until all actors were back:", away)
    assert not inside(folder)
    assert not Path(folder).exists()
