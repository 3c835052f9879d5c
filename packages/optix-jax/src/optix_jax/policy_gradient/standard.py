"""The parts of a standard agent, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from optix_core import hyperparams as declared
from optix_core.agents.hypers.ppo import HYPERS
from optix_core.agents.inputs import hidden_widths, unmasked
from optix_core.agents.normalizing import make_normalizers
from optix_core.errors import ConfigError, SpaceError
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import SpaceKind, describe_space, require_kind
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_jax.device import device_for_small_networks
from optix_jax.networks.encoders import network, observation_input
from optix_jax.networks.gaussian import gaussian_actor
from optix_jax.networks.mlp import orthogonal_mlp, require_architecture
from optix_jax.networks.network import Network
from optix_jax.training.optimizers import Adam

HIDDEN_SIZES = (64, 64)
"""Hidden layers of actor and critic, unless an image is encoded in front of them."""


def ppo_parts(
    ctx: AgentContext,
    owner: str,
    kinds: Collection[SpaceKind],
    *,
    hidden_sizes: Sequence[int] | None = None,
    activation: str = "tanh",
    encoder: Any = None,
    normalize_observations: bool = False,
    normalize_rewards: bool = False,
) -> dict[str, Any]:
    """Constructor arguments: separate perceptrons, orthogonally initialised, and one Adam (epsilon 1e-5) over both.

    The policy's output layer starts with the gain 0.01, so that the first policy is nearly the same everywhere. Actor
    and critic have an encoder each (see :mod:`optix_jax.networks.encoders`), but share it where observations are
    images or have images among their parts. Whole images are not standardised: their encoder scales them.

    Raises:
        SpaceError: Actions are not of ``kinds``, or are masked although they are no choices.
        ConfigError: An option cannot be used.
    """
    space = unmasked(ctx.observation_space)
    actions = require_kind(ctx.action_space, kinds, role="action", component=owner)
    if space is not ctx.observation_space and actions.kind not in {"discrete", "multi_discrete"}:
        raise SpaceError(
            f"{owner}: observations come with action masks, but {actions.label} has no separate choices to mask. Leave "
            "'action_mask' out of the observation space"
        )
    hidden = None if hidden_sizes is None else require_architecture(hidden_sizes, activation, owner=owner)
    require_architecture((), activation, owner=owner)
    hp = declared.merge(HYPERS, ctx.hyperparams, owner=owner)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = generator(seed, Domain.INIT)
    inputs = observation_input(space, encoder, rng=init, owner=owner)
    outputs = actions.flat_dim  # number of choices, bits or dimensions
    widths = (inputs.width, *hidden_widths(inputs, hidden, HIDDEN_SIZES))
    actor = orthogonal_mlp((*widths, outputs), activation, init, output_gain=0.01)
    shared = inputs.encoder if inputs.has_image else None
    if shared is None:
        actor = network(inputs, actor)
        inputs = observation_input(space, encoder, rng=init, owner=owner)
    critic = orthogonal_mlp((*widths, 1), activation, init, output_gain=1.0)
    seen = describe_space(space)
    observation_normalizer, reward_normalizer = make_normalizers(
        seen.shape if normalize_observations and not inputs.is_image else None,
        hp["gamma"] if normalize_rewards else None,
        seen.dtype,
    )
    return {
        "actor": gaussian_actor(actor, outputs) if actions.kind == "box" else actor,
        "critic": critic if shared is not None else network(inputs, critic),
        "optimizer": Adam(hp["learning_rate"], eps=1e-5),
        "encoder": shared,
        "hyperparams": hp,
        "device": device_for_small_networks(ctx.device) if not inputs.has_image else ctx.device,
        "reward_normalizer": reward_normalizer,
        "observation_normalizer": observation_normalizer,
        "action_space": ctx.action_space,
        "observation_space": ctx.observation_space,
        "seed": seed,
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
