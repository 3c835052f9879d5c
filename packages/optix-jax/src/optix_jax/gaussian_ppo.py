"""PPO for continuous actions (Schulman et al. 2017, arXiv:1707.06347).

The policy is a diagonal Gaussian that is not squashed: the window keeps the very numbers that were drawn, and their
density is known exactly, however far out they are. Only on the way to the environment is [-1, 1] mapped to the bounds
of the Box, and what lies beyond is clipped. Standard deviations are parameters of their own, the same for all
observations, starting at 1 (Andrychowicz et al. 2021, arXiv:2006.05990, section 3.2). All else is as in ``ppo.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gymnasium.spaces import Box

from optix_core import hyperparams as declared
from optix_core.agents.box_actions import BoxActions
from optix_core.agents.hypers.ppo import GAUSSIAN_NORMALIZES, HYPERS
from optix_core.agents.ppo_agent import PPOAgent
from optix_core.errors import SpaceError
from optix_core.plugin import AgentContext
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_core.types import HyperparamSet
from optix_jax.device import resolve_device
from optix_jax.networks.flax_modules import network_of, observation_example
from optix_jax.networks.gaussian import gaussian_actor
from optix_jax.networks.network import Network
from optix_jax.policy_gradient.actor_critic import ActorCritic
from optix_jax.policy_gradient.standard import plain_network, ppo_parts
from optix_jax.training.optimizers import Adam, as_optimizer

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer

NAME = "FlaxGaussianPPOAgent"


class FlaxGaussianPPOAgent(PPOAgent[ActorCritic]):
    """Proximal policy optimisation with a diagonal Gaussian policy.

    What is not said here is as for :class:`~optix_jax.FlaxPPOAgent`.

    Args:
        obs_dim: Numbers in one observation, for the standard networks; None if ``actor`` and ``critic`` are given.
        action_dim: A; for other networks than the standard ones, too.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.ppo``. Copied.
        hidden_size: Width of both hidden layers of the standard networks, or the widths of all.
        seed: Root seed of weights, acting and minibatch order; None draws one from the operating system.
        actor: ``[B, *obs]`` to means followed by log standard deviations, ``[B, 2 A]``; the latter are clamped to
            [-5, 2]. :func:`~optix_jax.networks.gaussian.gaussian_actor` makes one of a network for the means.
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``; shares no parameters with the actor.
        encoder: What actor and critic both read, computed once for both: a network ``[B, *obs]`` to ``[B, F]``.
        optimizer: A transformation made by ``optax.inject_hyperparams``, so that its learning rate can be set while
            training; None: Adam with epsilon 1e-5.
        device: ``"auto"`` (JAX's default), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        reward_normalizer: Scales rewards before they become targets. Its gamma follows the agent's.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        action_space: The environment's Box, which [-1, 1] is mapped to; None leaves actions in [-1, 1].
        observation_space: The environment's; ``act`` needs it for observations with parts, linen modules to be made.

    Raises:
        ConfigError: The networks, the optimizer or the device cannot be used together.
        SpaceError: The Box does not have ``action_dim`` numbers.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS

    def __init__(
        self,
        obs_dim: int | None,
        action_dim: int,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        hidden_size: int | Sequence[int] = 64,
        seed: int | None = 0,
        *,
        actor: Any = None,
        critic: Any = None,
        encoder: Network | None = None,
        optimizer: Any = None,
        device: str = "auto",
        reward_normalizer: RewardNormalizer | None = None,
        observation_normalizer: ObsNormalizer | None = None,
        action_space: Any = None,
        observation_space: Any = None,
    ) -> None:
        stepped = Adam(eps=1e-5) if optimizer is None else as_optimizer(optimizer)
        given = {} if optimizer is None else {"learning_rate": stepped.learning_rate}
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        actions = BoxActions(Box(-1.0, 1.0, (action_dim,)) if action_space is None else action_space)
        if actions.n_actions != action_dim:
            raise SpaceError(f"action_dim is {action_dim}, but the Box has {actions.n_actions} numbers")
        seed = fresh_root_seed() if seed is None else seed
        init = generator(seed, Domain.INIT, 1)
        example = observation_example(observation_space)
        if actor is None:
            actor = gaussian_actor(
                plain_network(obs_dim, action_dim, hidden_size, 0.01, init, NAME), action_dim
            )
        if critic is None:
            critic = plain_network(obs_dim, 1, hidden_size, 1.0, init, NAME)
        networks = ActorCritic(
            network_of(actor, example, rng=init, what="the actor"),
            network_of(critic, example, rng=init, what="the critic"),
            stepped,
            head="gaussian",
            n_actions=action_dim,
            device=resolve_device(device),
            encoder=encoder,
        )
        self._start(
            networks,
            actions,
            hp,
            observation_space=observation_space,
            observation_normalizer=observation_normalizer,
            reward_normalizer=reward_normalizer,
            seed=seed,
        )

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        outputs = self._networks.describe_actor(b, x, owner=self.kind)
        return self._actions.describe(b, outputs, mask, self._networks.n_actions)


def build(ctx: AgentContext, **options: Any) -> FlaxGaussianPPOAgent:
    """The standard agent for an environment; options are those of ``policy_gradient.standard.ppo_parts``."""
    parts = ppo_parts(ctx, "GaussianPPO", {"box"}, **{**GAUSSIAN_NORMALIZES, **options})
    n = BoxActions(ctx.action_space).n_actions
    assert n is not None
    return FlaxGaussianPPOAgent(None, n, **parts)
