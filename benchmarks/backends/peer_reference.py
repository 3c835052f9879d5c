"""The side of the reference package's TensorFlow agent; prints one JSON line. Run by run.py in its own environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import numpy as np
import tensorflow as tf
from measuring import best, main, per_call
from tensor_optix.algorithms.tf_ppo import TFPPOAgent
from tensor_optix.core.types import EpisodeData, HyperparamSet

N = 2048


def ppo():
    def network(outputs):
        layers = [tf.keras.layers.Dense(64, "tanh"), tf.keras.layers.Dense(64, "tanh")]
        return tf.keras.Sequential([tf.keras.Input((4,)), *layers, tf.keras.layers.Dense(outputs)])

    hp = {"learning_rate": 3e-4, "n_epochs": 1, "minibatch_size": 64, "entropy_coef": 0.0}
    return TFPPOAgent(network(2), network(1), tf.keras.optimizers.Adam(3e-4), HyperparamSet(hp, 0))


def ppo_update():
    """Milliseconds of learn() on 2048 samples: ten times what one epoch takes, since ten take half a minute."""
    agent, rng = ppo(), np.random.default_rng(0)
    observations = rng.standard_normal((N, 4)).astype(np.float32)
    actions = rng.integers(0, 2, N)
    ends = rng.random(N) < 0.05
    window = EpisodeData(observations, actions, list(rng.random(N)), list(ends), [False] * N, [{}] * N, 0)

    def learn():
        # what its act() would have kept, one observation after the other
        agent._cache_obs = list(observations)
        agent._cache_log_probs, agent._cache_values = [float(np.log(0.5))] * N, [0.0] * N
        agent.learn(window)

    learn()
    return {"value": 10 * 1e3 * best(learn, 1)}


def ppo_act():
    """Microseconds of one complete decision."""
    agent = ppo()
    row = np.random.default_rng(0).standard_normal(4).astype(np.float32)
    return {"value": 1e6 * per_call(lambda: agent.act(row), 50)}


MEASURES = {"ppo_update": ppo_update, "ppo_act": ppo_act}

if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main(MEASURES)
