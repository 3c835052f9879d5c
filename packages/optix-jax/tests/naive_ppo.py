"""PPO's gradient steps as the paper has them, in float64, beside those that an agent makes.

Advantages and targets are core's; losses and their derivatives by the networks' outputs are those of
``optix_core.rl.reference``; only the way back through the networks is JAX's, in double precision. Adam is written out.
"""

from __future__ import annotations

import copy
from typing import Any

import jax
import numpy as np

try:
    from jax import enable_x64
except ImportError:  # an older JAX
    from jax.experimental import enable_x64

from optix_core.acting import LOG_STD_BOUNDS
from optix_core.agents.ppo_update import epoch_order, ppo_batch
from optix_core.rl.reference import policies, ppo
from optix_jax.training.compiled import tree_of


def evaluated(agent: Any, outputs: Any, actions: Any, masks: Any) -> Any:
    head, nvec = agent._actions.head, agent._actions.nvec
    if head == "categorical":
        return policies.categorical(outputs, actions, masks)
    if head == "multi_categorical":
        return policies.multi_categorical(outputs, actions, nvec, masks)
    if head == "bernoulli":
        return policies.bernoulli(outputs, actions)
    n = outputs.shape[1] // 2
    return policies.gaussian(outputs[:, :n], np.clip(outputs[:, n:], *LOG_STD_BOUNDS), actions)


def by_outputs(gradients: Any) -> Any:
    return gradients["logits"] if "logits" in gradients else np.concatenate(list(gradients.values()), axis=1)


def expected(agent: Any, window: Any) -> dict[str, Any]:
    """Parameters by network after one ``learn``, and the diagnostics of its steps; the agent is left as it is."""
    networks, hp = agent._networks, agent._hp
    rng = copy.deepcopy(agent._streams.minibatch)
    batch = ppo_batch(window, networks, copy.deepcopy(agent._normalizers), hp)
    training = networks.training
    names = list(training.networks)
    with enable_x64(True):
        host = {
            name: jax.tree.map(lambda a: np.asarray(a, np.float64), training.params[name]) for name in names
        }
        leaves, tree = jax.tree.flatten(host)
        mean = [np.zeros_like(leaf) for leaf in leaves]
        square = [np.zeros_like(leaf) for leaf in leaves]
        t, found = 0, {"policy_loss": [], "value_loss": [], "grad_norm": []}
        for _ in range(hp["n_epochs"]):
            order, sizes = epoch_order(len(batch), min(hp["minibatch_size"], len(batch)), rng)
            start = 0
            for size in sizes:
                rows = order[start : start + size]
                start += size
                seen = jax.tree.map(lambda a: a[rows], tree_of(batch.observations))  # noqa: B023
                params = jax.tree.unflatten(tree, leaves)
                (outputs, values), back = jax.vjp(lambda p: _outputs(training.networks, p, seen), params)  # noqa: B023
                masks = None if batch.masks is None else batch.masks[rows]
                policy = evaluated(agent, np.asarray(outputs), batch.actions[rows], masks)
                surrogate = ppo.ppo_policy_loss(
                    policy,
                    batch.log_probs[rows],
                    batch.advantages[rows],
                    hp["clip_ratio"],
                    hp["entropy_coef"],
                )
                clip = (
                    {"old_values": batch.values[rows], "clip": hp["value_clip"]} if hp["value_clip"] else {}
                )
                value = ppo.ppo_value_loss(np.asarray(values), batch.targets[rows], **clip)
                d_outputs = by_outputs(surrogate.gradients).reshape(np.shape(outputs))
                (gradient,) = back((d_outputs, hp["vf_coef"] * value.gradients["values"]))
                g = [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]
                norm = np.sqrt(sum((leaf**2).sum() for leaf in g))
                g = [leaf * min(1.0, hp["max_grad_norm"] / (norm + 1e-6)) for leaf in g]
                t += 1
                mean = [0.9 * m + 0.1 * leaf for m, leaf in zip(mean, g, strict=True)]
                square = [0.999 * v + 0.001 * leaf**2 for v, leaf in zip(square, g, strict=True)]
                leaves = [
                    leaf - hp["learning_rate"] * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-5)
                    for leaf, m, v in zip(leaves, mean, square, strict=True)
                ]
                found["policy_loss"].append(surrogate.each.mean())
                found["value_loss"].append(value.value)
                found["grad_norm"].append(norm)
        return {
            "params": jax.tree.unflatten(tree, leaves),
            **{k: np.mean(v) for k, v in found.items()},
            "n_updates": t,
        }


def _outputs(networks: Any, params: Any, observations: Any) -> Any:
    if "encoder" in networks:
        observations = networks["encoder"].apply(params["encoder"], observations)
    outputs = networks["actor"].apply(params["actor"], observations)
    return outputs, networks["critic"].apply(params["critic"], observations).reshape(-1)


def check(agent: Any, window: Any, *, within: float = 2e-6) -> None:
    """One ``learn`` ends where the definitions end."""
    wanted = expected(agent, window)
    report = agent.learn(window)
    for name, want in wanted["params"].items():
        found = agent._networks.training.params[name]
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
            assert np.abs(np.asarray(a, np.float64) - b).max() <= within
    assert report["n_updates"] == wanted["n_updates"]
    for name in ("policy_loss", "value_loss", "grad_norm"):
        assert abs(report[name] - wanted[name]) <= 1e-5 * max(1.0, abs(wanted[name])), name
