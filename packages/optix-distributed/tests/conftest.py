"""What several tests need: networks, learners that are always closed, and a look at what a process holds."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parent))  # for the modules that several tests, and actors, share

from actor_envs import CartPole

from optix_core import make_agent
from optix_distributed import AsyncActorLearner

EVENTUALLY_S = 10.0
HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What starts a cluster is slow; its parts also give up on each other where other tests want the processors."""
    for item in items:
        if "cluster" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def cluster():
    """Two nodes with room for two actors each, beside a head without room; started once."""
    if not HAS_RAY:
        pytest.skip("ray is missing")
    from ray_cluster import RayCluster

    one = RayCluster(2, cpus=2)
    yield one
    one.close()


def perceptron(n_in, n_out, gain, generator):
    from optix_torch.networks.mlp import mlp

    return mlp((n_in, 32, 32, n_out), "tanh", output_gain=gain, generator=generator)


@pytest.fixture
def networks():
    def make(n_in=4, n_out=2, seed=0, lr=1e-3):
        g = torch.Generator().manual_seed(seed)
        actor, critic = perceptron(n_in, n_out, 0.01, g), perceptron(n_in, 1, 1.0, g)
        return actor, critic, torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=lr, eps=1e-5)

    return make


@pytest.fixture
def learner(networks):
    """Makes learners, and closes them whatever happens."""
    made = []

    def make(env=None, nets=None, **options):
        options = {"n_actors": 2, "envs_per_actor": 4, "trajectory_len": 16, **options}
        one = AsyncActorLearner(*(nets or networks()), env or CartPole(), **options)
        made.append(one)
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


def eventually(condition, seconds=EVENTUALLY_S):
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def is_there(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def names(folder):
    """What lies in a folder."""
    return sorted(path.name for path in Path(folder).iterdir())


def shared_memory():
    """Names in shared memory, without folders that test runs of others make there meanwhile."""
    return [name for name in names("/dev/shm") if not name.startswith("optix-test-")]


def held():
    """What this process holds that must not grow: descriptors, and names in shared memory."""
    return len(names("/proc/self/fd")), shared_memory()


def weights(one):
    return one._networks.flat.to_numpy().copy()


class Linear(nn.Sequential):
    """One layer."""
