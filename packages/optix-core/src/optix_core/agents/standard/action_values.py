"""The standard agent with action values, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optix_core import hyperparams as declared
from optix_core.agents.experience import make_hindsight, make_replay
from optix_core.agents.hypers.dqn import HYPERS
from optix_core.agents.inputs import hidden_widths, require_architecture, unmasked
from optix_core.agents.normalizing import make_normalizers
from optix_core.agents.standard.builders import ADAM_EPSILON, Builders, Inputs, device_for
from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import describe_space, require_kind
from optix_core.seeding import Domain, fresh_root_seed, generator

HIDDEN_SIZES = (128, 128)
"""Hidden layers, unless an image is encoded in front of them."""


def q_parts(
    ctx: AgentContext,
    owner: str,
    builders: Builders,
    q_network: Callable[..., Any],
    *,
    hidden_sizes: Sequence[int] | None = None,
    activation: str = "relu",
    encoder: Any = None,
    normalize_observations: bool = False,
    hindsight: float = 0.0,
    hindsight_strategy: str = "future",
    dueling: bool = False,
) -> dict[str, Any]:
    """Constructor arguments of DQN: a perceptron behind the encoder and one Adam.

    Args:
        ctx: The environment's spaces, seed, device and hyperparameters.
        owner: For messages.
        builders: Of the framework.
        q_network: ``(inputs, n_actions, hidden, activation, *, dueling, rng) -> network``, of the framework.
        hidden_sizes: Widths of the hidden layers; None: :data:`HIDDEN_SIZES`, or none behind an image.
        activation: Between them.
        encoder: See the framework's ``networks.encoders.observation_input``.
        normalize_observations: Standardise them with running statistics.
        hindsight: Relabelled rows per row that is not, in goal environments; 0: none.
        hindsight_strategy: Where those goals come from.
        dueling: A value and advantages in the last layer.

    Raises:
        SpaceError: Actions are not Discrete.
        ConfigError: An option cannot be used.
    """
    actions = require_kind(ctx.action_space, {"discrete"}, role="action", component=owner)
    assert actions.n is not None
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = generator(seed, Domain.INIT)
    inputs: Inputs = builders.observation_input(ctx.observation_space, encoder, rng=init, owner=owner)
    seen = describe_space(unmasked(ctx.observation_space))
    if normalize_observations and (seen.kind != "box" or inputs.has_image):
        raise ConfigError(
            f"{owner}: normalize_observations=True needs observations that are one array of numbers and no image; "
            f"these are {seen.label}. Leave it out, or wrap the environment in FlattenObservation."
        )
    normalizer, _ = make_normalizers(seen.shape if normalize_observations else None, None)
    widths = hidden_widths(inputs, hidden_sizes, HIDDEN_SIZES)
    hidden = require_architecture(widths, activation, known=builders.activations, owner=owner)
    hp = declared.merge(HYPERS, ctx.hyperparams, owner=owner)
    return {
        "q_network": q_network(inputs, actions.n, hidden, activation, dueling=dueling, rng=init),
        "n_actions": actions.n,
        "optimizer": builders.adam(hp["learning_rate"], ADAM_EPSILON),
        "hyperparams": ctx.hyperparams,
        "device": device_for(ctx, inputs),
        "action_space": ctx.action_space,
        "observation_space": ctx.observation_space,
        "observation_normalizer": normalizer,
        "replay": make_hindsight(ctx, make_replay(hp), owner, k=hindsight, strategy=hindsight_strategy),
        "seed": seed,
    }
