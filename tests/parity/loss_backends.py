"""The losses of each framework behind one interface, for the tests that compare them with core's float64 reference.

A backend is a class whose methods take numpy arrays and give ``(value, {name: gradient})`` in float64, computed by the
functions that its agents train with. ``INSTALLED`` has those whose framework is there.
"""

from __future__ import annotations

import importlib.util

import numpy as np


def per_sample(log_probs, entropies, clip_loss, entropy_coef):
    """PPO's policy loss of one sample, as every backend adds it up."""
    return clip_loss(log_probs) - entropy_coef * entropies


class Torch:
    """Autograd's losses, and the closed forms of DQN and of squashed policies.

    The losses of SAC and TD3 stand on their agents' pages, in numpy; optix-torch's own suite follows them step by step.
    """

    name = "torch"

    def __init__(self):
        import torch

        from optix_torch.policy_gradient import losses

        self.torch, self.ppo = torch, losses

    def tensor(self, array, *, grad=False):
        kept = np.asarray(array)
        found = self.torch.from_numpy(kept.copy())
        return found.double().requires_grad_() if grad else found

    def gradient(self, function, inputs):
        tensors = {name: self.tensor(array, grad=True) for name, array in inputs.items()}
        value = function(**tensors)
        value.backward()
        return float(value.detach()), {name: t.grad.numpy() for name, t in tensors.items()}

    def policy_loss(self, kind, outputs, actions, masks, old, advantages, clip, coef, nvec=()):
        heads = {
            "categorical": lambda x: self.ppo.categorical(x, a, m),
            "multi_categorical": lambda x: self.ppo.multi_categorical(x, a, m, nvec=nvec),
            "bernoulli": lambda x: self.ppo.bernoulli(x, a),
            "gaussian": lambda x: self.ppo.gaussian(x, a),
        }
        a, m = self.tensor(actions), None if masks is None else self.tensor(masks)
        o, v = self.tensor(old), self.tensor(advantages)

        def loss(outputs):
            log_probs, entropies = heads[kind](outputs)
            return per_sample(
                log_probs, entropies, lambda x: self.ppo.ppo_clip_loss(x, o, v, clip), coef
            ).mean()

        return self.gradient(loss, {"outputs": outputs})

    def value_loss(self, values, targets, old, clip):
        y, before = self.tensor(targets), self.tensor(old)

        def loss(values):
            if clip is None:
                return self.ppo.value_loss(values, y).mean()
            return self.ppo.clipped_value_loss(values, y, before, clip).mean()

        return self.gradient(loss, {"values": values})

    def q_targets(self, rewards, discounts, following, chosen_by, masks):
        from optix_torch.action_values.q_learning import double_q_targets

        return double_q_targets(rewards, discounts, following, chosen_by, masks)

    def td_loss(self, q, actions, targets, weights):
        from optix_torch.action_values.q_learning import AutogradQ
        from optix_torch.training.flat import FlatParameters

        table = self.torch.nn.Parameter(self.tensor(q))
        flat = FlatParameters([table])
        engine = AutogradQ(lambda _: table, flat, None)
        loss, errors = engine.gradient(np.zeros(len(q)), actions, targets, weights)
        return float(loss), {"q": table.grad.numpy()}, errors

    def dueling(self, outputs):
        from optix_torch.networks.q_network import Dueling

        return Dueling()(self.tensor(outputs)).numpy()

    def sac_actor_loss(self, mean, log_std, noise, slopes, offsets, alpha):
        from optix_torch.continuous import squashed

        n = len(mean)
        found = squashed.sample(np.concatenate([mean, log_std], axis=1), noise)
        q = np.stack([(found.actions * s).sum(axis=1) + o for s, o in zip(slopes, offsets, strict=True)])
        by_actions = np.where((q[0] <= q[1])[:, None], slopes[0], slopes[1])
        gradient = found.gradient(by_actions * (-1.0 / n), alpha / n)  # as the agent's page has it
        value = float((alpha * found.log_probs - q.min(axis=0)).mean())
        a = mean.shape[1]
        return value, {"mean": gradient[:, :a], "log_std": gradient[:, a:]}


class JAX:
    """The functions that the compiled updates differentiate."""

    name = "jax"

    def __init__(self):
        import jax
        import jax.numpy as jnp

        from optix_jax.action_values import losses as q_losses
        from optix_jax.continuous import losses, squashed
        from optix_jax.policy_gradient import losses as ppo

        self.jax, self.np, self.ppo = jax, jnp, ppo
        self.q, self.continuous, self.squashed = q_losses, losses, squashed

    def gradient(self, function, inputs):
        with self.jax.enable_x64(True):
            names = list(inputs)
            arrays = [self.np.asarray(inputs[name], self.np.float64) for name in names]
            value, found = self.jax.value_and_grad(
                lambda *xs: function(**dict(zip(names, xs, strict=True))), argnums=tuple(range(len(names)))
            )(*arrays)
            return float(value), {name: np.asarray(g) for name, g in zip(names, found, strict=True)}

    def policy_loss(self, kind, outputs, actions, masks, old, advantages, clip, coef, nvec=()):
        heads = {
            "categorical": lambda x: self.ppo.categorical(x, actions, masks),
            "multi_categorical": lambda x: self.ppo.multi_categorical(x, actions, masks, nvec=nvec),
            "bernoulli": lambda x: self.ppo.bernoulli(x, actions),
            "gaussian": lambda x: self.ppo.gaussian(x, actions),
        }

        def loss(outputs):
            log_probs, entropies = heads[kind](outputs)
            clipped = lambda x: self.ppo.ppo_clip_loss(x, old, advantages, clip)  # noqa: E731
            return per_sample(log_probs, entropies, clipped, coef).mean()

        return self.gradient(loss, {"outputs": outputs})

    def value_loss(self, values, targets, old, clip):
        return self.gradient(
            lambda values: self.ppo.value_loss(values, targets, old, clip or 0.0).mean(), {"values": values}
        )

    def q_targets(self, rewards, discounts, following, chosen_by, masks):
        with self.jax.enable_x64(True):
            return np.asarray(
                self.q.q_targets(*map(self.np.asarray, (rewards, discounts, following, chosen_by)), masks)
            )

    def td_loss(self, q, actions, targets, weights):
        def loss(q):
            return (weights * self.q.huber(self.q.td_errors(q, actions, targets))).mean()

        with self.jax.enable_x64(True):
            errors = np.asarray(self.q.td_errors(self.np.asarray(q), actions, targets))
        return (*self.gradient(loss, {"q": q}), errors)

    def dueling(self, outputs):
        from optix_jax.action_values.q_network import dueling_values

        with self.jax.enable_x64(True):
            return np.asarray(dueling_values(self.np.asarray(outputs)))

    def soft_targets(self, *arguments):
        with self.jax.enable_x64(True):
            return np.asarray(self.continuous.soft_targets(*map(self.np.asarray, arguments)))

    def td3_targets(self, *arguments):
        with self.jax.enable_x64(True):
            return np.asarray(self.continuous.td3_targets(*map(self.np.asarray, arguments)))

    def smoothed_actions(self, actions, noise, clip):
        with self.jax.enable_x64(True):
            return np.asarray(self.continuous.smoothed_actions(self.np.asarray(actions), noise, clip))

    def critic_loss(self, q1, q2, targets, weights):
        def loss(q1, q2):
            return (weights * self.continuous.twin_critic_loss(q1, q2, targets)).mean()

        return self.gradient(loss, {"q1": q1, "q2": q2})

    def sac_actor_loss(self, mean, log_std, noise, slopes, offsets, alpha):
        def loss(mean, log_std):
            actions, log_probs = self.squashed.sample(self.np.concatenate([mean, log_std], axis=1), noise)
            q1, q2 = ((actions * s).sum(axis=1) + o for s, o in zip(slopes, offsets, strict=True))
            return self.continuous.sac_actor_loss(log_probs, q1, q2, alpha).mean()

        return self.gradient(loss, {"mean": mean, "log_std": log_std})

    def temperature_loss(self, log_alpha, log_probs, target_entropy):
        def loss(log_alpha):
            return self.continuous.temperature_loss(log_alpha, log_probs, target_entropy).mean()

        return self.gradient(loss, {"log_alpha": log_alpha})

    def td3_actor_loss(self, actions, slopes, offsets):
        def loss(actions):
            return self.continuous.td3_actor_loss((actions * slopes).sum(axis=1) + offsets).mean()

        return self.gradient(loss, {"actions": actions})


KNOWN = {"torch": (Torch, "optix_torch"), "jax": (JAX, "optix_jax")}
"""Which framework each backend needs, and which distribution of ours."""

INSTALLED = [
    kind
    for name, (kind, ours) in KNOWN.items()
    if importlib.util.find_spec(name) is not None and importlib.util.find_spec(ours) is not None
]
