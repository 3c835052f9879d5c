"""PPO on one page: environments, network, loop and update, and no class to look up.

This is what ``TorchPPOAgent`` computes with ``engine="autograd"``; a test trains both and compares the final parameters
bit by bit, so the page cannot go stale. Arithmetic that is not PPO (GAE, minibatch order, standardising, drawing from
logits, named random streams) comes from optix_core. For what the details are for, see ``optix_torch/ppo.py``.

    python examples/single_file/ppo.py
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from optix_core.acting.heads import sample_categorical
from optix_core.rl.batching import minibatch_indices, standardize
from optix_core.rl.returns import generalized_advantage_estimation
from optix_core.seeding import Domain, derive_seed, generator


def mlp(sizes: list[int], output_gain: float, init: torch.Generator) -> nn.Sequential:
    """Linear layers with tanh between them, orthogonal weights, no draw from the global generator."""
    layers: list[nn.Module] = []
    for i in range(len(sizes) - 1):
        last = i == len(sizes) - 2
        linear = nn.Linear(sizes[i], sizes[i + 1], device="meta").to_empty(device="cpu")
        nn.init.orthogonal_(linear.weight, output_gain if last else math.sqrt(2.0), generator=init)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


def train(
    make_env: Callable[[], gym.Env[Any, Any]],
    *,
    seed: int = 0,
    n_windows: int = 40,
    n_envs: int = 8,
    n_steps: int = 256,
    learning_rate: float = 3e-4,
    clip_ratio: float = 0.2,
    entropy_coef: float = 0.01,
    vf_coef: float = 0.5,
    gamma: float = 0.99,
    gae_lambda: float = 0.95,
    n_epochs: int = 10,
    minibatch_size: int = 64,
    max_grad_norm: float = 0.5,
    report: Callable[[int, list[float]], None] | None = None,
) -> np.ndarray:
    """Train on vector observations and discrete actions; returns all parameters, actor first, as one vector."""
    T, N = n_steps, n_envs
    envs = [make_env() for _ in range(N)]
    obs_dim, n_actions = int(envs[0].observation_space.shape[0]), int(envs[0].action_space.n)

    # Networks. All parameters and gradients are views of two vectors, which numpy sees as well.
    init = torch.Generator().manual_seed(derive_seed(seed, Domain.INIT))
    actor = mlp([obs_dim, 64, 64, n_actions], 0.01, init)
    critic = mlp([obs_dim, 64, 64, 1], 1.0, init)
    parameters = [*actor.parameters(), *critic.parameters()]
    vector = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
    vector.grad = torch.zeros_like(vector)
    start = 0
    for p in parameters:
        stop = start + p.numel()
        p.data, p.grad = vector.data[start:stop].view(p.shape), vector.grad[start:stop].view(p.shape)
        start = stop
    optimizer = torch.optim.Adam([vector], lr=learning_rate, eps=1e-5, fused=True)
    layers = [
        (m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in actor if isinstance(m, nn.Linear)
    ]

    # Environments. Every episode has a seed of its own.
    policy_rng, minibatch_rng = generator(seed, Domain.POLICY, 0), generator(seed, Domain.MINIBATCH)
    episodes, running = [0] * N, [0.0] * N
    observation = np.stack(
        [env.reset(seed=derive_seed(seed, Domain.ENV, n, 0))[0] for n, env in enumerate(envs)]
    )

    for window in range(n_windows):
        # Collect T steps of N environments; where an episode ends, note what followed before the reset.
        observations = np.zeros((T, N, obs_dim), np.float32)
        actions = np.zeros((T, N), np.int64)
        rewards, terminated, truncated = np.zeros((T, N)), np.zeros((T, N), bool), np.zeros((T, N), bool)
        ends: list[tuple[int, int]] = []
        after_ends: list[np.ndarray] = []
        returns: list[float] = []
        for t in range(T):
            x = observations[t] = observation
            for weight, bias in layers[:-1]:
                x = np.tanh(np.dot(x, weight) + bias)
            actions[t] = sample_categorical(np.dot(x, layers[-1][0]) + layers[-1][1], policy_rng)
            for n, env in enumerate(envs):
                observation[n], rewards[t, n], terminated[t, n], truncated[t, n], _ = env.step(
                    int(actions[t, n])
                )
                running[n] += rewards[t, n]
                if terminated[t, n] or truncated[t, n]:
                    ends.append((t, n))
                    after_ends.append(observation[n].copy())
                    returns.append(running[n])
                    episodes[n], running[n] = episodes[n] + 1, 0.0
                    observation[n], _ = env.reset(seed=derive_seed(seed, Domain.ENV, n, episodes[n]))
        final = observation.copy()
        for (t, n), after in zip(ends, after_ends, strict=True):
            if t == T - 1:
                final[n] = after
        if report is not None:
            report(window, returns)

        # Log-probabilities and values of the window: the policy has not moved since it acted.
        obs, taken = torch.from_numpy(observations.reshape(T * N, -1)), torch.from_numpy(actions.reshape(-1))
        with torch.no_grad():
            values = critic(obs).squeeze(-1).numpy().reshape(T, N)
            successors = np.stack([*final, *after_ends])
            successor_values = critic(torch.from_numpy(successors)).squeeze(-1).numpy()
            log_probs = torch.log_softmax(actor(obs), dim=-1)
            old_log_probs = -nn.functional.nll_loss(log_probs, taken, reduction="none")

        # Targets. A time limit is bootstrapped with the value of what followed; a terminal state has no value.
        next_values = np.concatenate([values[1:], successor_values[None, :N]])
        for i, (t, n) in enumerate(ends):
            next_values[t, n] = successor_values[N + i]
        advantages = generalized_advantage_estimation(
            rewards,
            values,
            next_values,
            terminated,
            terminated | truncated,
            gamma=gamma,
            gae_lambda=gae_lambda,
        )
        targets = torch.from_numpy((advantages + values).reshape(-1)).float()
        weights = torch.from_numpy(standardize(advantages).reshape(-1)).float()

        # Update: clipped surrogate (Schulman et al. 2017, eq. 7), squared value error, entropy bonus.
        for _ in range(n_epochs):
            for index in minibatch_indices(T * N, minibatch_size, minibatch_rng):
                log_probs = torch.log_softmax(actor(obs[index]), dim=-1)
                log_prob = -nn.functional.nll_loss(log_probs, taken[index], reduction="none")
                ratio = (log_prob - old_log_probs[index]).exp()
                A = weights[index]
                surrogate = torch.minimum(ratio * A, ratio.clamp(1 - clip_ratio, 1 + clip_ratio) * A)
                error = (critic(obs[index]).squeeze(-1) - targets[index]).square()
                entropy = torch.special.entr(log_probs.exp()).sum(-1)
                loss = (-surrogate + vf_coef * error - entropy_coef * entropy).mean()
                vector.grad.zero_()
                loss.backward()
                norm = math.sqrt(float(vector.grad.dot(vector.grad)))
                vector.grad.mul_(min(1.0, max_grad_norm / (norm + 1e-6)))
                optimizer.step()

    for env in envs:
        env.close()
    return vector.detach().numpy()


def main() -> None:
    """CartPole-v1 in about 80,000 steps."""

    def report(window: int, returns: list[float]) -> None:
        mean = f"{np.mean(returns):6.1f}" if returns else "     -"
        print(f"window {window:3d}   {len(returns):3d} episodes   mean return {mean}")

    train(lambda: gym.make("CartPole-v1"), report=report)


if __name__ == "__main__":
    main()
