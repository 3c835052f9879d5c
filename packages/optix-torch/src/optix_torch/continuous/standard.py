"""The parts of the standard off-policy agents for continuous actions, made from an environment's spaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from optix_core import hyperparams as declared
from optix_core.agents.continuous_agent import scaler_of_bounded
from optix_core.agents.experience import make_hindsight, make_replay
from optix_core.agents.hypers.sac import HYPERS as SAC_HYPERS
from optix_core.agents.hypers.td3 import HYPERS as TD3_HYPERS
from optix_core.agents.normalizing import make_normalizers
from optix_core.plugin import AgentContext, Hyper
from optix_core.rl.spaces import describe_space, require_kind
from optix_core.seeding import Domain, derive_seed, fresh_root_seed
from optix_torch.continuous.critics import EncodedCritic
from optix_torch.device import device_for_small_networks
from optix_torch.networks.blank import blank
from optix_torch.networks.encoder_modules import Flattened
from optix_torch.networks.encoders import ObservationInput, network, observation_input
from optix_torch.networks.mlp import ACTIVATIONS, require_architecture
from optix_torch.training.light_adam import LightAdam


def sac_parts(ctx: AgentContext, owner: str, **options: Any) -> dict[str, Any]:
    """Constructor arguments of SAC; options as for :func:`_parts`."""
    parts = _parts(ctx, owner, SAC_HYPERS, outputs=2, squash=False, **options)
    return {**parts, "alpha_optimizer": None}


def td3_parts(ctx: AgentContext, owner: str, **options: Any) -> dict[str, Any]:
    """Constructor arguments of TD3; options as for :func:`_parts`."""
    return _parts(ctx, owner, TD3_HYPERS, outputs=1, squash=True, **options)


def _parts(
    ctx: AgentContext,
    owner: str,
    hypers: tuple[Hyper, ...],
    *,
    outputs: int,
    squash: bool,
    hidden_sizes: Sequence[int] = (256, 256),
    activation: str = "relu",
    encoder: Any = None,
    normalize_observations: bool = False,
    hindsight: float = 0.0,
    hindsight_strategy: str = "future",
    threads: Any = "auto",
    engine: str = "auto",
) -> dict[str, Any]:
    """An actor and two critics, each a perceptron of its own, with one Adam for the actor and one for both critics.

    Args:
        ctx: The environment's spaces, seed, device and hyperparameters.
        owner: For messages.
        hypers: What is declared.
        outputs: Of the actor, per action dimension.
        squash: Whether the actor ends in a tanh.
        hidden_sizes: Widths of the hidden layers of all three.
        activation: Between them.
        encoder: See :func:`optix_torch.networks.encoders.observation_input`. The critics share one.
        normalize_observations: Standardise them with running statistics; images stay as they are.
        hindsight: Relabelled rows per row that is not, in goal environments; 0: none.
        hindsight_strategy: Where those goals come from.
        threads: Of PyTorch while learning.
        engine: How gradients are computed.

    Raises:
        SpaceError: Actions are no bounded floating Box.
        ConfigError: An option cannot be used.
    """
    actions = require_kind(ctx.action_space, {"box"}, role="action", component=owner)
    scaler_of_bounded(ctx.action_space, owner)
    hidden = require_architecture(hidden_sizes, activation, owner=owner)
    hp = declared.merge(hypers, ctx.hyperparams, owner=owner)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = torch.Generator().manual_seed(derive_seed(seed, Domain.INIT))
    n_actions, space = actions.flat_dim, ctx.observation_space
    inputs = observation_input(space, encoder, generator=init, owner=owner)
    trunk = fan_in_mlp((inputs.width, *hidden, outputs * n_actions), activation, init)
    actor = network(inputs, nn.Sequential(*trunk, nn.Tanh()) if squash else trunk)
    shared = observation_input(space, encoder, generator=init, owner=owner)
    critic1, critic2 = (
        _critic(shared, fan_in_mlp((shared.width + n_actions, *hidden, 1), activation, init))
        for _ in range(2)
    )
    seen = describe_space(space)
    normalized = normalize_observations and not inputs.is_image
    normalizer, _ = make_normalizers(seen.shape if normalized else None, None, seen.dtype)
    critics = {id(p): p for critic in (critic1, critic2) for p in critic.parameters()}
    return {
        "actor": actor,
        "critic1": critic1,
        "critic2": critic2,
        "action_dim": n_actions,
        "actor_optimizer": LightAdam(actor.parameters(), lr=hp["learning_rate"]),
        "critic_optimizer": LightAdam(list(critics.values()), lr=hp["learning_rate"]),
        "hyperparams": hp,
        "device": ctx.device if inputs.has_image else device_for_small_networks(ctx.device),
        "action_space": ctx.action_space,
        "observation_space": space,
        "observation_normalizer": normalizer,
        "replay": make_hindsight(ctx, make_replay(hp), owner, k=hindsight, strategy=hindsight_strategy),
        "engine": engine,
        "threads": threads,
        "seed": seed,
    }


def fan_in_mlp(sizes: Sequence[int], activation: str, generator: torch.Generator) -> nn.Sequential:
    """A perceptron of widths ``sizes``, float32, with weights and biases uniform in plus or minus 1 / sqrt(inputs).

    As in Lillicrap et al. 2015 (arXiv:1509.02971, section 7) and in PyTorch's own layers. Larger first values, as
    orthogonal matrices with the gain sqrt(2) give, are errors that the critics would have to unlearn.
    """
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        linear = blank(nn.Linear, n_in, n_out)
        bound = 1.0 / math.sqrt(n_in)
        nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
        nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def _critic(inputs: ObservationInput, trunk: nn.Module) -> nn.Module:
    """``trunk`` itself where observations only need flattening, which every critic without an encoder does."""
    if inputs.module is None or isinstance(inputs.module, Flattened):
        return trunk
    return EncodedCritic(inputs.module, trunk)
