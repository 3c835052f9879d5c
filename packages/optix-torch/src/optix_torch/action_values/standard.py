"""The parts of the standard agents with action values, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from optix_core import hyperparams as declared
from optix_core.agents.experience import make_hindsight, make_replay
from optix_core.agents.hypers.dqn import HYPERS as DQN_HYPERS
from optix_core.agents.hypers.rainbow import HYPERS as RAINBOW_HYPERS
from optix_core.agents.inputs import hidden_widths, unmasked
from optix_core.agents.normalizing import make_normalizers
from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import describe_space, require_kind
from optix_core.seeding import Domain, derive_seed, fresh_root_seed
from optix_torch.device import device_for_small_networks
from optix_torch.networks.encoder_modules import Flattened
from optix_torch.networks.encoders import ObservationInput, observation_input
from optix_torch.networks.mlp import require_architecture
from optix_torch.networks.noisy import RainbowQNetwork
from optix_torch.networks.q_network import q_network
from optix_torch.training.light_adam import LightAdam


def common_parts(
    ctx: AgentContext, owner: str, encoder: Any, *, normalize_observations: bool
) -> tuple[ObservationInput, torch.Generator, dict[str, Any]]:
    """How observations are read, the generator of weights, and constructor arguments of every such agent.

    Raises:
        SpaceError: Actions are not Discrete.
        ConfigError: An option cannot be used.
    """
    actions = require_kind(ctx.action_space, {"discrete"}, role="action", component=owner)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = torch.Generator().manual_seed(derive_seed(seed, Domain.INIT))
    inputs = observation_input(ctx.observation_space, encoder, generator=init, owner=owner)
    seen = describe_space(unmasked(ctx.observation_space))
    if normalize_observations and (seen.kind != "box" or inputs.has_image):
        raise ConfigError(
            f"{owner}: normalize_observations=True needs observations that are one array of numbers and no image; "
            f"these are {seen.label}. Leave it out, or wrap the environment in FlattenObservation."
        )
    normalizer, _ = make_normalizers(seen.shape if normalize_observations else None, None)
    return (
        inputs,
        init,
        {
            "n_actions": actions.n,
            "hyperparams": ctx.hyperparams,
            "device": ctx.device if inputs.has_image else device_for_small_networks(ctx.device),
            "action_space": ctx.action_space,
            "observation_space": ctx.observation_space,
            "observation_normalizer": normalizer,
            "seed": seed,
        },
    )


def q_parts(
    ctx: AgentContext,
    owner: str,
    *,
    hidden_sizes: Sequence[int] | None = None,
    activation: str = "relu",
    encoder: Any = None,
    normalize_observations: bool = False,
    hindsight: float = 0.0,
    hindsight_strategy: str = "future",
    dueling: bool = False,
    threads: Any = "auto",
    engine: str = "auto",
) -> dict[str, Any]:
    """Constructor arguments of DQN: a perceptron behind the encoder and one Adam.

    Args:
        ctx: The environment's spaces, seed, device and hyperparameters.
        owner: For messages.
        hidden_sizes: Widths of the hidden layers; None: (128, 128), or none behind an image.
        activation: Between them.
        encoder: See :func:`optix_torch.networks.encoders.observation_input`.
        normalize_observations: Standardise them with running statistics.
        hindsight: Relabelled rows per row that is not, in goal environments; 0: none.
        hindsight_strategy: Where those goals come from.
        dueling: A value and advantages in the last layer.
        threads: Of PyTorch while learning.
        engine: How gradients are computed.

    Raises:
        SpaceError: Actions are not Discrete.
        ConfigError: An option cannot be used.
    """
    inputs, init, arguments = common_parts(ctx, owner, encoder, normalize_observations=normalize_observations)
    hidden = require_architecture(hidden_widths(inputs, hidden_sizes, (128, 128)), activation, owner=owner)
    network = q_network(inputs, arguments["n_actions"], hidden, activation, dueling=dueling, generator=init)
    hp = declared.merge(DQN_HYPERS, ctx.hyperparams, owner=owner)
    optimizer = LightAdam(network.parameters(), lr=hp["learning_rate"])
    replay = make_hindsight(ctx, make_replay(hp), owner, k=hindsight, strategy=hindsight_strategy)
    rest = {"optimizer": optimizer, "replay": replay, "threads": threads, "engine": engine}
    return {**arguments, "q_network": network, **rest}


def rainbow_parts(
    ctx: AgentContext,
    owner: str,
    *,
    hidden_sizes: Sequence[int] = (128,),
    sigma_0: float = 0.5,
    encoder: Any = None,
    normalize_observations: bool = False,
    hindsight: float = 0.0,
    hindsight_strategy: str = "future",
    threads: Any = "auto",
    engine: str = "auto",
) -> dict[str, Any]:
    """Constructor arguments of Rainbow: a noisy network behind the encoder and one Adam (epsilon 1.5e-4).

    Args:
        ctx: The environment's spaces, seed, device and hyperparameters.
        owner: For messages.
        hidden_sizes: Widths of the noisy hidden layers.
        sigma_0: Initial noise, see :class:`~optix_torch.networks.noisy.NoisyLinear`; at least 0.
        encoder: See :func:`optix_torch.networks.encoders.observation_input`.
        normalize_observations: Standardise them with running statistics.
        hindsight: Relabelled rows per row that is not, in goal environments; 0: none.
        hindsight_strategy: Where those goals come from.
        threads: Of PyTorch while learning.
        engine: How gradients are computed.

    Raises:
        SpaceError: Actions are not Discrete.
        ConfigError: An option cannot be used.
    """
    inputs, init, arguments = common_parts(ctx, owner, encoder, normalize_observations=normalize_observations)
    hidden = require_architecture(hidden_sizes, "relu", owner=owner)
    if not sigma_0 >= 0.0:
        raise ConfigError(f"{owner}: sigma_0 is {sigma_0!r}; it must be a number of at least 0")
    hp = declared.merge(RAINBOW_HYPERS, ctx.hyperparams, owner=owner)
    module = None if isinstance(inputs.module, Flattened) else inputs.module
    network = RainbowQNetwork(
        inputs.width,
        arguments["n_actions"],
        hidden,
        hp["n_atoms"],
        sigma_0=sigma_0,
        encoder=module,
        generator=init,
    )
    optimizer = LightAdam(network.parameters(), lr=hp["learning_rate"], eps=1.5e-4)
    rows = make_replay(hp, prioritized=True)
    replay = make_hindsight(ctx, rows, owner, k=hindsight, strategy=hindsight_strategy)
    rest = {"obs_dim": None, "optimizer": optimizer, "replay": replay, "threads": threads, "engine": engine}
    return {**arguments, "q_network": network, **rest}
