"""The parts of a standard PPO agent, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from optix_core.agents.standard import policy_gradient
from optix_core.agents.standard.policy_gradient import ACTOR_GAIN, CRITIC_GAIN
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import SpaceKind
from optix_tf.builders import BUILDERS
from optix_tf.networks.encoders import ObservationInput, network
from optix_tf.networks.layers import Encoded
from optix_tf.networks.mlp import GaussianActor, mlp


def ppo_parts(
    ctx: AgentContext, owner: str, kinds: Collection[SpaceKind], *, compiler: str = "auto", **options: Any
) -> dict[str, Any]:
    """Constructor arguments of PPO.

    Args:
        ctx: The environment's spaces, seed, device and hyperparameters.
        owner: For messages.
        kinds: Of actions that the agent takes.
        compiler: Of updates, see :class:`~optix_tf.TFPPOAgent`.
        options: Those of :func:`optix_core.agents.standard.policy_gradient.ppo_parts`.
    """
    parts = policy_gradient.ppo_parts(ctx, owner, BUILDERS, _actor_and_critic, kinds, **options)
    return {**parts, "compiler": compiler}


def _actor_and_critic(
    inputs: ObservationInput,
    again: Callable[[], ObservationInput],
    widths: tuple[int, ...],
    outputs: int,
    activation: str,
    *,
    gaussian: bool,
    rng: np.random.Generator,
) -> dict[str, Any]:
    trunk = mlp((*widths, outputs), activation, output_gain=ACTOR_GAIN, rng=rng)
    actor = _gaussian(inputs, trunk, outputs) if gaussian else network(inputs, trunk)
    if not inputs.has_image and inputs.layer is not None:
        inputs = again()
    critic = network(inputs, mlp((*widths, 1), activation, output_gain=CRITIC_GAIN, rng=rng))
    return {"actor": actor, "critic": critic}


def _gaussian(inputs: ObservationInput, trunk: Any, n: int) -> Any:
    """The same as for choices, with standard deviations that no observation changes."""
    behind = network(inputs, trunk)
    if isinstance(behind, Encoded):
        return Encoded(behind.encoder, GaussianActor(trunk, n))
    return GaussianActor(behind, n)
