"""Actor, critic and optimizer as one thing that evaluates, acts, updates itself and can be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core.acting import NumpyPolicy, PolicySpec, distribution
from optix_core.acting.distributions import Head
from optix_core.acting.policy import allowed_logits
from optix_core.agents.function_policy import FunctionPolicy
from optix_core.agents.plain_actor import policy_spec
from optix_core.agents.ppo_update import PPOBatch, UpdateReport
from optix_core.agents.steps import MAX_SKIPPED_IN_A_ROW
from optix_core.errors import ConfigError
from optix_tf.device import resolve_device
from optix_tf.networks.forward import forward_of, outputs_of
from optix_tf.policy_gradient.plan import Planner
from optix_tf.policy_gradient.update import Data, Settings, Tally, make_update
from optix_tf.training.batching import padded_tree, staged
from optix_tf.training.compiling import Compiled, compiled
from optix_tf.training.known import compiles
from optix_tf.training.parameters import Perceptron
from optix_tf.training.shapes import padded, rounded_up
from optix_tf.training.trainable import Trainable

COMPILERS = ("auto", "xla", "graph")

_FEWEST = 64
_LARGE = 1 << 26
"""Windows of fewer bytes than this are padded to a power of two of rows; padding costs a copy and no arithmetic."""


class ActorCritic:
    """Two networks on one parameter vector.

    Models act and learn as they are called with ``training=False``: a dropout mask or batch statistics that differ
    between acting and learning would make the probability ratio differ from 1 before the first step. Where both are
    :class:`~optix_tf.networks.layers.Encoded` with the same encoder, a gradient step computes it once.

    Args:
        actor: ``[B, *obs]`` to logits, or to means and log standard deviations ``[B, 2 A]`` (Gaussian).
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``; may share layers with the actor.
        optimizer: Of optix-tf or Keras.
        head: What the actor's outputs mean, see :mod:`optix_core.acting.distributions`.
        n_actions: A; None if it is to be found out from the actor.
        nvec: Choices of each component; ``multi_categorical`` only.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        compiler: ``"xla"`` has updates compiled by XLA, ``"graph"`` run as a TensorFlow graph; ``"auto"`` takes XLA
            for networks of layers that it is known to compile.

    Attributes:
        policy: Acts; always has the current weights.
        training: Both networks and the optimizer.
        n_compilations: How often updates of these networks were compiled.

    Raises:
        ConfigError: The networks, the optimizer, the device or the compiler cannot be used.
    """

    def __init__(
        self,
        actor: Any,
        critic: Any,
        optimizer: Any,
        *,
        head: Head,
        n_actions: int | None,
        device: str,
        compiler: str = "auto",
        nvec: Sequence[int] = (),
    ) -> None:
        if compiler not in COMPILERS:
            raise ConfigError(f"compiler is {compiler!r}; it must be one of {', '.join(COMPILERS)}")
        self.device = resolve_device(device)
        with tf.device(self.device):
            self.training = Trainable({"actor": actor, "critic": critic}, optimizer)
        self.actor, self.critic, self._nvec = actor, critic, tuple(nvec)
        self._head: Head = head
        spec = _policy_spec(self.training, actor, head, n_actions, self._nvec)
        self._forward = forward_of(self.training, actor)
        self._values = forward_of(self.training, critic)
        self.policy: NumpyPolicy | FunctionPolicy
        if spec is None:
            self.policy = FunctionPolicy(self._forward, head, n_actions, nvec)
        else:
            plain = self.training.perceptron(actor)
            assert plain is not None
            self.policy = NumpyPolicy(spec, plain[1])
        known = compiles(actor) and compiles(critic) and self.training.shareable_optimizer
        self.xla = compiler == "xla" or (compiler == "auto" and known)
        self._planner = Planner(self.training.layout.dtype)
        self._function: Compiled = compiled(
            make_update,
            self.training.layout,
            self.training.network(actor),
            self.training.network(critic),
            head,
            self._nvec,
            self.training.optimizer,
            shareable=self.training.shareable,
            xla=self.xla,
        )
        self.n_compilations = 0

    def values(self, observations: NDArray[Any]) -> NDArray[Any]:
        """``[B]`` for normalised observations ``[B, *obs]``; a fresh array."""
        return outputs_of(self._values, observations).reshape(-1)

    def log_probs(
        self, observations: NDArray[Any], actions: NDArray[Any], masks: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """``[B]`` of actions under the current policy, among those that ``masks`` ``[B, A]`` allow; a fresh array."""
        outputs = outputs_of(self._forward, observations)
        if masks is not None:
            outputs = allowed_logits(outputs, masks, self._head, self._nvec)
        if isinstance(self.policy, NumpyPolicy):
            return self.policy.distribution.log_probs(outputs, actions)
        n_actions = outputs.shape[1] // 2 if self._head == "gaussian" else outputs.shape[1]
        return distribution(self._head, n_actions, self._nvec).log_probs(outputs, actions)

    def update(self, batch: PPOBatch, hp: Mapping[str, Any], rng: np.random.Generator) -> UpdateReport:
        """One PPO update. Parameters that would not be finite afterwards stay as they were before."""
        training, dtype = self.training, self.training.layout.dtype
        plan = self._planner.plan(len(batch), hp["minibatch_size"], hp["n_epochs"], rng)
        settings = Settings(*(np.asarray(hp[name], dtype) for name in Settings._fields))
        data = self._data(batch)
        before = self._function.n_compilations
        snapshot = training.snapshot()
        with tf.device(self.device):
            vector, state, found = self._function(training.vector, training.state, data, plan, settings)
        tally = Tally(*(np.array(value) for value in found))
        report = _report(tally)
        if np.isfinite(vector.numpy()).all():
            training.adopt(vector, state)
        else:
            report.diverged = True
            training.reject(snapshot)
        self._planner.rewind(int(tally.n_chunks), rng)
        self.n_compilations += self._function.n_compilations - before
        training.publish()
        return report

    def _data(self, batch: PPOBatch) -> Data:
        """The window in the types and, nearly, the lengths that other windows have."""
        dtype = self.training.layout.dtype
        n = len(batch)
        n = max(1 << (n - 1).bit_length(), _FEWEST) if batch.observations.nbytes < _LARGE else rounded_up(n)
        columns = np.stack([batch.log_probs, batch.advantages, batch.targets, batch.values], axis=1)
        return Data(
            observations=padded_tree(staged(batch.observations, dtype), n),
            actions=padded(batch.actions.astype(np.int32 if batch.actions.dtype.kind != "f" else dtype), n),
            columns=padded(columns.astype(dtype), n),
            masks=None if batch.masks is None else padded(batch.masks, n),
        )


def _policy_spec(
    training: Trainable, actor: Any, head: Head, n_actions: int | None, nvec: tuple[int, ...]
) -> PolicySpec | None:
    """What a plain actor computes; None for any other model."""
    network = training.network(actor)
    if not isinstance(network, Perceptron) or training.perceptron(actor) is None:
        return None
    return policy_spec(network.spec, head, n_actions, nvec, log_std=network.log_std is not None)


def _report(tally: Tally) -> UpdateReport:
    """What a compiled update counted, as other engines report it."""
    n = int(tally.n_updates)
    diverged = int(tally.in_a_row) >= MAX_SKIPPED_IN_A_ROW
    report = UpdateReport(n_updates=n, n_skipped=int(tally.n_skipped), diverged=diverged)
    if n:
        policy, value, entropy, norm = (tally.sums / n).tolist()
        report.policy_loss, report.value_loss, report.entropy = [policy], [value], [entropy]
        report.grad_norm = [norm]
        report.approx_kl, report.clip_fraction = [float(tally.last[0])], [float(tally.last[1])]
    return report
