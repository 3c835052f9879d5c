"""PPO's update as the papers have it, in float64 and plain numpy, for agents of plain tanh perceptrons.

Advantages from their definition, losses and their derivatives from ``optix_core.rl.reference``, the chain rule through
two layers written out, Adam from the paper. Nothing of the agents' own arithmetic is used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from optix_core.rl.batching import minibatch_indices
from optix_core.rl.reference import policies
from optix_core.rl.reference.ppo import ppo_policy_loss, ppo_value_loss


class Perceptron:
    """Weights ``[out, in]`` and biases, with the gradient of a loss by them."""

    def __init__(self, model: Any) -> None:
        dense = [layer for layer in model.layers if hasattr(layer, "kernel")]
        self.parts = [
            np.array(array, np.float64)
            for layer in dense
            for array in (np.asarray(layer.kernel).T, np.asarray(layer.bias))
        ]

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.kept = [np.asarray(x, np.float64)]
        for i in range(0, len(self.parts), 2):
            x = self.kept[-1] @ self.parts[i].T + self.parts[i + 1]
            self.kept.append(np.tanh(x) if i + 2 < len(self.parts) else x)
        return self.kept[-1]

    def backward(self, delta: np.ndarray) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for i in reversed(range(0, len(self.parts), 2)):
            found = [delta.T @ self.kept[i // 2], delta.sum(axis=0), *found]
            if i:
                delta = (delta @ self.parts[i]) * (1.0 - self.kept[i // 2] ** 2)
        return found


def advantages_of(
    window: Any, values: np.ndarray, following: np.ndarray, hp: Any
) -> tuple[np.ndarray, np.ndarray]:
    """GAE from its definition, standardised over the window, and the critic's targets; ``[T, N]``."""
    found = np.zeros(values.shape)
    for n in range(values.shape[1]):
        carry = 0.0
        for t in reversed(range(len(values))):
            ended, over = window.terminated[t, n], window.terminated[t, n] or window.truncated[t, n]
            future = 0.0 if ended else hp["gamma"] * following[t, n]
            delta = window.rewards[t, n] + future - values[t, n]
            carry = delta + (0.0 if over else hp["gamma"] * hp["gae_lambda"] * carry)
            found[t, n] = carry
    return (found - found.mean()) / found.std(), found + values


def followed_by(window: Any) -> np.ndarray:
    """What was seen after each step, ``[T, N, obs]``."""
    after = np.concatenate([window.observations[1:], window.final_obs[None]]).astype(np.float64)
    for (t, n), seen in zip(window.boundary_steps, window.boundary_observations, strict=True):
        after[t, n] = seen
    return after


def evaluated(head: str, outputs: np.ndarray, log_std: Any, actions: Any, masks: Any, nvec: Any) -> Any:
    if head == "categorical":
        return policies.categorical(outputs, actions, masks)
    if head == "multi_categorical":
        return policies.multi_categorical(outputs, actions, nvec, masks)
    if head == "bernoulli":
        return policies.bernoulli(outputs, actions)
    if log_std is None:
        half = outputs.shape[1] // 2
        return policies.gaussian(outputs[:, :half], outputs[:, half:], actions)
    return policies.gaussian(outputs, log_std, actions)


def update(
    actor: Any, critic: Any, window: Any, hp: Any, rng: np.random.Generator, *, head: str, eps: float,
    log_std: Any = None, nvec: Any = (), masks: Any = None, old: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """The parameters ``[P]`` after the update (actor, deviations, critic), and what it measured."""
    policy_net, value_net = Perceptron(actor), Perceptron(critic)
    deviations = None if log_std is None else np.array(log_std, np.float64)
    seen = window.observations.astype(np.float64)
    shape = window.rewards.shape
    rows = seen.reshape(-1, seen.shape[-1])
    values = value_net.forward(rows)[:, 0].reshape(shape)
    following = value_net.forward(followed_by(window).reshape(rows.shape))[:, 0].reshape(shape)
    advantages, targets = (x.reshape(-1) for x in advantages_of(window, values, following, hp))
    actions = window.actions.reshape(len(rows), *window.actions.shape[2:])
    allowed = None if masks is None else masks.reshape(len(rows), -1)
    if old is None:
        old = evaluated(head, policy_net.forward(rows), deviations, actions, allowed, nvec).log_probs
    m, v, step, kls, losses = 0.0, 0.0, 0, [], []
    for _ in range(hp["n_epochs"]):
        log_ratios = []
        for index in minibatch_indices(len(rows), hp["minibatch_size"], rng):
            outputs = policy_net.forward(rows[index])
            policy = evaluated(
                head, outputs, deviations, actions[index], None if allowed is None else allowed[index], nvec
            )
            surrogate = ppo_policy_loss(
                policy, old[index], advantages[index], hp["clip_ratio"], hp["entropy_coef"]
            )
            log_ratios.append(policy.log_probs - old[index])
            clip = (
                {"old_values": values.reshape(-1)[index], "clip": hp["value_clip"]}
                if hp["value_clip"]
                else {}
            )
            value = ppo_value_loss(value_net.forward(rows[index])[:, 0], targets[index], **clip)
            by = surrogate.gradients
            if head != "gaussian":
                delta = by["logits"]
            else:
                delta = (
                    by["mean"] if log_std is not None else np.concatenate([by["mean"], by["log_std"]], axis=1)
                )
            gradient = policy_net.backward(delta)
            if log_std is not None:
                gradient.append(by["log_std"])
            gradient += value_net.backward(hp["vf_coef"] * value.gradients["values"][:, None])
            g = np.concatenate([part.ravel() for part in gradient])
            norm = math.sqrt(float((g**2).sum()))
            g = g * min(1.0, hp["max_grad_norm"] / (norm + 1e-6))
            step += 1
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            move = hp["learning_rate"] * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + eps)
            held = [*policy_net.parts, *([] if log_std is None else [deviations]), *value_net.parts]
            start = 0
            for part in held:
                np.subtract(part, move[start : start + part.size].reshape(part.shape), out=part)
                start += part.size
            entropy = float(policy.entropies.mean())
            losses.append((float(surrogate.each.mean()), value.value, entropy, norm))
        log_ratios = np.concatenate(log_ratios)
        kls.append(float((np.exp(log_ratios) - 1.0 - log_ratios).mean()))
        if hp["target_kl"] and kls[-1] > hp["target_kl"]:
            break
    held = [*policy_net.parts, *([] if log_std is None else [deviations]), *value_net.parts]
    names = ("policy_loss", "value_loss", "entropy", "grad_norm")
    measured = dict(zip(names, np.mean(losses, axis=0).tolist(), strict=True))
    return {
        "vector": np.concatenate([part.ravel() for part in held]),
        **measured,
        "approx_kl": kls[-1],
        "clip_fraction": float((np.abs(np.exp(log_ratios) - 1.0) > hp["clip_ratio"]).mean()),
        "n_updates": step,
    }
