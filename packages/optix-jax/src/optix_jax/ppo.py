"""PPO for actions that are choices (Schulman et al. 2017, arXiv:1707.06347).

What decides success, beyond the paper (Andrychowicz et al. 2021, arXiv:2006.05990, and Huang et al. 2022, "The 37
implementation details of PPO", have measured most of it): orthogonal initialisation with a small policy head, Adam with
epsilon 1e-5, separate networks, minibatches that cover the window, advantages standardised over the whole window, one
clip of the global gradient norm. Time limits are bootstrapped and cut no value.

An action of several parts has one distribution for each; they are independent given the observation. Actions that a
mask forbids have no probability, in acting as in learning (Huang and Ontanon 2022, arXiv:2006.14171).

The maths of a window is core's, the gradient steps are in ``policy_gradient/update.py``, all in one compiled function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gymnasium.spaces import Discrete

from optix_core import hyperparams as declared
from optix_core.agents.discrete_actions import KINDS, DiscreteActions
from optix_core.agents.hypers.ppo import HYPERS
from optix_core.agents.ppo_agent import ChoosingPPOAgent
from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_core.types import HyperparamSet
from optix_jax.device import resolve_device
from optix_jax.networks.flax_modules import network_of, observation_example
from optix_jax.networks.network import Network
from optix_jax.policy_gradient.actor_critic import ActorCritic
from optix_jax.policy_gradient.standard import plain_network, ppo_parts
from optix_jax.training.optimizers import Adam, as_optimizer

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer

NAME = "FlaxPPOAgent"


class FlaxPPOAgent(ChoosingPPOAgent[ActorCritic]):
    """Proximal policy optimisation for Discrete, MultiDiscrete and MultiBinary actions.

    Plain perceptrons act through numpy on a copy of their weights; any other module through a compiled function. The
    whole update of a window is one compiled function in either case.

    Args:
        obs_dim: Numbers in one observation, for the standard networks; None if ``actor`` and ``critic`` are given.
        n_actions: A; for other networks than the standard ones, too. None: as many as the actor has outputs.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.ppo``. Copied.
        hidden_size: Width of both hidden layers of the standard networks, or the widths of all.
        seed: Root seed of weights, acting and minibatch order; None draws one from the operating system.
        actor: ``[B, *obs]`` to logits: ``[B, A]`` (Discrete), ``[B, sum(nvec)]`` (MultiDiscrete) or one for each bit
            (MultiBinary). A ``flax.nnx`` or ``flax.linen`` module, or a network of :mod:`optix_jax.networks`. Modules
            get arrays ``[B, *obs]``, a dict of them where observations have parts.
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``; shares no parameters with the actor.
        encoder: What actor and critic both read, computed once for both: a network ``[B, *obs]`` to ``[B, F]``.
        optimizer: A transformation made by ``optax.inject_hyperparams``, so that its learning rate can be set while
            training; None: Adam with epsilon 1e-5.
        device: ``"auto"`` (JAX's default), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        reward_normalizer: Scales rewards before they become targets. Its gamma follows the agent's.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        action_space: The environment's; None is Discrete with ``n_actions``.
        observation_space: The environment's; ``act`` needs it for observations with parts, linen modules to be made.

    Raises:
        ConfigError: The networks, the optimizer or the device cannot be used together.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS

    def __init__(
        self,
        obs_dim: int | None,
        n_actions: int | None,
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
        space = action_space
        if space is None and n_actions is not None:
            space = Discrete(n_actions)
        actions = DiscreteActions(space, NAME)
        if n_actions not in {None, actions.n_actions}:
            raise ConfigError(
                f"n_actions is {n_actions}, but the action space needs {actions.n_actions} outputs"
            )
        seed = fresh_root_seed() if seed is None else seed
        init = generator(seed, Domain.INIT, 1)
        example = observation_example(observation_space)
        if actor is None:
            actor = plain_network(obs_dim, actions.n_actions, hidden_size, 0.01, init, NAME)
        if critic is None:
            critic = plain_network(obs_dim, 1, hidden_size, 1.0, init, NAME)
        networks = ActorCritic(
            network_of(actor, example, rng=init, what="the actor"),
            network_of(critic, example, rng=init, what="the critic"),
            stepped,
            head=actions.head,
            n_actions=actions.n_actions,
            nvec=actions.nvec,
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


def build(ctx: AgentContext, **options: Any) -> FlaxPPOAgent:
    """The standard agent for an environment; options are those of ``policy_gradient.standard.ppo_parts``."""
    return FlaxPPOAgent(None, None, **ppo_parts(ctx, "PPO", KINDS, **options))
