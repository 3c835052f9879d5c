"""The parts of a standard agent, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from optix_core import hyperparams as declared
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import require_kind
from optix_core.seeding import Domain, derive_seed, fresh_root_seed
from optix_torch.device import device_for_small_networks
from optix_torch.networks import GaussianActor, mlp, require_architecture
from optix_torch.normalizing import make_normalizers
from optix_torch.specs.ppo import HYPERS


def ppo_parts(
    ctx: AgentContext,
    owner: str,
    kind: Literal["discrete", "box"],
    *,
    hidden_sizes: Sequence[int] = (64, 64),
    activation: str = "tanh",
    normalize_observations: bool = False,
    normalize_rewards: bool = False,
    engine: str = "auto",
) -> dict[str, Any]:
    """Constructor arguments: separate perceptrons, orthogonally initialised, and one Adam (epsilon 1e-5) over both.

    The policy's output layer starts with the gain 0.01, so that the first policy is nearly the same everywhere.

    Raises:
        SpaceError: Observations are no Box, or actions not of ``kind``.
        ConfigError: An option cannot be used.
    """
    observations = require_kind(ctx.observation_space, {"box"}, role="observation", component=owner)
    actions = require_kind(ctx.action_space, {kind}, role="action", component=owner)
    hidden = require_architecture(hidden_sizes, activation, owner=owner)
    hp = declared.merge(HYPERS, ctx.hyperparams, owner=owner)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = torch.Generator().manual_seed(derive_seed(seed, Domain.INIT))
    widths = (observations.flat_dim, *hidden)
    outputs = actions.flat_dim  # number of choices, or of dimensions
    actor: torch.nn.Module = mlp((*widths, outputs), activation, output_gain=0.01, generator=init)
    if kind == "box":
        actor = GaussianActor(actor, outputs)
    critic = mlp((*widths, 1), activation, output_gain=1.0, generator=init)
    observation_normalizer, reward_normalizer = make_normalizers(
        observations.shape if normalize_observations else None, hp["gamma"] if normalize_rewards else None
    )
    parameters = [*actor.parameters(), *critic.parameters()]
    return {
        "actor": actor,
        "critic": critic,
        "optimizer": torch.optim.Adam(parameters, lr=hp["learning_rate"], eps=1e-5),
        "hyperparams": hp,
        "device": device_for_small_networks(ctx.device),
        "reward_normalizer": reward_normalizer,
        "observation_normalizer": observation_normalizer,
        "action_space": ctx.action_space,
        "engine": engine,
        "seed": seed,
    }
