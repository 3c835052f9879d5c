"""An actor and a critic of one shape as one network: half as many operations, and one vector for the optimizer.

Small products are not what an update of small perceptrons takes its time for; that there are so many operations is.
Here both networks' layers are one product each, laid out by features, ``[features, B]``, so that either half of a layer
is contiguous; weights and moments are one vector while the update runs, which Adam, working on each number alone,
steps in one go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from optix_core.acting import MLPSpec
from optix_jax.networks.gaussian import GaussianFunction
from optix_jax.networks.mlp import ACTIVATIONS, Forward
from optix_jax.networks.network import Params
from optix_jax.training.optimizers import Adam, Moments, Optimizer

WIDEST = 64
"""Hidden layers up to this width are joined: measured on a CPU, a fifth is gained at 64, and a third lost at 128, where
the products themselves take the time and XLA's batched ones are slower."""


@dataclass(frozen=True, slots=True)
class Pair:
    """``(vector, observations) -> (actor outputs [B, out], values [B])``; a vector is what :meth:`inside` makes.

    It holds, for each hidden layer, the actor's weights, the critic's, the actor's biases, the critic's; then the
    actor's last layer, the critic's, and the actor's logarithms of standard deviations.

    Attributes:
        actor: Shape of the actor's perceptron.
        critic: The critic's: the same inputs and hidden layers, and one output.
        n_log_std: How many logarithms of standard deviations follow the perceptron in the actor's vector.
    """

    actor: MLPSpec
    critic: MLPSpec
    n_log_std: int = 0

    @property
    def shareable(self) -> bool:
        """True: equal ones compute the same."""
        return True

    def __call__(self, vector: jax.Array, observations: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Both at once."""
        *parts, log_std = lax.split(vector, self._sizes())
        h = self._first(parts, observations)
        for i, width in enumerate(self.actor.sizes[2:-1], 1):
            weight = parts[2 * i].reshape(2, width, -1)
            products = lax.dot_general(weight, h, (((2,), (1,)), ((0,), (0,))))
            h = self._hidden(i, products + parts[2 * i + 1].reshape(2, width, 1))
        weight, bias, critic_weight, critic_bias = parts[-4:]
        outputs = weight.reshape(len(bias), -1) @ h[0] + bias[:, None]
        values = critic_weight[None] @ h[1] + critic_bias[:, None]
        outputs = ACTIVATIONS[self.actor.activations[-1]](outputs).T
        values = ACTIVATIONS[self.critic.activations[-1]](values)[0]
        if self.n_log_std:
            outputs = jnp.concatenate([outputs, jnp.broadcast_to(log_std, outputs.shape)], axis=1)
        return outputs, values

    def inside(self, params: Params, moments: Moments) -> tuple[jax.Array, Moments]:
        """Parameters by network and their moments, as the vectors that the update works on."""
        mean, square = self._joined(moments.mean), self._joined(moments.square)
        return self._joined(params), moments._replace(mean=mean, square=square)

    def outside(self, vector: jax.Array, moments: Moments) -> tuple[Params, Moments]:
        """The inverse of :meth:`inside`."""
        mean, square = self._apart(moments.mean), self._apart(moments.square)
        return self._apart(vector), moments._replace(mean=mean, square=square)

    def _first(self, parts: Sequence[jax.Array], observations: jax.Array) -> jax.Array:
        """The first hidden layer ``[2, width, B]``, which reads one and the same input for both."""
        x = observations.reshape(len(observations), -1).astype(parts[0].dtype)
        weight = parts[0].reshape(-1, x.shape[1])
        products = lax.dot_general(weight, x, (((1,), (1,)), ((), ())))
        return self._hidden(0, products + parts[1][:, None]).reshape(2, self.actor.sizes[1], -1)

    def _hidden(self, layer: int, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.actor.activations[layer]](x)

    def _sizes(self) -> list[int]:
        """Of the parts of a vector, in its order."""
        hidden = [2 * size for size in _part_sizes(self.actor)[:-2]]
        return [*hidden, *_part_sizes(self.actor)[-2:], *_part_sizes(self.critic)[-2:], self.n_log_std]

    def _joined(self, params: Params) -> jax.Array:
        *actor, log_std = lax.split(params["actor"], [*_part_sizes(self.actor), self.n_log_std])
        critic = lax.split(params["critic"], _part_sizes(self.critic))
        hidden = [part for both in zip(actor[:-2], critic[:-2], strict=True) for part in both]
        return jnp.concatenate([*hidden, *actor[-2:], *critic[-2:], log_std])

    def _apart(self, vector: jax.Array) -> Params:
        *parts, log_std = lax.split(vector, self._sizes())
        hidden = [jnp.split(part, 2) for part in parts[:-4]]
        actor = [*(first for first, _ in hidden), *parts[-4:-2], log_std]
        critic = [*(second for _, second in hidden), *parts[-2:]]
        return {"actor": jnp.concatenate(actor), "critic": jnp.concatenate(critic)}


def pair_of(actor: Any, critic: Any, optimizer: Optimizer) -> Pair | None:
    """Both as one, where both are small perceptrons, alike but for their last layers, that our Adam steps; else None.

    Args:
        actor: What the actor computes: a pure function of its parameters and observations.
        critic: What the critic computes.
        optimizer: Of both.
    """
    n_log_std = 0
    if isinstance(actor, GaussianFunction) and actor.joined:
        actor, n_log_std = actor.mean, actor.action_dim
    if not (isinstance(actor, Forward) and isinstance(critic, Forward) and isinstance(optimizer, Adam)):
        return None
    one, two = actor.spec, critic.spec
    alike = one.sizes[:-1] == two.sizes[:-1] and one.activations[:-1] == two.activations[:-1]
    small = len(one.sizes) > 2 and max(one.sizes[1:-1]) <= WIDEST
    return Pair(one, two, n_log_std) if alike and small and two.sizes[-1] == 1 else None


def _part_sizes(spec: MLPSpec) -> list[int]:
    return [math.prod(shape) for shape in spec.layout.shapes]
