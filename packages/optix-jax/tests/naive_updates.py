"""Gradient steps of DQN, SAC and TD3 written out in float64 numpy, on core's definitions of the losses."""

from __future__ import annotations

import numpy as np

from optix_core.rl import reference


class Net:
    """A perceptron with rectifiers, on one vector, with its gradients."""

    def __init__(self, spec, vector):
        self.spec, self.vector = spec, np.array(vector, np.float64)

    def forward(self, x):
        views = self.spec.layout.views(self.vector)
        self.inputs, self.outputs = [], []
        for i, name in enumerate(self.spec.activations):
            self.inputs.append(x)
            x = x @ views[f"{i}.weight"].T + views[f"{i}.bias"]
            x = {"relu": np.maximum(x, 0.0), "linear": x, "tanh": np.tanh(x)}[name]
            self.outputs.append(x)
        return x

    def backward(self, d):
        """Gradient by the vector, and by the inputs of the last forward."""
        gradient = np.zeros_like(self.vector)
        into, views = self.spec.layout.views(gradient), self.spec.layout.views(self.vector)
        for i in reversed(range(len(self.spec.activations))):
            y = self.outputs[i]
            d = d * {"relu": y > 0.0, "linear": 1.0, "tanh": 1.0 - y * y}[self.spec.activations[i]]
            into[f"{i}.weight"][...] = d.T @ self.inputs[i]
            into[f"{i}.bias"][...] = d.sum(axis=0)
            d = d @ views[f"{i}.weight"]
        return gradient, d


class Adam:
    """Kingma and Ba 2015, algorithm 1, over one vector; the norm of the gradient is clipped before."""

    def __init__(self, n):
        self.m, self.v, self.t = np.zeros(n), np.zeros(n), 0

    def step(self, vector, gradient, rate, max_norm=np.inf, eps=1e-8):
        norm = np.linalg.norm(gradient)
        gradient = gradient * min(1.0, max_norm / (norm + 1e-6)) if norm > max_norm else gradient
        self.t += 1
        self.m += 0.1 * (gradient - self.m)
        self.v += 0.001 * (gradient**2 - self.v)
        root = np.sqrt(self.v / (1 - 0.999**self.t)) + eps
        return vector - rate * self.m / (1 - 0.9**self.t) / root


def q_values(outputs, *, dueling):
    return reference.dueling(outputs[:, :1], outputs[:, 1:]) if dueling else outputs


def dqn_step(net, target, adam, batch, hp, *, dueling):
    """One step of deep Q-learning; changes ``net``."""
    chooser = q_values(net.forward(batch["following"]), dueling=dueling) if hp["double"] else None
    y = reference.q_targets(
        batch["rewards"],
        batch["discounts"],
        q_values(target.forward(batch["following"]), dueling=dueling),
        chosen_by=chooser,
        masks=batch["masks"],
    )
    q = q_values(net.forward(batch["observations"]), dueling=dueling)
    loss = reference.td_loss(q, batch["actions"], y, batch["weights"])
    d = loss.gradients["q"]
    if dueling:
        parts = reference.dueling_gradients(d)
        d = np.concatenate([parts["values"], parts["advantages"]], axis=1)
    net.vector = adam.step(net.vector, net.backward(d)[0], hp["learning_rate"], hp["max_grad_norm"])
    return loss


def critics_step(critics, adam, batch, y, hp):
    """One step of both critics, clipped together."""
    rows = np.concatenate([batch["observations"], batch["actions"]], axis=1)
    q1, q2 = (net.forward(rows)[:, 0] for net in critics)
    loss = reference.twin_critic_loss(q1, q2, y, batch["weights"])
    gradient = np.concatenate(
        [
            net.backward(loss.gradients[name][:, None])[0]
            for net, name in zip(critics, ("q1", "q2"), strict=True)
        ]
    )
    both = adam.step(
        np.concatenate([net.vector for net in critics]), gradient, hp["critic_rate"], hp["max_norm"]
    )
    critics[0].vector, critics[1].vector = np.split(both, 2)
    return loss


def values(critics, observations, actions):
    """Values of both, and their derivatives by the actions."""
    rows, found = np.concatenate([observations, actions], axis=1), []
    for net in critics:
        q = net.forward(rows)[:, 0]
        found.append((q, net.backward(np.ones((len(rows), 1)))[1][:, observations.shape[1] :]))
    return found


def follow(slow, online, tau):
    for a, b in zip(slow, online, strict=True):
        a.vector = a.vector + tau * (b.vector - a.vector)


BOUNDS = (-20.0, 2.0)


def sac_step(s, batch, hp):
    """One step of soft actor-critic; changes the networks, optimizers and log_alpha of ``s``."""
    alpha = hp["alpha"] or np.exp(s.log_alpha[0])
    n = batch["actions"].shape[1]
    out = s.actor.forward(batch["following"])
    following = reference.squashed_gaussian(out[:, :n], out[:, n:], batch["noise"][0], log_std_bounds=BOUNDS)
    (q1, _), (q2, _) = values(s.target, batch["following"], following.actions)
    y = reference.soft_targets(batch["rewards"], batch["discounts"], q1, q2, following.log_probs, alpha)
    critics_step(s.critics, s.adams["critics"], batch, y, hp)
    out = s.actor.forward(batch["observations"])
    policy = reference.squashed_gaussian(out[:, :n], out[:, n:], batch["noise"][1], log_std_bounds=BOUNDS)
    (q1, d1), (q2, d2) = values(s.critics, batch["observations"], policy.actions)
    loss = reference.sac_actor_loss(policy, q1, q2, d1, d2, alpha)
    by_outputs = np.concatenate([loss.gradients["mean"], loss.gradients["log_std"]], axis=1)
    gradient = s.actor.backward(by_outputs)[0]
    s.actor.vector = s.adams["actor"].step(s.actor.vector, gradient, hp["actor_rate"], hp["max_norm"])
    if not hp["alpha"]:
        slope = reference.temperature_loss(s.log_alpha[0], policy.log_probs, hp["target_entropy"])
        s.log_alpha = s.adams["temperature"].step(
            s.log_alpha, np.atleast_1d(slope.gradients["log_alpha"]), hp["alpha_rate"]
        )
    follow(s.target, s.critics, hp["tau"])


def td3_step(s, batch, hp):
    """One step of TD3; changes the networks, optimizers and count of ``s``."""
    noise = hp["target_noise"] * batch["noise"][0]
    after = s.target_actor.forward(batch["following"])
    actions = reference.smoothed_actions(after, noise, hp["target_noise_clip"])
    (q1, _), (q2, _) = values(s.target, batch["following"], actions)
    y = reference.td3_targets(batch["rewards"], batch["discounts"], q1, q2)
    critics_step(s.critics, s.adams["critics"], batch, y, hp)
    s.count += 1
    if s.count % hp["policy_delay"]:
        return
    chosen = s.actor.forward(batch["observations"])
    (q1, d1), _ = values(s.critics, batch["observations"], chosen)
    gradient = s.actor.backward(reference.td3_actor_loss(q1, d1).gradients["actions"])[0]
    s.actor.vector = s.adams["actor"].step(s.actor.vector, gradient, hp["actor_rate"], hp["max_norm"])
    follow(s.target, s.critics, hp["tau"])
    follow([s.target_actor], [s.actor], hp["tau"])
