"""Agents of two backends, given equal weights and one window, end with equal weights."""

from __future__ import annotations

import importlib
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))  # for the module that makes the agents

import agents_of
from agents_of import ALGORITHMS, BACKENDS, agent_of, distance, give, trained, weights, window

EQUAL = 1e-6
DIFFERENT = 1e-5
"""What planted differences must exceed: ten times what is called equal."""

PAIRS = list(combinations(BACKENDS, 2))
OTHERS = BACKENDS[1:]
pytestmark = pytest.mark.skipif(len(BACKENDS) < 2, reason="parity needs two backends")

_found: dict[tuple[str, str], dict[str, np.ndarray]] = {}


def unchanged(backend, algorithm):
    """What ``trained`` gives without any change; trained once."""
    key = backend, algorithm
    if key not in _found:
        _found[key] = trained(backend, algorithm)
    return _found[key]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_equal_weights_and_one_window_end_in_equal_weights(pair, algorithm):
    one, other = (unchanged(backend, algorithm) for backend in pair)
    assert distance(one, other) <= EQUAL


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_window_moves_every_array(backend, algorithm):
    after = unchanged(backend, algorithm)
    before = weights(agent_of(backend, algorithm))
    for name, array in before.items():
        assert np.abs(array - after[name]).max() > DIFFERENT, name


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_equal_seeds_act_and_draw_alike(pair):
    rows = np.random.default_rng(0).standard_normal((50, agents_of.OBS)).astype(np.float32)
    for algorithm in ALGORITHMS:
        one, other = (agent_of(backend, algorithm, **_late(algorithm)) for backend in pair)
        give(other, weights(one))
        for deterministic in (False, True):
            first, second = (agent.act_batch(rows, deterministic=deterministic) for agent in (one, other))
            np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)


def _late(algorithm):
    """Past the warm-up, where actions come from the network."""
    return {} if algorithm in agents_of.ON_POLICY else {"learning_starts": 0}


# --- planted differences ------------------------------------------------------------------------------------------

DROPPED = {
    "ppo": {"entropy_coef": 0.0},
    "gaussian_ppo": {"entropy_coef": 0.0},
    "sac": {"alpha": 1e-9},
    "dqn": {"n_step": 1},
    "td3": {"target_noise": 0.0},
}
"""What a careless copy would leave out: the entropy, or what the algorithm has instead."""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_dropped_term_is_noticed(algorithm):
    right, wrong = unchanged(BACKENDS[0], algorithm), trained(BACKENDS[-1], algorithm, **DROPPED[algorithm])
    assert distance(right, wrong) > DIFFERENT


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_time_limit_taken_for_an_end_is_noticed(algorithm):
    right, wrong = unchanged(BACKENDS[0], algorithm), trained(BACKENDS[-1], algorithm, merged=True)
    assert distance(right, wrong) > DIFFERENT


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_target_that_is_copied_late_is_noticed(backend, monkeypatch):
    page = importlib.import_module(f"optix_{backend}.dqn")
    (cls,) = (found for name, found in vars(page).items() if name.endswith("DQNAgent") and name[0] in "TF")
    move, learn, waiting, moved = cls._move_target, cls._gradient_steps, [], []

    def late(self, n):
        learn(self, n)
        if waiting:
            moved.append(move(self, waiting.pop()))

    monkeypatch.setattr(cls, "_move_target", lambda self, tau: waiting.append(tau))
    monkeypatch.setattr(cls, "_gradient_steps", late)
    wrong = trained(backend, "dqn")
    assert len(moved) > 2
    reference = next(other for other in BACKENDS if other != backend)
    assert distance(unchanged(reference, "dqn"), wrong) > DIFFERENT


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_another_epsilon_is_noticed(algorithm, monkeypatch):
    """Adam with an epsilon of 1e-4 instead of 1e-8 (PPO: 1e-5)."""
    if "torch" not in BACKENDS:
        pytest.skip("needs torch to plant it")
    import torch

    right = torch.optim.Adam.__init__
    monkeypatch.setattr(
        torch.optim.Adam,
        "__init__",
        lambda self, *args, **kwargs: right(self, *args, **(kwargs | {"eps": 1e-4})),
    )
    assert distance(trained("torch", algorithm), unchanged(OTHERS[0], algorithm)) > DIFFERENT


# --- differences of the frameworks that are known, and kept out of the agents -------------------------------


def _steps(optimizer, gradients):
    """Where a parameter of 1 ends that sees these gradients, by each framework's Adam with the rate 0.01."""
    x, moments = np.ones(1, np.float64), None
    for gradient in gradients:
        x, moments = optimizer(x, np.array([gradient]), moments)
    return float(x[0])


def _paper(x, gradient, moments, *, eps=1e-8, before=False):
    """Kingma and Ba 2015, algorithm 1; ``before`` is the form of section 2, last paragraph, which Keras has."""
    m, v, t = moments or (0.0, 0.0, 0)
    t += 1
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    root = np.sqrt(1 - 0.999**t)
    deviation = (np.sqrt(v) + eps) / root if before else np.sqrt(v) / root + eps
    return x - 0.01 / (1 - 0.9**t) * m / deviation, (m, v, t)


SMALL_GRADIENTS = (1e-8, 2e-8, -1e-8, 3e-8)


def test_adam_adds_epsilon_after_the_correction_in_every_backend():
    paper = _steps(_paper, SMALL_GRADIENTS)
    keras = _steps(lambda *a: _paper(*a, eps=1e-7, before=True), SMALL_GRADIENTS)
    assert abs(paper - keras) > 5e-3  # so small a gradient tells the forms apart
    if "torch" in BACKENDS:
        import torch

        x = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = torch.optim.Adam([x], lr=0.01)
        for gradient in SMALL_GRADIENTS:
            x.grad = torch.full_like(x, gradient)
            optimizer.step()
        assert float(x.detach()) == pytest.approx(paper, abs=1e-9)
    if "tf" in BACKENDS:
        import tensorflow as tf

        from optix_tf import Adam

        adam = Adam(0.01)
        vector = tf.ones(1, tf.float64)
        state = adam.init(vector)
        for gradient in SMALL_GRADIENTS:
            given = tf.constant([gradient], tf.float64)
            vector, state = adam.step(given, vector, state, tf.constant(0.01, tf.float64))
        assert float(vector[0]) == pytest.approx(paper, abs=1e-9)
    if "jax" in BACKENDS:
        import jax
        import jax.numpy as jnp

        from optix_jax.training.optimizers import Adam as JaxAdam

        with jax.enable_x64(True):
            adam = JaxAdam(0.01)
            vector = jnp.ones(1, jnp.float64)
            state = adam.init(vector)
            for gradient in SMALL_GRADIENTS:
                vector, state = adam.step(vector, jnp.array([gradient]), state, 0.01)
            assert float(vector[0]) == pytest.approx(paper, abs=1e-9)


def test_deviations_divide_by_n_in_every_backend():
    """torch divides by n - 1, numpy, JAX and TensorFlow by n; so no backend standardises: core does."""
    from optix_core.rl.batching import standardize

    numbers = np.array([1.0, 2.0, 3.0, 4.0])
    standard = standardize(numbers)
    np.testing.assert_allclose(standard, (numbers - 2.5) / numbers.std(), rtol=1e-6)
    if "torch" in BACKENDS:
        import torch

        assert float(torch.tensor(numbers).std()) == pytest.approx(1.2909944)
    assert numbers.std() == pytest.approx(1.1180340)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_window_stays_as_it_was(backend, algorithm):
    """torch cannot mark memory as not to be written, so a copy tells."""
    given, kept = window(algorithm), window(algorithm)
    agent_of(backend, algorithm).learn(given)
    for name in ("observations", "actions", "rewards", "terminated", "truncated", "final_obs"):
        np.testing.assert_array_equal(getattr(given, name), getattr(kept, name))
