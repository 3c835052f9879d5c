"""The parts of a standard agent, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from optix_core import hyperparams as declared
from optix_core.agents.hypers.ppo import HYPERS
from optix_core.agents.inputs import hidden_widths, require_architecture, unmasked
from optix_core.agents.normalizing import make_normalizers
from optix_core.errors import SpaceError
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import SpaceKind, describe_space, require_kind
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_tf.device import device_for_small_networks
from optix_tf.networks.encoders import ObservationInput, network, observation_input
from optix_tf.networks.layers import Encoded
from optix_tf.networks.mlp import ACTIVATIONS, GaussianActor, mlp
from optix_tf.training.adam import Adam

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
    compiler: str = "auto",
) -> dict[str, Any]:
    """Constructor arguments: separate perceptrons, orthogonally initialised, and one Adam (epsilon 1e-5) over both.

    The policy's output layer starts with the gain 0.01, so that the first policy is nearly the same everywhere. Actor
    and critic have an encoder each (see :mod:`optix_tf.networks.encoders`), but share it where observations are images
    or have images among their parts. Whole images are not standardised: their encoder scales them.

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
    known = tuple(ACTIVATIONS)
    given = () if hidden_sizes is None else hidden_sizes
    checked = require_architecture(given, activation, known=known, owner=owner)
    hidden = None if hidden_sizes is None else checked
    hp = declared.merge(HYPERS, ctx.hyperparams, owner=owner)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    rng = generator(seed, Domain.INIT)
    inputs = observation_input(space, encoder, rng=rng, owner=owner)
    outputs = actions.flat_dim  # number of choices, bits or dimensions
    widths = (inputs.width, *hidden_widths(inputs, hidden, HIDDEN_SIZES))
    trunk = mlp((*widths, outputs), activation, output_gain=0.01, rng=rng)
    actor = _gaussian(inputs, trunk, outputs) if actions.kind == "box" else network(inputs, trunk)
    if not inputs.has_image and inputs.layer is not None:
        inputs = observation_input(space, encoder, rng=rng, owner=owner)
    critic = network(inputs, mlp((*widths, 1), activation, output_gain=1.0, rng=rng))
    seen = describe_space(space)
    observation_normalizer, reward_normalizer = make_normalizers(
        seen.shape if normalize_observations and not inputs.is_image else None,
        hp["gamma"] if normalize_rewards else None,
        seen.dtype,
    )
    return {
        "actor": actor,
        "critic": critic,
        "optimizer": Adam(hp["learning_rate"], epsilon=1e-5),
        "hyperparams": hp,
        "reward_normalizer": reward_normalizer,
        "observation_normalizer": observation_normalizer,
        "action_space": ctx.action_space,
        "observation_space": ctx.observation_space,
        "device": device_for_small_networks(ctx.device) if not inputs.has_image else ctx.device,
        "compiler": compiler,
        "seed": seed,
    }


def _gaussian(inputs: ObservationInput, trunk: Any, n: int) -> Any:
    """The same as for choices, with standard deviations that no observation changes."""
    behind = network(inputs, trunk)
    if isinstance(behind, Encoded):
        return Encoded(behind.encoder, GaussianActor(trunk, n))
    return GaussianActor(behind, n)
