"""Actor, critic and optimizer as one thing that evaluates, acts and updates itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from optix_core.acting import MLP, MLPSpec, NumpyPolicy, PolicySpec, distribution
from optix_core.acting.distributions import Head
from optix_core.acting.policy import allowed_logits
from optix_core.agents.function_policy import FunctionPolicy
from optix_core.agents.plain_actor import policy_spec
from optix_core.agents.ppo_update import PPOBatch, UpdateReport
from optix_core.errors import ConfigError
from optix_jax.networks.gaussian import GaussianNetwork
from optix_jax.networks.network import Network, Params, encoded
from optix_jax.policy_gradient.losses import Distribution
from optix_jax.policy_gradient.pair import Pair, pair_of
from optix_jax.policy_gradient.update import TRACED, orders, ppo_update, report_of, window_arrays
from optix_jax.training.compiled import Compiled
from optix_jax.training.optimizers import Optimizer
from optix_jax.training.padded import Padded
from optix_jax.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Evaluate:
    """``(params by name, observations) -> (actor outputs [B, out], values [B])``.

    Attributes:
        actor: Of its own parameters and of what it reads.
        critic: The same.
        encoder: What both read, or None.
    """

    actor: Callable[..., jax.Array]
    critic: Callable[..., jax.Array]
    encoder: Callable[..., jax.Array] | None

    @property
    def shareable(self) -> bool:
        """Whether equal ones compute the same."""
        both = (self.actor, self.critic)
        return self.encoder is None and all(getattr(one, "shareable", False) for one in both)

    def __call__(self, params: Params, observations: Any) -> tuple[jax.Array, jax.Array]:
        """Both at once."""
        if self.encoder is not None:
            observations = self.encoder(params["encoder"], observations)
        outputs = self.actor(params["actor"], observations)
        return outputs, self.critic(params["critic"], observations).reshape(-1)

    def inside(self, params: Params, moments: Any) -> tuple[Params, Any]:
        """Parameters and the optimizer's state as an update works on them: as they are."""
        return params, moments

    def outside(self, params: Params, moments: Any) -> tuple[Params, Any]:
        """The inverse of :meth:`inside`."""
        return params, moments


class ActorCritic:
    """Two networks, stepped by one optimizer.

    Plain perceptrons act, and evaluate windows, through numpy on a copy of the weights that every update refreshes; any
    other network through compiled functions.

    Args:
        actor: ``[B, *obs]`` to logits, or to means and log standard deviations ``[B, 2 A]`` (Gaussian).
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``.
        optimizer: Of both.
        head: What the actor's outputs mean, see :mod:`optix_core.acting.distributions`.
        n_actions: A; None if it is to be found out from the actor.
        nvec: Choices of each component; ``multi_categorical`` only.
        device: Where learning takes place.
        encoder: What both read, computed once per step; they get its features ``[B, F]`` then.

    Attributes:
        policy: Acts; always has the current weights.
        training: All networks and the optimizer.
        n_actions: A, if it is known.

    Raises:
        ConfigError: The actor has a wrong number of outputs.
    """

    def __init__(
        self,
        actor: Network,
        critic: Network,
        optimizer: Optimizer,
        *,
        head: Head,
        n_actions: int | None,
        device: Any,
        nvec: Sequence[int] = (),
        encoder: Network | None = None,
    ) -> None:
        shared = {} if encoder is None else {"encoder": encoder}
        self.training = Trainable(
            {**shared, "actor": actor, "critic": critic}, optimizer, device, self.refresh
        )
        self.actor = actor if encoder is None else encoded(encoder, actor)
        self._critic = critic if encoder is None else encoded(encoder, critic)
        self._device, self._has_encoder = device, encoder is not None
        spec = None if encoder is not None else _policy_spec(actor, head, n_actions, tuple(nvec))
        self._buffers: list[tuple[str, Array]] = []
        self._padded: list[Padded] = []
        if spec is None:
            self._actor_outputs = self._through_jax(self.actor, "actor")
            self.policy: NumpyPolicy | FunctionPolicy = FunctionPolicy(
                self._actor_outputs, head, n_actions, nvec
            )
        else:
            n_actions = spec.n_actions
            buffer = self._buffer("actor", spec.layout.size)
            self.policy = NumpyPolicy(spec, buffer)
            self._actor_outputs = MLP(spec.network, buffer[: spec.network.layout.size]).forward
        self._head: Head = head
        self.n_actions, self._nvec = n_actions, tuple(nvec)
        self._log_std = None
        if spec is not None and spec.has_log_std:
            self._log_std = self._buffers[0][1][spec.network.layout.size :]
        if critic.spec is not None and encoder is None:
            forward = MLP(critic.spec, self._buffer("critic", critic.spec.layout.size)).forward
        else:
            forward = self._through_jax(self._critic, "critic")
        self._critic_outputs: Callable[[Array], Array] = forward
        evaluate: Evaluate | Pair | None = None
        if encoder is None:
            evaluate = pair_of(actor.apply, critic.apply, optimizer)
        if evaluate is None:
            evaluate = Evaluate(actor.apply, critic.apply, None if encoder is None else encoder.apply)
        self._update = Compiled.made_by(ppo_update, evaluate, Distribution(head, tuple(nvec)), optimizer)
        self.refresh()

    @property
    def n_compilations(self) -> int:
        """How often anything was compiled so far."""
        return self._update.n_compilations + sum(padded.n_compilations for padded in self._padded)

    def values(self, observations: Array) -> Array:
        """``[B]`` for normalised observations ``[B, *obs]``; a fresh array."""
        return np.array(self._critic_outputs(observations)).reshape(-1)

    def log_probs(self, observations: Array, actions: Array, masks: NDArray[np.bool_] | None = None) -> Array:
        """``[B]`` of actions under the current policy, among those that ``masks`` ``[B, A]`` allow; a fresh array."""
        outputs = self._actor_outputs(observations)
        if masks is not None:
            outputs = allowed_logits(outputs, masks, self._head, self._nvec)
        a = self.n_actions or (outputs.shape[1] // (2 if self._head == "gaussian" else 1))
        return distribution(self._head, a, self._nvec, self._log_std).log_probs(outputs, actions)

    def update(self, batch: PPOBatch, hp: Mapping[str, Any], rng: np.random.Generator) -> UpdateReport:
        """One PPO update. Parameters that would not be finite afterwards stay as they were."""
        order = orders(len(batch), hp["minibatch_size"], hp["n_epochs"], rng)
        traced = {name: np.float32(hp[name]) for name in TRACED} | {"n_epochs": np.int32(hp["n_epochs"])}
        training = self.training
        params, moments, steps, epochs, finite = self._update(
            training.params, training.moments, window_arrays(batch), order.rows, order.weights, traced
        )
        training.params, training.moments = params, moments
        self.refresh()
        return report_of(np.asarray(steps), np.asarray(epochs), finite=bool(finite))

    def refresh(self) -> None:
        """Bring the host's copies of the weights up to date."""
        for name, buffer in self._buffers:
            np.copyto(buffer, np.asarray(self.training.params[name]))

    def describe_actor(self, b: GraphBuilder, x: Any, *, owner: str) -> str:
        """Append the operations from observations ``x`` to the actor's outputs.

        Raises:
            ConfigError: It is a module of a user, whose operations nobody knows.
        """
        if self.actor.describe is None:
            raise ConfigError(
                f"{owner}: the actor is a module of your own, whose operations nobody knows; policies of the "
                "standard networks can be exported"
            )
        host = self.training.host
        params = {"encoder": host("encoder"), "trunk": host("actor")} if self._has_encoder else host("actor")
        return self.actor.describe(b, params, x)

    def _buffer(self, name: str, size: int) -> Array:
        buffer = np.empty(size, np.float32)
        self._buffers.append((name, buffer))
        return buffer

    def _through_jax(self, network: Network, name: str) -> Callable[[Array], Array]:
        def params() -> Params:
            current = self.training.params
            return (
                {"encoder": current["encoder"], "trunk": current[name]}
                if self._has_encoder
                else current[name]
            )

        padded = Padded(network.apply, params)
        self._padded.append(padded)
        return padded


def _policy_spec(
    actor: Network, head: Head, n_actions: int | None, nvec: tuple[int, ...]
) -> PolicySpec | None:
    """What a plain actor computes; None for any other network."""
    gaussian = isinstance(actor, GaussianNetwork)
    network: MLPSpec | None = actor.mean_spec if isinstance(actor, GaussianNetwork) else actor.spec
    if network is None or (gaussian and head != "gaussian"):
        return None
    return policy_spec(network, head, n_actions, nvec, log_std=gaussian)
