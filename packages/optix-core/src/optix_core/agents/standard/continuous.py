"""The standard off-policy agents for continuous actions, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optix_core import hyperparams as declared
from optix_core.agents.continuous_agent import scaler_of_bounded
from optix_core.agents.experience import make_hindsight, make_replay
from optix_core.agents.hypers.sac import HYPERS as SAC_HYPERS
from optix_core.agents.hypers.td3 import HYPERS as TD3_HYPERS
from optix_core.agents.inputs import require_architecture
from optix_core.agents.normalizing import make_normalizers
from optix_core.agents.standard.builders import ADAM_EPSILON, Builders, Inputs, device_for
from optix_core.plugin import AgentContext, Hyper
from optix_core.rl.spaces import describe_space, require_kind
from optix_core.seeding import Domain, fresh_root_seed, generator

Actor = Callable[..., Any]
"""``(inputs, widths, activation, rng, *, squash) -> network``, of the framework."""
Critics = Callable[..., dict[str, Any]]
"""``(inputs, widths, activation, rng) -> arguments``, of the framework: both critics, as the agent's constructor takes
them. They share the encoder of ``inputs``."""


def sac_parts(
    ctx: AgentContext, owner: str, builders: Builders, actor: Actor, critics: Critics, **options: Any
) -> dict[str, Any]:
    """Constructor arguments of SAC, whose actor gives means and deviations; options as for :func:`_parts`."""
    return _parts(ctx, owner, SAC_HYPERS, builders, actor, critics, outputs=2, squash=False, **options)


def td3_parts(
    ctx: AgentContext, owner: str, builders: Builders, actor: Actor, critics: Critics, **options: Any
) -> dict[str, Any]:
    """Constructor arguments of TD3, whose actor gives actions; options as for :func:`_parts`."""
    return _parts(ctx, owner, TD3_HYPERS, builders, actor, critics, outputs=1, squash=True, **options)


def _parts(
    ctx: AgentContext,
    owner: str,
    hypers: tuple[Hyper, ...],
    builders: Builders,
    actor: Actor,
    critics: Critics,
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
        builders: Of the framework.
        actor: Makes the actor.
        critics: Makes both critics.
        outputs: Of the actor, per action dimension.
        squash: Whether the actor ends in a tanh.
        hidden_sizes: Widths of the hidden layers of all three.
        activation: Between them.
        encoder: See the framework's ``networks.encoders.observation_input``. The critics share one.
        normalize_observations: Standardise them with running statistics; images stay as they are.
        hindsight: Relabelled rows per row that is not, in goal environments; 0: none.
        hindsight_strategy: Where those goals come from.

    Raises:
        SpaceError: Actions are no bounded floating Box.
        ConfigError: An option cannot be used.
    """
    actions = require_kind(ctx.action_space, {"box"}, role="action", component=owner)
    scaler_of_bounded(ctx.action_space, owner)
    hidden = require_architecture(hidden_sizes, activation, known=builders.activations, owner=owner)
    hp = declared.merge(hypers, ctx.hyperparams, owner=owner)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = generator(seed, Domain.INIT)
    n_actions, space = actions.flat_dim, ctx.observation_space
    inputs: Inputs = builders.observation_input(space, encoder, rng=init, owner=owner)
    policy = actor(inputs, (inputs.width, *hidden, outputs * n_actions), activation, init, squash=squash)
    shared: Inputs = builders.observation_input(space, encoder, rng=init, owner=owner)
    twin = critics(shared, (shared.width + n_actions, *hidden, 1), activation, init)
    seen = describe_space(space)
    normalized = normalize_observations and not inputs.is_image
    normalizer, _ = make_normalizers(seen.shape if normalized else None, None, seen.dtype)
    return {
        "actor": policy,
        **twin,
        "action_dim": n_actions,
        "actor_optimizer": builders.adam(hp["learning_rate"], ADAM_EPSILON),
        "critic_optimizer": builders.adam(hp["learning_rate"], ADAM_EPSILON),
        "hyperparams": hp,
        "device": device_for(ctx, inputs),
        "action_space": ctx.action_space,
        "observation_space": space,
        "observation_normalizer": normalizer,
        "replay": make_hindsight(ctx, make_replay(hp), owner, k=hindsight, strategy=hindsight_strategy),
        "seed": seed,
    }
