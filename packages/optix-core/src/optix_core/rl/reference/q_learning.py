"""Losses and targets of Q-learning: DQN, double Q-learning, C51 and dueling outputs, as Rainbow combines them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optix_core.rl.projections import project_categorical
from optix_core.rl.reference.loss import Floats, Loss, floats, sample_weights


def q_targets(
    rewards: ArrayLike,
    discounts: ArrayLike,
    next_q: ArrayLike,
    *,
    chosen_by: ArrayLike | None = None,
    masks: ArrayLike | None = None,
) -> Floats:
    """``y = r + d Q(s', argmax_a C(s', a))``, ``[B]``.

    Args:
        rewards: ``[B]``, summed over the steps to s'.
        discounts: ``[B]``: gamma to the number of these steps, 0 where the episode terminated (a time limit does not).
        next_q: ``[B, A]``, Q of the target network.
        chosen_by: ``[B, A]``, C: of the online network for double Q-learning (van Hasselt et al. 2016,
            arXiv:1509.06461, eq. 4); None: Q itself (Mnih et al. 2015).
        masks: ``[B, A]`` bool, the actions allowed in s'; all of a terminal state's may be False.
    """
    q = floats(next_q)
    best = best_actions(q if chosen_by is None else floats(chosen_by), masks)
    return floats(rewards) + floats(discounts) * q[np.arange(len(q)), best]


def best_actions(values: Floats, masks: ArrayLike | None) -> NDArray[np.int64]:
    """``[B]``: the first of the largest of ``values`` ``[B, A]`` among the allowed ones; 0 if none is."""
    if masks is not None:
        values = np.where(np.asarray(masks, np.bool_), values, -np.inf)
    return values.argmax(axis=1)


def td_loss(
    q: ArrayLike,
    actions: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    kind: Literal["huber", "squared"] = "huber",
) -> Loss:
    """``mean(w f(Q(s, a) - y))``; the gradient is by ``"q"``, and ``each`` holds the errors ``Q(s, a) - y``.

    Args:
        q: ``[B, A]``.
        actions: ``[B]``, from 0.
        targets: ``[B]``, y, a constant.
        weights: ``[B]``, of prioritised replay (Schaul et al. 2016, arXiv:1511.05952, section 3.4).
        kind: "huber": f(e) = e^2 / 2 up to |e| = 1 and |e| - 1/2 beyond; "squared": f(e) = e^2.
    """
    values, chosen = floats(q), np.asarray(actions)
    n = len(values)
    rows = np.arange(n)
    w = sample_weights(weights, n)
    error = values[rows, chosen] - floats(targets)
    if kind == "huber":
        each, slope = (
            np.where(np.abs(error) <= 1.0, error**2 / 2.0, np.abs(error) - 0.5),
            np.clip(error, -1.0, 1.0),
        )
    else:
        each, slope = error**2, 2.0 * error
    gradient = np.zeros_like(values)
    gradient[rows, chosen] = w * slope / n
    return Loss(value=float((w * each).mean()), gradients={"q": gradient}, each=error)


def c51_targets(
    rewards: ArrayLike,
    discounts: ArrayLike,
    next_probabilities: ArrayLike,
    support: Floats,
    *,
    chosen_by: ArrayLike | None = None,
    masks: ArrayLike | None = None,
) -> Floats:
    """``[B, Z]``: the projected distribution of ``r + d z`` for the best next action (Bellemare et al. 2017, alg. 1).

    Args:
        rewards: ``[B]``.
        discounts: ``[B]``, as for :func:`q_targets`.
        next_probabilities: ``[B, A, Z]`` of the target network.
        support: ``[Z]``.
        chosen_by: ``[B, A, Z]``, probabilities of the online network, whose means choose; None: the target network's.
        masks: ``[B, A]`` bool.
    """
    p = floats(next_probabilities)
    best = best_actions((p if chosen_by is None else floats(chosen_by)) @ support, masks)
    return project_categorical(p[np.arange(len(p)), best], rewards, discounts, support)


def c51_loss(
    logits: ArrayLike,
    actions: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    kind: Literal["cross_entropy", "kl"] = "cross_entropy",
) -> Loss:
    """``mean(w D(m, softmax(l_a)))``, by ``"logits"``; ``each`` holds the D, which are the priorities.

    The cross entropy ``-sum m log p`` and the divergence ``sum m log(m / p)`` differ by a constant of m, so their
    gradients are the same.

    Args:
        logits: ``[B, A, Z]``.
        actions: ``[B]``, from 0.
        targets: ``[B, Z]``, m, a constant.
        weights: ``[B]``.
        kind: What D is.
    """
    l, chosen, m = floats(logits), np.asarray(actions), floats(targets)  # noqa: E741
    n = len(l)
    rows = np.arange(n)
    w = sample_weights(weights, n)
    taken = l[rows, chosen]
    log_p = taken - np.logaddexp.reduce(taken, axis=1, keepdims=True)
    each = -(m * log_p).sum(axis=1)
    if kind == "kl":
        each = each + (m * np.log(np.where(m > 0.0, m, 1.0))).sum(axis=1)
    gradient = np.zeros_like(l)
    gradient[rows, chosen] = (w / n)[:, None] * (np.exp(log_p) * m.sum(axis=1, keepdims=True) - m)
    return Loss(value=float((w * each).mean()), gradients={"logits": gradient}, each=each)


def dueling(values: ArrayLike, advantages: ArrayLike) -> Floats:
    """``V + A - mean_a A`` (Wang et al. 2016, arXiv:1511.06581, eq. 9), for numbers or per atom.

    Args:
        values: ``[B, 1]`` or ``[B, 1, Z]``.
        advantages: ``[B, A]`` or ``[B, A, Z]``.
    """
    a = floats(advantages)
    return floats(values) + a - a.mean(axis=1, keepdims=True)


def dueling_gradients(d_outputs: ArrayLike) -> dict[str, Floats]:
    """Gradients by ``"values"`` and ``"advantages"``, given that by the outputs of :func:`dueling`."""
    d = floats(d_outputs)
    total = d.sum(axis=1, keepdims=True)
    return {"values": total, "advantages": d - total / d.shape[1]}
