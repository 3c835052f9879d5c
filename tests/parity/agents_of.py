"""Agents of every backend that is installed, made alike, given equal weights and equal experience, and compared."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported anywhere
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
from gymnasium.spaces import Box, Discrete

from optix_core.plugin import AgentContext
from optix_core.types import EpisodeData

NEEDS = {
    "torch": ("optix_torch", "torch"),
    "jax": ("optix_jax", "jax", "flax", "optax"),
    "tf": ("optix_tf", "tensorflow", "keras"),
}
BACKENDS = tuple(
    name for name, modules in NEEDS.items() if all(importlib.util.find_spec(module) for module in modules)
)
ON_POLICY = ("ppo", "gaussian_ppo")
ALGORITHMS = (*ON_POLICY, "dqn", "sac", "td3")
OBS, ACTIONS, ACT = 3, 4, 2
BOX = Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))

HYPERPARAMS: dict[str, dict[str, Any]] = {
    "ppo": {"n_epochs": 2, "minibatch_size": 20, "entropy_coef": 0.02, "learning_rate": 1e-3},
    "gaussian_ppo": {"n_epochs": 2, "minibatch_size": 20, "entropy_coef": 0.02, "learning_rate": 1e-3},
    "dqn": {
        "batch_size": 16,
        "learning_starts": 20,
        "n_step": 3,
        "target_update_freq": 8,
        "max_grad_norm": 0.5,
        "learning_rate": 3e-3,
    },
    "sac": {"batch_size": 16, "learning_starts": 20, "n_step": 2, "tau": 0.05},
    "td3": {"batch_size": 16, "learning_starts": 20, "tau": 0.05, "learning_rate": 3e-4},
}
"""Small, and such that every term counts: several minibatches of unequal size, clipping, moved targets."""


def agent_of(backend: str, algorithm: str, **hyperparams: Any) -> Any:
    """An agent as ``make_agent`` builds it, without normalisers, its weights those of :func:`weights`."""
    page = importlib.import_module(f"optix_{backend}.{algorithm}")
    space = Discrete(ACTIONS) if algorithm in {"ppo", "dqn"} else BOX
    options: dict[str, Any] = {"hidden_sizes": (8, 7), "activation": "tanh", "normalize_observations": False}
    if algorithm in ON_POLICY:
        options["normalize_rewards"] = False
        options |= {"compiler": "graph"} if backend == "tf" else {}  # seconds instead of half a minute
    ctx = AgentContext(
        observation_space=Box(-10, 10, (OBS,)),
        action_space=space,
        seed=7,
        device="cpu",
        hyperparams={**HYPERPARAMS[algorithm], **hyperparams},
    )
    agent = page.build(ctx, **options)
    give(agent, {name: _random(array, name) for name, array in weights(agent).items()})
    return agent


def weights(agent: Any) -> dict[str, np.ndarray]:
    """Copies of all trained arrays by names that all backends share; matrices are ``[out, in]``."""
    found: dict[str, np.ndarray] = {}
    for trainable in agent._trainables.values():
        for name, array in trainable.arrays().items():
            found[_common(name, found)] = array.T if name.endswith("kernel") else array
    return found


def give(agent: Any, arrays: dict[str, np.ndarray]) -> None:
    """Set what :func:`weights` gave, of any backend; slow copies become equal to it."""
    seen: dict[str, None] = {}
    for trainable in agent._trainables.values():
        own: dict[str, np.ndarray] = {}
        for name in trainable.arrays():
            common = _common(name, seen)
            seen[common] = None
            own[name] = np.array(arrays[common].T if name.endswith("kernel") else arrays[common])
        trainable.load_arrays(own, owner="parity")


def _common(name: str, known: Any) -> str:
    """``network/log_std``, ``network/log_alpha``, or ``network/weight.k`` and ``network/bias.k`` of its k-th layer."""
    prefix, _, rest = name.rpartition("/")
    kind = rest.rpartition(".")[2].replace("kernel", "weight")
    if kind not in {"weight", "bias"}:
        return f"{prefix}/{kind}"
    k = sum(other.startswith(f"{prefix}/{kind}.") for other in known)
    return f"{prefix}/{kind}.{k}"


def _random(like: np.ndarray, name: str) -> np.ndarray:
    """Numbers that depend on nothing but the name and the shape."""
    rng = np.random.default_rng([*name.encode()])
    scale = 0.1 if like.ndim < 2 else like.shape[1] ** -0.5
    return (scale * rng.standard_normal(like.shape)).astype(like.dtype)


def window(algorithm: str, *, t: int = 17, n: int = 3, merged: bool = False) -> EpisodeData:
    """Random experience in which episodes end in both ways.

    Args:
        algorithm: Decides what actions are.
        t: Steps.
        n: Environments.
        merged: Say that time limits are terminal states.
    """
    rng = np.random.default_rng(5)
    discrete = algorithm in {"ppo", "dqn"}
    actions = rng.integers(ACTIONS, size=(t, n)) if discrete else rng.uniform(-0.9, 0.9, (t, n, ACT))
    kind = rng.random((t, n))
    terminated, truncated = kind < 0.08, (kind >= 0.08) & (kind < 0.2)
    boundary = np.argwhere(terminated | truncated)
    return EpisodeData(
        observations=rng.standard_normal((t, n, OBS)).astype(np.float32),
        actions=actions if discrete else actions.astype(np.float32),
        rewards=rng.standard_normal((t, n)),
        terminated=terminated | truncated if merged else terminated,
        truncated=np.zeros_like(truncated) if merged else truncated,
        final_obs=rng.standard_normal((n, OBS)).astype(np.float32),
        n_envs=n,
        boundary_steps=boundary,
        boundary_observations=rng.standard_normal((len(boundary), OBS)).astype(np.float32),
        timestamp=0.0,
    )


def trained(
    backend: str, algorithm: str, *, merged: bool = False, **hyperparams: Any
) -> dict[str, np.ndarray]:
    """Weights after one window: one update of PPO, thirty-odd gradient steps of the others."""
    agent = agent_of(backend, algorithm, **hyperparams)
    report = agent.learn(window(algorithm, merged=merged))
    assert report["n_updates"] >= 6
    return weights(agent)


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest difference of any weight."""
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)
