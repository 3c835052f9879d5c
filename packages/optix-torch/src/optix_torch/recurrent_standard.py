"""The parts of a standard agent with memory, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from optix_core import hyperparams as declared
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import describe_space, require_kind
from optix_core.seeding import Domain, derive_seed, fresh_root_seed
from optix_torch.device import device_for_small_networks
from optix_torch.encoders import observation_input
from optix_torch.networks import GaussianActor, mlp, require_architecture
from optix_torch.normalizing import make_normalizers
from optix_torch.recurrent import recurrent_layer
from optix_torch.specs.recurrent_ppo import HYPERS

OWNER = "RecurrentPPO"


def recurrent_ppo_parts(
    ctx: AgentContext,
    *,
    cell: str = "lstm",
    memory_size: int = 64,
    shared_memory: bool = False,
    hidden_sizes: Sequence[int] = (64,),
    activation: str = "tanh",
    encoder: Any = None,
    normalize_observations: bool = True,
    normalize_rewards: bool = True,
    threads: Any = "auto",
) -> dict[str, Any]:
    """Constructor arguments: a recurrent layer and a perceptron behind it for each of actor and critic, and one Adam.

    Raises:
        SpaceError: The spaces cannot be used.
        ConfigError: An option cannot be used.
    """
    require_kind(ctx.observation_space, {"box"}, role="observation", component=OWNER)
    actions = require_kind(ctx.action_space, {"discrete", "box"}, role="action", component=OWNER)
    hidden = require_architecture(hidden_sizes, activation, owner=OWNER)
    hp = declared.merge(HYPERS, ctx.hyperparams, owner=OWNER)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = torch.Generator().manual_seed(derive_seed(seed, Domain.INIT))
    seen = observation_input(ctx.observation_space, encoder, generator=init, owner=OWNER)
    judged = seen if seen.has_image else observation_input(ctx.observation_space, encoder, generator=init, owner=OWNER)
    rnn = recurrent_layer(cell, seen.width, memory_size, generator=init)
    critic_rnn = None if shared_memory else recurrent_layer(cell, judged.width, memory_size, generator=init)
    outputs = actions.flat_dim  # number of choices, or of dimensions
    widths = (memory_size, *hidden)
    actor_head: torch.nn.Module = mlp((*widths, outputs), activation, output_gain=0.01, generator=init)
    if actions.kind == "box":
        actor_head = GaussianActor(actor_head, outputs)
    critic_head = mlp((*widths, 1), activation, output_gain=1.0, generator=init)
    modules = [seen.module, rnn, actor_head, judged.module, critic_rnn, critic_head]
    parameters = {id(p): p for module in modules if module is not None for p in module.parameters()}
    observation_normalizer, reward_normalizer = make_normalizers(
        describe_space(ctx.observation_space).shape if normalize_observations else None,
        hp["gamma"] if normalize_rewards else None,
    )
    return {
        "rnn": rnn,
        "actor_head": actor_head,
        "critic_head": critic_head,
        "n_actions": outputs,
        "optimizer": torch.optim.Adam(list(parameters.values()), lr=hp["learning_rate"], eps=1e-5),
        "hyperparams": hp,
        "device": device_for_small_networks(ctx.device),
        "critic_rnn": critic_rnn,
        "encoder": seen.module,
        "critic_encoder": None if shared_memory or judged is seen else judged.module,
        "action_space": ctx.action_space,
        "observation_normalizer": observation_normalizer,
        "reward_normalizer": reward_normalizer,
        "threads": threads,
        "seed": seed,
    }
