"""Searches and populations over a cluster: same results as in one process, and kills that leave nothing running."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.extend(  # what is sent to other processes, the cluster for tests, and core's tasks
    str(Path(__file__).parents[2] / folder)
    for folder in (
        "tests/distributed",
        "packages/optix-distributed/tests",
        "packages/optix-core/tests/search/toys",
        "packages/optix-core/tests/population",
    )
)

import climbing
from spread_tasks import four_to_two, make_search, note

NEEDS = ("ray", "optuna", "optix_distributed", "optix_neuroevo")
pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDS), reason=f"needs {', '.join(NEEDS)}"
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc"),
    pytest.mark.timeout(240),
    pytest.mark.slow,  # it starts a cluster
    # processes are started beside JAX if another module has loaded it; they execute another program at once
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    from ray_cluster import RayCluster

    one = RayCluster(2, cpus=1)
    yield one
    one.close()


@pytest.fixture
def executor(cluster):
    from optix_distributed import RayExecutor

    with RayExecutor(cluster.address) as one:
        yield one


def pids_in(folder):
    return sorted(int(path.name) for path in Path(folder).iterdir() if path.name.isdigit())


# ------------------------------------------------------------------ calls


def test_calls_are_made_elsewhere_and_answered_in_order(executor, tmp_path):
    from optix_core.executor import Executor

    assert isinstance(executor, Executor)
    until = time.monotonic() + 30
    while executor.workers < 2 and time.monotonic() < until:
        time.sleep(0.1)  # the second node tells what it has a moment after it has joined
    assert executor.workers == 2

    def square(x):
        note(tmp_path)
        time.sleep(0.02 * (x % 3))
        return x * x

    assert executor.map(square, range(12)) == [x * x for x in range(12)]
    assert executor.map(square, []) == []
    assert os.getpid() not in pids_in(tmp_path)
    assert executor.lost == 0


def test_an_exception_is_raised_here_as_what_it_is(executor):
    def broken(x):
        if x == 3:
            raise LookupError("nothing under 3")
        return x

    with pytest.raises(LookupError, match="nothing under 3"):
        executor.map(broken, range(6))
    assert executor.map(abs, [-1]) == [1]  # and it goes on


def test_a_killed_call_is_made_again_within_its_limit(executor, tmp_path):
    from optix_distributed import WorkerLostError

    def dies_once(x):
        if x == 2 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x + 1

    assert executor.map(dies_once, range(5)) == [1, 2, 3, 4, 5]
    assert executor.lost == 1
    executor._max_lost = 1
    with pytest.raises(WorkerLostError, match="2 processes"):
        executor.map(lambda x: os.kill(os.getpid(), signal.SIGKILL), [0])


def test_what_cannot_travel_and_what_has_no_room_is_said(executor, cluster):
    from optix_core.errors import ConfigError
    from optix_distributed import RayExecutor

    lock = threading.Lock()
    with pytest.raises(ConfigError, match="the function cannot be sent"):
        executor.map(lambda x: lock, [1])
    with pytest.raises(ConfigError, match="a call takes 1 simulator"):
        RayExecutor(cluster.address, resources={"simulator": 1})
    other = RayExecutor(cluster.address)
    other.close()
    with pytest.raises(ConfigError, match="closed"):
        other.map(abs, [1])


# ------------------------------------------------------------------ populations


def test_a_population_evolves_over_a_cluster_as_it_does_here(executor, tmp_path):
    import gymnasium as gym

    from optix_neuroevo.population import EpisodeReturn, Population, PopulationSettings

    def evolve(executor):
        one = Population(four_to_two, settings=PopulationSettings(size=12), seed=3)
        fitness = EpisodeReturn(gym.make("CartPole-v1"), max_steps=60)
        return [one.step(fitness, executor) for _ in range(3)], one.state_dict()

    assert evolve(executor) == evolve(None)


@pytest.mark.slow
def test_a_population_survives_a_killed_worker(executor, tmp_path):
    from optix_neuroevo.population import evolve

    def fitness(graph, rng):
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(np.sum(graph.forward(np.ones(4))))

    found = evolve(fitness, four_to_two, population=8, generations=2, executor=executor)
    assert found.evaluations == 16
    assert executor.lost == 1


# ------------------------------------------------------------------ searches


def trial_states(folder):
    import optuna

    from optix_core.search.storage import open_storage

    study = optuna.load_study(study_name="s", storage=open_storage(f"journal:{folder}/trials.log"))
    return [t.state.name for t in study.get_trials(deepcopy=False)]


def test_members_train_over_a_cluster_as_they_do_here_although_one_is_killed(executor, tmp_path):
    from optix_core.population import PopulationTrainer

    def run(place, executor, pipeline):
        one = PopulationTrainer(
            climbing.make_agent, pipeline, climbing.make_validation, tmp_path / place, interval_steps=40,
            max_steps=120, members=4, seed=3, eval_episodes=2, confirm_episodes=2, executor=executor,
        )  # fmt: skip
        result = one.run()
        return result.history, [(m.params, m.score, m.state["height"].tolist()) for m in result.members]

    def deadly(seed=None):
        note(tmp_path)
        if len(pids_in(tmp_path)) > 1 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return climbing.make_pipeline(seed)

    here = run("here", None, climbing.make_pipeline)
    assert run("there", executor, deadly) == here
    assert (tmp_path / "died").exists()
    assert executor.lost >= 1
    assert os.getpid() not in pids_in(tmp_path)


def test_a_search_spreads_and_a_killed_worker_leaves_nothing_running(executor, tmp_path):
    from optix_core.search import spread_search

    killed = []

    def kill():
        until = time.monotonic() + 60
        while time.monotonic() < until and not killed:
            others = [pid for pid in pids_in(tmp_path) if pid != os.getpid()]
            if len(others) >= 2 and "RUNNING" in trial_states(tmp_path):
                os.kill(others[0], signal.SIGKILL)
                killed.append(others[0])
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = spread_search(functools.partial(make_search, tmp_path), executor)
    finally:
        killer.join()
    assert killed
    assert executor.lost == 1
    states = trial_states(tmp_path)
    assert "RUNNING" not in states
    assert states.count("COMPLETE") + states.count("PRUNED") == 6
    assert len(pids_in(tmp_path)) >= 3  # two workers, and the one that took a killed one's place
    assert found.report.winner.fresh_scores
    assert found.winner_weights().exists()
    found.cleanup()


@pytest.mark.slow
def test_workers_that_die_too_often_end_the_search_with_nothing_running(cluster, tmp_path):
    from optix_core.search import spread_search
    from optix_distributed import RayExecutor, WorkerLostError

    with RayExecutor(cluster.address, max_lost=1) as executor, pytest.raises(WorkerLostError):
        spread_search(functools.partial(make_search, tmp_path, os.getpid()), executor, workers=1)
    states = trial_states(tmp_path)
    assert "RUNNING" not in states
    assert states.count("FAIL") == 2
