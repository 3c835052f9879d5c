"""REINFORCE and A2C for a user's own model (Williams 1992; Mnih et al. 2016, arXiv:1602.01783).

The model returns logits ``[B, A]``, or logits and values ``(``[B, A]``, ``[B]`` or ``[B, 1]``)``. One gradient step per
window on ``-mean(target * log pi(a|s))``. Returns start afresh after every episode end and, where the data stops
before the episode does (time limit, end of the window), go on with the value of what followed:

- a model with values: its own value of that observation; targets are returns minus values (A2C);
- a window with recorded ``values``: the last recorded value of that episode, one step old; targets as above;
- neither: nothing is known about the rest, so returns count the rewards that were seen (REINFORCE).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core import hyperparams as declared
from optix_core.acting import heads
from optix_core.acting.policy import require_usable
from optix_core.agents.discrete_actions import DiscreteActions
from optix_core.agents.hypers.reinforce import HYPERS
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.stored_agent import StoredAgent
from optix_core.agents.streams import Streams
from optix_core.rl.batching import standardize
from optix_core.rl.returns import discounted_returns, explained_variance
from optix_core.rl.successors import next_values, rows, successors
from optix_core.types import EpisodeData, HyperparamSet
from optix_torch.describing import describe, last_width
from optix_torch.device import resolve_device
from optix_torch.policy_gradient import losses
from optix_torch.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder

LossFn = Callable[[nn.Module, EpisodeData, Tensor], Tensor]
"""``(model, window, targets [T * N]) -> scalar loss``; targets are standardised and lie on the model's device."""


class TorchAgent(StoredAgent):
    """Trains any model for discrete actions.

    Args:
        model: ``[B, *obs]`` to logits, or to logits and values. Put into eval mode, so that it acts as it learns.
        optimizer: Over its parameters.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.reinforce``. Copied.
        compute_loss_fn: Replaces the whole loss; called once per window.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        seed: Root seed of acting; None draws one from the operating system.

    Raises:
        ConfigError: The optimizer lacks parameters of the model, or the device is not there.
        HyperparamError: A name is unknown or a value out of range.
    """

    accepts_intrinsic_rewards = True
    hypers = HYPERS

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        compute_loss_fn: LossFn | None = None,
        device: str | torch.device = "auto",
        *,
        seed: int | None = None,
    ) -> None:
        given = {"learning_rate": float(optimizer.param_groups[0]["lr"])}
        hp = declared.merge(HYPERS, given, hyperparams, owner="TorchAgent")
        self._model = model.to(resolve_device(device)).eval()
        trained = [p for p in model.parameters() if p.requires_grad]
        self._training = Trainable({"model": model}, trained, optimizer)
        self._flat, self._compute_loss_fn = self._training.flat, compute_loss_fn
        self._actions = DiscreteActions(None, "TorchAgent")
        self._assemble({"model": self._training}, Streams(seed), Normalizers(None, None), hp)

    def act(self, observation: Any, *, deterministic: bool = False) -> int:
        """An action for one observation; drawn from a stream of its own, so that training never notices."""
        return int(
            self._choose(np.asarray(observation)[None], self._streams.single, deterministic=deterministic)[0]
        )

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[np.int64]:
        """Actions ``[N]`` for observations ``[N, *obs]``: drawn from the policy, or its most probable ones."""
        return self._choose(observations, self._streams.policy, deterministic=deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """The same actions."""
        return actions

    def action_probs(self, observation: NDArray[Any]) -> NDArray[Any]:
        """Probabilities ``[A]`` of all actions for one observation."""
        return np.exp(heads.categorical_log_probs(self._logits(np.asarray(observation)[None])))[0]

    def action_probs_batch(self, observations: NDArray[Any]) -> NDArray[Any]:
        """The same ``[N, A]`` for observations ``[N, *obs]``."""
        return np.exp(heads.categorical_log_probs(self._logits(observations)))

    def learn(self, episode_data: EpisodeData) -> dict[str, Any]:
        """One gradient step; a loss of NaN says that its gradient was not finite and no step was made."""
        hp, window = self._hp, episode_data
        if not window.n_steps:
            return {"n_updates": 0, "skipped": "the window is empty"}
        # Tensors.
        observations = self._flat.tensor(rows(window, "observations"))
        actions = torch.from_numpy(rows(window, "actions").astype(np.int64)).to(observations.device)
        shape = window.time_major("rewards").shape
        # Targets.
        values, following = self._values(window, observations, shape)
        returns = discounted_returns(
            window.time_major("learning_rewards"),
            np.zeros(shape) if following is None else following,
            window.time_major("terminated"),
            window.time_major("dones"),
            gamma=hp["gamma"],
        )
        targets = self._flat.tensor(standardize(returns if values is None else returns - values).reshape(-1))
        # One step.
        self._flat.grad.zero_()
        if self._compute_loss_fn is not None:
            loss = self._compute_loss_fn(self._model, window, targets)
        else:
            logits, predicted = self._outputs(observations)
            log_probs, entropies = losses.categorical(logits, actions)
            loss = -(targets * log_probs).mean() - hp["entropy_coef"] * entropies.mean()
            if predicted is not None:
                loss = (
                    loss
                    + hp["vf_coef"]
                    * losses.value_loss(predicted, self._flat.tensor(returns.reshape(-1))).mean()
                )
        loss.backward()
        grad_norm = float(torch.linalg.vector_norm(self._flat.grad))
        stepped = math.isfinite(grad_norm)
        if stepped:
            self._flat.grad.mul_(min(1.0, hp["max_grad_norm"] / (grad_norm + 1e-6)))
            self._training.optimizer.step()
        explained = 0.0 if values is None else np.nan_to_num(explained_variance(values, returns), nan=0.0)
        return {
            "loss": float(loss.detach()) if stepped else math.nan,
            "grad_norm": grad_norm,
            "baseline_type": "reinforce" if values is None else "a2c",
            "explained_variance": float(explained),
            "n_updates": int(stepped),
        }

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        return self._actions.describe(b, describe(b, self._model, x), mask, last_width(self._model))

    def _outputs(self, observations: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits ``[B, A]`` and values ``[B]``, None where the model has none."""
        outputs = self._model(observations)
        if isinstance(outputs, tuple):
            return outputs[0], outputs[1].reshape(-1)
        return outputs, None

    def _values(
        self, window: EpisodeData, observations: Tensor, shape: tuple[int, ...]
    ) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Values ``[T, N]`` of the window's observations and of their successors, None where nothing is known."""
        with torch.no_grad():
            predicted = self._outputs(observations)[1]
            if predicted is not None:
                values = predicted.cpu().numpy().reshape(shape)
                after = self._outputs(self._flat.tensor(successors(window)))[1]
                assert after is not None
                return values, next_values(window, values, after.cpu().numpy())
        if window.values is None:
            return None, None
        recorded = window.time_major("values")
        return recorded, recorded

    def _choose(
        self, observations: NDArray[Any], rng: np.random.Generator, *, deterministic: bool
    ) -> NDArray[np.int64]:
        logits = self._logits(observations)
        return logits.argmax(axis=1) if deterministic else heads.sample_categorical(logits, rng)

    def _logits(self, observations: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            logits = self._outputs(self._flat.tensor(observations))[0].cpu().numpy()
        require_usable(logits, categorical=True)
        return logits
