"""REINFORCE and A2C for a user's own model (Williams 1992; Mnih et al. 2016, arXiv:1602.01783).

The model returns logits ``[B, A]``, or logits and values ``(``[B, A]``, ``[B]`` or ``[B, 1]``)``. One gradient step per
window on ``-mean(target * log pi(a|s))``. Returns start afresh after every episode end and, where the data stops
before the episode does (time limit, end of the window), go on with the value of what followed:

- a model with values: its own value of that observation; targets are returns minus values (A2C);
- a window with recorded ``values``: the last recorded value of that episode, one step old; targets as above;
- neither: nothing is known about the rest, so returns count the rewards that were seen (REINFORCE).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.acting.policy import require_usable
from optix_core.agents.discrete_actions import DiscreteActions
from optix_core.agents.hypers.reinforce import HYPERS
from optix_core.agents.model_agent import ModelAgent, targets_of
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.single import SingleObservation
from optix_core.agents.streams import Streams
from optix_core.errors import ConfigError
from optix_core.rl.successors import rows
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_core.types import EpisodeData, HyperparamSet
from optix_jax.device import resolve_device
from optix_jax.networks.flax_modules import network_of, observation_example
from optix_jax.networks.network import Params
from optix_jax.policy_gradient import losses
from optix_jax.training.compiled import Compiled, tree_of
from optix_jax.training.guarded import guarded_step
from optix_jax.training.optimizers import as_optimizer
from optix_jax.training.padded import Padded
from optix_jax.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder

Model = Callable[[Params, Any], Any]
"""``(parameters, observations) -> what the model returns``."""
LossFn = Callable[[Model, Params, EpisodeData, NDArray[np.float32]], jax.Array]
"""``(model, parameters, window, targets [T * N]) -> scalar loss``, differentiated by the parameters."""


class FlaxAgent(ModelAgent):
    """Trains any model for discrete actions.

    Args:
        model: A ``flax.nnx`` or ``flax.linen`` module, or a network of :mod:`optix_jax.networks`: ``[B, *obs]`` to
            logits, or to logits and values. It acts as it learns: nnx modules in eval mode.
        optimizer: A transformation made by ``optax.inject_hyperparams``, so that its learning rate can be set while
            training; None: Adam.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.reinforce``. Copied.
        compute_loss_fn: Replaces the whole loss; called once per window.
        device: ``"auto"`` (JAX's default), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        observation_space: The environment's; linen modules need it to be made.
        seed: Root seed of acting and of linen's weights; None draws one from the operating system.

    Raises:
        ConfigError: The model, the optimizer or the device cannot be used.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS

    def __init__(
        self,
        model: Any,
        optimizer: Any = None,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        compute_loss_fn: LossFn | None = None,
        device: str = "auto",
        *,
        observation_space: Any = None,
        seed: int | None = None,
    ) -> None:
        stepped = as_optimizer(optimizer, declared.defaults(HYPERS)["learning_rate"])
        hp = declared.merge(HYPERS, {"learning_rate": stepped.learning_rate}, hyperparams, owner="FlaxAgent")
        seed = fresh_root_seed() if seed is None else seed
        self._network = network_of(
            model,
            observation_example(observation_space),
            rng=generator(seed, Domain.INIT, 1),
            what="the model",
        )
        self._training = Trainable({"model": self._network}, stepped, resolve_device(device))
        self._compute_loss_fn = compute_loss_fn
        self._actions = DiscreteActions(None, "FlaxAgent")
        self._single = SingleObservation(observation_space)
        self._forward = Padded(self._outputs, lambda: self._training.params["model"])
        self._gradient = Compiled(jax.value_and_grad(self._loss))
        self._step = Compiled(self._stepped)
        self._assemble(
            {"model": self._training},
            Streams(seed),
            Normalizers(None, None),
            hp,
            observation_space=observation_space,
        )

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One gradient step; a loss of NaN says that its gradient was not finite and no step was made."""
        hp, window, training = self._hp, episode_data, self._training
        if not window.n_steps:
            return {"n_updates": 0, "skipped": "the window is empty"}
        targets = targets_of(window, lambda observations: self._forward(observations)[1], gamma=hp["gamma"])
        weights = targets.weights.astype(np.float32)
        # One step.
        params = training.params["model"]
        if self._compute_loss_fn is not None:
            custom, apply = self._compute_loss_fn, self._network.apply
            loss, gradients = jax.value_and_grad(lambda p: custom(apply, p, window, weights))(params)
        else:
            arrays = {
                "observations": tree_of(rows(window, "observations")),
                "actions": rows(window, "actions").astype(np.int32),
                "targets": weights,
                "returns": targets.returns.reshape(-1).astype(np.float32),
            }
            coefficients = {name: np.float32(hp[name]) for name in ("vf_coef", "entropy_coef")}
            loss, gradients = self._gradient(params, arrays, coefficients)
        traced = {name: np.float32(hp[name]) for name in ("learning_rate", "max_grad_norm")}
        training.params, training.moments, norm = self._step(
            training.params, {"model": gradients}, training.moments, traced
        )
        return targets.report(float(loss), float(norm))

    def _loss(self, params: Params, window: Mapping[str, Any], weights: Mapping[str, Any]) -> jax.Array:
        logits, predicted = self._outputs(params, window["observations"])
        log_probs, entropies = losses.categorical(logits, window["actions"])
        loss = -(window["targets"] * log_probs).mean() - weights["entropy_coef"] * entropies.mean()
        if predicted is None:
            return loss
        return loss + weights["vf_coef"] * jnp.square(predicted - window["returns"]).mean()

    def _stepped(
        self, params: Params, gradients: Params, moments: Any, hp: Mapping[str, Any]
    ) -> tuple[Params, Any, jax.Array]:
        step = guarded_step(
            self._training.optimizer,
            params,
            gradients,
            moments,
            learning_rate=hp["learning_rate"],
            max_norm=hp["max_grad_norm"],
            in_a_row=jnp.int32(0),
        )
        return step.params, step.state, step.norm

    def _outputs(self, params: Params, observations: Any) -> tuple[jax.Array, jax.Array | None]:
        """Logits ``[B, A]`` and values ``[B]``, None where the model has none."""
        found: Any = self._network.apply(params, observations)
        return (found[0], found[1].reshape(-1)) if isinstance(found, tuple | list) else (found, None)

    def _row(self, observation: Any) -> NDArray[Any]:
        return self._single(observation)

    def _logits(self, observations: NDArray[Any]) -> NDArray[Any]:
        logits = self._forward(observations)[0]
        require_usable(logits, categorical=True)
        return logits

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        network = self._network
        if network.describe is None or network.spec is None:
            raise ConfigError(
                "FlaxAgent: the model is a module of your own, whose operations nobody knows; policies of the standard "
                "networks can be exported"
            )
        logits = network.describe(b, self._training.host("model"), x)
        return self._actions.describe(b, logits, mask, network.spec.sizes[-1])
