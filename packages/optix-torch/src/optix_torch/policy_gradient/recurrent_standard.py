"""The parts of a standard agent with memory, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from optix_core import hyperparams as declared
from optix_core.agents.discrete_actions import KINDS
from optix_core.agents.hypers.recurrent_ppo import HYPERS
from optix_core.agents.inputs import unmasked
from optix_core.agents.normalizing import make_normalizers
from optix_core.errors import SpaceError
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import describe_space, require_kind
from optix_core.seeding import Domain, derive_seed, fresh_root_seed
from optix_torch.device import device_for_small_networks
from optix_torch.networks.encoders import observation_input
from optix_torch.networks.mlp import GaussianActor, mlp, require_architecture
from optix_torch.networks.recurrent import recurrent_layer
from optix_torch.training.light_adam import LightAdam

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

    Both have a memory of their own unless ``shared_memory``: with one for both, what the value loss wants remembered
    competes with what the policy needs. Encoders are as for PPO; images share theirs.

    Raises:
        SpaceError: The spaces cannot be used.
        ConfigError: An option cannot be used.
    """
    space = unmasked(ctx.observation_space)
    actions = require_kind(ctx.action_space, {*KINDS, "box"}, role="action", component=OWNER)
    if space is not ctx.observation_space and actions.kind not in {"discrete", "multi_discrete"}:
        raise SpaceError(
            f"{OWNER}: observations come with action masks, but {actions.label} has no separate choices to mask. Leave "
            "'action_mask' out of the observation space"
        )
    hidden = require_architecture(hidden_sizes, activation, owner=OWNER)
    hp = declared.merge(HYPERS, ctx.hyperparams, owner=OWNER)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = torch.Generator().manual_seed(derive_seed(seed, Domain.INIT))
    seen = judged = observation_input(space, encoder, generator=init, owner=OWNER)
    if not seen.has_image and seen.module is not None and not shared_memory:
        judged = observation_input(space, encoder, generator=init, owner=OWNER)
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
    info = describe_space(space)
    observation_normalizer, reward_normalizer = make_normalizers(
        info.shape if normalize_observations and not seen.is_image else None,
        hp["gamma"] if normalize_rewards else None,
        info.dtype,
    )
    return {
        "rnn": rnn,
        "actor_head": actor_head,
        "critic_head": critic_head,
        "n_actions": outputs,
        "optimizer": LightAdam(list(parameters.values()), lr=hp["learning_rate"], eps=1e-5),
        "hyperparams": hp,
        "device": ctx.device if seen.has_image else device_for_small_networks(ctx.device),
        "critic_rnn": critic_rnn,
        "encoder": seen.module,
        "critic_encoder": None if judged is seen else judged.module,
        "action_space": ctx.action_space,
        "observation_space": ctx.observation_space,
        "observation_normalizer": observation_normalizer,
        "reward_normalizer": reward_normalizer,
        "threads": threads,
        "seed": seed,
    }
