"""The parts of a standard agent, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
from torch import nn

from optix_core import hyperparams as declared
from optix_core.agents.hypers.ppo import HYPERS
from optix_core.agents.inputs import hidden_widths, unmasked
from optix_core.agents.normalizing import make_normalizers
from optix_core.errors import SpaceError
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import SpaceKind, describe_space, require_kind
from optix_core.seeding import Domain, derive_seed, fresh_root_seed
from optix_torch.device import device_for_small_networks
from optix_torch.networks.encoder_modules import Encoded
from optix_torch.networks.encoders import ObservationInput, network, observation_input
from optix_torch.networks.mlp import GaussianActor, mlp, require_architecture
from optix_torch.training.light_adam import LightAdam

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
    engine: str = "auto",
    threads: Literal["auto"] | int = "auto",
) -> dict[str, Any]:
    """Constructor arguments: separate perceptrons, orthogonally initialised, and one Adam (epsilon 1e-5) over both.

    The policy's output layer starts with the gain 0.01, so that the first policy is nearly the same everywhere. Actor
    and critic have an encoder each (see :mod:`optix_torch.networks.encoders`), but share it where observations are
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
    init = torch.Generator().manual_seed(derive_seed(seed, Domain.INIT))
    inputs = observation_input(space, encoder, generator=init, owner=owner)
    outputs = actions.flat_dim  # number of choices, bits or dimensions
    widths = (inputs.width, *hidden_widths(inputs, hidden, HIDDEN_SIZES))
    trunk: nn.Module = mlp((*widths, outputs), activation, output_gain=0.01, generator=init)
    actor = _gaussian(inputs, trunk, outputs) if actions.kind == "box" else network(inputs, trunk)
    if not inputs.has_image and inputs.module is not None:
        inputs = observation_input(space, encoder, generator=init, owner=owner)
    critic = network(inputs, mlp((*widths, 1), activation, output_gain=1.0, generator=init))
    seen = describe_space(space)
    observation_normalizer, reward_normalizer = make_normalizers(
        seen.shape if normalize_observations and not inputs.is_image else None,
        hp["gamma"] if normalize_rewards else None,
        seen.dtype,
    )
    parameters = list({id(p): p for p in [*actor.parameters(), *critic.parameters()]}.values())
    return {
        "actor": actor,
        "critic": critic,
        "optimizer": LightAdam(parameters, lr=hp["learning_rate"], eps=1e-5),
        "hyperparams": hp,
        "device": device_for_small_networks(ctx.device) if not inputs.has_image else ctx.device,
        "reward_normalizer": reward_normalizer,
        "observation_normalizer": observation_normalizer,
        "action_space": ctx.action_space,
        "observation_space": ctx.observation_space,
        "engine": engine,
        "threads": threads,
        "seed": seed,
    }


def _gaussian(inputs: ObservationInput, trunk: nn.Module, n: int) -> nn.Module:
    """The same as for choices, with standard deviations that no observation changes."""
    behind = network(inputs, trunk)
    return (
        Encoded(behind.encoder, GaussianActor(trunk, n))
        if isinstance(behind, Encoded)
        else GaussianActor(behind, n)
    )
