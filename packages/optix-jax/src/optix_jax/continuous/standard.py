"""The parts of the standard off-policy agents for continuous actions, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optix_core import hyperparams as declared
from optix_core.agents.continuous_agent import scaler_of_bounded
from optix_core.agents.experience import make_hindsight, make_replay
from optix_core.agents.hypers.sac import HYPERS as SAC_HYPERS
from optix_core.agents.hypers.td3 import HYPERS as TD3_HYPERS
from optix_core.agents.inputs import require_architecture
from optix_core.agents.normalizing import make_normalizers
from optix_core.plugin import AgentContext, Hyper
from optix_core.rl.spaces import describe_space, require_kind
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_jax.continuous.twin import TwinCritics
from optix_jax.device import device_for_small_networks
from optix_jax.networks.encoders import network, observation_input
from optix_jax.networks.mlp import HIDDEN_ACTIVATIONS, fan_in_mlp, layered
from optix_jax.training.optimizers import Adam


def sac_parts(ctx: AgentContext, owner: str, **options: Any) -> dict[str, Any]:
    """Constructor arguments of SAC; options as for :func:`_parts`."""
    return _parts(ctx, owner, SAC_HYPERS, outputs=2, squash=False, **options)


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
        encoder: See :func:`optix_jax.networks.encoders.observation_input`. The critics share one.
        normalize_observations: Standardise them with running statistics; images stay as they are.
        hindsight: Relabelled rows per row that is not, in goal environments; 0: none.
        hindsight_strategy: Where those goals come from.

    Raises:
        SpaceError: Actions are no bounded floating Box.
        ConfigError: An option cannot be used.
    """
    actions = require_kind(ctx.action_space, {"box"}, role="action", component=owner)
    scaler_of_bounded(ctx.action_space, owner)
    hidden = require_architecture(hidden_sizes, activation, known=HIDDEN_ACTIVATIONS, owner=owner)
    hp = declared.merge(hypers, ctx.hyperparams, owner=owner)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = generator(seed, Domain.INIT)
    n_actions, space = actions.flat_dim, ctx.observation_space
    inputs = observation_input(space, encoder, rng=init, owner=owner)
    last = "tanh" if squash else "linear"
    widths = (inputs.width, *hidden, outputs * n_actions)
    actor = network(inputs, fan_in_mlp(widths, activation, init, output=last))
    shared = observation_input(space, encoder, rng=init, owner=owner)
    critic1, critic2 = (
        layered(fan_in_mlp((shared.width + n_actions, *hidden, 1), activation, init)) for _ in range(2)
    )
    seen = describe_space(space)
    normalized = normalize_observations and not inputs.is_image
    normalizer, _ = make_normalizers(seen.shape if normalized else None, None, seen.dtype)
    return {
        "actor": actor,
        "critic1": TwinCritics(critic1=critic1, critic2=critic2, encoder=shared.encoder),
        "critic2": None,
        "action_dim": n_actions,
        "actor_optimizer": Adam(hp["learning_rate"]),
        "critic_optimizer": Adam(hp["learning_rate"]),
        "hyperparams": hp,
        "device": ctx.device if inputs.has_image else device_for_small_networks(ctx.device),
        "action_space": ctx.action_space,
        "observation_space": space,
        "observation_normalizer": normalizer,
        "replay": make_hindsight(ctx, make_replay(hp), owner, k=hindsight, strategy=hindsight_strategy),
        "seed": seed,
    }
