"""The policies of PPO act in processes that cannot import JAX, and do exactly what the agents do."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from flax import nnx
from gymnasium.spaces import Box, Discrete

from optix_core.acting import ActingSpec
from optix_core.acting.remote import acting_of
from optix_core.errors import ConfigError
from optix_core.rl.masking import with_masks
from optix_jax import FlaxPPOAgent

ELSEWHERE = """
import sys

sys.modules.update(dict.fromkeys(("jax", "jaxlib", "flax", "optax", "optix_jax")))  # as if not installed

import numpy as np
from multiprocessing.reduction import ForkingPickler

from optix_core.acting.remote import remote_policy
from optix_core.agents.box_actions import actions_of

spec, weights, space, seen = ForkingPickler.loads(sys.stdin.buffer.read())
policy = remote_policy(spec, actions_of(space, "the test").to_env, np.random.default_rng(3))
policy.weights[:] = weights
policy.changed()
best = policy.act_batch(seen, deterministic=True)
drawn = policy.act_batch(seen)
found = best, drawn, policy.log_probs(seen, drawn), policy.env_actions(drawn)
sys.stdout.buffer.write(bytes(ForkingPickler.dumps(found)))
"""


def acted_elsewhere(spec, weights, space, seen):
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=bytes(ForkingPickler.dumps((spec, weights, space, seen))),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return ForkingPickler.loads(done.stdout)


@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_a_process_without_jax_acts_as_the_agent_does(make, kind):
    agent = make.built(kind, normalize_observations=True)
    acting = agent.numpy_acting()
    spec = ActingSpec.of(acting)  # of a policy that has not learned yet; the weights travel later
    assert spec.accepts_masks == (kind == "discrete")
    before = np.zeros(spec.nbytes, np.uint8)
    spec.write(acting, before)
    agent.learn(make.window(agent))
    weights = np.zeros(spec.nbytes, np.uint8)
    assert spec.write(acting, weights)
    assert not np.array_equal(weights, before)
    seen = (2.0 + 3.0 * np.random.default_rng(1).standard_normal((32, make.OBS))).astype(np.float32)
    space = Discrete(4) if kind == "discrete" else Box(np.float32([-2, 0]), np.float32([2, 5]))
    best, drawn, log_probs, in_env = acted_elsewhere(spec, weights, space, seen)
    np.testing.assert_array_equal(best, agent.act_batch(seen, deterministic=True))
    np.testing.assert_array_equal(drawn, agent._policy.act(seen, np.random.default_rng(3)))
    np.testing.assert_array_equal(in_env, agent.env_actions(drawn))
    normalized = agent._normalizers.observations(seen)
    np.testing.assert_allclose(log_probs, agent._networks.log_probs(normalized, drawn), rtol=1e-6, atol=1e-6)
    outdated = acted_elsewhere(spec, before, space, seen)[2]
    assert not np.allclose(log_probs, outdated, atol=1e-6)


def test_masks_travel_with_observations(make):
    agent = make.built()
    spec, acting = ActingSpec.of(agent.numpy_acting()), agent.numpy_acting()
    weights = np.zeros(spec.nbytes, np.uint8)
    spec.write(acting, weights)
    rng = np.random.default_rng(2)
    masks = np.eye(4, dtype=bool)[rng.integers(4, size=32)]
    seen = with_masks(rng.standard_normal((32, make.OBS)).astype(np.float32), masks)
    _, drawn, log_probs, _ = acted_elsewhere(spec, weights, Discrete(4), seen)
    np.testing.assert_array_equal(drawn, masks.argmax(axis=1))
    np.testing.assert_allclose(log_probs, 0.0, atol=1e-6)


def test_other_networks_are_refused_with_a_reason():
    agent = FlaxPPOAgent(
        None, 2, actor=nnx.Linear(3, 2, rngs=nnx.Rngs(0)), critic=nnx.Linear(3, 1, rngs=nnx.Rngs(1))
    )
    assert agent.numpy_acting() is None
    with pytest.raises(ConfigError, match="not plain perceptrons"):
        acting_of(agent)
