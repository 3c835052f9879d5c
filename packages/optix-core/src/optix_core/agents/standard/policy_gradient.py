"""The standard PPO agents, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from optix_core import hyperparams as declared
from optix_core.agents.hypers.ppo import HYPERS
from optix_core.agents.inputs import hidden_widths, require_architecture, unmasked
from optix_core.agents.normalizing import make_normalizers
from optix_core.agents.standard.builders import Builders, Inputs, device_for
from optix_core.errors import SpaceError
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import SpaceKind, describe_space, require_kind
from optix_core.seeding import Domain, fresh_root_seed, generator

HIDDEN_SIZES = (64, 64)
"""Hidden layers of actor and critic, unless an image is encoded in front of them."""
ACTOR_GAIN, CRITIC_GAIN = 0.01, 1.0
"""Of the output layers: with the former, the first policy is nearly the same everywhere."""
ADAM_EPSILON = 1e-5
"""Larger than usual (Huang et al. 2022, "The 37 implementation details of PPO")."""


def ppo_parts(
    ctx: AgentContext,
    owner: str,
    builders: Builders,
    actor_and_critic: Callable[..., dict[str, Any]],
    kinds: Collection[SpaceKind],
    *,
    hidden_sizes: Sequence[int] | None = None,
    activation: str = "tanh",
    encoder: Any = None,
    normalize_observations: bool = False,
    normalize_rewards: bool = False,
) -> dict[str, Any]:
    """Constructor arguments: separate perceptrons, orthogonally initialised, and one Adam over both.

    Actor and critic have an encoder each (see the framework's ``networks.encoders``), but share it where observations
    are images or have images among their parts. Whole images are not standardised: their encoder scales them.

    Args:
        ctx: The environment's spaces, seed, device and hyperparameters.
        owner: For messages.
        builders: Of the framework.
        actor_and_critic: ``(inputs, again, widths, outputs, activation, *, gaussian, rng) -> arguments``: both
            networks, as the agent's constructor takes them. ``inputs`` are the actor's, and the critic's too where
            they have an image; otherwise ``again()`` makes the critic's. ``widths`` are those of features and hidden
            layers, ``outputs`` the number of choices, bits or dimensions.
        kinds: Of actions that the agent takes.
        hidden_sizes: Widths of the hidden layers of both; None: :data:`HIDDEN_SIZES`, or none behind an image.
        activation: Between them.
        encoder: See the framework's ``networks.encoders.observation_input``.
        normalize_observations: Standardise them with running statistics.
        normalize_rewards: Scale them by the spread of their discounted sums.

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
    given = () if hidden_sizes is None else hidden_sizes
    checked = require_architecture(given, activation, known=builders.activations, owner=owner)
    hp = declared.merge(HYPERS, ctx.hyperparams, owner=owner)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    init = generator(seed, Domain.INIT)

    def read() -> Inputs:
        return builders.observation_input(space, encoder, rng=init, owner=owner)

    inputs = read()
    hidden = hidden_widths(inputs, None if hidden_sizes is None else checked, HIDDEN_SIZES)
    networks = actor_and_critic(
        inputs,
        read,
        (inputs.width, *hidden),
        actions.flat_dim,
        activation,
        gaussian=actions.kind == "box",
        rng=init,
    )
    seen = describe_space(space)
    observation_normalizer, reward_normalizer = make_normalizers(
        seen.shape if normalize_observations and not inputs.is_image else None,
        hp["gamma"] if normalize_rewards else None,
        seen.dtype,
    )
    return {
        **networks,
        "optimizer": builders.adam(hp["learning_rate"], ADAM_EPSILON),
        "hyperparams": hp,
        "device": device_for(ctx, inputs),
        "reward_normalizer": reward_normalizer,
        "observation_normalizer": observation_normalizer,
        "action_space": ctx.action_space,
        "observation_space": ctx.observation_space,
        "seed": seed,
    }
