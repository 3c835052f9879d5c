"""The parts of a standard PPO agent, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from optix_core.agents.standard import policy_gradient
from optix_core.agents.standard.policy_gradient import ACTOR_GAIN, CRITIC_GAIN
from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import SpaceKind
from optix_jax.builders import BUILDERS
from optix_jax.networks.encoders import ObservationInput, network
from optix_jax.networks.gaussian import gaussian_actor
from optix_jax.networks.mlp import orthogonal_mlp, require_architecture
from optix_jax.networks.network import Network


def ppo_parts(ctx: AgentContext, owner: str, kinds: Collection[SpaceKind], **options: Any) -> dict[str, Any]:
    """Constructor arguments of PPO.

    Args:
        ctx: The environment's spaces, seed, device and hyperparameters.
        owner: For messages.
        kinds: Of actions that the agent takes.
        options: Those of :func:`optix_core.agents.standard.policy_gradient.ppo_parts`.
    """
    return policy_gradient.ppo_parts(ctx, owner, BUILDERS, _actor_and_critic, kinds, **options)


def _actor_and_critic(
    inputs: ObservationInput,
    again: Callable[[], ObservationInput],
    widths: tuple[int, ...],
    outputs: int,
    activation: str,
    *,
    gaussian: bool,
    rng: np.random.Generator,
) -> dict[str, Any]:
    actor = orthogonal_mlp((*widths, outputs), activation, rng, output_gain=ACTOR_GAIN)
    shared = inputs.encoder if inputs.has_image else None
    if shared is None:
        actor = network(inputs, actor)
        inputs = again()
    critic = orthogonal_mlp((*widths, 1), activation, rng, output_gain=CRITIC_GAIN)
    return {
        "actor": gaussian_actor(actor, outputs) if gaussian else actor,
        "critic": critic if shared is not None else network(inputs, critic),
        "encoder": shared,
    }


def plain_network(
    obs_dim: int | None,
    outputs: int | None,
    hidden_size: int | Sequence[int],
    gain: float,
    rng: np.random.Generator,
    owner: str,
) -> Network:
    """A perceptron for vectors of ``obs_dim`` numbers with tanh units, two hidden layers where one width is given.

    Raises:
        ConfigError: A number of inputs or outputs is not known, or a width is no positive whole number.
    """
    if obs_dim is None or outputs is None:
        raise ConfigError(
            f"{owner}: obs_dim and the number of actions are needed, or both actor= and critic="
        )
    widths = (hidden_size, hidden_size) if isinstance(hidden_size, int) else tuple(hidden_size)
    hidden = require_architecture(widths, "tanh", owner=owner)
    return orthogonal_mlp((obs_dim, *hidden, outputs), "tanh", rng, output_gain=gain)
