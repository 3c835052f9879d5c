"""Agents of JAX and TensorFlow learn from actors in other processes, with the correction that torch's agents have."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported anywhere
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import gymnasium as gym
import numpy as np
import pytest

from optix_core import Optimizer, make_agent
from optix_core.agents.ppo_update import OFF_POLICY, is_off_policy, ppo_batch
from optix_core.errors import ConfigError
from optix_core.rl import standardize
from optix_core.rl.vtrace import vtrace

NEEDS = {
    "jax": ("optix_jax", "jax", "flax", "optax"),
    "tf": ("optix_tf", "tensorflow", "keras"),
}
LOADED = {"jax": "jaxlib", "tf": "tensorflow"}
"""What is in the memory of a process that has imported the framework."""
FRAMEWORKS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not all(importlib.util.find_spec(module) for module in modules), reason=f"{name} is missing"
        ),
    )
    for name, modules in NEEDS.items()
]
AGENTS = {"PPO": "CartPole-v1", "GaussianPPO": "Pendulum-v1"}

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("optix_distributed") is None, reason="optix-distributed is missing"
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="actors need Linux"),
    pytest.mark.filterwarnings("ignore:.*will pay:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*will not pay:RuntimeWarning"),
]


def agent_for(framework, algorithm):
    options = {"hidden_sizes": (8,), "learning_rate": 1e-2, "normalize_rewards": False}
    if framework == "tf":
        options["compiler"] = "graph"  # made faster than with XLA
    env = gym.make(AGENTS[algorithm])
    try:
        return make_agent(algorithm, env, framework=framework, seed=1, **options)
    finally:
        env.close()


@pytest.mark.parametrize("algorithm", AGENTS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_windows_of_an_older_policy_are_corrected(framework, algorithm):
    from optix_distributed import CollectionSettings, DistributedPipeline

    agent = agent_for(framework, algorithm)
    settings = CollectionSettings(
        n_actors=1, envs_per_actor=2, trajectory_len=24, slots_per_actor=2, sync="lockstep", lag=1
    )
    pipeline = DistributedPipeline(agent, partial(gym.make, AGENTS[algorithm]), settings, seed=4)
    try:
        for _ in range(3):
            found = agent.learn(pipeline.collect())
            assert found["n_updates"] > 0
            assert np.isfinite([found["policy_loss"], found["value_loss"]]).all()
        window = pipeline.collect()
        assert pipeline.stats()["lag_max"] >= 1
        for pid in pipeline._collection.backend.pids:
            mapped = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
            assert "numpy" in mapped
            assert LOADED[framework] not in mapped
    finally:
        pipeline.teardown()
    assert is_off_policy(window)
    networks, normalizers, hp = agent._networks, agent._normalizers, agent.get_hyperparams().params
    shape = window.time_major("rewards").shape
    batch = ppo_batch(window, networks, normalizers, {**hp})
    # the log-probabilities are those of the weights that learn, not those that acted
    seen = normalizers.observations(window.observations.reshape(-1, *window.observations.shape[2:]))
    assert not np.allclose(batch.log_probs, window.log_probs.reshape(-1), atol=1e-4)
    np.testing.assert_allclose(batch.log_probs, networks.log_probs(seen, batch.actions), atol=1e-6)
    # and the advantages are those of V-trace
    values = batch.values.reshape(shape)
    after = networks.values(normalizers.observations(window.next_observations().reshape(seen.shape)))
    wanted = vtrace(
        window.log_probs,
        batch.log_probs.reshape(shape),
        window.time_major("learning_rewards"),
        values,
        after.reshape(shape),
        window.terminated,
        window.truncated,
        gamma=hp["gamma"],
        lam=hp["gae_lambda"],
    )
    np.testing.assert_allclose(batch.advantages, standardize(wanted.advantages).reshape(-1), atol=1e-4)
    window.metadata[OFF_POLICY] = False
    uncorrected = ppo_batch(window, networks, normalizers, {**hp})
    assert not np.allclose(batch.advantages, uncorrected.advantages, atol=1e-2)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_loop_runs_on_actors(framework, tmp_path):
    env = partial(gym.make, "CartPole-v1")
    one = Optimizer(
        agent_for(framework, "PPO"), env, runner="async", runner_options={"actors": 1, "envs_per_actor": 2},
        window_size=32, max_steps=200, validation_episodes=2, confirm_episodes=4, checkpoint_dir=tmp_path, seed=5,
    )  # fmt: skip
    assert one.run().steps == 3 * 64
    events = [json.loads(line) for line in (one.run_dir / "events.jsonl").read_text().splitlines()]
    assert [e["steps_trained"] for e in events if e["kind"] == "actors"] == [64, 128, 192]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_learner_of_torch_says_what_trains_others(framework):
    from optix_distributed import AsyncActorLearner

    with pytest.raises(ConfigError, match=r'of every framework.*runner="async"'):
        AsyncActorLearner(
            agent_for(framework, "PPO"), None, None, partial(gym.make, "CartPole-v1"), n_actors=1
        )
